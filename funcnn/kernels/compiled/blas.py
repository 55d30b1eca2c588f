"""Matrix products within compiled routines, by NumPy's BLAS; or where its functions are not found, by SciPy's.

`gemm` calls it by its address, which is an argument: a constant would be compiled in, and be wrong in the next process
that loads the routine from the cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import get_cython_function_address, intrinsic

from funcnn import blas
from funcnn.kernels.compiled.routines import routine
from funcnn.tree import Array


def _address(function: str) -> int:
    found = blas.address(f"{function}_")
    return found if found else int(get_cython_function_address("scipy.linalg.cython_blas", function))


# A routine gets the address for its dtype: ``GEMM[x.dtype]``.
GEMM = {np.dtype(np.float32): _address("sgemm"), np.dtype(np.float64): _address("dgemm")}
blas.one_thread.find_libraries()  # SciPy may just have brought its own
_N, _T = ord("N"), ord("T")
_NAMES = ("transa", "transb", "m", "n", "k", "alpha", "a", "lda", "b", "ldb", "beta", "c", "ldc")


@intrinsic
def _call(typingctx, address, transa, transb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):  # type: ignore[no-untyped-def]
    """Call a Fortran routine: all numbers are passed by reference, arrays by the addresses of their first entries."""
    given = (address, transa, transb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
    signature = types.void(
        types.intp, types.uint8, types.uint8, types.int64, types.int64, types.int64, alpha, types.intp, types.int64,
        types.intp, types.int64, alpha, types.intp, types.int64,
    )  # fmt: skip
    assert len(given) == len(signature.args)

    def codegen(context: Any, builder: Any, _: Any, args: Any) -> Any:
        address, *values = args
        pointers = []
        for name, value in zip(_NAMES, values, strict=True):
            if name in ("a", "b", "c"):
                pointers.append(builder.inttoptr(value, cgutils.voidptr_t))
            else:
                pointers.append(builder.bitcast(cgutils.alloca_once_value(builder, value), cgutils.voidptr_t))
        kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t] * len(pointers))
        builder.call(builder.inttoptr(address, kind.as_pointer()), pointers)
        return context.get_dummy_value()

    return signature, codegen


# All types of matrices become these where they are passed, so that `gemm` is compiled once for a dtype.
FACTOR = "Array(T, 2, 'A', readonly=True, aligned=False)"


@routine(f"void(intp, {FACTOR}, b1, {FACTOR}, b1, T, T[:,:])")
def gemm(address: int, a: Array, transpose_a: bool, b: Array, transpose_b: bool, beta: Any, c: Array) -> None:
    """Write a b + beta c to c; a and b are transposed first if said so.

    All are matrices of one dtype whose rows are contiguous; the rows may be apart. With ``beta`` 0, c is not read.
    """
    rows, depth = (a.shape[1], a.shape[0]) if transpose_a else (a.shape[0], a.shape[1])
    inner, columns = (b.shape[1], b.shape[0]) if transpose_b else (b.shape[0], b.shape[1])
    size = a.itemsize
    # a BLAS reads matrices by columns: what it is given as b and a is their transpose, and so is the product
    if rows != c.shape[0] or columns != c.shape[1] or depth != inner:
        raise ValueError("gemm: the shapes do not fit")
    if (a.shape[1] > 1 and a.strides[1] != size) or (b.shape[1] > 1 and b.strides[1] != size):
        raise ValueError("gemm: the rows of a factor are not contiguous")
    if c.shape[1] > 1 and c.strides[1] != size:
        raise ValueError("gemm: the rows of the result are not contiguous")
    if rows == 0 or columns == 0:
        return
    one = c.dtype.type(1)
    _call(
        address, np.uint8(_T if transpose_b else _N), np.uint8(_T if transpose_a else _N),
        np.int64(columns), np.int64(rows), np.int64(depth), one,
        b.ctypes.data, np.int64(max(b.strides[0] // size, b.shape[1], 1)),
        a.ctypes.data, np.int64(max(a.strides[0] // size, a.shape[1], 1)), beta,
        c.ctypes.data, np.int64(max(c.strides[0] // size, c.shape[1], 1)),
    )  # fmt: skip
