"""Checks that a function keeps the rules of `funcnn.ops` and a layer those of `funcnn.layer`, for funcnn's and users'
own.

A gradient is proven against the function itself in a random direction: for a tangent v and a cotangent dy, both
without tiny entries, <dy, J v> must equal <vjp(dy), v>. J v comes from a complex step, Im f(x + i h v) / h with h so
small that nothing is lost to truncation or cancellation, exact to rounding for functions that are analytic almost
everywhere. A wrong entry anywhere, one among thousands, makes the two sides differ.

W. Squire and G. Trapp, Using complex variables to estimate derivatives of real functions, 1998.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from funcnn import tree
from funcnn.keys import Key, fold_in, generator
from funcnn.layer import Layer, pull_back
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
    """Check that ``f(*args) -> y, vjp`` (or ``y, vjp, aux``) returns its true VJP, and keeps the rules of an op.

    Parameters
    ----------
    f : callable
        All its arguments are differentiated; bind options and anything else with a lambda or `functools.partial`.
    *args : array or tree of arrays
        Where to check; taken as float64.
    method : {"complex", "central"}
        "complex" needs an ``f`` that takes complex arrays and is analytic in pieces, so nothing like ``abs`` or
        ``conj``; "central" takes (f(x + step v) - f(x - step v)) / (2 step), exact with ``step=1`` where f is linear
        or quadratic.
    step : float
        For "central".
    rtol : float, optional
        Largest error of a direction relative to the sum of its terms' sizes: 1e-10 if not given, 1e-6 for "central".
    strict : bool
        Also ask what `funcnn.ops` promise beyond their gradient: float32 arguments give a float32 output and
        cotangents, and a dy of a wrong shape is a ValueError.
    key : tuple of int
        Of the random directions.

    Raises
    ------
    AssertionError
        Saying what does not hold: a wrong cotangent (naming argument, leaf and figures), one that is not finite or of
        another shape or structure, something written to an argument, or a closure that answers differently the second
        time or is not linear in dy.

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
    args = tuple(_frozen(arg, np.float64) for arg in args)
    before = tree.map(np.copy, _as_tree(args))
    y, vjp = f(*args)[:2]
    y = np.asarray(y)

    dy = _freeze(_direction(fold_in(key, 0), y.shape))
    cotangents = _cotangents(vjp, dy, args)
    for i, (arg, cotangent) in enumerate(zip(args, cotangents, strict=True)):
        _check_structure(f"argument {i}", arg, cotangent)
    tolerance = rtol if rtol is not None else 1e-10 if method == "complex" else 1e-6
    # A gradient that is 0 because large terms cancel, like that of a bias before a normalisation, is their rounding.
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
    _require(_same(cotangents, again), "the vjp called twice with the same dy gave two answers")
    other = _freeze(_direction(fold_in(key, 1 + len(args)), y.shape))
    both, others = _cotangents(vjp, 2.0 * dy - other, args), _cotangents(vjp, other, args)
    for c, o, b in zip(
        tree.leaves(_as_tree(cotangents)), tree.leaves(_as_tree(others)), tree.leaves(_as_tree(both)), strict=True
    ):
        scale = np.abs(c).max(initial=0.0) + np.abs(o).max(initial=0.0)
        _require(np.abs(2.0 * c - o - b).max(initial=0.0) <= 1e-12 * scale + noise, "the vjp is not linear in dy")
    _require(np.array_equal(y, f(*args)[0], equal_nan=True), "the function called twice gave two outputs")
    _require(_same(before, _as_tree(args)), "an argument was written to")
    if strict:
        _check_refuses(vjp, y.shape)
        _check_single_precision(f, args)


def _check_single_precision(f: Callable[..., Any], args: tuple[Any, ...]) -> None:
    single = tuple(_frozen(arg, np.float32) for arg in args)
    y, vjp = f(*single)[:2]
    y = np.asarray(y)
    _require(y.dtype == np.float32, f"float32 arguments gave an output of {y.dtype}")
    for i, (arg, cotangent) in enumerate(zip(single, _cotangents(vjp, _freeze(np.ones_like(y)), single), strict=True)):
        _check_structure(f"argument {i} in float32", arg, cotangent)
        for path, leaf in tree.flatten(cotangent).items():
            dtype = np.asarray(leaf).dtype
            _require(dtype == np.float32, f"argument {i} in float32: the cotangent {path!r} has dtype {dtype}")


def check_layer(
    layer: Layer,
    in_shape: tuple[int, ...],
    *,
    batch: int = 3,
    key: Key = (0,),
    method: Literal["complex", "central"] = "complex",
    rtol: float | None = None,
    strict: bool = False,
) -> None:
    """Check that a layer keeps the protocol of `funcnn.layer.Layer`, in training and in evaluation.

    Parameters
    ----------
    layer : Layer
    in_shape : tuple of int
        Of an example.
    batch : int
        Number of examples.
    key : tuple of int
        Of initial parameters and random inputs.
    method, rtol, strict
        As in `check_vjp`, which is applied to the layer as a function of params and x in both modes. Strictly, params
        with an unexpected leaf are to be a ValueError or TypeError, too.

    Notes
    -----
    In evaluation, examples are to be independent, as `funcnn.training.predict` takes them to be: the gradients that the
    layer's VJP tells apart (`funcnn.layer.pull_back`, ``per_example``) must be those of the examples one by one.

    Raises
    ------
    AssertionError
        Saying what does not hold.

    Examples
    --------
    >>> from funcnn.combinators import residual, serial
    >>> from funcnn.layers import conv2d, dropout, tanh
    >>> check_layer(residual(serial(conv2d(2, 3, padding="same"), tanh(), dropout(0.5))), (4, 4, 2))
    """
    params, state, out_shape = layer.init(key, in_shape)
    again = layer.init(key, in_shape)
    _require(_same(params, again[0]) and _same(state, again[1]), "init called twice with one key gave two answers")
    params, state = (tree.map(lambda leaf: _freeze(np.asarray(leaf, np.float64)), t) for t in (params, state))
    x = _freeze(_direction(fold_in(key, 0), (batch, *in_shape)))

    for train in (False, True):
        mode = "training" if train else "evaluation"
        forward_key = fold_in(key, 1) if train else None

        def f(params: Tree, x: Array, train: bool = train, forward_key: Key | None = forward_key) -> Any:
            dtype = np.result_type(x, *tree.leaves(params)).type(0).real.dtype
            cast = tree.map(lambda leaf: leaf.astype(dtype), state)
            y, vjp, new_state = layer.forward(params, x, cast, train=train, key=forward_key)
            return y, vjp, new_state

        try:
            y, vjp, new_state = f(params, x)
            _require(y.shape == (batch, *out_shape), f"init promised outputs {out_shape}, forward gave {y.shape[1:]}")
            _require(
                tree.paths(new_state) == tree.paths(state),
                f"the state changed its leaves from {tree.paths(state)} to {tree.paths(new_state)}",
            )
            if not train:
                _require(_same(new_state, state), "evaluation changed the state")
            check_vjp(f, params, x, method=method, rtol=rtol, strict=strict, key=key)
            dy = _direction(fold_in(key, 2), y.shape)
            with_dx, without_dx = vjp(dy)[0], pull_back(vjp, dy, input_gradient=False)
            _require(_same(with_dx, without_dx[0]), "the parameters' gradients depend on whether dx is computed")
            _require(without_dx[1] is None, "dx was not left out")
            if not train:
                _check_examples(f, params, x, vjp, dy)
                # in training, a layer may need examples to take statistics of
                none, none_vjp, _ = f(params, x[:0])
                _require(none.shape == (0, *out_shape), f"no examples gave an output {none.shape}")
                _check_structure("params of no examples", params, none_vjp(none)[0])
            if strict:
                _check_refuses_leaves(f, params, x)
        except AssertionError as error:
            error.add_note(f"in {mode}")
            raise


def _check_examples(f: Callable[..., Any], params: Tree, x: Array, vjp: Callable[..., Any], dy: Array) -> None:
    got, dx = pull_back(vjp, dy, input_gradient=False, per_example=True)
    _require(dx is None, "dx was not left out beside each example's gradients")
    each = [f(params, x[i : i + 1])[1](dy[i : i + 1])[0] for i in range(len(x))]
    expected = tree.map(lambda leaf, *own: np.reshape(own, (len(x), *leaf.shape)), params, *each)
    _check_structure("params of each example", expected, got)
    errors = tree.flatten(tree.map(lambda a, b: np.abs(a - b).max(initial=0.0), got, expected))
    for path, error in errors.items():
        _require(
            error <= 1e-10 * tree.norm(expected),
            f"params of each example, leaf {path!r}: off by {error:.3g} from the gradients of examples one by one",
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
    flat, flat_cotangent = tree.flatten(arg), tree.flatten(cotangent)
    for k, (path, leaf) in enumerate(flat.items()):
        v = _direction(fold_in(key, k), leaf.shape)

        def moved(delta: Any, path: str = path, leaf: Array = leaf) -> Array:
            changed = tree.unflatten({**flat, path: leaf + delta}, arg)
            return np.asarray(f(*args[:i], changed, *args[i + 1 :])[0])

        backward = flat_cotangent[path] * v

        def differs(jv: Array, rtol: float, backward: Array = backward) -> bool:
            scale = np.abs(dy * jv).sum() + np.abs(backward).sum()
            return not abs((dy * jv).sum() - backward.sum()) <= rtol * scale + noise

        def central(moved: Callable[..., Array] = moved, v: Array = v) -> Array:
            return (moved(step * v) - moved(-step * v)) / (2 * step)

        jv = moved(_COMPLEX_STEP * 1j * v).imag / _COMPLEX_STEP if method == "complex" else central()
        if differs(jv, rtol):
            where = f"argument {i}" + (f", leaf {path!r}" if path else "")
            error = AssertionError(
                f"{where}: <dy, J v> = {(dy * jv).sum():.6g}, but <vjp(dy), v> = {backward.sum():.6g}"
            )
            if method == "complex" and not differs(central(), 1e-6):
                error.add_note("central differences see no error: it is tiny, or f is not analytic (method='central')")
            raise error


def _check_structure(where: str, arg: Any, cotangent: Any) -> None:
    shapes = {path: np.shape(leaf) for path, leaf in tree.flatten(arg).items()}
    got = {path: np.shape(leaf) for path, leaf in tree.flatten(cotangent).items()}
    _require(shapes == got, f"{where}: its leaves have shapes {shapes}, its cotangent's {got}")


def _check_refuses(vjp: Callable[[Any], Any], shape: tuple[int, ...]) -> None:
    for wrong in ((*shape, 1), (1, *shape), shape[:-1] if shape else (2,)):
        try:
            vjp(np.ones(wrong))
        except ValueError:
            continue
        raise AssertionError(f"the vjp of an output {shape} accepted a dy of shape {wrong}")


def _check_refuses_leaves(f: Callable[..., Any], params: Tree, x: Array) -> None:
    try:
        f({**params, "unexpected": np.ones(1)}, x)
    except (ValueError, TypeError):
        return
    raise AssertionError("params with an unexpected leaf were accepted")


def _cotangents(vjp: Callable[[Any], Any], dy: Array, args: tuple[Any, ...]) -> tuple[Any, ...]:
    got = vjp(dy)
    got = (got,) if len(args) == 1 else got
    _require(isinstance(got, tuple) and len(got) == len(args), f"{len(args)} arguments need as many cotangents")
    return got


def _direction(key: Key, shape: tuple[int, ...]) -> Array:
    """Draw entries of either sign and of sizes from 0.5 to 1.5, none so small that its error could hide."""
    rng = generator(key)
    return rng.choice([-1.0, 1.0], shape) * rng.uniform(0.5, 1.5, shape)


def _frozen(arg: Any, dtype: Any) -> Any:
    return tree.map(lambda leaf: _freeze(np.array(leaf, dtype)), arg)


def _freeze(a: Any) -> Array:
    a = np.asarray(a)
    a.flags.writeable = False
    return a


def _as_tree(args: tuple[Any, ...]) -> Tree:
    return {str(i): arg for i, arg in enumerate(args)}


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, tuple):
        a, b = _as_tree(a), _as_tree(b)
    fa, fb = tree.flatten(a), tree.flatten(b)
    return fa.keys() == fb.keys() and all(np.array_equal(fa[p], fb[p], equal_nan=True) for p in fa)


def _require(holds: bool | np.bool_, message: str) -> None:
    if not holds:
        raise AssertionError(message)
