"""Layers: each op with its options fixed and, where it has parameters, their initial values.

Every layer is made by calling its factory, ``relu()`` and ``conv2d(32, 3)`` alike, and follows the protocol of
`funcnn.layer.Layer`. The default weights are drawn for what usually follows: `he_normal` for convolutions and dense
layers (a ReLU, whose halving of the variance it makes up for); biases start at 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from funcnn import ops
from funcnn.initializers import Initializer, he_normal, zeros
from funcnn.kernels import checks
from funcnn.kernels.geometry import Padding, PerAxis
from funcnn.keys import Key, fold_in
from funcnn.layer import Layer, check_empty, parameterless, parametric
from funcnn.ops.dropout import check_rate
from funcnn.tree import Array, Tree

__all__ = [
    "avg_pool",
    "celu",
    "conv1d",
    "conv2d",
    "conv3d",
    "dense",
    "depth_to_space",
    "dropout",
    "elu",
    "flatten",
    "gelu",
    "global_avg_pool",
    "global_max_pool",
    "hard_sigmoid",
    "hard_swish",
    "hard_tanh",
    "identity",
    "leaky_relu",
    "log_sigmoid",
    "log_softmax",
    "max_pool",
    "mish",
    "pad",
    "prelu",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "softsign",
    "space_to_depth",
    "tanh",
    "upsample",
]


def dense(features: int, *, w_init: Initializer = he_normal, b_init: Initializer = zeros) -> Layer:
    """Affine map of the last axis to ``features``; see `funcnn.ops.dense`.

    Parameters
    ----------
    features : int >= 1
    w_init, b_init : initializer
        `he_normal` and zeros, for the ReLU that mostly follows.

    Returns
    -------
    Layer
        With the leaves ``w`` (in, features) and ``b`` (features).

    Raises
    ------
    TypeError, ValueError
        If ``features`` is not an int, or below 1.

    Examples
    --------
    >>> params, state, out_shape = dense(10).init((0,), (64,))
    >>> params["w"].shape, params["b"].shape, out_shape
    ((64, 10), (10,), (10,))
    """
    _check_features("dense", features)

    def init_params(key: Key, in_shape: tuple[int, ...]) -> Tree:
        if not in_shape:
            raise ValueError("dense: takes inputs (..., features), got examples of shape ()")
        return _weights(key, (in_shape[-1], features), w_init, b_init)

    return parametric("dense", init_params, ops.dense)


def conv1d(
    features: int,
    kernel_size: PerAxis,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    w_init: Initializer = he_normal,
    b_init: Initializer = zeros,
) -> Layer:
    """Convolution over one axis, (L, C) to (L', features); see `funcnn.ops.conv`.

    Parameters
    ----------
    features : int >= 1
        Output channels.
    kernel_size : int or tuple of int, >= 1
    stride, padding, dilation, groups
        As in `funcnn.ops.conv`.
    w_init, b_init : initializer
        `he_normal` and zeros, for the ReLU that mostly follows.

    Returns
    -------
    Layer
        With the leaves ``w`` (kernel..., in/groups, features) and ``b`` (features).

    Raises
    ------
    TypeError, ValueError
        For a wrong option here, if it does not fit the input by ``init``.

    Examples
    --------
    >>> conv1d(4, 5, stride=2).init((0,), (32, 3))[2]
    (14, 4)
    """
    return _conv(1, features, kernel_size, stride, padding, dilation, groups, w_init, b_init)


def conv2d(
    features: int,
    kernel_size: PerAxis,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    w_init: Initializer = he_normal,
    b_init: Initializer = zeros,
) -> Layer:
    """Convolution over two axes, (H, W, C) to (H', W', features); see `funcnn.ops.conv`.

    Parameters
    ----------
    features : int >= 1
        Output channels.
    kernel_size : int or tuple of int, >= 1
    stride, padding, dilation, groups
        As in `funcnn.ops.conv`.
    w_init, b_init : initializer
        `he_normal` and zeros, for the ReLU that mostly follows.

    Returns
    -------
    Layer
        With the leaves ``w`` (kernel..., in/groups, features) and ``b`` (features).

    Raises
    ------
    TypeError, ValueError
        For a wrong option here, if it does not fit the input by ``init``.

    Examples
    --------
    >>> conv2d(32, 3, padding="same").init((0,), (8, 8, 1))[2]
    (8, 8, 32)

    ``groups`` equal to the input's channels makes a depthwise convolution, here with two filters for each channel:

    >>> params, _, out_shape = conv2d(6, 3, groups=3).init((0,), (8, 8, 3))
    >>> params["w"].shape, out_shape
    ((3, 3, 1, 6), (6, 6, 6))
    """
    return _conv(2, features, kernel_size, stride, padding, dilation, groups, w_init, b_init)


def conv3d(
    features: int,
    kernel_size: PerAxis,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    w_init: Initializer = he_normal,
    b_init: Initializer = zeros,
) -> Layer:
    """Convolution over three axes, (D, H, W, C) to (D', H', W', features); see `funcnn.ops.conv`.

    Parameters
    ----------
    features : int >= 1
        Output channels.
    kernel_size : int or tuple of int, >= 1
    stride, padding, dilation, groups
        As in `funcnn.ops.conv`.
    w_init, b_init : initializer
        `he_normal` and zeros, for the ReLU that mostly follows.

    Returns
    -------
    Layer
        With the leaves ``w`` (kernel..., in/groups, features) and ``b`` (features).

    Raises
    ------
    TypeError, ValueError
        For a wrong option here, if it does not fit the input by ``init``.

    Examples
    --------
    >>> conv3d(4, (1, 3, 3)).init((0,), (5, 8, 8, 1))[2]
    (5, 6, 6, 4)
    """
    return _conv(3, features, kernel_size, stride, padding, dilation, groups, w_init, b_init)


def _conv(
    rank: int,
    features: int,
    kernel_size: PerAxis,
    stride: PerAxis,
    padding: Padding,
    dilation: PerAxis,
    groups: int,
    w_init: Initializer,
    b_init: Initializer,
) -> Layer:
    name = f"conv{rank}d"
    _check_features(name, features)
    window = tuple(kernel_size) if isinstance(kernel_size, (tuple, list)) else (kernel_size,) * rank
    if len(window) != rank:
        raise ValueError(f"{name}: kernel_size {kernel_size} has {len(window)} entries, not {rank}")
    if not all(checks.is_int(k) for k in window):
        raise TypeError(f"{name}: kernel_size is an int or a tuple of {rank} ints, not {kernel_size!r}")
    if min(window) < 1:
        raise ValueError(f"{name}: kernel_size must be at least 1, got {kernel_size}")

    def init_params(key: Key, in_shape: tuple[int, ...]) -> Tree:
        if len(in_shape) != rank + 1:
            axes = ("length", "height, width", "depth, height, width")[rank - 1]
            raise ValueError(f"{name}: takes inputs ({axes}, channels), got examples of shape {in_shape}")
        checks.groups(name, groups, in_shape[-1], features)
        return _weights(key, (*window, in_shape[-1] // groups, features), w_init, b_init)

    def op(params: Tree, x: Array) -> Any:
        return ops.conv(params, x, stride=stride, padding=padding, dilation=dilation, groups=groups)

    return parametric(name, init_params, op)


def max_pool(
    window: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
) -> Layer:
    """Maximum over windows, by default side by side; see `funcnn.ops.max_pool`.

    Parameters
    ----------
    window, stride, padding, dilation, ceil_mode
        As in `funcnn.ops.max_pool`.

    Returns
    -------
    Layer

    Examples
    --------
    >>> max_pool(2).init((0,), (8, 8, 32))[2]
    (4, 4, 32)
    """

    def op(x: Array) -> Any:
        return ops.max_pool(x, window, stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode)

    return parameterless("max_pool", op)


def avg_pool(
    window: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
) -> Layer:
    """Mean over windows, by default side by side; see `funcnn.ops.avg_pool`.

    Parameters
    ----------
    window, stride, padding, ceil_mode, count_include_pad
        As in `funcnn.ops.avg_pool`.

    Returns
    -------
    Layer

    Examples
    --------
    >>> avg_pool(2).init((0,), (9, 9, 32))[2]
    (4, 4, 32)
    """

    def op(x: Array) -> Any:
        return ops.avg_pool(
            x, window, stride=stride, padding=padding, ceil_mode=ceil_mode, count_include_pad=count_include_pad
        )

    return parameterless("avg_pool", op)


def global_avg_pool() -> Layer:
    """Mean over all positions; see `funcnn.ops.global_avg_pool`.

    Returns
    -------
    Layer

    Examples
    --------
    >>> global_avg_pool().init((0,), (4, 4, 32))[2]
    (32,)
    """
    return parameterless("global_avg_pool", ops.global_avg_pool)


def global_max_pool() -> Layer:
    """Maximum over all positions; see `funcnn.ops.global_max_pool`.

    Returns
    -------
    Layer

    Examples
    --------
    >>> global_max_pool().init((0,), (4, 4, 32))[2]
    (32,)
    """
    return parameterless("global_max_pool", ops.global_max_pool)


def pad(widths: Padding, *, mode: str = "constant", value: float = 0.0) -> Layer:
    """More cells around the spatial axes; see `funcnn.ops.pad`.

    Parameters
    ----------
    widths, mode, value
        As in `funcnn.ops.pad`.

    Returns
    -------
    Layer

    Examples
    --------
    >>> pad(((0, 1), (2, 3)), mode="edge").init((0,), (8, 8, 1))[2]
    (9, 13, 1)
    """

    def op(x: Array) -> Any:
        return ops.pad(x, widths, mode=mode, value=value)

    return parameterless("pad", op)


def upsample(factor: PerAxis) -> Layer:
    """Enlarge by repeating each cell; see `funcnn.ops.upsample`.

    Parameters
    ----------
    factor : int or tuple of int, >= 1

    Returns
    -------
    Layer

    Examples
    --------
    >>> upsample(2).init((0,), (4, 4, 8))[2]
    (8, 8, 8)
    """

    def op(x: Array) -> Any:
        return ops.upsample(x, factor)

    return parameterless("upsample", op)


def depth_to_space(block: PerAxis) -> Layer:
    """Groups of channels laid out as blocks of cells; see `funcnn.ops.depth_to_space`.

    Parameters
    ----------
    block : int or tuple of int, >= 1

    Returns
    -------
    Layer

    Examples
    --------
    >>> depth_to_space(2).init((0,), (4, 4, 8))[2]
    (8, 8, 2)
    """

    def op(x: Array) -> Any:
        return ops.depth_to_space(x, block)

    return parameterless("depth_to_space", op)


def space_to_depth(block: PerAxis) -> Layer:
    """Blocks of cells laid out as channels; see `funcnn.ops.space_to_depth`.

    Parameters
    ----------
    block : int or tuple of int, >= 1

    Returns
    -------
    Layer

    Examples
    --------
    >>> space_to_depth(2).init((0,), (8, 8, 2))[2]
    (4, 4, 8)
    """

    def op(x: Array) -> Any:
        return ops.space_to_depth(x, block)

    return parameterless("space_to_depth", op)


def prelu(*, initial_slope: float = 0.25) -> Layer:
    """Leaky ReLU whose slopes are parameters, one a channel; see `funcnn.ops.prelu`.

    Parameters
    ----------
    initial_slope : float
        0.25, as in the paper.

    Returns
    -------
    Layer
        With the leaf ``slope`` (C).

    Examples
    --------
    >>> prelu().init((0,), (8, 8, 2))[0]
    {'slope': array([0.25, 0.25], dtype=float32)}
    """

    def init_params(key: Key, in_shape: tuple[int, ...]) -> Tree:
        return {"slope": np.full(in_shape[-1:], initial_slope, np.float32)}

    return parametric("prelu", init_params, ops.prelu)


def flatten() -> Layer:
    """All axes of an example in one; see `funcnn.ops.flatten`.

    Returns
    -------
    Layer

    Examples
    --------
    >>> flatten().init((0,), (4, 4, 32))[2]
    (512,)
    """
    return parameterless("flatten", ops.flatten)


def identity() -> Layer:
    """The input as it is.

    Returns
    -------
    Layer

    Examples
    --------
    >>> identity().init((0,), (4, 4, 32))[2]
    (4, 4, 32)
    """
    return parameterless("identity", _identity)


def _identity(x: Array) -> Any:
    x = checks.floating("identity: x", x)
    shape, dtype = x.shape, x.dtype

    def identity_vjp(dy: Any) -> Array:
        return checks.cotangent("identity", dy, shape, dtype)

    return x, identity_vjp


def relu() -> Layer:
    """max(x, 0); see `funcnn.ops.relu`.

    Returns
    -------
    Layer

    Examples
    --------
    >>> relu().name
    'relu'
    """
    return parameterless("relu", ops.relu)


def leaky_relu(slope: float = 0.01) -> Layer:
    """x where positive, else slope * x; see `funcnn.ops.leaky_relu`.

    Parameters
    ----------
    slope : float

    Returns
    -------
    Layer

    Examples
    --------
    >>> leaky_relu(0.2).name
    'leaky_relu'
    """

    def op(x: Array) -> Any:
        return ops.leaky_relu(x, slope)

    return parameterless("leaky_relu", op)


def relu6() -> Layer:
    """min(max(x, 0), 6); see `funcnn.ops.relu6`.

    Returns
    -------
    Layer

    Examples
    --------
    >>> relu6().name
    'relu6'
    """
    return parameterless("relu6", ops.relu6)


def hard_tanh() -> Layer:
    """min(max(x, -1), 1); see `funcnn.ops.hard_tanh`.

    Returns
    -------
    Layer

    Examples
    --------
    >>> hard_tanh().name
    'hard_tanh'
    """
    return parameterless("hard_tanh", ops.hard_tanh)


def hard_sigmoid() -> Layer:
    """min(max(x / 6 + 1/2, 0), 1); see `funcnn.ops.hard_sigmoid`.

    Returns
    -------
    Layer

    Examples
    --------
    >>> hard_sigmoid().name
    'hard_sigmoid'
    """
    return parameterless("hard_sigmoid", ops.hard_sigmoid)


def hard_swish() -> Layer:
    """x times `hard_sigmoid`; see `funcnn.ops.hard_swish`.

    Returns
    -------
    Layer

    Examples
    --------
    >>> hard_swish().name
    'hard_swish'
    """
    return parameterless("hard_swish", ops.hard_swish)


def selu() -> Layer:
    """Self-normalising ELU; see `funcnn.ops.selu`.

    Returns
    -------
    Layer

    Examples
    --------
    >>> selu().name
    'selu'
    """
    return parameterless("selu", ops.selu)


def silu() -> Layer:
    """x times `sigmoid`, also called swish; see `funcnn.ops.silu`.

    Returns
    -------
    Layer

    Examples
    --------
    >>> silu().name
    'silu'
    """
    return parameterless("silu", ops.silu)


def mish() -> Layer:
    """x tanh(softplus(x)); see `funcnn.ops.mish`.

    Returns
    -------
    Layer

    Examples
    --------
    >>> mish().name
    'mish'
    """
    return parameterless("mish", ops.mish)


def softplus() -> Layer:
    """log(1 + exp(x)); see `funcnn.ops.softplus`.

    Returns
    -------
    Layer

    Examples
    --------
    >>> softplus().name
    'softplus'
    """
    return parameterless("softplus", ops.softplus)


def softsign() -> Layer:
    """x / (1 + |x|); see `funcnn.ops.softsign`.

    Returns
    -------
    Layer

    Examples
    --------
    >>> softsign().name
    'softsign'
    """
    return parameterless("softsign", ops.softsign)


def log_sigmoid() -> Layer:
    """Logarithm of the sigmoid; see `funcnn.ops.log_sigmoid`.

    Returns
    -------
    Layer

    Examples
    --------
    >>> log_sigmoid().name
    'log_sigmoid'
    """
    return parameterless("log_sigmoid", ops.log_sigmoid)


def elu(alpha: float = 1.0) -> Layer:
    """x where positive, else alpha (exp(x) - 1); see `funcnn.ops.elu`.

    Parameters
    ----------
    alpha : float

    Returns
    -------
    Layer

    Examples
    --------
    >>> elu(0.5).name
    'elu'
    """

    def op(x: Array) -> Any:
        return ops.elu(x, alpha)

    return parameterless("elu", op)


def celu(alpha: float = 1.0) -> Layer:
    """x where positive, else alpha (exp(x / alpha) - 1); see `funcnn.ops.celu`.

    Parameters
    ----------
    alpha : float > 0

    Returns
    -------
    Layer

    Examples
    --------
    >>> celu(0.5).name
    'celu'
    """

    def op(x: Array) -> Any:
        return ops.celu(x, alpha)

    return parameterless("celu", op)


def gelu(approximate: bool = False) -> Layer:
    """x times the normal distribution function; see `funcnn.ops.gelu`.

    Parameters
    ----------
    approximate : bool

    Returns
    -------
    Layer

    Examples
    --------
    >>> gelu(approximate=True).name
    'gelu'
    """

    def op(x: Array) -> Any:
        return ops.gelu(x, approximate)

    return parameterless("gelu", op)


def tanh() -> Layer:
    """Hyperbolic tangent; see `funcnn.ops.tanh`.

    Returns
    -------
    Layer

    Examples
    --------
    >>> tanh().name
    'tanh'
    """
    return parameterless("tanh", ops.tanh)


def sigmoid() -> Layer:
    """Logistic function; see `funcnn.ops.sigmoid`.

    Returns
    -------
    Layer

    Examples
    --------
    >>> sigmoid().name
    'sigmoid'
    """
    return parameterless("sigmoid", ops.sigmoid)


def softmax(axis: int = -1) -> Layer:
    """Softmax along an axis; see `funcnn.ops.softmax`. To train a classifier, end in logits and use
    `softmax_cross_entropy`.

    Parameters
    ----------
    axis : int
        Of the batch: 0 are the examples.

    Returns
    -------
    Layer

    Examples
    --------
    >>> softmax().name
    'softmax'
    """

    def op(x: Array) -> Any:
        return ops.softmax(x, axis)

    return parameterless("softmax", op)


def log_softmax(axis: int = -1) -> Layer:
    """Logarithm of the softmax along an axis; see `funcnn.ops.log_softmax`.

    Parameters
    ----------
    axis : int
        Of the batch: 0 are the examples.

    Returns
    -------
    Layer

    Examples
    --------
    >>> log_softmax().name
    'log_softmax'
    """

    def op(x: Array) -> Any:
        return ops.log_softmax(x, axis)

    return parameterless("log_softmax", op)


def dropout(rate: float, *, shared_axes: Sequence[int] = ()) -> Layer:
    """Drop entries at random in training, none in evaluation; see `funcnn.ops.dropout`.

    Training with a rate above 0 needs a key, and the same key drops the same entries.

    Parameters
    ----------
    rate : float in [0, 1)
        The fraction dropped.
    shared_axes : sequence of int
        As in `funcnn.ops.dropout`.

    Returns
    -------
    Layer

    Raises
    ------
    ValueError
        If ``rate`` is out of range; by ``forward``, if a key is missing.

    Examples
    --------
    >>> layer, x = dropout(0.5), np.ones((1, 4))
    >>> layer.forward({}, x, {}, train=False)[0]
    array([[1., 1., 1., 1.]])
    >>> layer.forward({}, x, {}, train=True, key=(2,))[0]
    array([[2., 0., 0., 0.]])
    """
    check_rate(rate)

    def init(key: Key, in_shape: tuple[int, ...]) -> tuple[Tree, Tree, tuple[int, ...]]:
        return {}, {}, in_shape

    def forward(params: Tree, x: Array, state: Tree, *, train: bool, key: Key | None = None) -> Any:
        check_empty("dropout", params=params, state=state)
        y, op_vjp = ops.dropout(x, rate=rate, key=key, shared_axes=shared_axes) if train and rate > 0 else _identity(x)

        def dropout_vjp(dy: Any, *, input_gradient: bool = True) -> tuple[Tree, Array | None]:
            return {}, op_vjp(dy) if input_gradient else None

        return y, dropout_vjp, {}

    return Layer("dropout", init, forward)


def _weights(key: Key, shape: tuple[int, ...], w_init: Initializer, b_init: Initializer) -> Tree:
    return {"w": w_init(fold_in(key, 0), shape), "b": b_init(fold_in(key, 1), shape[-1:])}


def _check_features(name: str, features: int) -> None:
    if not checks.is_int(features):
        raise TypeError(f"{name}: features is an int, not {features!r}")
    if features < 1:
        raise ValueError(f"{name}: features must be at least 1, got {features}")
