"""Networks for time series, arrays (N, time, channels) of any length.

With ``masked=True`` a network takes series of unequal length, padded to the longest: (N, time, 1 + channels), where
channel 0 is the mask, 1 at the positions of the series and 0 at those of the padding, where all channels are 0. Padding
has no influence: it is set to 0 after every normalisation, which takes its statistics of the other positions
(`funcnn.layers.masking.masked_batch_norm`), and the mean at the end is that of the other positions. So any amount of
padding gives the same, up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from funcnn import checks
from funcnn.combinators.graph import graph
from funcnn.combinators.serial import serial
from funcnn.initializers import lecun_normal
from funcnn.layer import Layer
from funcnn.layers import (
    add,
    batch_norm,
    clip,
    concat,
    conv1d,
    crop,
    dense,
    divide,
    global_avg_pool,
    max_pool,
    pad,
    reduce_sum,
    relu,
)
from funcnn.layers.masking import masked_batch_norm
from funcnn.models.arguments import check_sequence

__all__ = ["fcn", "inception_time", "resnet1d"]

# The nodes of a graph, which the functions below append to; they return the index of the last.
_Nodes = list[tuple[Any, ...]]


def fcn(
    outputs: int = 10,
    *,
    channels: Sequence[int] = (128, 256, 128),
    kernel_sizes: Sequence[int] = (8, 5, 3),
    masked: bool = False,
) -> Layer:
    """Fully convolutional network for time series: convolutions that keep the length, and the mean over time.

    Z. Wang, W. Yan and T. Oates, Time Series Classification from Scratch with Deep Neural Networks, 2017
    (arXiv:1611.06455). Each convolution is followed by batch normalisation, which replaces its bias, and ReLU. The
    default is the paper's network.

    Parameters
    ----------
    outputs : int
        Number of logits.
    channels, kernel_sizes : sequence of int
        Of each convolution.
    masked : bool
        For padded series of unequal length; see `funcnn.models.series`.

    Returns
    -------
    Layer
        Of series (time, channels) of any length.

    Raises
    ------
    ValueError
        If ``channels`` and ``kernel_sizes`` have different lengths.

    Examples
    --------
    >>> from funcnn import tree
    >>> params, _, out_shape = fcn(2).init((0,), (150, 1))
    >>> tree.size(params), out_shape
    (264450, (2,))
    """
    _check_pairs("fcn", channels, kernel_sizes)
    nodes, x, mask = _begin(masked)
    for features, kernel_size in zip(channels, kernel_sizes, strict=True):
        x = _append(nodes, relu(), _conv_norm(nodes, mask, x, features, kernel_size))
    return _with_head(nodes, mask, x, outputs)._replace(name="fcn")


def resnet1d(
    outputs: int = 10,
    *,
    channels: Sequence[int] = (64, 128, 128),
    kernel_sizes: Sequence[int] = (8, 5, 3),
    masked: bool = False,
) -> Layer:
    """ResNet for time series: blocks of convolutions that add to their input, and the mean over time.

    Z. Wang, W. Yan and T. Oates, Time Series Classification from Scratch with Deep Neural Networks, 2017
    (arXiv:1611.06455). In each block, the first of the convolutions takes the block's input and the last's output is
    added to a shortcut, which is a batch normalisation, after a 1x1 convolution where the number of channels changes.
    The default is the paper's network of three blocks.

    Parameters
    ----------
    outputs : int
        Number of logits.
    channels : sequence of int
        Of each block.
    kernel_sizes : sequence of int
        Of the convolutions of every block.
    masked : bool
        For padded series of unequal length; see `funcnn.models.series`.

    Returns
    -------
    Layer
        Of series (time, channels) of any length.

    Raises
    ------
    ValueError
        If there are no ``channels`` or no ``kernel_sizes``.

    Examples
    --------
    >>> from funcnn import tree
    >>> params, _, out_shape = resnet1d(2).init((0,), (150, 1))
    >>> tree.size(params), out_shape
    (503106, (2,))
    """
    check_sequence("resnet1d: channels", channels)
    check_sequence("resnet1d: kernel_sizes", kernel_sizes)
    if not channels or not kernel_sizes:
        raise ValueError(f"resnet1d: channels and kernel_sizes must not be empty, got {channels} and {kernel_sizes}")
    nodes, x, mask = _begin(masked)
    before = 0
    for features in channels:
        y = x
        for i, kernel_size in enumerate(kernel_sizes):
            y = _conv_norm(nodes, mask, _append(nodes, relu(), y) if i else y, features, kernel_size)
        same_shape = features == before
        shortcut = _norm(nodes, mask, x) if same_shape else _conv_norm(nodes, mask, x, features, 1)
        x = _append(nodes, relu(), _append(nodes, add(), y, shortcut))
        before = features
    return _with_head(nodes, mask, x, outputs)._replace(name="resnet1d")


def inception_time(
    outputs: int = 10,
    *,
    depth: int = 6,
    channels: int = 32,
    kernel_sizes: Sequence[int] = (40, 20, 10),
    bottleneck: int = 32,
    multivariate: bool = False,
    masked: bool = False,
) -> Layer:
    """InceptionTime: modules of convolutions of several lengths side by side, and the mean over time.

    H. Ismail Fawaz et al., InceptionTime: Finding AlexNet for Time Series Classification, 2020 (arXiv:1909.04939). The
    convolutions of a module read a 1x1 convolution, the bottleneck; beside them, a max pooling of three positions is
    followed by a 1x1 convolution. Their concatenated outputs are normalised. Each third module adds the input of the
    first of the three, through a 1x1 convolution and a normalisation. The default is the paper's network, of which an
    ensemble has five: `funcnn.models.ensemble`.

    Parameters
    ----------
    outputs : int
        Number of logits.
    depth : int
        Number of modules.
    channels : int
        Of each of the convolutions of a module, the one after the pooling included.
    kernel_sizes : sequence of int
        Of the convolutions of every module.
    bottleneck : int
        Channels of the bottlenecks.
    multivariate : bool
        Whether the first module has a bottleneck, too: in the paper's network it has one unless the series have a
        single channel.
    masked : bool
        For padded series of unequal length; see `funcnn.models.series`. The first pooling then takes positions outside
        of the series for 0.

    Returns
    -------
    Layer
        Of series (time, channels) of any length.

    Raises
    ------
    ValueError
        If ``depth`` is below 1, or there are no ``kernel_sizes``.

    Examples
    --------
    >>> from funcnn import tree
    >>> params, _, out_shape = inception_time(2).init((0,), (150, 1))
    >>> tree.size(params), out_shape
    (420450, (2,))
    """
    checks.count("inception_time", "depth", depth)
    check_sequence("inception_time: kernel_sizes", kernel_sizes)
    if not kernel_sizes:
        raise ValueError("inception_time: kernel_sizes must not be empty")
    pool = serial(pad(1), max_pool(3, stride=1)) if masked else max_pool(3, stride=1, padding=1)
    nodes, x, mask = _begin(masked)
    third = x
    for module in range(depth):
        narrow = _append(nodes, conv1d(bottleneck, 1, bias=False), x) if module or multivariate else x
        branches = [_append(nodes, conv1d(channels, size, padding="same", bias=False), narrow) for size in kernel_sizes]
        branches.append(_append(nodes, conv1d(channels, 1, bias=False), _append(nodes, pool, x)))
        x = _append(nodes, relu(), _norm(nodes, mask, _append(nodes, concat(), *branches)))
        if module % 3 == 2:
            shortcut = _conv_norm(nodes, mask, third, channels * len(branches), 1)
            third = x = _append(nodes, relu(), _append(nodes, add(), x, shortcut))
    return _with_head(nodes, mask, x, outputs)._replace(name="inception_time")


def _check_pairs(where: str, channels: Any, kernel_sizes: Any) -> None:
    check_sequence(f"{where}: channels", channels)
    check_sequence(f"{where}: kernel_sizes", kernel_sizes)
    if not channels or len(channels) != len(kernel_sizes):
        raise ValueError(
            f"{where}: channels and kernel_sizes must have an entry for each convolution, "
            f"got {channels} and {kernel_sizes}"
        )


def _begin(masked: bool) -> tuple[_Nodes, int, int | None]:
    """Return the first nodes, the index of the series and that of the mask, if there is one."""
    if not masked:
        return [], -1, None
    return [(crop([(0, None, 1), (1, None, 1)]), -1), (crop([(0, None, 1), (0, 1, 1)]), -1)], 0, 1


def _append(nodes: _Nodes, layer: Layer, *sources: int) -> int:
    nodes.append((layer, *sources))
    return len(nodes) - 1


def _conv_norm(nodes: _Nodes, mask: int | None, x: int, features: int, kernel_size: int) -> int:
    """Append a convolution without bias and a norm, whose bias replaces it."""
    return _norm(nodes, mask, _append(nodes, conv1d(features, kernel_size, padding="same", bias=False), x))


def _norm(nodes: _Nodes, mask: int | None, x: int) -> int:
    return _append(nodes, batch_norm(), x) if mask is None else _append(nodes, masked_batch_norm(), x, mask)


def _with_head(nodes: _Nodes, mask: int | None, x: int, outputs: int) -> Layer:
    """Return the network whose logits are a linear function of the mean over time."""
    if mask is None:
        mean = _append(nodes, global_avg_pool(), x)
    else:
        total, length = _append(nodes, reduce_sum(1), x), _append(nodes, reduce_sum(1), mask)
        length = _append(nodes, clip(lower=1.0), length)  # of nothing but padding, the mean is 0
        mean = _append(nodes, divide(broadcast=True), total, length)
    _append(nodes, dense(outputs, w_init=lecun_normal), mean)
    return graph(*nodes)
