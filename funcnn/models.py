"""Whole networks: functions of plain arguments that return a Layer.

A model is rebuilt from its function's name and arguments, so all of them are numbers, strings or tuples. Classifiers
end in logits, to be trained with `funcnn.losses.softmax_cross_entropy`; for one output per outcome, with
`funcnn.losses.sigmoid_binary_cross_entropy`.
"""

from __future__ import annotations

from collections.abc import Sequence

from funcnn.combinators import residual, serial
from funcnn.initializers import glorot_uniform, lecun_normal
from funcnn.layer import Layer
from funcnn.layers import (
    batch_norm,
    conv2d,
    dense,
    depthwise_conv2d,
    dropout,
    flatten,
    global_avg_pool,
    max_pool,
    relu,
    tanh,
)

__all__ = ["convnet", "lenet5", "mlp", "mobilenet", "resnet", "seed_convnet", "vgg"]


def seed_convnet(outputs: int = 10, *, features: int = 1, hidden: int = 10) -> Layer:
    """A first convolutional network: one 3x3 kernel without padding, ReLU, linear, ReLU, linear.

    The hand-written example this project started from trains this network with SGD (learning rate 0.1, batches of 64)
    for ten epochs, and stays near chance. What it needs is here: weights scaled by their fan-in instead of
    standard-normal ones, which saturate the softmax at once; batches drawn in a new order each epoch
    (`funcnn.training.fit` shuffles); a cross-entropy that takes logits and cannot overflow. And it wants its inputs
    standardised: on positive pixels, a single kernel whose weights sum to less than 0 leaves little alive behind the
    ReLU. An 8x8 image leaves the kernel as 6x6: see `funcnn.kernels.geometry` for the count.

    Parameters
    ----------
    outputs : int
        Number of logits.
    features : int
        Number of kernels.
    hidden : int
        Width of the first linear layer.

    Returns
    -------
    Layer

    Examples
    --------
    >>> from funcnn import tree
    >>> params, _, out_shape = seed_convnet().init((0,), (8, 8, 1))
    >>> tree.size(params), out_shape
    (490, (10,))
    """
    return serial(
        conv2d(features, 3), relu(), flatten(), dense(hidden), relu(), dense(outputs, w_init=lecun_normal)
    )._replace(name="seed_convnet")


def convnet(
    outputs: int = 10,
    *,
    channels: Sequence[int] = (32, 64),
    kernel_size: int = 3,
    hidden: Sequence[int] = (128,),
    dropout_rate: float = 0.1,
) -> Layer:
    """The default network for small images: blocks of convolution, 2x2 max pooling and ReLU, then dense layers.

    Pooling before the ReLU gives the same values and gradients as after it, for a quarter of the ReLU's work.

    Parameters
    ----------
    outputs : int
        Number of logits.
    channels : sequence of int
        One block each; a block halves height and width.
    kernel_size : int
        Of every convolution; the padding keeps the image's size.
    hidden : sequence of int
        Widths of the dense layers before the last.
    dropout_rate : float in [0, 1)
        Before each dense layer.

    Returns
    -------
    Layer

    Examples
    --------
    >>> convnet(channels=(4, 8), hidden=(16,)).init((0,), (8, 8, 1))[2]
    (10,)
    """
    blocks = [
        layer for features in channels for layer in (conv2d(features, kernel_size, padding="same"), max_pool(2), relu())
    ]
    head = [layer for width in hidden for layer in (dropout(dropout_rate), dense(width), relu())]
    last = (dropout(dropout_rate), dense(outputs, w_init=lecun_normal))
    return serial(*blocks, flatten(), *head, *last)._replace(name="convnet")


def mlp(outputs: int = 10, *, hidden: Sequence[int] = (64,), dropout_rate: float = 0.0) -> Layer:
    """A feed-forward network of dense layers and ReLUs, for inputs of any shape.

    Parameters
    ----------
    outputs : int
        Number of logits; 1 for a yes-or-no question.
    hidden : sequence of int
        Widths of the layers before the last.
    dropout_rate : float in [0, 1)
        Before each dense layer but the first.

    Returns
    -------
    Layer

    Examples
    --------
    >>> mlp(1, hidden=(16, 16)).init((0,), (30,))[2]
    (1,)
    """
    body = [layer for width in hidden for layer in (dense(width), relu(), dropout(dropout_rate))]
    return serial(flatten(), *body, dense(outputs, w_init=lecun_normal))._replace(name="mlp")


def lenet5(outputs: int = 10) -> Layer:
    """LeNet-5 as it is used today: tanh, max pooling, all maps of the first layer seen by the second.

    Y. LeCun et al., Gradient-based learning applied to document recognition, 1998. For images from 16x16 on; 28x28 or
    32x32 are usual. Weights are drawn by `glorot_uniform`, for tanh.

    Parameters
    ----------
    outputs : int
        Number of logits.

    Returns
    -------
    Layer

    Examples
    --------
    >>> from funcnn import tree
    >>> params, _, out_shape = lenet5().init((0,), (32, 32, 1))
    >>> tree.size(params), out_shape
    (61706, (10,))
    """
    return serial(
        conv2d(6, 5, w_init=glorot_uniform), tanh(), max_pool(2),
        conv2d(16, 5, w_init=glorot_uniform), tanh(), max_pool(2),
        flatten(),
        dense(120, w_init=glorot_uniform), tanh(),
        dense(84, w_init=glorot_uniform), tanh(),
        dense(outputs, w_init=glorot_uniform),
    )._replace(name="lenet5")  # fmt: skip


def vgg(
    outputs: int = 10,
    *,
    blocks: Sequence[Sequence[int]] = ((64,), (128,), (256, 256), (512, 512), (512, 512)),
    hidden: Sequence[int] = (512,),
    dropout_rate: float = 0.5,
    normalize: bool = True,
) -> Layer:
    """VGG: blocks of 3x3 convolutions, each block halving the image by max pooling, then dense layers.

    K. Simonyan and A. Zisserman, Very Deep Convolutional Networks, 2014 (arXiv:1409.1556), by default with the
    eleven-layer network's convolutions (VGG-11), batch normalisation after each, and a smaller head for images from
    32x32 on. The paper's networks have ``hidden=(4096, 4096), normalize=False``; the sixteen layers of VGG-16 are
    ``blocks=((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))``. For 8x8 images take up to
    three blocks.

    Parameters
    ----------
    outputs : int
        Number of logits.
    blocks : sequence of sequences of int
        For each block the features of its convolutions; a block halves height and width.
    hidden : sequence of int
        Widths of the dense layers before the last.
    dropout_rate : float in [0, 1)
        After each of them.
    normalize : bool
        Whether batch normalisation follows each convolution, which then has no bias.

    Returns
    -------
    Layer

    Examples
    --------
    >>> vgg(blocks=((16, 16), (32, 32)), hidden=(64,)).init((0,), (8, 8, 1))[2]
    (10,)
    """
    body: list[Layer] = []
    for block in blocks:
        for features in block:
            if normalize:
                body += _conv_norm_relu(features, 3)
            else:
                body += [conv2d(features, 3, padding="same"), relu()]
        body.append(max_pool(2))
    head = [layer for width in hidden for layer in (dense(width), relu(), dropout(dropout_rate))]
    return serial(*body, flatten(), *head, dense(outputs, w_init=lecun_normal))._replace(name="vgg")


def resnet(
    outputs: int = 10,
    *,
    blocks: Sequence[int] = (3, 3, 3),
    channels: Sequence[int] = (16, 32, 64),
    bottleneck: bool = False,
    large_images: bool = False,
) -> Layer:
    """ResNet: blocks of convolutions that add to their input, so that even a deep network starts near the identity.

    K. He et al., Deep Residual Learning for Image Recognition, 2015 (arXiv:1512.03385). The default is the paper's
    twenty-layer network for 32x32 images (ResNet-20), which takes any size; n blocks in each of its three stages make
    6n + 2 layers. Its networks for ImageNet are

    - ResNet-18: ``blocks=(2, 2, 2, 2), channels=(64, 128, 256, 512), large_images=True``
    - ResNet-34: the same with ``blocks=(3, 4, 6, 3)``
    - ResNet-50: as ResNet-34 with ``bottleneck=True``

    Where a block changes the shape, its shortcut is a 1x1 convolution with batch normalisation (the paper's option B).
    In a bottleneck the 3x3 convolution takes the stride, as has become usual.

    Parameters
    ----------
    outputs : int
        Number of logits.
    blocks, channels : sequence of int
        For each stage its number of blocks and their features. Every stage but the first halves height and width.
    bottleneck : bool
        Blocks of 1x1, 3x3, 1x1 convolutions with four times as many features at the end, instead of two 3x3.
    large_images : bool
        Begin with a 7x7 convolution of stride 2 and a 3x3 max pooling of stride 2, instead of a 3x3 convolution.

    Returns
    -------
    Layer

    Raises
    ------
    ValueError
        If ``blocks`` and ``channels`` are not of one length.

    Examples
    --------
    >>> from funcnn import tree
    >>> params, _, out_shape = resnet().init((0,), (32, 32, 3))
    >>> tree.size(params), out_shape
    (272474, (10,))
    """
    if len(blocks) != len(channels):
        raise ValueError(f"resnet: a number of blocks and of channels for each stage, got {blocks} and {channels}")
    stem = _conv_norm_relu(channels[0], 3)
    if large_images:
        stem = [*_conv_norm_relu(channels[0], 7, stride=2), max_pool(3, stride=2, padding=1)]
    body: list[Layer] = []
    width = channels[0]
    for stage, (count, features) in enumerate(zip(blocks, channels, strict=True)):
        for block in range(count):
            stride = 2 if stage > 0 and block == 0 else 1
            body += _residual_block(width, features, stride, bottleneck)
            width = features * (4 if bottleneck else 1)
    return serial(*stem, *body, global_avg_pool(), dense(outputs, w_init=lecun_normal))._replace(name="resnet")


def mobilenet(
    outputs: int = 10,
    *,
    stem: tuple[int, int] = (32, 2),
    blocks: Sequence[tuple[int, int]] = (
        (64, 1),
        (128, 2),
        (128, 1),
        (256, 2),
        (256, 1),
        (512, 2),
        (512, 1),
        (512, 1),
        (512, 1),
        (512, 1),
        (512, 1),
        (1024, 2),
        (1024, 1),
    ),
) -> Layer:
    """MobileNet: depthwise separable convolutions, a small fraction of the work of full ones.

    A. Howard et al., MobileNets, 2017 (arXiv:1704.04861): after a full 3x3 convolution each block is a 3x3 convolution
    of each channel by itself and a 1x1 convolution across the channels, both followed by batch normalisation and ReLU.
    The default is the paper's network, for large images; small ones want fewer strides: on the 8x8 digits
    ``stem=(32, 1), blocks=((64, 1), (128, 2), (128, 1))``.

    Parameters
    ----------
    outputs : int
        Number of logits.
    stem : (int, int)
        Features and stride of the first convolution.
    blocks : sequence of (int, int)
        Features and stride of each block.

    Returns
    -------
    Layer

    Examples
    --------
    >>> small = mobilenet(stem=(8, 1), blocks=((16, 1), (32, 2)))
    >>> small.init((0,), (8, 8, 1))[2]
    (10,)
    """
    features, stride = stem
    body = _conv_norm_relu(features, 3, stride=stride)
    for features, stride in blocks:
        body += [depthwise_conv2d(3, stride=stride, padding=1, bias=False), batch_norm(), relu()]
        body += _conv_norm_relu(features, 1)
    return serial(*body, global_avg_pool(), dense(outputs, w_init=lecun_normal))._replace(name="mobilenet")


def _conv_norm_relu(features: int, kernel_size: int, *, stride: int = 1) -> list[Layer]:
    return [*_conv_norm(features, kernel_size, stride), relu()]


def _conv_norm(features: int, kernel_size: int, stride: int) -> list[Layer]:
    """Return a convolution that keeps the size but for the stride, without the bias that the norm would undo."""
    return [conv2d(features, kernel_size, stride=stride, padding=kernel_size // 2, bias=False), batch_norm()]


def _residual_block(width: int, features: int, stride: int, bottleneck: bool) -> list[Layer]:
    if bottleneck:
        body = [*_conv_norm_relu(features, 1), *_conv_norm_relu(features, 3, stride=stride)]
        features, last = 4 * features, _conv_norm(4 * features, 1, 1)
    else:
        body, last = _conv_norm_relu(features, 3, stride=stride), _conv_norm(features, 3, 1)
    same_shape = stride == 1 and width == features
    shortcut = None if same_shape else serial(*_conv_norm(features, 1, stride))
    return [residual(serial(*body, *last), shortcut), relu()]
