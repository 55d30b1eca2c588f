"""Weights of torchvision's networks, from .safetensors files, for the same networks of `funcnn.models`.

The names of the tensors are torchvision's, which timm and others use too. Such a file is made where PyTorch is, by
``safetensors.torch.save_file(torchvision.models.resnet18(weights="DEFAULT").state_dict(), "resnet18.safetensors")``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from funcnn import extras, models, ops, tree
from funcnn.combinators import map_layers, serial
from funcnn.keys import Key, shapes_only
from funcnn.layer import Layer, empty_batch, op_and_options
from funcnn.tree import Array, Tree

try:
    import safetensors
except ImportError as error:
    raise extras.missing("weights in .safetensors files need safetensors", "checkpoint", error) from None

__all__ = ["from_torchvision"]

# The blocks of each stage, and whether they are bottlenecks.
_RESNETS = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
    "resnet101": ((3, 4, 23, 3), True),
    "resnet152": ((3, 8, 36, 3), True),
}
# The convolutions of each block.
_VGGS = {"vgg11": (1, 1, 2, 2, 2), "vgg13": (2, 2, 2, 2, 2), "vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
_IN_SHAPE = (224, 224, 3)
_LARGEST_ARRAY = 2**28


def from_torchvision(name: str, file: str | os.PathLike[str], *, output: str | None = None) -> Layer:
    """Read a network's weights as a layer, whose ``init`` returns them.

    Parameters
    ----------
    name : str
        "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "vgg11", "vgg13", "vgg16", "vgg19", or one of the
        VGGs with "_bn" at its end. The last layer has as many outputs as the file's.
    file : path
        A .safetensors file.
    output : "features", optional
        Leave the last layer out: a body for features, or for another head.

    Returns
    -------
    Layer
        `funcnn.models.resnet` or `funcnn.models.vgg`, of images (N, height, width, 3) scaled as torchvision scales them
        (``Features(..., scaling="imagenet")``). A VGG takes 224x224; its convolutions with batch normalisation have no
        bias, which is in the running means instead.

    Raises
    ------
    ValueError
        If the name is not known; if the file is no .safetensors file, or a tensor is missing, unexpected or of another
        shape, naming it.
    OSError
        If there is no such file.

    Notes
    -----
    Of torchvision's other networks `funcnn.models` has none: its MobileNets are versions 2 and 3, `models.mobilenet` is
    version 1. Export them to ONNX, for `funcnn.onnx.from_onnx`.

    Examples
    --------
    >>> try:
    ...     from_torchvision("mobilenet_v2", "mobilenet.safetensors")
    ... except ValueError as error:
    ...     print(str(error)[:71])
    from_torchvision: 'mobilenet_v2' is none of the networks that funcnn.mo
    """
    if output not in (None, "features"):
        raise ValueError(f"from_torchvision: output must be 'features' or None, not {output!r}")
    plain = name.removesuffix("_bn")
    if name not in _RESNETS and plain not in _VGGS:
        known = ", ".join([*_RESNETS, *_VGGS])
        raise ValueError(
            f"from_torchvision: {name!r} is none of the networks that funcnn.models shares with torchvision: {known}, "
            "the VGGs also with _bn; export others to ONNX, for funcnn.onnx.from_onnx"
        )
    tensors = _read(file)
    last = "fc" if name in _RESNETS else "classifier.6"
    outputs = len(tensors[f"{last}.bias"]) if f"{last}.bias" in tensors else 1000
    if name in _RESNETS:
        blocks, bottleneck = _RESNETS[name]
        channels = (64, 128, 256, 512)
        model = models.resnet(outputs, blocks=blocks, channels=channels, bottleneck=bottleneck, large_images=True)
        modules = list(_resnet_modules(blocks, bottleneck))
    else:
        counts, widths, normalize = _VGGS[plain], (64, 128, 256, 512, 512), name != plain
        vgg_blocks = [(width,) * count for width, count in zip(widths, counts, strict=True)]
        model = models.vgg(outputs, blocks=vgg_blocks, hidden=(4096, 4096), normalize=normalize)
        modules = list(_vgg_modules(counts, normalize))
    model = _with_weights(f"{os.fspath(file)}: {name}", model, modules, tensors, _IN_SHAPE)
    return model if output is None else serial(*model.children[:-1])._replace(name=name)


def _read(file: str | os.PathLike[str]) -> dict[str, Array]:
    try:
        with safetensors.safe_open(file, framework="np") as opened:
            return {name: opened.get_tensor(name).astype(np.float32, copy=False) for name in opened.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, TypeError) as error:
        raise ValueError(f"cannot read {os.fspath(file)}: {error}") from None


def _resnet_modules(blocks: tuple[int, ...], bottleneck: bool) -> Iterator[str]:
    """Yield torchvision's names of the layers with weights, in the order in which ours come."""
    yield from ("conv1", "bn1")
    for stage, count in enumerate(blocks):
        for block in range(count):
            at = f"layer{stage + 1}.{block}"
            for i in range(1, 4 if bottleneck else 3):
                yield from (f"{at}.conv{i}", f"{at}.bn{i}")
            if block == 0 and (stage > 0 or bottleneck):
                yield from (f"{at}.downsample.0", f"{at}.downsample.1")
    yield "fc"


def _vgg_modules(counts: tuple[int, ...], normalize: bool) -> Iterator[str]:
    """Yield torchvision's names of the layers with weights, in the order in which ours come."""
    index = 0
    for count in counts:
        for _ in range(count):
            yield from (f"features.{index + i}" for i in range(1 + normalize))
            index += 2 + normalize  # and the ReLU
        index += 1  # the pooling
    yield from (f"classifier.{i}" for i in (0, 3, 6))


def _with_weights(
    where: str, model: Layer, modules: list[str], tensors: Mapping[str, Array], in_shape: tuple[int, ...]
) -> Layer:
    """Return the model with the tensors of the modules, in order, as its layers' initial parameters."""
    shapes = model.init(shapes_only(_LARGEST_ARRAY), in_shape)[0]
    left = {name: tensor for name, tensor in tensors.items() if not name.endswith(".num_batches_tracked")}
    names = iter(modules)
    channels, bias, flattened = in_shape[-1], None, False

    def take(name: str, shape: tuple[int, ...]) -> Array:
        if name not in left:
            raise ValueError(f"{where} has a tensor {name!r}, and the file has none")
        if left[name].shape != shape:
            raise ValueError(f"{where} has a tensor {name!r} of shape {shape}, and the file's has {left[name].shape}")
        return left.pop(name)

    def given(path: str, layer: Layer) -> Layer:
        nonlocal channels, bias, flattened
        expected: Any = shapes
        for part in path.split("/"):
            expected = expected[part]
        if not expected:
            flattened = flattened or op_and_options(layer)[0] is ops.flatten
            return layer
        module, op, state = next(names), op_and_options(layer)[0], {}
        if op is ops.batch_norm:
            size = expected["scale"].shape
            params = {"scale": take(f"{module}.weight", size), "bias": take(f"{module}.bias", size)}
            mean = take(f"{module}.running_mean", size)
            # A bias before the norm is subtracted again with the mean.
            state = {"mean": mean if bias is None else mean - bias, "var": take(f"{module}.running_var", size)}
            bias = None
        else:
            *window, inputs, features = expected["w"].shape
            w = take(f"{module}.weight", (features, inputs, *window))
            if op is ops.dense:
                # After a flatten, inputs are ordered as (channels, positions) there and as (positions, channels) here.
                grid = channels if flattened else inputs
                params = {"w": w.reshape(features, grid, -1).transpose(2, 1, 0).reshape(inputs, features)}
                flattened = False
            else:
                params = {"w": w.transpose(*range(2, w.ndim), 1, 0)}
            channels = features
            if "b" in expected:
                params["b"] = take(f"{module}.bias", (features,))
            elif f"{module}.bias" in left:
                bias = take(f"{module}.bias", (features,))
        params = {name: np.ascontiguousarray(array) for name, array in params.items()}
        return layer._replace(init=partial(_init, layer, params, state))

    made = map_layers(given, model)
    if left:
        names_left = ", ".join(sorted(left)[:3])
        raise ValueError(f"{where} has no tensors {names_left}, which are {len(left)} too many in the file")
    return made


def _init(
    layer: Layer, params: Tree, state: Tree, key: Key, in_shape: tuple[int, ...]
) -> tuple[Tree, Tree, tuple[int, ...]]:
    params, state = tree.read_only(params), tree.read_only(state)
    return params, state, layer.forward(params, empty_batch(in_shape), state, train=False)[0].shape[1:]
