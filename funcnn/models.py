"""Whole networks: functions of plain arguments that return a Layer.

A checkpoint records a model as its function's name and arguments, so all arguments are values that JSON can hold:
numbers, strings, None, and sequences of these. The outputs are logits: train with
`funcnn.losses.softmax_cross_entropy` for one class per example, with `funcnn.losses.sigmoid_binary_cross_entropy` for
independent yes-or-no outputs.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from funcnn import checks, layers
from funcnn.combinators import frozen, graph, residual, serial, split
from funcnn.descriptions import described
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

__all__ = [
    "convnet",
    "described",
    "fine_tuned",
    "lenet5",
    "mlp",
    "mobilenet",
    "network",
    "resnet",
    "seed_convnet",
    "vgg",
]

# Values in a description that stand for no layer: kernel, pool and image shape, activation, rates, outputs.
_OTHER_VALUES = 16
# A convolution takes memory for each of the positions between those that it reads.
_LARGEST_STRIDE = 64

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


def build(model: Any, *, arrays: int | None = None) -> Layer:
    """Build a model from its description, which a checkpoint and a fitted estimator hold.

    Parameters
    ----------
    model : dict
        The ``name`` of a function of this module and its ``arguments``, a dict.
    arrays : int, optional
        How many arrays the model's parameters are. If given, arguments that describe more layers are refused before
        any of them is made, so that a description takes no more time and memory than its parameters.

    Returns
    -------
    Layer

    Raises
    ------
    ValueError
        If there is no such function, it does not take the arguments, or they describe too many layers.

    Examples
    --------
    >>> build({"name": "mlp", "arguments": {"outputs": 3, "hidden": [16]}}).init((0,), (4,))[2]
    (3,)
    """
    if not isinstance(model, dict) or not isinstance(model.get("arguments"), dict):
        raise ValueError("build: the description must have an entry 'model' with 'name' and 'arguments'")
    name, arguments = model.get("name"), model["arguments"]
    if name not in __all__:
        raise ValueError(f"build: funcnn.models has no {reprlib.repr(name)}, only {', '.join(__all__)}")
    described = f"models.{name} with {reprlib.repr(arguments)}"
    if arrays is not None and _least_arrays(name, arguments, arrays) > arrays:
        raise ValueError(f"build: {described} would have more layers than the parameters have arrays, {arrays:,}")
    try:
        layer: Layer = globals()[name](**arguments)
    except TypeError as error:
        raise ValueError(f"build: models.{name} does not take {reprlib.repr(arguments)}: {error}") from None
    return layer


def _least_arrays(name: str, arguments: Mapping[str, Any], arrays: int) -> int:
    """Return a number of arrays that the parameters have at least; if that is above ``arrays``, any number above.

    Every layer that an argument describes by an entry of its own has an array, and so has every block of a resnet.
    Only the layers of `network` and `described` may have none, but a description of them is as long as they are many.
    """
    if name in ("network", "described"):
        return 0
    if name == "fine_tuned":
        body = _description(arguments.get("body"))
        return 0 if body is None else _least_arrays(*body, arrays)
    counts = arguments.get("blocks") if name == "resnet" else None
    blocks = sum(n for n in counts if checks.is_int(n) and n > 0) if isinstance(counts, list | tuple) else 0
    return max(blocks, _values(arguments, arrays + _OTHER_VALUES) - _OTHER_VALUES)


def _description(body: Any) -> tuple[str, Mapping[str, Any]] | None:
    """Return name and arguments of the model that `fine_tuned` has, or None if it is not one that it takes."""
    if not isinstance(body, Mapping) or body.keys() != {"name", "arguments"} or body["name"] == "fine_tuned":
        return None
    return (body["name"], body["arguments"]) if isinstance(body["arguments"], dict) else None


def _values(value: Any, most: int) -> int:
    """Return the number of values in a list or dict and those inside; if there are more than ``most``, any above."""
    entries = list(value.values() if isinstance(value, Mapping) else value)
    count = len(entries)
    for entry in entries:
        if count > most:
            break
        if isinstance(entry, list | tuple | Mapping):
            count += _values(entry, most - count)
    return count


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
    _check_sequence("convnet: channels", channels)
    _check_sequence("convnet: hidden", hidden)
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
    _check_sequence("mlp: hidden", hidden)
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
    _check_sequence("vgg: blocks", blocks, depth=2)
    _check_sequence("vgg: hidden", hidden)
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
    _check_sequence("resnet: blocks", blocks)
    _check_sequence("resnet: channels", channels)
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
    _check_sequence("mobilenet: stem", stem)
    _check_sequence("mobilenet: blocks", blocks, depth=2)
    if (largest := max(stride for _, stride in (stem, *blocks))) > _LARGEST_STRIDE:
        raise ValueError(f"mobilenet: strides must be at most {_LARGEST_STRIDE}, got {largest}")
    features, stride = stem
    body = _conv_norm_relu(features, 3, stride=stride)
    for features, stride in blocks:
        body += [depthwise_conv2d(3, stride=stride, padding=1, bias=False), batch_norm(), relu()]
        body += _conv_norm_relu(features, 1)
    return serial(*body, global_avg_pool(), dense(outputs, w_init=lecun_normal))._replace(name="mobilenet")


def network(nodes: Sequence[Mapping[str, Any]]) -> Layer:
    """Any network of layers of `funcnn.layers`, described by plain data: what `funcnn.onnx.from_onnx` reads is one.

    Parameters
    ----------
    nodes : sequence of dict
        Each has ``layer``, the name of a function in `funcnn.layers`; optionally its ``arguments``, a dict; and
        optionally its ``sources``, indices of earlier nodes or -1 for the input, as in `funcnn.combinators.graph`. By
        default a node reads the one before it.

    Returns
    -------
    Layer
        A `funcnn.combinators.serial` where each node reads the one before, else a `funcnn.combinators.graph`.

    Raises
    ------
    ValueError, TypeError
        If a node is not such a dict or its layer does not take the arguments; the message names the node.

    Examples
    --------
    >>> model = network([
    ...     {"layer": "conv2d", "arguments": {"features": 4, "kernel_size": 3, "padding": 1}},
    ...     {"layer": "relu"},
    ...     {"layer": "add", "sources": [0, 1]},
    ... ])
    >>> model.init((0,), (8, 8, 1))[2]
    (8, 8, 4)
    """
    made: list[tuple[Any, ...]] = []
    for i, node in enumerate(nodes):
        if not isinstance(node, Mapping) or not {"layer"} <= node.keys() <= {"layer", "arguments", "sources"}:
            raise ValueError(f"network: node {i} must be a dict of layer, arguments and sources, not {node!r}")
        if node["layer"] not in layers.__all__:
            raise ValueError(f"network: node {i}: funcnn.layers has no {node['layer']!r}")
        arguments = node.get("arguments", {})
        try:
            layer: Layer = getattr(layers, node["layer"])(**arguments)
        except (TypeError, ValueError) as error:
            raise ValueError(f"network: node {i}, {node['layer']}, does not take {arguments}: {error}") from None
        made.append((layer, *node.get("sources", [i - 1])))
    if made and all(sources == [i - 1] for i, (_, *sources) in enumerate(made)):
        return serial(*(layer for layer, *_ in made))
    return graph(*made)


def fine_tuned(body: Mapping[str, Any], *, frozen_layers: int) -> Layer:
    """Another model of this module whose first layers are frozen: ``funcnn train --from FILE --freeze body`` makes one.

    Parameters
    ----------
    body : dict
        The model: ``name`` of another function of this module, and its ``arguments``.
    frozen_layers : int
        How many of its layers are frozen, one of `funcnn.combinators.split_points`.

    Returns
    -------
    Layer
        A `funcnn.combinators.serial` of two: `funcnn.combinators.frozen` of the first layers, and the rest.

    Raises
    ------
    ValueError
        If ``body`` is not such a dict, or cannot be split there.

    Examples
    --------
    >>> from funcnn import tree
    >>> model = fine_tuned({"name": "mlp", "arguments": {"outputs": 3}}, frozen_layers=3)
    >>> params, state, out_shape = model.init((0,), (4,))
    >>> tree.paths(params), out_shape
    (['1_serial/1_dense/b', '1_serial/1_dense/w'], (3,))
    """
    described = _description(body)
    if described is None:
        raise ValueError(
            f"fine_tuned: body must be a dict of the name of another model and its arguments, not {reprlib.repr(body)}"
        )
    name, arguments = described
    first, rest = split(build({"name": name, "arguments": arguments}), frozen_layers)
    return serial(frozen(first), rest)._replace(name="fine_tuned")


def _check_sequence(where: str, value: Any, depth: int = 1) -> None:
    """Raise a TypeError unless an option is a sequence, with ``depth`` 2 one of sequences."""
    if isinstance(value, str) or not (hasattr(value, "__len__") and hasattr(value, "__iter__")):
        raise TypeError(f"{where} must be a sequence such as (16, 32), not {value!r}")
    for i, entry in enumerate(value if depth > 1 else ()):
        _check_sequence(f"{where}[{i}]", entry, depth - 1)


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
