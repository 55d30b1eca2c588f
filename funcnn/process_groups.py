"""Groups of processes that compute shards of a batch together, and what they exchange.

A process alone is a group of one. Several, the ranks of an MPI job, exchange arrays through the communicator that
mpi4py gives them. This module only calls the communicator's methods, so it needs no mpi4py itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from funcnn import tree
from funcnn.sharding import bounds
from funcnn.tree import Array, Tree


class ProcessGroup(NamedTuple):
    """What the processes of a group can do together. All of them call the functions, in the same order.

    Attributes
    ----------
    rank, size : int
        The number of this process, from 0, and the number of processes.
    gather : callable
        ``gather(value) -> values``: any objects, those of all ranks in their order.
    concatenate : callable
        ``concatenate(rows, counts) -> rows``: arrays (counts[rank], ...) of one dtype, joined in their order.
    total : callable
        ``total(grads) -> grads``: the sum of a tree of arrays over the ranks, added up in their order.
    first : callable
        ``first(k) -> group``: the group of the first k ranks. On the other ranks it has no use.
    """

    rank: int
    size: int
    gather: Callable[[Any], list[Any]]
    concatenate: Callable[[Array, Sequence[int]], Array]
    total: Callable[[Tree], Tree]
    first: Callable[[int], ProcessGroup]


ALONE: ProcessGroup = ProcessGroup(
    0, 1, lambda value: [value], lambda rows, counts: rows, lambda grads: grads, lambda k: ALONE
)


def process_group(where: str, comm: Any) -> ProcessGroup:
    """Return the group of a communicator's ranks.

    Parameters
    ----------
    where : str
        Begins the message of an error.
    comm : mpi4py.MPI.Comm, optional
        None, and a communicator of one rank, is the process alone.
    """
    if comm is None:
        return ALONE
    if not hasattr(comm, "Allgatherv"):
        raise TypeError(f"{where}: comm must be a communicator, such as mpi4py.MPI.COMM_WORLD, not {comm!r}")
    rank, size = comm.Get_rank(), comm.Get_size()
    if size == 1:
        return ALONE
    groups: dict[int, ProcessGroup] = {}  # making one takes the ranks a message

    def concatenate(rows: Array, counts: Sequence[int]) -> Array:
        if len(rows) != counts[rank]:
            raise ValueError(
                f"{where}: rank {rank} has {counts[rank]} examples, but the model returns {len(rows)} rows"
            )
        joined = np.empty((sum(counts), *rows.shape[1:]), rows.dtype)
        row_bytes = joined.nbytes // max(len(joined), 1)
        comm.Allgatherv(_as_bytes(rows), [_as_bytes(joined), [row_bytes * count for count in counts]])
        return joined

    def total(grads: Tree) -> Tree:
        leaves = {path: np.asarray(leaf) for path, leaf in tree.flatten(grads).items()}
        sums: dict[str, Array] = {}
        for dtype in sorted({leaf.dtype.str for leaf in leaves.values()}):
            paths = [path for path, leaf in leaves.items() if leaf.dtype.str == dtype]
            vector = _ordered_sum(comm, np.concatenate([leaves[path].ravel() for path in paths]))
            ends = np.cumsum([leaves[path].size for path in paths])
            for path, end in zip(paths, ends, strict=True):
                sums[path] = vector[end - leaves[path].size : end].reshape(leaves[path].shape)
        return tree.unflatten(sums, grads)

    def first(k: int) -> ProcessGroup:
        if k not in groups:
            groups[k] = process_group(where, comm.Split(int(rank >= k), rank))
        return groups[k]

    return ProcessGroup(rank, size, comm.allgather, concatenate, total, first)


def _ordered_sum(comm: Any, vector: Array) -> Array:
    """Return the sum of the ranks' vectors, the terms of each entry added up in the order of the ranks.

    Each rank receives its segment of all vectors, adds it up, and sends the sum to all. The ranks send and receive as
    many bytes as by an Allreduce, whose sums depend on the MPI library and the number of ranks.
    """
    rank, size = comm.Get_rank(), comm.Get_size()
    ends = bounds(len(vector), size)
    sent = [(last - first) * vector.itemsize for first, last in pairwise(ends)]
    terms = np.empty((size, ends[rank + 1] - ends[rank]), vector.dtype)
    comm.Alltoallv([_as_bytes(vector), sent], [_as_bytes(terms), [sent[rank]] * size])
    segment = terms[0]
    for term in terms[1:]:
        segment += term
    total = np.empty_like(vector)
    comm.Allgatherv(_as_bytes(segment), [_as_bytes(total), sent])
    return total


def stack_all(group: ProcessGroup, *arrays: Array) -> tuple[Array, ...]:
    """Return arrays (shards, ...) of all ranks, each of which has as many shards, by a single exchange."""
    if group.size == 1:
        return arrays
    rows = np.concatenate([_as_bytes(a).reshape(len(a), -1) for a in arrays], axis=1)
    joined = group.concatenate(rows, [len(rows)] * group.size)
    ends = np.cumsum([_as_bytes(a).size // len(a) for a in arrays])
    parts = np.split(joined, ends[:-1], axis=1)
    return tuple(
        np.ascontiguousarray(part).view(a.dtype).reshape(len(part), *a.shape[1:])
        for part, a in zip(parts, arrays, strict=True)
    )


def _as_bytes(a: Array) -> Array:
    return np.ascontiguousarray(a).reshape(-1).view(np.uint8)


def digest(*trees: Tree) -> bytes:
    """Return a checksum of trees: of their paths and the bits of their leaves."""
    checksum = hashlib.blake2b(digest_size=16)
    for path, leaf in (item for t in trees for item in tree.flatten(t).items()):
        a = np.asarray(leaf)
        checksum.update(f"{path} {a.dtype.str} {a.shape}".encode())
        checksum.update(a.tobytes())
    return checksum.digest()
