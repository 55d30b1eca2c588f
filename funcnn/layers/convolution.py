"""Convolutions in one to three dimensions.

Those with two axes tell the whole; the others differ in the number of axes alone.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from funcnn import checks, ops
from funcnn.combinators import serial
from funcnn.initializers import Initializer, he_normal, lecun_normal, zeros
from funcnn.kernels.conv.dispatch import swap_channels
from funcnn.kernels.geometry import Padding, PerAxis
from funcnn.keys import Key
from funcnn.layer import Layer, described, parametric
from funcnn.layers.dense import weights
from funcnn.tree import Array, Tree


def conv1d(
    features: int,
    kernel_size: PerAxis,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    bias: bool = True,
    w_init: Initializer = he_normal,
    b_init: Initializer = zeros,
    method: str = "auto",
) -> Layer:
    """Convolution over one axis, (L, C) to (L', features); see `funcnn.ops.conv`.

    Parameters
    ----------
    features, kernel_size, stride, padding, dilation, groups, bias, w_init, b_init, method
        As in `conv2d`.

    Returns
    -------
    Layer

    Examples
    --------
    >>> conv1d(4, 5, stride=2).init((0,), (32, 3))[2]
    (14, 4)
    """
    return _conv(1, features, kernel_size, stride, padding, dilation, groups, bias, w_init, b_init, method)


def conv2d(
    features: int,
    kernel_size: PerAxis,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    bias: bool = True,
    w_init: Initializer = he_normal,
    b_init: Initializer = zeros,
    method: str = "auto",
) -> Layer:
    """Convolution over two axes, (H, W, C) to (H', W', features); see `funcnn.ops.conv`.

    Parameters
    ----------
    features : int >= 1
        Output channels.
    kernel_size : int or tuple of int, >= 1
    stride, padding, dilation, groups, bias
        As in `funcnn.ops.conv`.
    w_init, b_init : initializer
        `he_normal` and zeros, for the ReLU that mostly follows.
    method : str
        The algorithm, as in `funcnn.ops.conv`.

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
    """
    return _conv(2, features, kernel_size, stride, padding, dilation, groups, bias, w_init, b_init, method)


def conv3d(
    features: int,
    kernel_size: PerAxis,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    bias: bool = True,
    w_init: Initializer = he_normal,
    b_init: Initializer = zeros,
    method: str = "auto",
) -> Layer:
    """Convolution over three axes, (D, H, W, C) to (D', H', W', features); see `funcnn.ops.conv`.

    Parameters
    ----------
    features, kernel_size, stride, padding, dilation, groups, bias, w_init, b_init, method
        As in `conv2d`.

    Returns
    -------
    Layer

    Examples
    --------
    >>> conv3d(4, (1, 3, 3)).init((0,), (5, 8, 8, 1))[2]
    (5, 6, 6, 4)
    """
    return _conv(3, features, kernel_size, stride, padding, dilation, groups, bias, w_init, b_init, method)


def conv_transpose1d(
    features: int,
    kernel_size: PerAxis,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    output_padding: PerAxis = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    bias: bool = True,
    w_init: Initializer = he_normal,
    b_init: Initializer = zeros,
    method: str = "auto",
) -> Layer:
    """Transposed convolution over one axis, (L, C) to (L', features); see `funcnn.ops.conv_transpose`.

    Parameters
    ----------
    features, kernel_size, stride, padding, output_padding, dilation, groups, bias, w_init, b_init, method
        As in `conv_transpose2d`.

    Returns
    -------
    Layer

    Examples
    --------
    >>> conv_transpose1d(4, 5, stride=2).init((0,), (14, 3))[2]
    (31, 4)
    """
    return _conv_transpose(
        1, features, kernel_size, stride, padding, output_padding, dilation, groups, bias, w_init, b_init, method
    )


def conv_transpose2d(
    features: int,
    kernel_size: PerAxis,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    output_padding: PerAxis = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    bias: bool = True,
    w_init: Initializer = he_normal,
    b_init: Initializer = zeros,
    method: str = "auto",
) -> Layer:
    """Transposed convolution over two axes, (H, W, C) to (H', W', features); see `funcnn.ops.conv_transpose`.

    Parameters
    ----------
    features : int >= 1
        Output channels.
    kernel_size : int or tuple of int, >= 1
    stride, padding, output_padding, dilation, groups, bias
        As in `funcnn.ops.conv_transpose`.
    w_init, b_init : initializer
        `he_normal` and zeros, for the ReLU that mostly follows. The fan-in is counted as for a convolution of this
        kernel, though with a stride only every stride-th tap meets an input, so outputs start smaller.
    method : str
        The algorithm, as in `funcnn.ops.conv`.

    Returns
    -------
    Layer
        With the leaves ``w`` (kernel..., features/groups, in) and ``b`` (features).

    Raises
    ------
    TypeError, ValueError
        For a wrong option here, if it does not fit the input by ``init``.

    Examples
    --------
    >>> conv_transpose2d(16, 4, stride=2, padding=1).init((0,), (8, 8, 32))[2]
    (16, 16, 16)
    """
    return _conv_transpose(
        2, features, kernel_size, stride, padding, output_padding, dilation, groups, bias, w_init, b_init, method
    )


def conv_transpose3d(
    features: int,
    kernel_size: PerAxis,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    output_padding: PerAxis = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    bias: bool = True,
    w_init: Initializer = he_normal,
    b_init: Initializer = zeros,
    method: str = "auto",
) -> Layer:
    """Transposed convolution over three axes, (D, H, W, C) to (D', H', W', features); see `funcnn.ops.conv_transpose`.

    Parameters
    ----------
    features, kernel_size, stride, padding, output_padding, dilation, groups, bias, w_init, b_init, method
        As in `conv_transpose2d`.

    Returns
    -------
    Layer

    Examples
    --------
    >>> conv_transpose3d(4, 2, stride=2).init((0,), (2, 4, 4, 1))[2]
    (4, 8, 8, 4)
    """
    return _conv_transpose(
        3, features, kernel_size, stride, padding, output_padding, dilation, groups, bias, w_init, b_init, method
    )


def depthwise_conv1d(
    kernel_size: PerAxis,
    *,
    multiplier: int = 1,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    bias: bool = True,
    w_init: Initializer = he_normal,
    b_init: Initializer = zeros,
    method: str = "auto",
) -> Layer:
    """Depthwise convolution over one axis, (L, C) to (L', in * multiplier).

    Parameters
    ----------
    kernel_size, multiplier, stride, padding, dilation, bias, w_init, b_init, method
        As in `depthwise_conv2d`.

    Returns
    -------
    Layer

    Examples
    --------
    >>> depthwise_conv1d(5).init((0,), (32, 3))[2]
    (28, 3)
    """
    return _depthwise_conv(1, kernel_size, multiplier, stride, padding, dilation, bias, w_init, b_init, method)


def depthwise_conv2d(
    kernel_size: PerAxis,
    *,
    multiplier: int = 1,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    bias: bool = True,
    w_init: Initializer = he_normal,
    b_init: Initializer = zeros,
    method: str = "auto",
) -> Layer:
    """Depthwise convolution over two axes, (H, W, C) to (H', W', in * multiplier).

    Each channel is convolved by itself: `funcnn.ops.conv` with a group for each channel.

    Parameters
    ----------
    kernel_size : int or tuple of int, >= 1
    multiplier : int >= 1
        Filters for each channel, so that in * multiplier channels come out.
    stride, padding, dilation, bias
        As in `funcnn.ops.conv`.
    w_init, b_init : initializer
        `he_normal` and zeros, for the ReLU that mostly follows; the fan-in is the kernel's area alone.
    method : str
        The algorithm, as in `funcnn.ops.conv`.

    Returns
    -------
    Layer
        With the leaves ``w`` (kernel..., 1, in * multiplier) and ``b`` (in * multiplier).

    Raises
    ------
    TypeError, ValueError
        For a wrong option here, if it does not fit the input by ``init``.

    Examples
    --------
    >>> params, _, out_shape = depthwise_conv2d(3, multiplier=2).init((0,), (8, 8, 3))
    >>> params["w"].shape, out_shape
    ((3, 3, 1, 6), (6, 6, 6))
    """
    return _depthwise_conv(2, kernel_size, multiplier, stride, padding, dilation, bias, w_init, b_init, method)


def depthwise_conv3d(
    kernel_size: PerAxis,
    *,
    multiplier: int = 1,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    bias: bool = True,
    w_init: Initializer = he_normal,
    b_init: Initializer = zeros,
    method: str = "auto",
) -> Layer:
    """Depthwise convolution over three axes, (D, H, W, C) to (D', H', W', in * multiplier).

    Parameters
    ----------
    kernel_size, multiplier, stride, padding, dilation, bias, w_init, b_init, method
        As in `depthwise_conv2d`.

    Returns
    -------
    Layer

    Examples
    --------
    >>> depthwise_conv3d(2).init((0,), (4, 8, 8, 3))[2]
    (3, 7, 7, 3)
    """
    return _depthwise_conv(3, kernel_size, multiplier, stride, padding, dilation, bias, w_init, b_init, method)


def separable_conv1d(
    features: int,
    kernel_size: PerAxis,
    *,
    multiplier: int = 1,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    bias: bool = True,
    w_init: Initializer = he_normal,
    b_init: Initializer = zeros,
) -> Layer:
    """Depthwise separable convolution over one axis, (L, C) to (L', features).

    Parameters
    ----------
    features, kernel_size, multiplier, stride, padding, dilation, bias, w_init, b_init
        As in `separable_conv2d`.

    Returns
    -------
    Layer

    Examples
    --------
    >>> separable_conv1d(8, 5).init((0,), (32, 3))[2]
    (28, 8)
    """
    return _separable_conv(1, features, kernel_size, multiplier, stride, padding, dilation, bias, w_init, b_init)


def separable_conv2d(
    features: int,
    kernel_size: PerAxis,
    *,
    multiplier: int = 1,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    bias: bool = True,
    w_init: Initializer = he_normal,
    b_init: Initializer = zeros,
) -> Layer:
    """Depthwise separable convolution over two axes, (H, W, C) to (H', W', features).

    A depthwise convolution, which looks around in each channel, and a 1x1 convolution, which mixes the channels: in
    sequence, nothing between, for about 1/features + 1/kernel area of a full convolution's work. L. Sifre, 2014; F.
    Chollet, Xception, 2016 (arXiv:1610.02357).

    Parameters
    ----------
    features : int >= 1
        Output channels.
    kernel_size : int or tuple of int, >= 1
        Of the depthwise convolution.
    multiplier : int >= 1
        Of the depthwise convolution: its filters for each channel.
    stride, padding, dilation
        Of the depthwise convolution, as in `funcnn.ops.conv`.
    bias : bool
        Of the 1x1 convolution; the depthwise one needs none, being followed by another linear map.
    w_init, b_init : initializer
        Of the 1x1 convolution: `he_normal` and zeros, for the ReLU that mostly follows. The depthwise weights are drawn
        by `lecun_normal`, for nothing follows that would halve the variance.

    Returns
    -------
    Layer
        With the children ``0_depthwise_conv2d`` and ``1_conv2d``.

    Raises
    ------
    TypeError, ValueError
        For a wrong option here, if it does not fit the input by ``init``.

    Examples
    --------
    >>> params, _, out_shape = separable_conv2d(16, 3, padding="same").init((0,), (8, 8, 4))
    >>> list(params), out_shape
    (['0_depthwise_conv2d', '1_conv2d'], (8, 8, 16))
    """
    return _separable_conv(2, features, kernel_size, multiplier, stride, padding, dilation, bias, w_init, b_init)


def separable_conv3d(
    features: int,
    kernel_size: PerAxis,
    *,
    multiplier: int = 1,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    bias: bool = True,
    w_init: Initializer = he_normal,
    b_init: Initializer = zeros,
) -> Layer:
    """Depthwise separable convolution over three axes, (D, H, W, C) to (D', H', W', features).

    Parameters
    ----------
    features, kernel_size, multiplier, stride, padding, dilation, bias, w_init, b_init
        As in `separable_conv2d`.

    Returns
    -------
    Layer

    Examples
    --------
    >>> separable_conv3d(8, 2).init((0,), (4, 8, 8, 3))[2]
    (3, 7, 7, 8)
    """
    return _separable_conv(3, features, kernel_size, multiplier, stride, padding, dilation, bias, w_init, b_init)


def _conv(
    rank: int,
    features: int,
    kernel_size: PerAxis,
    stride: PerAxis,
    padding: Padding,
    dilation: PerAxis,
    groups: int,
    bias: bool,
    w_init: Initializer,
    b_init: Initializer,
    method: str,
) -> Layer:
    name = f"conv{rank}d"
    checks.count(name, "features", features)
    window = _window(name, kernel_size, rank)

    def init_params(key: Key, in_shape: tuple[int, ...]) -> Tree:
        _check_rank(name, in_shape, rank)
        checks.groups(name, groups, in_shape[-1], features)
        return weights(key, (*window, in_shape[-1] // groups, features), bias, w_init, b_init)

    options = {
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "bias": bias,
        "method": method,
    }
    return described(parametric(name, init_params, ops.conv, options))


def _conv_transpose(
    rank: int,
    features: int,
    kernel_size: PerAxis,
    stride: PerAxis,
    padding: Padding,
    output_padding: PerAxis,
    dilation: PerAxis,
    groups: int,
    bias: bool,
    w_init: Initializer,
    b_init: Initializer,
    method: str,
) -> Layer:
    name = f"conv_transpose{rank}d"
    checks.count(name, "features", features)
    window = _window(name, kernel_size, rank)

    def init_params(key: Key, in_shape: tuple[int, ...]) -> Tree:
        _check_rank(name, in_shape, rank)
        checks.groups(name, groups, in_shape[-1], features)
        # Initializers read (..., in, out); the op's w is that of the convolution from its output to its input.
        params = weights(key, (*window, in_shape[-1] // groups, features), bias, w_init, b_init)
        return {**params, "w": swap_channels(params["w"], groups)}

    options = {
        "stride": stride,
        "padding": padding,
        "output_padding": output_padding,
        "dilation": dilation,
        "groups": groups,
        "bias": bias,
        "method": method,
    }
    return parametric(name, init_params, ops.conv_transpose, options)


def _depthwise_conv(
    rank: int,
    kernel_size: PerAxis,
    multiplier: int,
    stride: PerAxis,
    padding: Padding,
    dilation: PerAxis,
    bias: bool,
    w_init: Initializer,
    b_init: Initializer,
    method: str,
) -> Layer:
    name = f"depthwise_conv{rank}d"
    checks.count(name, "multiplier", multiplier)
    window = _window(name, kernel_size, rank)

    def init_params(key: Key, in_shape: tuple[int, ...]) -> Tree:
        _check_rank(name, in_shape, rank)
        return weights(key, (*window, 1, in_shape[-1] * multiplier), bias, w_init, b_init)

    options = {"stride": stride, "padding": padding, "dilation": dilation, "bias": bias, "method": method}
    return parametric(name, init_params, partial(_conv_by_channel, name), options)


def _conv_by_channel(
    name: str, params: Tree, x: Array, *, stride: PerAxis, padding: Padding, dilation: PerAxis, bias: bool, method: str
) -> Any:
    x = checks.images(name, x)
    return ops.conv(
        params, x, stride=stride, padding=padding, dilation=dilation, groups=x.shape[-1], bias=bias, method=method
    )


def _separable_conv(
    rank: int,
    features: int,
    kernel_size: PerAxis,
    multiplier: int,
    stride: PerAxis,
    padding: Padding,
    dilation: PerAxis,
    bias: bool,
    w_init: Initializer,
    b_init: Initializer,
) -> Layer:
    depthwise = _depthwise_conv(
        rank, kernel_size, multiplier, stride, padding, dilation, False, lecun_normal, zeros, "auto"
    )
    pointwise = _conv(rank, features, 1, 1, 0, 1, 1, bias, w_init, b_init, "auto")
    return serial(depthwise, pointwise)._replace(name=f"separable_conv{rank}d")


def _window(name: str, kernel_size: PerAxis, rank: int) -> tuple[int, ...]:
    window = tuple(kernel_size) if isinstance(kernel_size, (tuple, list)) else (kernel_size,) * rank
    if len(window) != rank:
        raise ValueError(f"{name}: kernel_size {kernel_size} has {len(window)} entries, not {rank}")
    if not all(checks.is_int(k) for k in window):
        raise TypeError(f"{name}: kernel_size is an int or a tuple of {rank} ints, not {kernel_size!r}")
    if min(window) < 1:
        raise ValueError(f"{name}: kernel_size must be at least 1, got {kernel_size}")
    return window


def _check_rank(name: str, in_shape: tuple[int, ...], rank: int) -> None:
    if len(in_shape) != rank + 1:
        axes = ("length", "height, width", "depth, height, width")[rank - 1]
        raise ValueError(f"{name}: takes inputs ({axes}, channels), got examples of shape {in_shape}")
