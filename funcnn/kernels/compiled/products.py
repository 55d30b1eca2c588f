"""Twins of `funcnn.kernels.products`: by tiles where a factor has few rows, and in blocks on several threads.

The threads divide the longest of the three axes. In the products of a layer with more inputs than outputs and rows,
that is its inputs: then for y, dw and dx, and for the update of w, a thread reads the same part of w, which stays in
the cache of its core. Of y each thread computes a part of the sums, and their sum is y.
"""

from __future__ import annotations

import numpy as np

from funcnn.blas import one_thread
from funcnn.kernels import threads
from funcnn.kernels.compiled import tiles
from funcnn.kernels.compiled.blas import GEMM, gemm
from funcnn.kernels.compiled.parallel import in_parallel, team
from funcnn.kernels.compiled.routines import routine, same_floats
from funcnn.kernels.compiled.tiles import multiply
from funcnn.tree import Array

_MULTIPLE = 16  # the length of a block is one: then the products leave no rows or columns over


def product(x: Array, w: Array) -> Array:
    """See `funcnn.kernels.products.product`."""
    return _multiply(x, False, w, False)


def product_adjoint_w(x: Array, dy: Array) -> Array:
    """See `funcnn.kernels.products.product_adjoint_w`."""
    return _multiply(x, True, dy, False)


def product_adjoint_x(w: Array, dy: Array) -> Array:
    """See `funcnn.kernels.products.product_adjoint_x`."""
    return _multiply(dy, False, w, True)


def _multiply(a: Array, transpose_a: bool, b: Array, transpose_b: bool) -> Array:
    """Return the product of a and b, which are transposed first if said so."""
    if not same_floats(a, b):
        return NotImplemented
    rows, depth = a.shape[::-1] if transpose_a else a.shape
    columns = b.shape[0] if transpose_b else b.shape[1]
    parts = threads.worth(rows * depth * columns)
    by_tiles = tiles.gains(rows, depth, columns, a.dtype, transpose_b)
    if not by_tiles and parts == 1:
        return NotImplemented
    c = np.empty((rows, columns), a.dtype)
    longest = max(rows, columns, depth)
    block = -(-longest // (parts * _MULTIPLE)) * _MULTIPLE
    axis = (depth, rows, columns).index(longest) if parts > 1 else 1
    sums = np.empty((-(-longest // block) if axis == 0 else 0, rows, columns), a.dtype)
    with one_thread:
        _in_blocks(
            team(parts), GEMM[a.dtype], np.ascontiguousarray(a), transpose_a, np.ascontiguousarray(b), transpose_b,
            by_tiles, axis, block, sums, c,
        )  # fmt: skip
    return c


@in_parallel
def _block_of_product(arguments, thread, index):  # type: ignore[no-untyped-def]
    address, a, transpose_a, b, transpose_b, by_tiles, axis, block, sums, c = arguments
    first, last = index * block, (index + 1) * block
    if axis == 0:
        c = sums[index]
    elif axis == 1:
        c = c[first:last]
    else:
        c = c[:, first:last]
    if axis < 2:
        a = a[:, first:last] if transpose_a != (axis == 0) else a[first:last]
    if axis != 1:
        b = b[:, first:last] if transpose_b == (axis == 0) else b[first:last]
    if by_tiles:
        multiply(address, a, transpose_a, b, transpose_b, False, c)
    else:
        gemm(address, a, transpose_a, b, transpose_b, 0, c)


@routine("void(i8[::1], intp, R[:,::1], b1, R[:,::1], b1, b1, i8, i8, T[:,:,::1], T[:,::1])")
def _in_blocks(
    team: Array, address: int, a: Array, transpose_a: bool, b: Array, transpose_b: bool, by_tiles: bool, axis: int,
    block: int, sums: Array, c: Array,
) -> None:  # fmt: skip
    blocks = len(sums) if axis == 0 else (c.shape[axis - 1] + block - 1) // block
    arguments = address, a, transpose_a, b, transpose_b, by_tiles, axis, block, sums, c
    _block_of_product(team, arguments, blocks)
    if axis == 0:
        for i in range(c.size):
            total = sums.flat[i]
            for k in range(1, len(sums)):
                total += sums.flat[k * c.size + i]
            c.flat[i] = total
