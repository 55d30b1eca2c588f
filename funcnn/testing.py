"""Checks for ops and layers, funcnn's and your own: that gradients are right and that the rules of an op or layer hold.

A VJP is checked against the function itself in a random direction: for a tangent v and a cotangent dy, <dy, J v> must
equal <vjp(dy), v>. As neither has tiny entries, a single wrong entry of a gradient among thousands makes the two sides
differ. J v = Im f(x + i h v) / h (a complex step), with h so small that there is no truncation error. Nothing cancels,
so it is exact up to rounding for functions that are analytic almost everywhere.

W. Squire and G. Trapp, Using complex variables to estimate derivatives of real functions, 1998.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np

from funcnn import tree
from funcnn.derivatives import with_per_example_vjp
from funcnn.keys import Key, fold_in, generator
from funcnn.layer import Layer, output, pull_back
from funcnn.tree import Array, Tree

__all__ = ["check_layer", "check_vjp"]

_COMPLEX_STEP = 1e-40


def check_vjp(
    f: Callable[..., Any],
    *args: Any,
    method: Literal["complex", "central"] = "complex",
    step: float = 1e-5,
    rtol: float | None = None,
    strict: bool = False,
    key: Key = (0,),
) -> None:
    """Check that ``f(*args) -> y, vjp`` (or ``y, vjp, aux``) returns the true VJP and follows the rules of an op.

    Parameters
    ----------
    f : callable
        All its arguments are differentiated. Bind options and everything else with a lambda or `functools.partial`.
    *args : array or tree of arrays
        The point at which to check; converted to float64.
    method : {"complex", "central"}
        How J v is computed. "complex" requires that ``f`` takes complex arrays and is piecewise analytic, so that it
        does not call ``abs``, ``conj`` or the like. "central" is (f(x + step v) - f(x - step v)) / (2 step), which is
        exact with ``step=1`` if f is linear or quadratic.
    step : float
        For "central".
    rtol : float, optional
        Largest allowed difference of <dy, J v> and <vjp(dy), v>, relative to the sum of the absolute values of their
        terms. By default 1e-10, or 1e-6 for "central".
    strict : bool
        Also check what all ops of `funcnn.ops` guarantee: float32 arguments give a float32 output and float32
        cotangents, and a dy of the wrong shape raises a ValueError.
    key : tuple of int
        For the random directions.

    Raises
    ------
    AssertionError
        With the rule that is broken: a cotangent is wrong (with argument, leaf and both numbers), not finite, or of
        another shape or structure than its argument; an argument was written to; the VJP gives another result when
        called again, or is not linear in dy.

    Examples
    --------
    >>> from funcnn import ops
    >>> check_vjp(ops.tanh, np.array([0.5, -1.0]))
    >>> def wrong(x):
    ...     return x * x, lambda dy: dy * x
    >>> check_vjp(wrong, np.array([0.5, -1.0]))
    Traceback (most recent call last):
    AssertionError: argument 0: <dy, J v> = -3.59026, but <vjp(dy), v> = -1.79513
    """
    args = tuple(_read_only_tree(arg, np.float64) for arg in args)
    before = tree.map(np.copy, _as_tree(args))
    y, vjp = f(*args)[:2]
    y = np.asarray(y)

    dy = _read_only(_random_direction(fold_in(key, 0), y.shape))
    cotangents = _cotangents(vjp, dy, args)
    for i, (arg, cotangent) in enumerate(zip(args, cotangents, strict=True)):
        _check_structure(f"argument {i}", arg, cotangent)
    tolerance = rtol if rtol is not None else 1e-10 if method == "complex" else 1e-6
    # Where large terms cancel to a gradient of 0, such as that of a bias before a normalisation, only their rounding
    # error is left, which must not count as a wrong gradient.
    sizes = [np.abs(c).sum() for c in tree.leaves(_as_tree(cotangents))]
    _require(np.isfinite(sizes).all(), "a cotangent is not finite")
    terms = sum(sizes) + np.abs(dy * y)[np.isfinite(y)].sum()
    noise = 1e-13 * terms
    direction_noise = noise if method == "complex" else 1e-15 / step * terms
    for i, arg in enumerate(args):
        _check_directions(
            f, args, i, arg, cotangents[i], dy, method, step, tolerance, direction_noise, fold_in(key, 1 + i)
        )

    again = _cotangents(vjp, dy, args)
    _require(_equal(cotangents, again), "the vjp called twice with the same dy gave different results")
    dy2 = _read_only(_random_direction(fold_in(key, 1 + len(args)), y.shape))
    cotangents2, combined = _cotangents(vjp, dy2, args), _cotangents(vjp, 2.0 * dy - dy2, args)
    for c, c2, both in zip(*(tree.leaves(_as_tree(c)) for c in (cotangents, cotangents2, combined)), strict=True):
        scale = np.abs(c).max(initial=0.0) + np.abs(c2).max(initial=0.0)
        _require(np.abs(2.0 * c - c2 - both).max(initial=0.0) <= 1e-12 * scale + noise, "the vjp is not linear in dy")
    _require(np.array_equal(y, f(*args)[0], equal_nan=True), "the function called twice gave different outputs")
    _require(_equal(before, _as_tree(args)), "an argument was written to")
    if strict:
        _check_rejects_wrong_shapes(vjp, y.shape)
        _check_single_precision(f, args)


def _check_single_precision(f: Callable[..., Any], args: tuple[Any, ...]) -> None:
    single = tuple(_read_only_tree(arg, np.float32) for arg in args)
    y, vjp = f(*single)[:2]
    y = np.asarray(y)
    _require(y.dtype == np.float32, f"float32 arguments gave an output of {y.dtype}")
    for i, (arg, cotangent) in enumerate(
        zip(single, _cotangents(vjp, _read_only(np.ones_like(y)), single), strict=True)
    ):
        _check_structure(f"argument {i} in float32", arg, cotangent)
        for path, leaf in tree.flatten(cotangent).items():
            dtype = np.asarray(leaf).dtype
            _require(dtype == np.float32, f"argument {i} in float32: the cotangent {path!r} has dtype {dtype}")


def check_layer(
    layer: Layer,
    in_shape: tuple[Any, ...],
    *,
    batch: int = 3,
    key: Key = (0,),
    method: Literal["complex", "central"] = "complex",
    rtol: float | None = None,
    strict: bool = False,
) -> None:
    """Check that a layer follows the protocol of `funcnn.layer.Layer`, in training and in evaluation.

    Parameters
    ----------
    layer : Layer
    in_shape : tuple of int, or tuple of such tuples
        The shape of an example, without the batch axis; the shapes of a layer of several arrays.
    batch : int
        Number of examples.
    key : tuple of int
        For initial parameters and random inputs.
    method, rtol, strict
        As in `check_vjp`, which is called in both modes with the layer as a function of params and x. With ``strict``,
        params with an unexpected leaf must also raise a ValueError or TypeError.

    Raises
    ------
    AssertionError
        With the rule that is broken.

    Notes
    -----
    In evaluation, examples must be independent, since `funcnn.training.predict` splits them into batches. To check it,
    per-example gradients (`funcnn.derivatives.per_example_gradients`) are compared with those of batches of one.

    Examples
    --------
    >>> from funcnn.combinators import residual, serial
    >>> from funcnn.layers import conv2d, dropout, tanh
    >>> check_layer(residual(serial(conv2d(2, 3, padding="same"), tanh(), dropout(0.5))), (4, 4, 2))
    """
    params, state, out_shape = layer.init(key, in_shape)
    again = layer.init(key, in_shape)
    _require(
        _equal(params, again[0]) and _equal(state, again[1]),
        "init called twice with the same key gave different results",
    )
    params, state = (tree.map(lambda leaf: _read_only(np.asarray(leaf, np.float64)), t) for t in (params, state))
    several = isinstance(in_shape[0], tuple) if in_shape else False
    shapes = in_shape if several else (in_shape,)
    # keys 1 and 2 are taken
    keys = [fold_in(key, 2 + i if i else 0) for i in range(len(shapes))]
    xs = [_read_only(_random_direction(k, (batch, *shape))) for k, shape in zip(keys, shapes, strict=True)]
    x = tuple(xs) if several else xs[0]

    for train in (False, True):
        mode = "training" if train else "evaluation"
        forward_key = fold_in(key, 1) if train else None

        def f(params: Tree, x: Any, train: bool = train, forward_key: Key | None = forward_key) -> Any:
            dtype = np.result_type(*(x if several else [x]), *tree.leaves(params)).type(0).real.dtype
            cast = tree.map(lambda leaf: leaf.astype(dtype), state)
            y, vjp, new_state = layer.forward(params, x, cast, train=train, key=forward_key)
            return y, vjp, new_state

        def of_arrays(params: Tree, *xs: Array, f: Callable[..., Any] = f) -> Any:
            y_of_arrays, of_layer, new_state = f(params, xs if several else xs[0])
            return y_of_arrays, partial(_cotangents_of_arrays, of_layer), new_state

        try:
            y, vjp, new_state = f(params, x)
            _require(y.shape == (batch, *out_shape), f"init returned out_shape {out_shape}, forward gave {y.shape[1:]}")
            _require(
                tree.paths(new_state) == tree.paths(state),
                f"the leaves of the state changed from {tree.paths(state)} to {tree.paths(new_state)}",
            )
            if not train:
                _require(_equal(new_state, state), "evaluation changed the state")
                error = np.abs(output(layer, params, x, state) - y).max(initial=0.0)
                _require(
                    not error > 1e-10 * np.abs(y).max(initial=0.0), "the output depends on whether the VJP is kept"
                )
            check_vjp(of_arrays, params, *xs, method=method, rtol=rtol, strict=strict, key=key)
            dy = _random_direction(fold_in(key, 2), y.shape)
            with_dx, without_dx = vjp(dy)[0], pull_back(layer, vjp, dy, input_gradient=False)
            _require(_equal(with_dx, without_dx[0]), "the parameters' gradients depend on whether dx is computed")
            _require(without_dx[1] is None, "dx is not None for input_gradient=False")
            if not train:
                _check_examples(layer, f, params, x, state, dy)
                # Only in evaluation: in training, a layer may compute statistics, for which it needs examples.
                empty, empty_vjp, _ = f(params, _examples(x, slice(0)))
                _require(empty.shape == (0, *out_shape), f"an empty batch gave an output {empty.shape}")
                _check_structure("params of an empty batch", params, empty_vjp(empty)[0])
            if strict:
                _check_rejects_unexpected_leaf(f, params, x)
        except AssertionError as error:
            error.add_note(f"in {mode}")
            raise


def _cotangents_of_arrays(vjp: Callable[[Any], tuple[Tree, Any]], dy: Any) -> tuple[Any, ...]:
    dparams, dx = vjp(dy)
    return (dparams, *dx) if isinstance(dx, tuple) else (dparams, dx)


def _examples(x: Any, which: slice) -> Any:
    """Return some of the examples of x, an array or a tuple of arrays."""
    return tuple(array[which] for array in x) if isinstance(x, tuple) else x[which]


def _check_examples(layer: Layer, f: Callable[..., Any], params: Tree, x: Any, state: Tree, dy: Array) -> None:
    """Check that the examples of a batch are independent; see the notes of `check_layer`."""
    per_example = with_per_example_vjp(layer)
    _, vjp, _ = per_example.forward(params, x, state, train=False)
    gradients, dx = pull_back(per_example, vjp, dy, input_gradient=False)
    _require(dx is None, "dx of the per-example VJP is not None for input_gradient=False")
    each = [f(params, _examples(x, slice(i, i + 1)))[1](dy[i : i + 1])[0] for i in range(len(dy))]
    expected = tree.map(lambda leaf, *grads: np.reshape(grads, (len(dy), *leaf.shape)), params, *each)
    _check_structure("per-example gradients", expected, gradients)
    errors = tree.flatten(tree.map(lambda a, b: np.abs(a - b).max(initial=0.0), gradients, expected))
    for path, error in errors.items():
        _require(
            error <= 1e-10 * tree.norm(expected),
            f"per-example gradients, leaf {path!r}: differ by {error:.3g} from the gradients of batches of one",
        )


def _check_directions(
    f: Callable[..., Any],
    args: tuple[Any, ...],
    i: int,
    arg: Any,
    cotangent: Any,
    dy: Array,
    method: str,
    step: float,
    rtol: float,
    noise: float,
    key: Key,
) -> None:
    """Check <dy, J v> == <vjp(dy), v> for argument ``i``, with one random direction v for each of its leaves.

    The two may differ by ``noise``, plus ``rtol`` times the sum of the absolute values of their terms.
    """
    flat, flat_cotangent = tree.flatten(arg), tree.flatten(cotangent)
    for k, (path, leaf) in enumerate(flat.items()):
        v = _random_direction(fold_in(key, k), leaf.shape)

        def shifted_output(delta: Any, path: str = path, leaf: Array = leaf) -> Array:
            shifted = tree.unflatten({**flat, path: leaf + delta}, arg)
            return np.asarray(f(*args[:i], shifted, *args[i + 1 :])[0])

        backward = flat_cotangent[path] * v

        def disagrees(jv: Array, rtol: float, backward: Array = backward) -> bool:
            scale = np.abs(dy * jv).sum() + np.abs(backward).sum()
            return not abs((dy * jv).sum() - backward.sum()) <= rtol * scale + noise

        def central(output: Callable[..., Array] = shifted_output, v: Array = v) -> Array:
            return (output(step * v) - output(-step * v)) / (2 * step)

        jv = shifted_output(_COMPLEX_STEP * 1j * v).imag / _COMPLEX_STEP if method == "complex" else central()
        if disagrees(jv, rtol):
            where = f"argument {i}" + (f", leaf {path!r}" if path else "")
            error = AssertionError(
                f"{where}: <dy, J v> = {(dy * jv).sum():.6g}, but <vjp(dy), v> = {backward.sum():.6g}"
            )
            if method == "complex" and not disagrees(central(), 1e-6):
                error.add_note(
                    "central differences show no error: it is tiny, or f is not analytic (then use method='central')"
                )
            raise error


def _check_structure(where: str, arg: Any, cotangent: Any) -> None:
    shapes = {path: np.shape(leaf) for path, leaf in tree.flatten(arg).items()}
    cotangent_shapes = {path: np.shape(leaf) for path, leaf in tree.flatten(cotangent).items()}
    _require(
        shapes == cotangent_shapes, f"{where}: its leaves have shapes {shapes}, its cotangent's {cotangent_shapes}"
    )


def _check_rejects_wrong_shapes(vjp: Callable[[Any], Any], shape: tuple[int, ...]) -> None:
    for wrong in ((*shape, 1), (1, *shape), shape[:-1] if shape else (2,)):
        try:
            vjp(np.ones(wrong))
        except ValueError:
            continue
        raise AssertionError(f"the vjp of an output {shape} accepted a dy of shape {wrong}")


def _check_rejects_unexpected_leaf(f: Callable[..., Any], params: Tree, x: Any) -> None:
    try:
        f({**params, "unexpected": np.ones(1)}, x)
    except (ValueError, TypeError):
        return
    raise AssertionError("params with an unexpected leaf were accepted")


def _cotangents(vjp: Callable[[Any], Any], dy: Array, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the VJP's cotangents as a tuple, one for each argument."""
    cotangents = vjp(dy)
    cotangents = (cotangents,) if len(args) == 1 else cotangents
    complete = isinstance(cotangents, tuple) and len(cotangents) == len(args)
    _require(complete, f"the vjp of {len(args)} arguments must return {len(args)} cotangents")
    return cotangents


def _random_direction(key: Key, shape: tuple[int, ...]) -> Array:
    """Draw entries of random sign and absolute value 0.5 to 1.5: none is so small that it would hide a wrong entry."""
    rng = generator(key)
    return rng.choice([-1.0, 1.0], shape) * rng.uniform(0.5, 1.5, shape)


def _read_only_tree(arg: Any, dtype: Any) -> Any:
    return tree.map(lambda leaf: _read_only(np.array(leaf, dtype)), arg)


def _read_only(a: Any) -> Array:
    a = np.asarray(a)
    a.flags.writeable = False
    return a


def _as_tree(args: tuple[Any, ...]) -> Tree:
    return {str(i): arg for i, arg in enumerate(args)}


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, tuple):
        a, b = _as_tree(a), _as_tree(b)
    fa, fb = tree.flatten(a), tree.flatten(b)
    return fa.keys() == fb.keys() and all(np.array_equal(fa[p], fb[p], equal_nan=True) for p in fa)


def _require(holds: bool | np.bool_, message: str) -> None:
    if not holds:
        raise AssertionError(message)
