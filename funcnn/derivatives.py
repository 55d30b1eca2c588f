"""Further derivatives: along a direction, of second order, of each example.

A VJP is ordinary array code, so it takes complex numbers like the function itself, and a complex step goes through
either: with h so small that h^2 vanishes, f(x + i h v) = f(x) + i h J v to rounding, and Im / h loses nothing to
cancellation. This makes J v out of any function, and the Hessian times v out of any gradient, exact to rounding for
functions that are analytic in pieces (nothing like ``abs`` or ``conj`` in them; the ops and losses are).

W. Squire and G. Trapp, Using complex variables to estimate derivatives of real functions, 1998.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from funcnn import checks, tree
from funcnn.gradients import Loss
from funcnn.keys import Key, generator
from funcnn.layer import Layer, pull_back
from funcnn.tree import Array, Tree

__all__ = ["hessian_eigenvalues", "hvp", "jacobian", "jvp", "per_example_gradients"]

_COMPLEX_STEP = 1e-40


def jvp(f: Callable[..., Any], args: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
    """Return the value of a function and its derivative along a direction, J v: one evaluation in complex numbers.

    Parameters
    ----------
    f : callable
        ``f(*args) -> y``, y an array or a tree of arrays. An op becomes one by leaving its VJP out: ``lambda x:
        ops.tanh(x)[0]``.
    args : tuple of arrays or trees, real
    tangents : tuple of arrays or trees
        Alike to ``args``, in structure and shape.

    Returns
    -------
    y, dy : arrays or trees
        Computed in double precision and returned in the common dtype of ``args``.

    Raises
    ------
    TypeError
        If ``args`` are not tuples of real floats, or ``f`` returns something else than an array or a tree.
    ValueError
        If a tangent is not alike to its argument.

    Examples
    --------
    >>> from funcnn import ops
    >>> y, dy = jvp(lambda x: ops.tanh(x)[0], (np.array([0.0, 1.0]),), (np.array([1.0, 2.0]),))
    >>> dy
    array([1.        , 0.83994868])
    """
    if not isinstance(args, tuple) or not isinstance(tangents, tuple):
        raise TypeError(f"jvp: args and tangents are tuples, not {type(args).__name__} and {type(tangents).__name__}")
    if len(args) != len(tangents):
        raise ValueError(f"jvp: {len(args)} args need as many tangents, got {len(tangents)}")
    named, named_v = ({f"args[{i}]": a for i, a in enumerate(trees)} for trees in (args, tangents))
    return _along("jvp", f, named, named_v)


def jacobian(f: Callable[[Array], Any], x: Array) -> Array:
    """Return the derivatives of all entries of an array by all entries of another.

    Its columns are `jvp` along one entry of ``x`` after the other, so it costs ``x.size`` evaluations. Where y has far
    fewer entries than x, rows are cheaper, ``vjp`` of one entry of dy after the other.

    Parameters
    ----------
    f : callable
        ``f(x) -> y``, y an array. For trees, go through `funcnn.tree.ravel`.
    x : array, real

    Returns
    -------
    array, y.shape + x.shape

    Raises
    ------
    TypeError
        If ``x`` is not of real floats, or y is no array.

    Examples
    --------
    >>> from funcnn import ops
    >>> jacobian(lambda x: ops.softmax(x)[0], np.zeros(2))
    array([[ 0.25, -0.25],
           [-0.25,  0.25]])
    """
    x = _real("jacobian: x", x)
    y, _ = _along("jacobian", f, {"x": x}, {"x": np.zeros(x.shape)})
    if isinstance(y, dict):
        raise TypeError("jacobian: f must return an array, not a tree; go through funcnn.tree.ravel")
    derivatives = np.empty(y.shape + x.shape, x.dtype)
    for index in np.ndindex(x.shape):
        v = np.zeros(x.shape)
        v[index] = 1.0
        _, derivatives[..., *index] = _along("jacobian", f, {"x": x}, {"x": v})
    return derivatives


def hvp(grad_fn: Callable[[Tree], Tree], params: Tree, v: Tree) -> Tree:
    """Return the Hessian times a vector: the derivative of a gradient along a direction.

    Parameters
    ----------
    grad_fn : callable
        ``grad_fn(params) -> gradient``, a tree alike to params. State and data of a model may stay real, and of single
        precision.
    params : tree of arrays, real
    v : tree of arrays
        Alike to params.

    Returns
    -------
    tree
        Alike to params, computed in double precision and returned in the common dtype of params.

    Raises
    ------
    TypeError
        If params are not of real floats, or ``grad_fn`` returns something else than a tree.
    ValueError
        If ``v`` is not alike to params.

    Notes
    -----
    H v is the derivative of the gradient at params + t v in t, for the cost of one gradient in complex numbers. Where
    the loss has kinks (ReLU, max pooling), it is that of the smooth piece around params.

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
    return _along("hvp", grad_fn, {"params": params}, {"params": v})[1]


def hessian_eigenvalues(
    grad_fn: Callable[[Tree], Tree],
    params: Tree,
    k: int = 1,
    *,
    key: Key,
    tolerance: float = 1e-8,
    iterations: int = 100,
) -> tuple[Array, list[Tree]]:
    """Return the ``k`` largest eigenvalues of a Hessian and their eigenvectors, without ever forming the Hessian.

    Largest means nearest to +inf: how sharp a minimum is. For the other end, give the gradient with its sign changed.

    Parameters
    ----------
    grad_fn, params
        As in `hvp`; computed in double precision.
    k : int >= 1
        Not more than there are parameters. An eigenvalue of multiplicity m counts m times.
    key : tuple of int
        Of the directions to start from; the eigenvalues do not depend on it but for the tolerance.
    tolerance : float
        Done when |H u - value u| is below this fraction of the largest |eigenvalue| for all k unit vectors u. The
        eigenvalues are then as near to true ones, and mostly much nearer.
    iterations : int
        At most so many, each of ``k`` products with the Hessian.

    Returns
    -------
    values : array of float64 (k,)
        In descending order.
    vectors : list of k trees
        Alike to params, of unit norm together, orthogonal to each other.

    Raises
    ------
    TypeError, ValueError
        As in `hvp`; if ``k`` is out of range.
    numpy.linalg.LinAlgError
        If the tolerance is not reached.

    Notes
    -----
    Lanczos' method by blocks: in the space that ``k`` random vectors, their images under H, the images of those, ...
    span, take the eigenvectors of H restricted to it (Rayleigh and Ritz). A block of k finds an eigenvalue as often as
    it occurs, where a single vector would find it once. The basis is orthogonalised in full, twice, since rounding
    otherwise brings found vectors back: 2 * k * iterations vectors are held at most.

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
        raise ValueError(f"hessian_eigenvalues: k is an int from 1 to the {vector.size} parameters, not {k!r}")
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
        every, combinations = np.linalg.eigh(basis.T @ images)
        values, combinations = every[: -k - 1 : -1], combinations[:, : -k - 1 : -1]
        vectors = basis @ combinations
        residual = np.linalg.norm(images @ combinations - values * vectors, axis=0).max()
        if residual <= tolerance * np.abs(every).max():
            return values, [unravel(u.astype(vector.dtype)) for u in vectors.T]
        block = _orthonormal(images[:, -block.shape[1] :], basis)
    raise np.linalg.LinAlgError(
        f"hessian_eigenvalues: after {basis.shape[1]} products the residual is {residual:.3g}, above tolerance "
        f"{tolerance:g} times the largest |eigenvalue|; allow more iterations than {iterations}, or a larger tolerance"
    )


def _orthonormal(block: Array, basis: Array) -> Array:
    """Return orthonormal columns for what ``block`` spans beyond ``basis``, fewer where that is less."""
    size = float(np.linalg.norm(block))
    for _ in range(2):  # the second time for what rounding left of the basis
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
    """Return the gradient of the loss in the parameters for each example by itself, from one forward pass.

    Their mean is the batch's gradient. Without weights, each is the gradient of the example's own loss; with weights w,
    that times N w / sum(w).

    Parameters
    ----------
    model : Layer
    loss : callable
        As in `funcnn.gradients.value_and_grad`; a mean over the examples.
    params, state : tree
    x : array (N, ...)
    targets : array (N, ...)
    train : bool
        In training, too, as long as no layer lets examples depend on each other: batch_norm refuses.
    key : tuple of int, optional
        For training.
    sample_weight : array (N,), optional

    Returns
    -------
    tree
        Alike to ``params``, its leaves with an axis (N) in front: N times the memory of the parameters.

    Raises
    ------
    ValueError
        With the path of the layer, if the shapes do not fit or its examples are not independent.

    Notes
    -----
    Up to the parameters, examples never mix: dy holds the cotangents of all of them side by side. It is the gradient of
    a weight, a sum over examples, that adds them up, and the VJPs leave this sum out (`funcnn.layer.pull_back`).

    For 256 of the digits, a loop over batches of one takes 7 times as long with `funcnn.models.convnet` and 70 times
    as long with `funcnn.models.seed_convnet` (123 against 17 ms and 33 against 0.45 ms, single precision, the best of
    25 calls on one core); the larger network spends most of its 17 ms on writing 54 MB of gradients.

    Examples
    --------
    >>> from funcnn import layers, losses
    >>> params = {"w": np.array([[2.0]]), "b": np.array([0.0])}
    >>> x, targets = np.array([[1.0], [3.0]]), np.array([[0.0], [5.0]])
    >>> per_example_gradients(layers.dense(1), losses.mse, params, {}, x, targets)["w"].ravel()
    array([4., 6.])
    """
    outputs, vjp, _ = model.forward(params, x, state, train=train, key=key)
    _, loss_vjp = loss(outputs, targets, sample_weight=sample_weight)
    return pull_back(vjp, len(outputs) * loss_vjp(1.0), input_gradient=False, per_example=True)[0]


def _along(where: str, f: Callable[..., Any], args: Tree, tangents: Tree) -> tuple[Any, Any]:
    """Return f(*args) and its derivative along the tangents, two dicts with the arguments' names for keys."""
    flat = {path: _real(f"{where}: {path}", leaf) for path, leaf in tree.flatten(args).items()}
    flat_v = {path: _real(f"{where}: the tangent of {path}", leaf) for path, leaf in tree.flatten(tangents).items()}
    if flat.keys() != flat_v.keys():
        missing, extra = sorted(flat.keys() - flat_v.keys()), sorted(flat_v.keys() - flat.keys())
        raise ValueError(f"{where}: tangents must be alike to the arguments; missing {missing}, unexpected {extra}")
    for path, leaf in flat.items():
        if leaf.shape != flat_v[path].shape:
            raise ValueError(f"{where}: {path} has shape {leaf.shape}, its tangent {flat_v[path].shape}")
    step = _COMPLEX_STEP / (max((np.abs(v).max(initial=0.0) for v in flat_v.values()), default=0.0) or 1.0)
    moved = {path: leaf + 1j * (step * flat_v[path]) for path, leaf in flat.items()}
    y = f(*tree.unflatten(moved, args).values())
    for leaf in tree.leaves(y):
        if not isinstance(leaf, np.ndarray | np.generic | complex | float | int):
            raise TypeError(
                f"{where}: the function must return an array or a tree of arrays, not {type(leaf).__name__}; leave out "
                "the rest, as in lambda x: ops.tanh(x)[0]"
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
        raise TypeError(f"{where} has dtype {x.dtype}; the complex step needs the imaginary part for itself")
    return x
