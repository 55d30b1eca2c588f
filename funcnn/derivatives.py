"""Further derivatives: directional derivatives, Jacobians, Hessian-vector products and per-example gradients.

All but the last use the complex-step derivative. With h so small that h^2 vanishes in rounding, f(x + i h v) = f(x) +
i h J v, so J v = Im f(x + i h v) / h, without the cancellation of a difference quotient. A VJP is ordinary array code
and takes complex numbers, too, so the same step through a gradient gives the Hessian times v. The result is exact up to
rounding if the function is piecewise analytic, as the ops and losses are; it must not call ``abs``, ``conj`` or the
like.

W. Squire and G. Trapp, Using complex variables to estimate derivatives of real functions, 1998.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from funcnn import checks, ops, tree
from funcnn.combinators import map_layers
from funcnn.kernels.allocator import keep_freed_memory
from funcnn.kernels.bias import example_channel_sums
from funcnn.kernels.broadcasting import sum_to
from funcnn.kernels.conv.dispatch import correlate_adjoint_x, preference
from funcnn.kernels.conv.im2col import example_adjoints_w
from funcnn.kernels.geometry import Geometry, geometry, transposed_geometry
from funcnn.keys import Key, generator
from funcnn.layer import Layer, op_and_options, pull_back, wrap_forward
from funcnn.losses import Loss
from funcnn.ops.conv import depthwise_conv
from funcnn.tree import Array, Tree

__all__ = ["hessian_eigenvalues", "hvp", "jacobian", "jvp", "per_example_gradients"]

_COMPLEX_STEP = 1e-40


def jvp(f: Callable[..., Any], args: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
    """Return the value of a function and its derivative J v along a direction v, by one evaluation in complex numbers.

    Parameters
    ----------
    f : callable
        ``f(*args) -> y``, where y is an array or a tree of arrays. For an op, drop its VJP: ``lambda x:
        ops.tanh(x)[0]``.
    args : tuple of arrays or trees, real
    tangents : tuple of arrays or trees
        Of the same structure and shapes as ``args``.

    Returns
    -------
    y, dy : arrays or trees
        Computed in double precision and returned in the common dtype of ``args``.

    Raises
    ------
    TypeError
        If ``args`` are not tuples of real floats, or ``f`` does not return an array or a tree of arrays.
    ValueError
        If a tangent does not have the structure and shapes of its argument.

    Examples
    --------
    >>> from funcnn import ops
    >>> y, dy = jvp(lambda x: ops.tanh(x)[0], (np.array([0.0, 1.0]),), (np.array([1.0, 2.0]),))
    >>> dy
    array([1.        , 0.83994868])
    """
    if not isinstance(args, tuple) or not isinstance(tangents, tuple):
        raise TypeError(
            f"jvp: args and tangents must be tuples, not {type(args).__name__} and {type(tangents).__name__}"
        )
    if len(args) != len(tangents):
        raise ValueError(f"jvp: tangents must be as many as the {len(args)} args, got {len(tangents)}")
    named, named_v = ({f"args[{i}]": a for i, a in enumerate(trees)} for trees in (args, tangents))
    return _complex_step("jvp", f, named, named_v)


def jacobian(f: Callable[[Array], Any], x: Array) -> Array:
    """Return the derivative of each entry of y = f(x) in each entry of x.

    Each column is a `jvp` along one entry of ``x``, so this takes ``x.size`` evaluations. If y has far fewer entries
    than x, it is cheaper to compute rows, each a VJP of one entry of y.

    Parameters
    ----------
    f : callable
        ``f(x) -> y``, where y is an array. For trees, use `funcnn.tree.ravel`.
    x : array, real

    Returns
    -------
    array, y.shape + x.shape

    Raises
    ------
    TypeError
        If ``x`` is not of real floats, or y is not an array.

    Examples
    --------
    >>> from funcnn import ops
    >>> jacobian(lambda x: ops.softmax(x)[0], np.zeros(2))
    array([[ 0.25, -0.25],
           [-0.25,  0.25]])
    """
    x = _real("jacobian: x", x)
    y, _ = _complex_step("jacobian", f, {"x": x}, {"x": np.zeros(x.shape)})
    if isinstance(y, dict):
        raise TypeError("jacobian: f must return an array, not a tree; use funcnn.tree.ravel")
    derivatives = np.empty(y.shape + x.shape, x.dtype)
    for index in np.ndindex(x.shape):
        v = np.zeros(x.shape)
        v[index] = 1.0
        _, derivatives[..., *index] = _complex_step("jacobian", f, {"x": x}, {"x": v})
    return derivatives


def hvp(grad_fn: Callable[[Tree], Tree], params: Tree, v: Tree) -> Tree:
    """Return the Hessian times a vector v: the derivative of the gradient along v.

    Parameters
    ----------
    grad_fn : callable
        ``grad_fn(params) -> gradient``, a tree of the structure of params. It is called with complex params; a model's
        state and data may stay real and in single precision.
    params : tree of arrays, real
    v : tree of arrays
        Of the same structure and shapes as params.

    Returns
    -------
    tree
        Of the structure of params. It is computed in double precision and returned in the common dtype of params.

    Raises
    ------
    TypeError
        If params are not of real floats, or ``grad_fn`` does not return a tree of arrays.
    ValueError
        If ``v`` does not have the structure and shapes of params.

    Notes
    -----
    H v = d/dt of the gradient at params + t v, at the cost of one gradient in complex numbers. A loss with kinks (ReLU,
    max pooling) is piecewise smooth; H is the Hessian of the piece that params lie in.

    Examples
    --------
    >>> hvp(lambda p: {"a": p["a"] ** 3}, {"a": np.array([1.0, 2.0])}, {"a": np.array([1.0, 10.0])})
    {'a': array([  3., 120.])}

    Of a model, from `funcnn.gradients.value_and_grad`:

    >>> from funcnn import gradients, layers, losses
    >>> model = layers.dense(1)
    >>> params, state, _ = model.init((0,), (2,))
    >>> x, targets = np.array([[1.0, 2.0], [3.0, 4.0]]), np.zeros((2, 1))
    >>> value_and_grad = gradients.value_and_grad(model, losses.mse)
    >>> hvp(lambda p: value_and_grad(p, state, x, targets)[1], params, {"w": np.ones((2, 1)), "b": np.zeros(1)})
    {'w': array([[24.],
        [34.]], dtype=float32), 'b': array([10.], dtype=float32)}
    """
    return _complex_step("hvp", grad_fn, {"params": params}, {"params": v})[1]


def hessian_eigenvalues(
    grad_fn: Callable[[Tree], Tree],
    params: Tree,
    k: int = 1,
    *,
    key: Key,
    tolerance: float = 1e-8,
    iterations: int = 100,
) -> tuple[Array, list[Tree]]:
    """Return the ``k`` largest eigenvalues of a Hessian and their eigenvectors, without forming the Hessian.

    Largest means nearest to +inf; at a minimum they measure its sharpness. For the smallest eigenvalues, pass a
    ``grad_fn`` with the opposite sign.

    Parameters
    ----------
    grad_fn, params
        As in `hvp`; computed in double precision.
    k : int >= 1
        At most the number of parameters. An eigenvalue of multiplicity m counts m times.
    key : tuple of int
        For the random initial vectors. The eigenvalues depend on it only within the tolerance.
    tolerance : float
        Stop when |H u - value u| is below this fraction of the largest |eigenvalue| for all k unit vectors u. The error
        of an eigenvalue is then at most that large, and mostly much smaller.
    iterations : int
        Maximum number of iterations, each with ``k`` Hessian-vector products.

    Returns
    -------
    values : array of float64 (k,)
        In descending order.
    vectors : list of k trees
        Of the structure of params. Each has norm 1 over all its leaves, and they are orthogonal to each other.

    Raises
    ------
    TypeError, ValueError
        As in `hvp`, and if ``k`` is out of range.
    numpy.linalg.LinAlgError
        If the tolerance is not reached.

    Notes
    -----
    This is the block Lanczos method: the eigenvectors of H restricted to the space spanned by ``k`` random vectors V,
    H V, H^2 V, ... (Rayleigh-Ritz). A block of k vectors finds an eigenvalue with its multiplicity; a single vector
    would find it once. Each block is orthogonalised twice against the whole basis, since rounding would otherwise bring
    back vectors that are already in it. Memory: at most 2 * k * iterations vectors.

    Examples
    --------
    >>> def gradient(p):
    ...     return {"a": np.array([1.0, 2.0, 2.0]) * p["a"]}
    >>> values, vectors = hessian_eigenvalues(gradient, {"a": np.ones(3)}, 2, key=(0,))
    >>> values.round(12)
    array([2., 2.])
    """
    vector, unravel = tree.ravel(params)
    if not checks.is_int(k) or not 1 <= k <= vector.size:
        raise ValueError(
            f"hessian_eigenvalues: k must be an int from 1 to {vector.size}, the number of parameters, not {k!r}"
        )
    double = tree.map(lambda leaf: _real("hessian_eigenvalues: params", leaf).astype(np.float64), params)
    _, unravel_double = tree.ravel(double)

    def product(block: Array) -> Array:
        images = (hvp(grad_fn, double, unravel_double(column)) for column in block.T)
        return np.stack([tree.ravel(image)[0] for image in images], axis=1)

    basis, images = np.empty((vector.size, 0)), np.empty((vector.size, 0))
    block = _orthonormal(generator(key).standard_normal((vector.size, k)), basis)
    residual = math.inf
    while block.size and basis.shape[1] < k * iterations:
        basis, images = np.hstack([basis, block]), np.hstack([images, product(block)])
        ritz_values, combinations = np.linalg.eigh(basis.T @ images)
        values, combinations = ritz_values[: -k - 1 : -1], combinations[:, : -k - 1 : -1]
        vectors = basis @ combinations
        residual = np.linalg.norm(images @ combinations - values * vectors, axis=0).max()
        if residual <= tolerance * np.abs(ritz_values).max():
            return values, [unravel(u.astype(vector.dtype)) for u in vectors.T]
        block = _orthonormal(images[:, -block.shape[1] :], basis)
    raise np.linalg.LinAlgError(
        f"hessian_eigenvalues: after {basis.shape[1]} products the residual is {residual:.3g}, above tolerance "
        f"{tolerance:g} times the largest |eigenvalue|; allow more iterations than {iterations}, or a larger tolerance"
    )


def _orthonormal(block: Array, basis: Array) -> Array:
    """Return an orthonormal basis of the part of ``block``'s span that is orthogonal to ``basis``.

    It has fewer columns than ``block`` if that part has a lower dimension.
    """
    size = float(np.linalg.norm(block))
    for _ in range(2):  # the second pass removes what rounding left of the basis
        block = block - basis @ (basis.T @ block)
        left, singular, _ = np.linalg.svd(block, full_matrices=False)
        block, size = left[:, singular > 1e-10 * size], 1.0
    return block


def per_example_gradients(
    model: Layer,
    loss: Loss,
    params: Tree,
    state: Tree,
    x: Array,
    targets: Array,
    *,
    train: bool = False,
    key: Key | None = None,
    sample_weight: Array | None = None,
) -> Tree:
    """Return the gradient of the loss with respect to the parameters for each example, from one forward pass.

    Without weights, each is the gradient of one example's loss; with weights w, it is multiplied by N w / sum(w). Their
    mean is the gradient of the batch.

    Parameters
    ----------
    model : Layer
    loss : callable
        As in `funcnn.gradients.value_and_grad`. Its value must be a mean over the examples.
    params, state : tree
    x : array (N, ...)
    targets : array (N, ...)
    train : bool
        True is allowed if no layer lets examples depend on each other; batch_norm raises a ValueError.
    key : tuple of int, optional
        Needed for random layers in training.
    sample_weight : array (N,), optional

    Returns
    -------
    tree
        Of the structure of ``params``. Each leaf has a leading axis N, so this takes N times the memory of the
        parameters.

    Raises
    ------
    ValueError
        If the shapes do not fit a layer, or it lets examples depend on each other; a note names its path.

    Notes
    -----
    The cotangents dy and dx of different examples never mix; only dparams is a sum over examples. So each layer's
    per-example gradients can be computed from its input x and the dy that reaches it, by a rule for its op that leaves
    out this sum. Your own op has no rule: the layer's VJP is then called once for each example, with a dy that is 0 for
    all others, so the cost is quadratic in N.

    For 256 of the digits, a loop over batches of one takes 7.6 times as long with `funcnn.models.convnet` and 52 times
    as long with `funcnn.models.seed_convnet` (160 against 21 ms and 25 against 0.48 ms, single precision, the best of 8
    and 25 calls on one core). The larger network spends most of its 21 ms on writing 54 MB of gradients.

    Examples
    --------
    >>> from funcnn import layers, losses
    >>> params = {"w": np.array([[2.0]]), "b": np.array([0.0])}
    >>> x, targets = np.array([[1.0], [3.0]]), np.array([[0.0], [5.0]])
    >>> per_example_gradients(layers.dense(1), losses.mse, params, {}, x, targets)["w"].ravel()
    array([4., 6.])
    """
    keep_freed_memory()
    per_example, params = with_per_example_vjp(model), tree.map(np.asarray, params)
    outputs, vjp, _ = per_example.forward(params, x, state, train=train, key=key)
    _, loss_vjp = loss(outputs, targets, sample_weight=sample_weight)
    return pull_back(per_example, vjp, len(outputs) * loss_vjp(1.0), input_gradient=False)[0]


def with_per_example_vjp(model: Layer) -> Layer:
    """Return the model with a VJP whose dparams are per example: each leaf has a leading axis N.

    `per_example_gradients` calls this VJP with the gradient of the loss.
    """
    try:
        hash(model)
    except TypeError:  # a forward may be an unhashable object
        return _make_per_example_vjp(model)
    return _cached_per_example_vjp(model)


def _make_per_example_vjp(model: Layer) -> Layer:
    def with_rule(path: str, layer: Layer) -> Layer:
        op, options = op_and_options(layer)
        rule, dx_rule = _EXAMPLE_RULES.get(op), _DX_RULES.get(op)

        def forward(params: Tree, x: Array, state: Tree, *, train: bool, key: Key | None = None) -> Any:
            y, vjp, new_state = layer.forward(params, x, state, train=train, key=key)

            def per_example_vjp(dy: Any, *, input_gradient: bool = True) -> tuple[Tree, Any]:
                if rule is not None:
                    arrays = np.asarray(x), np.asarray(dy)
                    dx = None
                    if input_gradient:
                        dx = dx_rule(params, *arrays, options) if dx_rule is not None else vjp(dy)[1]
                    return rule(params, *arrays, None if train else state, options), dx
                total, dx = pull_back(layer, vjp, dy, input_gradient=input_gradient)
                if not tree.leaves(total):
                    return total, dx
                each = [vjp(dy_i)[0] for dy_i in _single_example_cotangents(np.asarray(dy))]
                return tree.map(
                    lambda leaf, *grads: np.array(grads, leaf.dtype).reshape(len(dy), *leaf.shape), total, *each
                ), dx

            return y, per_example_vjp, new_state

        return wrap_forward(layer, forward)

    return map_layers(with_rule, model)


# A cache, since transforming a small model takes a tenth of the time of its per-example gradients. It holds no arrays.
_cached_per_example_vjp = lru_cache(maxsize=8)(_make_per_example_vjp)


def _single_example_cotangents(dy: Array) -> Iterator[Array]:
    """Yield for each example a copy of dy that is 0 for all others."""
    for i in range(len(dy)):
        dy_i = np.zeros_like(dy)
        dy_i[i] = dy[i]
        yield dy_i


# --- per-example gradients, op by op: rule(params, x, dy, state or None in training, options) -> dparams --------------


def _dense_rule(params: Tree, x: Array, dy: Array, state: Tree | None, options: Mapping[str, Any]) -> Tree:
    if x.ndim == 2:
        dw = x[:, :, None] * dy[:, None, :]
    else:
        rows = math.prod(x.shape[1:-1])
        dw = x.reshape(len(x), rows, x.shape[-1]).mT @ dy.reshape(len(x), rows, dy.shape[-1])
    return _with_bias(dw, dy, options)


def _conv_rule(params: Tree, x: Array, dy: Array, state: Tree | None, options: Mapping[str, Any]) -> Tree:
    g = _conv_geometry(params, x, options)
    return _with_bias(example_adjoints_w(x, dy, g, options.get("groups", x.shape[-1])), dy, options)


def _conv_geometry(params: Tree, x: Array, options: Mapping[str, Any]) -> Geometry:
    window = {name: options[name] for name in ("stride", "padding", "dilation")}
    return geometry("conv", x.shape[1:-1], params["w"].shape[:-2], **window)


def _conv_transpose_rule(params: Tree, x: Array, dy: Array, state: Tree | None, options: Mapping[str, Any]) -> Tree:
    window = {name: options[name] for name in ("stride", "padding", "output_padding", "dilation")}
    g = transposed_geometry("conv_transpose", x.shape[1:-1], params["w"].shape[:-2], **window)
    return _with_bias(example_adjoints_w(dy, x, g, options["groups"]), dy, options)


def _dense_dx_rule(params: Tree, x: Array, dy: Array, options: Mapping[str, Any]) -> Array:
    return dy @ params["w"].T


def _conv_dx_rule(params: Tree, x: Array, dy: Array, options: Mapping[str, Any]) -> Array:
    g = _conv_geometry(params, x, options)
    return correlate_adjoint_x(dy, params["w"], g, options["groups"], preference(options["method"]))


def _with_bias(dw: Array, dy: Array, options: Mapping[str, Any]) -> Tree:
    return {"w": dw, "b": example_channel_sums(dy)} if options["bias"] else {"w": dw}


def _prelu_rule(params: Tree, x: Array, dy: Array, state: Tree | None, options: Mapping[str, Any]) -> Tree:
    return {"slope": _example_sums(np.where(x.real > 0, 0, x * dy), params["slope"])}


def _parameter_rule(params: Tree, x: Array, dy: Array, state: Tree | None, options: Mapping[str, Any]) -> Tree:
    return {"value": dy}


def _embedding_rule(params: Tree, x: Array, dy: Array, state: Tree | None, options: Mapping[str, Any]) -> Tree:
    dw = np.zeros((len(x), *params["w"].shape), dy.dtype)
    np.add.at(dw, (np.arange(len(x)).reshape(-1, *(1,) * (x.ndim - 1)), x), dy)
    return {"w": dw}


def _batch_norm_rule(params: Tree, x: Array, dy: Array, state: Tree | None, options: Mapping[str, Any]) -> Tree:
    if state is None:
        raise ValueError(
            "batch_norm: in training, all examples share their statistics, so there are no per-example gradients"
        )
    z, _, _ = ops.batch_norm(_identity_affine(params), x, stats=state, eps=options["eps"])
    return _affine_rule(params, z, dy, (x.ndim - 1,))


def _norm_rule(op: Callable[..., Any]) -> Callable[..., Tree]:
    """Return the rule for a normalisation within each example: y = z scale + bias, with z the normalised x."""

    def norm_rule(params: Tree, x: Array, dy: Array, state: Tree | None, options: Mapping[str, Any]) -> Tree:
        axes = sorted(int(a) % x.ndim for a in np.atleast_1d(options.get("axes", -1)))
        if 0 in axes:
            raise ValueError("axis 0 is normalised over, so there are no per-example gradients")
        return _affine_rule(params, op(_identity_affine(params), x, **options)[0], dy, tuple(axes))

    return norm_rule


def _affine_op_rule(params: Tree, x: Array, dy: Array, state: Tree | None, options: Mapping[str, Any]) -> Tree:
    return {name: _example_sums(dy * x if name == "scale" else dy, leaf) for name, leaf in params.items()}


def _example_sums(terms: Array, leaf: Array) -> Array:
    """Sum each example's terms over the axes along which a leaf was repeated."""
    new = (1,) * (terms.ndim - 1 - leaf.ndim)
    return sum_to((len(terms), *new, *leaf.shape), terms).reshape(len(terms), *leaf.shape)


def _identity_affine(params: Tree) -> Tree:
    return {name: np.ones_like(leaf) if name == "scale" else np.zeros_like(leaf) for name, leaf in params.items()}


def _affine_rule(params: Tree, z: Array, dy: Array, axes: tuple[int, ...]) -> Tree:
    others = tuple(a for a in range(1, dy.ndim) if a not in axes)
    gradients = {"scale": (dy * z).sum(axis=others), "bias": dy.sum(axis=others)}
    return {name: gradients[name] for name in params}


_EXAMPLE_RULES: Mapping[Any, Callable[..., Tree]] = {
    ops.dense: _dense_rule,
    ops.conv: _conv_rule,
    depthwise_conv: _conv_rule,
    ops.conv_transpose: _conv_transpose_rule,
    ops.parameter: _parameter_rule,
    ops.prelu: _prelu_rule,
    ops.embedding: _embedding_rule,
    ops.batch_norm: _batch_norm_rule,
    ops.affine: _affine_op_rule,
    ops.layer_norm: _norm_rule(ops.layer_norm),
    ops.rms_norm: _norm_rule(ops.rms_norm),
    ops.group_norm: _norm_rule(ops.group_norm),
    ops.instance_norm: _norm_rule(ops.instance_norm),
}


# Rules for dx alone, since the VJPs of these ops spend about as much time on dparams, which are not needed here.
_DX_RULES: Mapping[Any, Callable[..., Array]] = {ops.dense: _dense_dx_rule, ops.conv: _conv_dx_rule}


def _complex_step(where: str, f: Callable[..., Any], args: Tree, tangents: Tree) -> tuple[Any, Any]:
    """Return f(*args) and its derivative along the tangents. Both dicts have the names of the arguments as keys."""
    flat = {path: _real(f"{where}: {path}", leaf) for path, leaf in tree.flatten(args).items()}
    flat_v = {path: _real(f"{where}: the tangent of {path}", leaf) for path, leaf in tree.flatten(tangents).items()}
    if flat.keys() != flat_v.keys():
        missing, extra = sorted(flat.keys() - flat_v.keys()), sorted(flat_v.keys() - flat.keys())
        raise ValueError(
            f"{where}: tangents must have the structure of the arguments; missing {missing}, unexpected {extra}"
        )
    for path, leaf in flat.items():
        if leaf.shape != flat_v[path].shape:
            raise ValueError(f"{where}: {path} has shape {leaf.shape}, its tangent {flat_v[path].shape}")
    step = _COMPLEX_STEP / (max((np.abs(v).max(initial=0.0) for v in flat_v.values()), default=0.0) or 1.0)
    shifted = {path: leaf + 1j * (step * flat_v[path]) for path, leaf in flat.items()}
    y = f(*tree.unflatten(shifted, args).values())
    for leaf in tree.leaves(y):
        if not isinstance(leaf, np.ndarray | np.generic | complex | float | int):
            raise TypeError(
                f"{where}: the function must return an array or a tree of arrays, not {type(leaf).__name__}; drop "
                "all other results, as in lambda x: ops.tanh(x)[0]"
            )
    dtype = np.result_type(*flat.values()) if flat else np.float64

    def value(leaf: Any) -> Array:
        return np.asarray(leaf).real.astype(dtype)

    def derivative(leaf: Any) -> Array:
        return np.asarray(np.asarray(leaf).imag / step, dtype)

    return tree.map(value, y), tree.map(derivative, y)


def _real(where: str, x: Any) -> Array:
    x = checks.floating(where, x)
    if x.dtype.kind == "c":
        raise TypeError(f"{where} has dtype {x.dtype}; it must be real, since the complex step uses the imaginary part")
    return x
