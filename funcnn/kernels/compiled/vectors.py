"""Vectors of 64 bytes: neighbouring numbers of an array that routines keep in a register, over a loop of any length.

LLVM makes vectors of an innermost loop by itself, but loads and stores its sums in each turn of the loop around it.
`LANES` numbers make a vector: 16 of float32, 8 of float64. A processor with shorter registers takes several for one.
"""

from __future__ import annotations

import operator
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

from funcnn.kernels.compiled.routines import inlined

LANES = {np.dtype(np.float32): 16, np.dtype(np.float64): 8}
_INLINED = {"forceinline": True}
_CHECKED = bool(numba.config.BOUNDSCHECK)


class Vector(types.Type):  # type: ignore[misc]
    """The type of a vector of numbers of one dtype."""

    def __init__(self, dtype: Any) -> None:
        self.dtype, self.lanes = dtype, 512 // dtype.bitwidth
        super().__init__(f"Vector({dtype}, {self.lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, vector: Vector) -> None:
        scalar = ir.FloatType() if vector.dtype == types.float32 else ir.DoubleType()
        super().__init__(manager, vector, ir.VectorType(scalar, vector.lanes))


def _pointer(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Return the address of entry ``args[1]`` of the array ``args[0]``, counted as if it were flat."""
    data = cgutils.create_struct_proxy(signature.args[0])(context, builder, args[0]).data
    vector = context.get_value_type(Vector(signature.args[0].dtype))
    return builder.bitcast(builder.gep(data, [args[1]]), vector.as_pointer())


@intrinsic
def _load(typingctx, a, i):  # type: ignore[no-untyped-def]
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_pointer(context, builder, signature, args), align=a.dtype.bitwidth // 8)

    return Vector(a.dtype)(a, types.intp), codegen


@intrinsic
def _store(typingctx, a, i, v):  # type: ignore[no-untyped-def]
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _pointer(context, builder, signature, args), align=a.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(a, types.intp, v), codegen


@intrinsic
def lanes_of(typingctx, a):  # type: ignore[no-untyped-def]
    """Return the `LANES` of an array's dtype: a constant when compiled."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.get_constant(types.intp, Vector(a.dtype).lanes)

    return types.intp(a), codegen


@intrinsic
def splat(typingctx, x):  # type: ignore[no-untyped-def]
    """Return the vector whose numbers are all x."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _splat(builder, context.get_value_type(signature.return_type), args[0])

    return Vector(x)(x), codegen


def _splat(builder: Any, kind: Any, x: Any) -> Any:
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), x, ir.Constant(ir.IntType(32), 0))
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), kind.count), None)
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), lanes)


@intrinsic
def add_product(typingctx, total, x, y):  # type: ignore[no-untyped-def]
    """Return total + x y, rounded once."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = args[0].type
        name = f"llvm.fma.v{kind.count}f{total.dtype.bitwidth}"
        fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * 3), name)
        return builder.call(fma, (args[1], args[2], args[0]))

    return total(total, x, y), codegen


@intrinsic
def add(typingctx, x, y):  # type: ignore[no-untyped-def]
    """Return x + y."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fadd(*args, flags=("contract",))

    return x(x, y), codegen


@intrinsic
def _subtract(typingctx, x, y):  # type: ignore[no-untyped-def]
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fsub(*args, flags=("contract",))

    return x(x, y), codegen


@intrinsic
def _multiply(typingctx, x, y):  # type: ignore[no-untyped-def]
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fmul(*args, flags=("contract",))

    return x(x, y), codegen


# x + y, x - y and factor * y, as for numbers: one function computes with both
@overload(operator.add, jit_options=_INLINED)
def _add_operator(x, y):  # type: ignore[no-untyped-def]
    return (lambda x, y: add(x, y)) if isinstance(x, Vector) and isinstance(y, Vector) else None


@overload(operator.sub, jit_options=_INLINED)
def _subtract_operator(x, y):  # type: ignore[no-untyped-def]
    return (lambda x, y: _subtract(x, y)) if isinstance(x, Vector) and isinstance(y, Vector) else None


@overload(operator.mul, jit_options=_INLINED)
def _multiply_operator(x, y):  # type: ignore[no-untyped-def]
    if isinstance(x, types.Float) and isinstance(y, Vector):
        dtype = y.dtype
        return lambda x, y: _multiply(splat(dtype(x)), y)
    return None


@intrinsic
def positive(typingctx, x):  # type: ignore[no-untyped-def]
    """Return 0 where x <= 0, and x elsewhere."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        zero = ir.Constant(args[0].type, None)
        return builder.select(builder.fcmp_ordered("<=", args[0], zero), zero, args[0])

    return x(x), codegen


@intrinsic
def above(typingctx, x, y, then, otherwise):  # type: ignore[no-untyped-def]
    """Return ``then`` where x is above y, and ``otherwise`` elsewhere. NaN is above all numbers, nothing above NaN."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, y, then, otherwise = args
        is_above = builder.and_(builder.fcmp_unordered(">", x, y), builder.fcmp_ordered("ord", y, y))
        return builder.select(is_above, then, otherwise)

    return then(x, y, then, otherwise), codegen


@inlined
def maximum(x, y):  # type: ignore[no-untyped-def]
    """Return y where it is `above` x, and x elsewhere."""
    return above(y, x, y, x)


@inlined
def argmax(x, y, i, j):  # type: ignore[no-untyped-def]
    """Return j where `maximum` takes y, and i elsewhere."""
    return above(y, x, j, i)


@intrinsic
def _load_where(typingctx, a, at, k, i):  # type: ignore[no-untyped-def]
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        values = builder.load(_pointer(context, builder, signature, (args[0], args[3])), align=a.dtype.bitwidth // 8)
        data = cgutils.create_struct_proxy(at)(context, builder, args[1]).data
        octets = ir.VectorType(ir.IntType(8), values.type.count)
        found = builder.load(builder.bitcast(builder.gep(data, [args[3]]), octets.as_pointer()), align=1)
        wanted = _splat(builder, octets, args[2])
        return builder.select(builder.icmp_unsigned("==", found, wanted), values, ir.Constant(values.type, None))

    return Vector(a.dtype)(a, at, types.uint8, types.intp), codegen


@intrinsic
def _store_octets(typingctx, a, i, v):  # type: ignore[no-untyped-def]
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        octets = ir.VectorType(ir.IntType(8), args[2].type.count)
        data = cgutils.create_struct_proxy(a)(context, builder, args[0]).data
        where = builder.bitcast(builder.gep(data, [args[1]]), octets.as_pointer())
        builder.store(builder.fptoui(args[2], octets), where, align=1)
        return context.get_dummy_value()

    return types.void(a, types.intp, v), codegen


@inlined
def load(a, i):  # type: ignore[no-untyped-def]
    """Return the vector that starts at entry i of a contiguous array, counted as if it were flat."""
    _check(a, i, lanes_of(a))
    return _load(a, i)


@inlined
def load_where(a, at, k, i):  # type: ignore[no-untyped-def]
    """Return `load` (a, i) where the array ``at``, of uint8 and the shape of ``a``, is k, and 0 elsewhere."""
    _check(a, i, lanes_of(a))
    _check(at, i, lanes_of(a))
    return _load_where(a, at, k, i)


@inlined
def store(a, i, v):  # type: ignore[no-untyped-def]
    """Write a vector to the entries i and following of a contiguous array, counted as if it were flat."""
    _check(a, i, lanes_of(a))
    _store(a, i, v)


@inlined
def store_octets(a, i, v, lanes):  # type: ignore[no-untyped-def]
    """Write a vector of small whole numbers to an array of uint8."""
    _check(a, i, lanes)
    _store_octets(a, i, v)


@inlined
def _check(a, i, lanes):  # type: ignore[no-untyped-def]
    if _CHECKED and not 0 <= i <= a.size - lanes:
        raise IndexError("a vector is out of bounds")
