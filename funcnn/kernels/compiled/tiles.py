"""Products of matrices one of which has few rows, faster than by the BLAS.

A BLAS copies parts of both factors to where its innermost loop reads them, which pays where many products read the
copy. `multiply` reads the first factor where it is, and copies a panel of the second at a time: two vectors of columns.
A tile of the result, of `ROWS` rows and as many columns as a panel, stays in registers over the sum. The last tiles
overlap those before them.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from funcnn.kernels.compiled.blas import FACTOR, gemm
from funcnn.kernels.compiled.routines import helper, routine
from funcnn.kernels.compiled.vectors import LANES, Vector, lanes_of
from funcnn.tree import Array

ROWS, _VECTORS = 8, 2  # of a tile: its sums are 16 of the 32 registers of 64 bytes
_DEPTH = 256  # products that a tile sums before it adds them to the result: the rows of a panel, which is in the cache
# Rows of the result, or products in a sum: with more, a BLAS gains as much from its copies. With 64, of 1152 inputs and
# 128 outputs, y, dw and dx take 0.9, 0.85 and 0.65 of its time (``scripts/bench --job digits32``).
_FEW = 64
_MIN_WORK = 1 << 20  # multiply-adds, of some 15 us
# Where registers are shorter or fewer, a BLAS is faster.
_FAST = bool(llvmlite.binding.get_host_cpu_features().get("avx512f", False))


def gains(rows: int, depth: int, columns: int, dtype: np.dtype[Any], transposed: bool) -> bool:
    """Return whether `multiply` is faster than a BLAS, for a result of so many rows and columns.

    ``transposed`` says that the second factor is. That costs a BLAS a third more, and `multiply` nothing; otherwise it
    gains only with whole tiles and sums that are long enough.
    """
    width = _VECTORS * LANES[dtype]
    whole = transposed or (columns % width == 0 and depth >= _FEW)
    few = rows >= ROWS and columns >= width and min(rows, depth) <= _FEW
    return _FAST and whole and few and rows * depth * columns >= _MIN_WORK


@intrinsic
def _tile(typingctx, panel, depth, first, row, step, target, line, adding):  # type: ignore[no-untyped-def]
    """Write a tile of a product, or add it: sums of ``depth`` products with the numbers of a panel.

    ``first`` is the address of the first number of the first factor, whose rows are ``row`` numbers apart, and the
    numbers of a row ``step``; ``target`` is where the tile begins, in rows that are ``line`` numbers apart.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = context.get_value_type(Vector(signature.args[0].dtype))
        number, intp = vector.element, cgutils.intp_t
        size, lanes = signature.args[0].dtype.bitwidth // 8, vector.count
        panel, depth, first, row, step, target, line, adding = args
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), None)
        name = f"llvm.fma.v{lanes}f{8 * size}"
        fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)
        first, target = (builder.inttoptr(at, number.as_pointer()) for at in (first, target))
        panel = cgutils.create_struct_proxy(signature.args[0])(context, builder, panel).data

        def vector_at(base: Any, at: Any) -> Any:
            return builder.bitcast(builder.gep(base, [at]), vector.as_pointer())

        before, loop, after = builder.block, *(builder.append_basic_block(name) for name in ("sums", "summed"))
        builder.branch(loop)
        builder.position_at_end(loop)
        k = builder.phi(intp)
        k.add_incoming(intp(0), before)
        sums = [[builder.phi(vector) for _ in range(_VECTORS)] for _ in range(ROWS)]
        start = builder.mul(k, intp(_VECTORS * lanes))
        vectors = [
            builder.load(vector_at(panel, builder.add(start, intp(v * lanes))), align=size) for v in range(_VECTORS)
        ]
        for r, of_row in enumerate(sums):
            x = builder.load(builder.gep(first, [builder.add(builder.mul(k, step), builder.mul(row, intp(r)))]))
            x = builder.insert_element(ir.Constant(vector, ir.Undefined), x, ir.IntType(32)(0))
            x = builder.shuffle_vector(x, ir.Constant(vector, ir.Undefined), zeros)
            for v, total in enumerate(of_row):
                total.add_incoming(ir.Constant(vector, None), before)
                total.add_incoming(builder.call(fma, (x, vectors[v], total)), loop)
        following = builder.add(k, intp(1))
        k.add_incoming(following, loop)
        builder.cbranch(builder.icmp_signed("<", following, depth), loop, after)
        builder.position_at_end(after)
        totals = [[total.incomings[1][0] for total in of_row] for of_row in sums]
        with builder.if_else(adding) as (then, otherwise):
            for block, add in (then, True), (otherwise, False):
                with block:
                    for r, of_row in enumerate(totals):
                        for v, total in enumerate(of_row):
                            place = vector_at(target, builder.add(builder.mul(line, intp(r)), intp(v * lanes)))
                            value = builder.fadd(builder.load(place, align=size), total) if add else total
                            builder.store(value, place, align=size)
        return context.get_dummy_value()

    number = types.intp
    return types.void(panel, *[number] * 6, types.boolean), codegen


@intrinsic
def _copy_square(typingctx, source, line, transposed, panel, place):  # type: ignore[no-untyped-def]
    """Copy a square of numbers to columns of a panel, or its transpose: as many rows as a vector has numbers."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = context.get_value_type(Vector(signature.args[3].dtype))
        number, intp, lanes = vector.element, cgutils.intp_t, vector.count
        size = signature.args[3].dtype.bitwidth // 8
        source, line, transposed, panel, place = args
        source = builder.inttoptr(source, number.as_pointer())
        panel = builder.gep(cgutils.create_struct_proxy(signature.args[3])(context, builder, panel).data, [place])
        kind = ir.VectorType(ir.IntType(32), lanes)
        # the numbers of two vectors in turn: those of their first halves, and those of their second
        low, high = (ir.Constant(kind, [h * lanes // 2 + i // 2 + i % 2 * lanes for i in range(lanes)]) for h in (0, 1))

        def at(base: Any, where: Any) -> Any:
            return builder.bitcast(builder.gep(base, [where]), vector.as_pointer())

        rows = [builder.load(at(source, builder.mul(line, intp(i))), align=size) for i in range(lanes)]
        with builder.if_else(transposed) as branches:
            for branch, rounds in zip(branches, (lanes.bit_length() - 1, 0), strict=True):
                with branch:
                    copied = rows
                    for _ in range(rounds):
                        pairs = zip(copied[: lanes // 2], copied[lanes // 2 :], strict=True)
                        copied = [builder.shuffle_vector(x, y, order) for x, y in pairs for order in (low, high)]
                    for i, values in enumerate(copied):
                        builder.store(values, at(panel, intp(i * _VECTORS * lanes)), align=size)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.boolean, panel, types.intp), codegen


@helper
def _copy_panel(b, transposed, column, first, last, panel):  # type: ignore[no-untyped-def]
    """Copy some rows of a panel's columns: of b, or of its transpose."""
    lanes, line = lanes_of(panel), b.strides[0] // b.itemsize
    for k in range(first, last, lanes):
        for v in range(_VECTORS):
            j, place = column + v * lanes, ((k - first) * _VECTORS + v) * lanes
            if k + lanes <= last:
                start = j * line + k if transposed else k * line + j
                _copy_square(b.ctypes.data + start * b.itemsize, line, transposed, panel, place)
                continue
            for i in range(last - k):
                for c in range(lanes):
                    panel[place + i * _VECTORS * lanes + c] = b[j + c, k + i] if transposed else b[k + i, j + c]


@routine(f"void(intp, {FACTOR}, b1, {FACTOR}, b1, b1, T[:,:])")
def multiply(address: int, a: Array, transpose_a: bool, b: Array, transpose_b: bool, adding: bool, c: Array) -> None:
    """Write a b to c, or if ``adding``, add it; a and b are transposed first if said so. As `gemm`, otherwise."""
    rows, depth = (a.shape[1], a.shape[0]) if transpose_a else (a.shape[0], a.shape[1])
    inner, columns = (b.shape[1], b.shape[0]) if transpose_b else (b.shape[0], b.shape[1])
    lanes, size = lanes_of(c), c.itemsize
    width = _VECTORS * lanes
    if not _FAST or rows < ROWS or columns < width or depth == 0:
        gemm(address, a, transpose_a, b, transpose_b, c.dtype.type(adding), c)
        return
    if rows != c.shape[0] or columns != c.shape[1] or depth != inner:
        raise ValueError("multiply: the shapes do not fit")
    if (a.shape[1] > 1 and a.strides[1] != size) or b.strides[1] != size or c.strides[1] != size:
        raise ValueError("multiply: rows are not contiguous")
    row, step = (1, a.strides[0] // size) if transpose_a else (a.strides[0] // size, 1)
    panel = np.empty(min(depth, _DEPTH) * width, c.dtype)
    edge, line = np.empty((ROWS, width), c.dtype), c.strides[0] // size
    for k in range(0, depth, _DEPTH):
        last, add = min(k + _DEPTH, depth), adding or k > 0
        for j in range(0, columns, width):
            left = min(j, columns - width)
            _copy_panel(b, transpose_b, left, k, last, panel)
            for i in range(0, rows, ROWS):
                top = min(i, rows - ROWS)
                first = a.ctypes.data + (top * row + k * step) * size
                if top == i and left == j:
                    target = c.ctypes.data + (i * line + j) * size
                    _tile(panel, last - k, first, row, step, target, line, add)
                    continue
                _tile(panel, last - k, first, row, step, edge.ctypes.data, width, False)
                for r in range(i - top, ROWS):
                    for s in range(j - left, width):
                        c[top + r, left + s] = edge[r, s] + (c[top + r, left + s] if add else 0)
