"""Whole networks: functions of plain arguments that return a Layer.

A model is rebuilt from its function's name and arguments, so all of them are numbers, strings or tuples. Classifiers
end in logits, to be trained with `funcnn.losses.softmax_cross_entropy`; for one output per outcome, with
`funcnn.losses.sigmoid_binary_cross_entropy`.
"""

from __future__ import annotations

from collections.abc import Sequence

from funcnn.combinators import serial
from funcnn.initializers import glorot_uniform, lecun_normal
from funcnn.layer import Layer
from funcnn.layers import conv2d, dense, dropout, flatten, max_pool, relu, tanh

__all__ = ["convnet", "lenet5", "mlp", "seed_convnet"]


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
