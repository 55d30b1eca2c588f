"""Convolutions in one to three dimensions.

The docstrings of the 2-D factories describe the arguments; those for 1-D and 3-D take the same. A factory raises a
TypeError or ValueError for a wrong option, and ``init`` does if the options do not fit the input. ``w_init`` and
``b_init`` are by default `he_normal` and zeros, which suit a ReLU after the layer.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from funcnn import checks, ops
from funcnn.combinators.serial import serial
from funcnn.initializers import Initializer, he_normal, lecun_normal, zeros
from funcnn.kernels.conv.dispatch import check_method_name, swap_channels
from funcnn.kernels.geometry import Padding, PerAxis, layer_option, layer_padding
from funcnn.keys import Key
from funcnn.layer import Layer, parametric
from funcnn.layers.dense import weights
from funcnn.ops.conv import depthwise_conv
from funcnn.tree import Tree


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
    """Convolution over one axis, (L, C) to (L', features), with the arguments of `conv2d`.

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
    """Convolution over two axes, (H, W, C) to (H', W', features).

    Parameters
    ----------
    features : int >= 1
        Output channels.
    kernel_size : int or tuple of int, >= 1
    stride, padding, dilation, groups, bias, method
        As in `funcnn.ops.conv`.
    w_init, b_init : initializer

    Returns
    -------
    Layer
        With the parameters ``w`` (kernel..., in/groups, features) and ``b`` (features).

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
    """Convolution over three axes, (D, H, W, C) to (D', H', W', features), with the arguments of `conv2d`.

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
    """Transposed convolution over one axis, (L, C) to (L', features), with the arguments of `conv_transpose2d`.

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
    """Transposed convolution over two axes, (H, W, C) to (H', W', features).

    Parameters
    ----------
    features : int >= 1
        Output channels.
    kernel_size : int or tuple of int, >= 1
    stride, padding, output_padding, dilation, groups, bias, method
        As in `funcnn.ops.conv_transpose`.
    w_init, b_init : initializer
        ``w_init`` uses the fan-in of a convolution with this kernel. With a stride, only every stride-th tap reads an
        input, so the initial outputs have a smaller variance.

    Returns
    -------
    Layer
        With the parameters ``w`` (kernel..., features/groups, in) and ``b`` (features).

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
    """Transposed convolution over three axes, (D, H, W, C) to (D', H', W', features); see `conv_transpose2d`.

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
    """Depthwise convolution over one axis, (L, C) to (L', in * multiplier), with the arguments of `depthwise_conv2d`.

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

    Each output channel depends on one input channel: `funcnn.ops.conv` with as many groups as input channels.

    Parameters
    ----------
    kernel_size : int or tuple of int, >= 1
    multiplier : int >= 1
        Filters per input channel.
    stride, padding, dilation, bias, method
        As in `funcnn.ops.conv`.
    w_init, b_init : initializer
        The fan-in is the kernel's area.

    Returns
    -------
    Layer
        With the parameters ``w`` (kernel..., 1, in * multiplier) and ``b`` (in * multiplier).

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
    """Depthwise convolution over three axes, (D, H, W, C) to (D', H', W', in * multiplier); see `depthwise_conv2d`.

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
    """Depthwise separable convolution over one axis, (L, C) to (L', features); see `separable_conv2d`.

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

    A depthwise convolution, which combines neighbouring positions of each channel, and then a 1x1 convolution, which
    combines the channels. There is no activation between them. Together they take about 1/features + 1/(kernel area) of
    the multiply-adds of a full convolution. L. Sifre, 2014; F. Chollet, Xception, 2016 (arXiv:1610.02357).

    Parameters
    ----------
    features : int >= 1
        Output channels.
    kernel_size, multiplier, stride, padding, dilation
        Of the depthwise convolution, as in `depthwise_conv2d`.
    bias, w_init, b_init
        Of the 1x1 convolution. The depthwise convolution has no bias, since another linear map follows. Its weights are
        drawn by `lecun_normal`, since no ReLU follows that would halve the variance.

    Returns
    -------
    Layer
        With the children ``0_depthwise_conv2d`` and ``1_conv2d``.

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
    """Depthwise separable convolution over three axes, (D, H, W, C) to (D', H', W', features); see `separable_conv2d`.

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

    options = {**_options(name, rank, stride, padding, dilation, bias, method), "groups": groups}
    recipe = partial(
        (conv1d, conv2d, conv3d)[rank - 1], features, kernel_size, stride=stride, padding=padding, dilation=dilation,
        groups=groups, bias=bias, w_init=w_init, b_init=b_init, method=method,
    )  # fmt: skip
    return parametric(name, init_params, ops.conv, options, optional_dx=True, recipe=recipe)


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
        # Initializers take shapes (..., in, out); the op's w is that of the convolution from its output to its input.
        params = weights(key, (*window, in_shape[-1] // groups, features), bias, w_init, b_init)
        return {**params, "w": swap_channels(params["w"], groups)}

    options = {
        **_options(name, rank, stride, padding, dilation, bias, method),
        "output_padding": layer_option(name, "output_padding", output_padding, rank, least=0),
        "groups": groups,
    }
    recipe = partial(
        (conv_transpose1d, conv_transpose2d, conv_transpose3d)[rank - 1], features, kernel_size, stride=stride,
        padding=padding, output_padding=output_padding, dilation=dilation, groups=groups, bias=bias, w_init=w_init,
        b_init=b_init, method=method,
    )  # fmt: skip
    return parametric(name, init_params, ops.conv_transpose, options, optional_dx=True, recipe=recipe)


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

    options = _options(name, rank, stride, padding, dilation, bias, method)
    recipe = partial(
        (depthwise_conv1d, depthwise_conv2d, depthwise_conv3d)[rank - 1], kernel_size, multiplier=multiplier,
        stride=stride, padding=padding, dilation=dilation, bias=bias, w_init=w_init, b_init=b_init, method=method,
    )  # fmt: skip
    return parametric(name, init_params, depthwise_conv, options, optional_dx=True, recipe=recipe)


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


def _options(
    name: str, rank: int, stride: PerAxis, padding: Padding, dilation: PerAxis, bias: bool, method: str
) -> dict[str, Any]:
    """Check the options that all convolutions share, and return them normalised."""
    return {
        "stride": layer_option(name, "stride", stride, rank),
        "padding": layer_padding(name, padding, rank),
        "dilation": layer_option(name, "dilation", dilation, rank),
        "bias": bool(bias),
        "method": check_method_name(name, method),
    }


def _window(name: str, kernel_size: PerAxis, rank: int) -> tuple[int, ...]:
    window = tuple(kernel_size) if isinstance(kernel_size, (tuple, list)) else (kernel_size,) * rank
    if len(window) != rank:
        raise ValueError(f"{name}: kernel_size {kernel_size} has {len(window)} entries, not {rank}")
    if not all(checks.is_int(k) for k in window):
        raise TypeError(f"{name}: kernel_size must be an int or a tuple of {rank} ints, not {kernel_size!r}")
    if min(window) < 1:
        raise ValueError(f"{name}: kernel_size must be at least 1, got {kernel_size}")
    return window


def _check_rank(name: str, in_shape: tuple[int, ...], rank: int) -> None:
    if len(in_shape) != rank + 1:
        axes = ("length", "height, width", "depth, height, width")[rank - 1]
        raise ValueError(f"{name}: examples must be of shape ({axes}, channels), got {in_shape}")
