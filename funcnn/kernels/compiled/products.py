"""Twins of `funcnn.kernels.products`: blocks of the result are computed on several threads.

On one thread NumPy's products are as fast, and compute.
"""

from __future__ import annotations

import numpy as np

from funcnn.blas import one_thread
from funcnn.kernels import threads
from funcnn.kernels.compiled.blas import GEMM, gemm
from funcnn.kernels.compiled.parallel import in_parallel, team
from funcnn.kernels.compiled.routines import routine, same_floats
from funcnn.tree import Array

_MULTIPLE = 16  # rows or columns of the result that the products of a block leave none over


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
    rows, depth = a.shape[::-1] if transpose_a else a.shape
    columns = b.shape[0] if transpose_b else b.shape[1]
    parts = threads.worth(rows * depth * columns)
    if parts == 1 or not same_floats(a, b):
        return NotImplemented
    c = np.empty((rows, columns), a.dtype)
    longer = max(rows, columns)
    block = -(-longer // (parts * _MULTIPLE)) * _MULTIPLE
    with one_thread:
        _in_blocks(
            team(parts), GEMM[a.dtype], np.ascontiguousarray(a), transpose_a, np.ascontiguousarray(b), transpose_b,
            rows == longer, block, c,
        )  # fmt: skip
    return c


@in_parallel
def _block_of_product(arguments, thread, index):  # type: ignore[no-untyped-def]
    address, a, transpose_a, b, transpose_b, by_rows, block, c = arguments
    first = index * block
    if by_rows:
        c = c[first : first + block]
        a = a[:, first : first + block] if transpose_a else a[first : first + block]
    else:
        c = c[:, first : first + block]
        b = b[first : first + block] if transpose_b else b[:, first : first + block]
    gemm(address, a, transpose_a, b, transpose_b, 0, c)


@routine("void(i8[::1], intp, R[:,::1], b1, R[:,::1], b1, b1, i8, T[:,::1])")
def _in_blocks(
    team: Array, address: int, a: Array, transpose_a: bool, b: Array, transpose_b: bool, by_rows: bool, block: int,
    c: Array,
) -> None:  # fmt: skip
    blocks = (max(c.shape) + block - 1) // block
    _block_of_product(team, (address, a, transpose_a, b, transpose_b, by_rows, block, c), blocks)
