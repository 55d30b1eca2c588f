"""Deep networks for images."""

from __future__ import annotations

from collections.abc import Sequence

from funcnn import checks
from funcnn.combinators import residual, serial
from funcnn.initializers import lecun_normal
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
)
from funcnn.models.arguments import check_sequence

__all__ = ["mobilenet", "resnet", "vgg"]

# A convolution takes memory for each of the positions between those that it reads.
_LARGEST_STRIDE = 64


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
    eleven-layer network's convolutions (VGG-11), batch normalisation after each, and smaller dense layers for images of
    at least 32x32. The paper's networks have ``hidden=(4096, 4096), normalize=False``; VGG-16 has
    ``blocks=((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))``. For 8x8 images use at most
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
    check_sequence("vgg: blocks", blocks, depth=2)
    check_sequence("vgg: hidden", hidden)
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
    In a bottleneck the stride is that of the 3x3 convolution, as in most implementations since the paper.

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
        If ``blocks`` and ``channels`` have different lengths.

    Examples
    --------
    >>> from funcnn import tree
    >>> params, _, out_shape = resnet().init((0,), (32, 32, 3))
    >>> tree.size(params), out_shape
    (272474, (10,))
    """
    check_sequence("resnet: blocks", blocks)
    check_sequence("resnet: channels", channels)
    if not blocks or len(blocks) != len(channels):
        raise ValueError(f"resnet: blocks and channels must have an entry for each stage, got {blocks} and {channels}")
    stem = _conv_norm_relu(channels[0], 3)
    if large_images:
        stem = [*_conv_norm_relu(channels[0], 7, stride=2), max_pool(3, stride=2, padding=1)]
    body: list[Layer] = []
    width = channels[0]
    for stage, (count, features) in enumerate(zip(blocks, channels, strict=True)):
        checks.count("resnet", "blocks", count, least=0)
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
    The default is the paper's network, for large images. Small images need fewer strides: for the 8x8 digits use
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
    check_sequence("mobilenet: stem", stem)
    check_sequence("mobilenet: blocks", blocks, depth=2)
    if (largest := max(stride for _, stride in (stem, *blocks))) > _LARGEST_STRIDE:
        raise ValueError(f"mobilenet: strides must be at most {_LARGEST_STRIDE}, got {largest}")
    features, stride = stem
    body = _conv_norm_relu(features, 3, stride=stride)
    for features, stride in blocks:
        body += [depthwise_conv2d(3, stride=stride, padding=1, bias=False), batch_norm(), relu()]
        body += _conv_norm_relu(features, 1)
    return serial(*body, global_avg_pool(), dense(outputs, w_init=lecun_normal))._replace(name="mobilenet")


def _conv_norm_relu(features: int, kernel_size: int, *, stride: int = 1) -> list[Layer]:
    return [*_conv_norm(features, kernel_size, stride), relu()]


def _conv_norm(features: int, kernel_size: int, stride: int) -> list[Layer]:
    """Return a convolution without bias and a norm, whose bias replaces it. Only the stride changes the size."""
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
