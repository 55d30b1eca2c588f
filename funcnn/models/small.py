"""Networks for small images and for rows of numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from funcnn import checks, layers
from funcnn.combinators.serial import serial
from funcnn.initializers import glorot_uniform, lecun_normal
from funcnn.layer import Layer
from funcnn.layers import conv2d, dense, dropout, flatten, max_pool, relu, tanh
from funcnn.models.arguments import check_sequence

__all__ = ["convnet", "lenet5", "mlp", "seed_convnet"]

# The activations without parameters, by the name that a checkpoint records.
ACTIVATIONS: Mapping[str, Callable[[], Layer]] = {
    "celu": layers.celu,
    "elu": layers.elu,
    "gelu": layers.gelu,
    "hard_sigmoid": layers.hard_sigmoid,
    "hard_swish": layers.hard_swish,
    "hard_tanh": layers.hard_tanh,
    "identity": layers.identity,
    "leaky_relu": layers.leaky_relu,
    "mish": layers.mish,
    "relu": layers.relu,
    "relu6": layers.relu6,
    "selu": layers.selu,
    "sigmoid": layers.sigmoid,
    "silu": layers.silu,
    "softplus": layers.softplus,
    "softsign": layers.softsign,
    "tanh": layers.tanh,
}


def seed_convnet(outputs: int = 10, *, features: int = 1, hidden: int = 10) -> Layer:
    """A first convolutional network: one 3x3 kernel without padding, ReLU, linear, ReLU, linear.

    The hand-written example this project started from trains this network with SGD (learning rate 0.1, batches of 64)
    for ten epochs, and its accuracy stays near chance. Here it learns, for three reasons: weights are scaled by their
    fan-in (standard-normal ones saturate the softmax), `funcnn.training.fit` shuffles the examples each epoch, and
    `funcnn.losses.softmax_cross_entropy` takes logits and cannot overflow. Standardise the inputs: on positive
    pixels, a kernel whose weights sum to less than 0 gives the ReLU almost only negative inputs, and then nearly all
    its outputs and gradients are 0. The kernel makes 6x6 outputs of an 8x8 image.

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
    kernel_size: int | Sequence[int] = 3,
    pool: int | Sequence[int] = 2,
    hidden: Sequence[int] = (128,),
    activation: str = "relu",
    dropout_rate: float | Sequence[float | None] = 0.1,
    image_shape: Sequence[int] = (),
) -> Layer:
    """The default network for small images: blocks of convolution, max pooling and activation, then dense layers.

    Pooling before the ReLU gives the same values and gradients as after it, for a quarter of the ReLU's work. The same
    is true of every activation that is nondecreasing.

    Parameters
    ----------
    outputs : int
        Number of logits.
    channels : sequence of int
        One block each.
    kernel_size : int or (int, int)
        Of every convolution; the padding keeps the image's size.
    pool : int or (int, int)
        Window and stride of every max pooling: a block divides height and width by it.
    hidden : sequence of int
        Widths of the dense layers before the last.
    activation : str
        After each block and each hidden dense layer: an activation of `funcnn.layers` without parameters, by its name.
    dropout_rate : float in [0, 1), or sequence of such floats and None
        Of the inputs of the dense layers: one rate for all, or one for each dense layer, the last included. Where it is
        None there is no dropout layer.
    image_shape : (height, width, ...), optional
        Of the images. If given, kernels and pools are no larger than what is left of the image where they are applied,
        and pools of a single position are left out, so that any image has a network.

    Returns
    -------
    Layer

    Raises
    ------
    ValueError
        If the activation is not known; if a kernel, a pool or ``image_shape`` is not a pair, or the rates are not as
        many as the dense layers.

    Examples
    --------
    >>> convnet(channels=(4, 8), hidden=(16,)).init((0,), (8, 8, 1))[2]
    (10,)

    A row of five features is an image of height 1, whose kernels have height 1:

    >>> row = convnet(3, channels=(4,), image_shape=(1, 5), activation="tanh")
    >>> row.init((0,), (1, 5, 1))[0]["0_conv2d"]["w"].shape
    (1, 3, 1, 4)
    """
    check_sequence("convnet: channels", channels)
    check_sequence("convnet: hidden", hidden)
    if activation not in ACTIVATIONS:
        raise ValueError(f"convnet: activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
    activate, kernel, window = ACTIVATIONS[activation], _pair("kernel_size", kernel_size), _pair("pool", pool)
    size = _pair("image_shape", image_shape[:2]) if len(image_shape) else None
    rates = list(dropout_rate) if isinstance(dropout_rate, Sequence) else [dropout_rate] * (len(hidden) + 1)
    if len(rates) != len(hidden) + 1:
        raise ValueError(
            f"convnet: dropout_rate must be one number, or {len(hidden) + 1}, one for each dense layer, "
            f"got {dropout_rate}"
        )
    blocks: list[Layer] = []
    for features in channels:
        if size is not None:
            kernel, window = _at_most(kernel, size), _at_most(window, size)
            size = (size[0] // window[0], size[1] // window[1])
        blocks.append(conv2d(features, kernel, padding="same"))
        if size is None or window != (1, 1):
            blocks.append(max_pool(window))
        blocks.append(activate())
    dense_layers = [[dense(width), activate()] for width in hidden] + [[dense(outputs, w_init=lecun_normal)]]
    head: list[Layer] = []
    for rate, dense_layer in zip(rates, dense_layers, strict=True):
        head += dense_layer if rate is None else [dropout(rate), *dense_layer]
    return serial(*blocks, flatten(), *head)._replace(name="convnet")


def _pair(name: str, value: int | Sequence[int]) -> tuple[int, int]:
    """Return an option as one int for each of the two axes of an image."""
    pair = list(value) if isinstance(value, Sequence) else [value, value]
    if len(pair) != 2 or not all(checks.is_int(v) and v >= 1 for v in pair):
        raise ValueError(f"convnet: {name} must be an int >= 1 or a pair of them, got {value!r}")
    return pair[0], pair[1]


def _at_most(option: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    return min(option[0], size[0]), min(option[1], size[1])


def mlp(outputs: int = 10, *, hidden: Sequence[int] = (64,), dropout_rate: float = 0.0) -> Layer:
    """A feed-forward network of dense layers and ReLUs, for inputs of any shape.

    Parameters
    ----------
    outputs : int
        Number of logits; 1 for a yes-or-no output.
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
    check_sequence("mlp: hidden", hidden)
    body = [layer for width in hidden for layer in (dense(width), relu(), dropout(dropout_rate))]
    return serial(flatten(), *body, dense(outputs, w_init=lecun_normal))._replace(name="mlp")


def lenet5(outputs: int = 10) -> Layer:
    """LeNet-5 as it is used today: tanh, max pooling, and every channel of the first layer an input of the second.

    Y. LeCun et al., Gradient-based learning applied to document recognition, 1998. Images must be at least 16x16; 28x28
    and 32x32 are usual. Initial weights are `glorot_uniform`, which suits tanh.

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
