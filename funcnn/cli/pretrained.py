"""Trained networks that a run begins with: of ONNX files, and of files that a run has written."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from funcnn import checkpoint, models, predictor, tree
from funcnn.cli.console import UsageError
from funcnn.combinators import split_points
from funcnn.combinators.children import child_names
from funcnn.data import describe_shape
from funcnn.data.scaling import PIXEL_SCALINGS
from funcnn.layer import Layer
from funcnn.tree import Tree

if TYPE_CHECKING:
    from funcnn.onnx.builder import Node
    from funcnn.onnx.importer import ImportedNetwork

__all__ = ["Beginning", "Pretrained", "begin", "read", "trained_layers"]

# What follows the logits in a file whose output are probabilities; the loss is one of logits.
AFTER_LOGITS = ("softmax", "log_softmax", "sigmoid", "identity")
# A file that subtracts or divides by more takes pixels from 0 to 255, others from 0 to 1.
LARGEST_OF_UNIT_SCALE = 2.0


class Pretrained(NamedTuple):
    """A trained network whose last layer, a dense one, is its head.

    Attributes
    ----------
    file : Path
    model : dict
        Its description: a function of `funcnn.models` other than `funcnn.models.fine_tuned`, and its arguments.
    params, state : list of tree
        Of each layer.
    in_shape : tuple of int
        Of an example.
    outputs : int
        Of the head; 0 if the file has none.
    classes : list of str, optional
        Where the file names them.
    scaling : dict, optional
        ``mean`` and ``std`` by which its inputs are standardised, both None for inputs as they are. Without it the file
        does not say.
    description : dict
        Of a file of ours (`funcnn.predictor`); of others what is known of it.
    """

    file: Path
    model: dict[str, Any]
    params: list[Tree]
    state: list[Tree]
    in_shape: tuple[int, ...]
    outputs: int
    classes: list[str] | None
    scaling: dict[str, Any] | None
    description: dict[str, Any]


class Beginning(NamedTuple):
    """What a run begins with.

    Attributes
    ----------
    model : dict
        The description of the model.
    params, state : tree
        Of the model.
    in_shape : tuple of int
        Of an example.
    scaling : dict, optional
        ``mean`` and ``std`` by which its inputs are standardised, both None for inputs as they are. By default those of
        the training data.
    notes : list of str
        What became of the head, how inputs are scaled, and which layers are frozen: to be printed.
    """

    model: dict[str, Any]
    params: Tree
    state: Tree
    in_shape: tuple[int, ...]
    scaling: dict[str, Any] | None
    notes: list[str]


def trained_layers(freeze: str) -> int:
    """Return how many layers with weights a value of --freeze leaves to be trained, 0 for all.

    Raises
    ------
    UsageError
    """
    if freeze in ("none", "body"):
        return int(freeze == "body")
    match = re.fullmatch(r"all-but-([1-9]\d{0,5})", freeze)
    if not match:
        raise UsageError(f"--freeze {freeze}: must be none, body, or all-but-N such as all-but-2")
    return int(match[1])


def read(file: Path, image_size: int | None = None) -> Pretrained:
    """Read a trained network.

    Parameters
    ----------
    file : Path
        An ONNX file (.onnx), or what `funcnn.predictor.load` reads.
    image_size : int, optional
        Height and width of images, for an ONNX file that leaves them open.

    Returns
    -------
    Pretrained

    Raises
    ------
    ValueError, OSError, ImportError
        If the file cannot be read; the message names it.
    UsageError
        If the network takes images of another size.
    """
    found = _of_onnx(file, image_size) if file.suffix.lower() == ".onnx" else _of_predictor(file)
    if len(found.in_shape) not in (1, 3):
        raise ValueError(f"{file}: takes examples of {found.in_shape}, which are neither images nor rows of features")
    if image_size and found.in_shape[:-1] != (image_size, image_size):
        raise UsageError(f"--image-size {image_size}: {file} takes {describe_shape(found.in_shape)}")
    return found


def begin(
    pretrained: Pretrained, classes: Sequence[str], *, freeze: str, scaling: str, seed: int, full_scale: float = 1.0
) -> Beginning:
    """Return the model of a run that begins with a trained network, and its first parameters.

    The head is kept if it is one for these classes. Where the file does not name its classes, their number counts.

    Parameters
    ----------
    pretrained : Pretrained
    classes : sequence of str
        Of the data.
    freeze, scaling : str
        Values of --freeze and --scaling; "" where that was not given.
    seed : int
        Of a new head.
    full_scale : float
        Of the data: what their pixels were divided by.

    Returns
    -------
    Beginning

    Raises
    ------
    ValueError
        If ``freeze`` leaves no layer to be frozen.
    UsageError
        If ``scaling`` is not one for these inputs.
    """
    outputs, _ = predictor.loss_for(len(classes))
    params, state = pretrained.params, pretrained.state
    is_kept = outputs == pretrained.outputs and pretrained.classes in (None, list(classes))
    model = pretrained.model if is_kept else _with_outputs(pretrained.model, outputs)
    whole = models.build(model)
    if is_kept:
        note = f"its head is kept, for {len(classes)} classes"
    else:
        new, _, _ = whole.init((seed,), pretrained.in_shape)
        params = [*params[:-1], new[child_names("begin", whole.children)[-1]]]
        note = f"its head, {_described_head(pretrained)}, is made anew for {len(classes)} classes"
    by, scaled = _scaling(pretrained, scaling, full_scale)
    notes = [f"{pretrained.file}: {note}", f"{pretrained.file}: {scaled}"]
    frozen = _frozen_layers(pretrained.file, whole, params, freeze)
    if not frozen:
        return Beginning(model, _named(whole, params), _named(whole, state), pretrained.in_shape, by, notes)
    size, all_size = (sum(tree.size(child) for child in of) for of in (params[frozen:], params))
    notes.append(f"{frozen} of {len(params)} layers are frozen: {size:,} of {all_size:,} parameters are trained")
    model = {"name": "fine_tuned", "arguments": {"body": model, "frozen_layers": frozen}}
    fixed, rest = models.build(model).children
    fixed_name, rest_name = child_names("begin", (fixed, rest))
    (first,) = fixed.children
    return Beginning(
        model,
        {fixed_name: {}, rest_name: _named(rest, params[frozen:])},
        {
            fixed_name: {"params": _named(first, params[:frozen]), "state": _named(first, state[:frozen])},
            rest_name: _named(rest, state[frozen:]),
        },
        pretrained.in_shape,
        by,
        notes,
    )


def _scaling(pretrained: Pretrained, given: str, full_scale: float) -> tuple[dict[str, Any] | None, str]:
    """Return by what inputs are standardised, None for the training data's, and a sentence on it."""
    file, known, channels = pretrained.file, pretrained.scaling, pretrained.in_shape[-1]
    is_image = len(pretrained.in_shape) == 3
    if known:
        if given:
            raise UsageError(f"--scaling {given}: {file} has the scaling of its inputs, which the run takes")
        if known["mean"] is None:
            return known, "its inputs are not standardised, as it was trained"
        for name, numbers in PIXEL_SCALINGS.items():
            if name != "imagenet" and all(np.allclose(known[entry], numbers[entry], 1e-5, 1e-7) for entry in numbers):
                return known, f"its inputs are {_described_range(name)}, as it was trained"
        return known, f"its inputs are standardised as it was trained, by the means {_brief(known['mean'])}"
    choice = given or ("imagenet" if is_image and channels == 3 else "data")
    wanted = describe_shape(pretrained.in_shape)
    if choice in PIXEL_SCALINGS and not is_image:
        raise UsageError(f"--scaling {choice} is for images; {file} takes {wanted}")
    if choice == "imagenet" and channels != 3:
        raise UsageError(f"--scaling imagenet is for images of 3 channels; {file} takes {wanted}")
    scaling: dict[str, Any] | None = None
    if choice == "imagenet":
        by = "standardised by mean and standard deviation of ImageNet's pixels"
    elif choice == "data":
        by = "standardised by mean and standard deviation of the training data"
    elif choice == "raw":
        scaling = {"mean": None, "std": None} if full_scale == 1 else {"mean": 0.0, "std": 1 / full_scale}
        by = "the pixels as they are" if is_image else "the features as they are"
    else:
        by = _described_range(choice)
    if choice in PIXEL_SCALINGS:
        scaling = dict(PIXEL_SCALINGS[choice])
    unknown = "" if given else ", as the file does not say how: --scaling names another way"
    return scaling, f"its inputs are {by}{unknown}"


def _described_range(scaling: str) -> str:
    black, white = scaling.split("..")
    return f"pixels from {black} to {white}"


def _brief(numbers: Any) -> str:
    values = np.ravel(numbers)
    return ", ".join(f"{v:.4g}" for v in values[:3]) + ", ..." * (len(values) > 3)


def _described_head(pretrained: Pretrained) -> str:
    if not pretrained.outputs:
        return "which the file does not have"
    if pretrained.classes is None:
        return f"of {pretrained.outputs} output" + "s" * (pretrained.outputs > 1)
    named = ", ".join(pretrained.classes[:3]) + ", ..." * (len(pretrained.classes) > 3)
    return f"for the {len(pretrained.classes)} classes {named}"


def _frozen_layers(file: Path, whole: Layer, params: Sequence[Tree], freeze: str) -> int:
    """Return how many of the layers are frozen: as many as a value of --freeze says, and the model can be split after.

    Inside of a residual block the model cannot be split, so that more layers may be trained than are asked for.
    """
    trained = trained_layers(freeze)
    if not trained:
        return 0
    weights = [len([path for path in tree.paths(of) if path.rpartition("/")[2] == "w"]) for of in params]
    points = [at for at in split_points(whole) if sum(weights[at:]) >= trained and any(weights[:at])]
    if not points:
        raise ValueError(f"--freeze {freeze} leaves no layer of {file} to be frozen: {sum(weights)} have weights")
    return points[-1]


def _with_outputs(model: dict[str, Any], outputs: int) -> dict[str, Any]:
    """Return the description of a model with another head."""
    arguments = model["arguments"]
    if model["name"] != "network":
        return {**model, "arguments": {**arguments, "outputs": outputs}}
    *body, head = arguments["nodes"]
    return {**model, "arguments": {"nodes": [*body, {**head, "arguments": {"features": outputs}}]}}


def _named(layer: Layer, trees: Sequence[Tree]) -> Tree:
    return dict(zip(child_names("begin", layer.children), trees, strict=True))


def _of_predictor(file: Path) -> Pretrained:
    try:
        trained = predictor.load(file)
    except checkpoint.CheckpointError as error:
        if not is_of_torchvision(file):
            raise
        raise ValueError(
            f"{file} has weights of torchvision without their network: in Python, funcnn.torchvision.from_torchvision "
            "reads them, and funcnn.onnx.to_onnx writes an .onnx file for --from"
        ) from error
    if "offset" in trained.preprocessing:
        raise ValueError(f"{file} is an estimator's: train on in Python, by its warm_start")
    model, layer = trained.description["model"], trained.model
    names = child_names("read", layer.children)
    params, state = ([of[name] for name in names] for of in (trained.params, trained.state))
    if model["name"] == "fine_tuned":
        model = model["arguments"]["body"]
        (first,), rest = layer.children[0].children, layer.children[1]
        frozen = state[0]
        first_names, rest_names = child_names("read", first.children), child_names("read", rest.children)
        params = [*(frozen["params"][name] for name in first_names), *(params[1][name] for name in rest_names)]
        state = [*(frozen["state"][name] for name in first_names), *(state[1][name] for name in rest_names)]
    outputs, _ = predictor.loss_for(len(trained.classes))
    scaling = {name: trained.preprocessing[name] for name in ("mean", "std")}
    return Pretrained(
        file, model, params, state, trained.in_shape, outputs, trained.classes, scaling, trained.description
    )


def is_of_torchvision(file: Path) -> bool:
    """Return whether a file has the tensors that torchvision's ResNets and VGGs begin with."""
    import safetensors

    try:
        with safetensors.safe_open(file, framework="np") as opened:
            names = set(opened.keys())
    except safetensors.SafetensorError:
        return False
    return not names.isdisjoint({"layer1.0.conv1.weight", "features.0.weight"})


def _of_onnx(file: Path, image_size: int | None) -> Pretrained:
    from funcnn.onnx.builder import Node, described
    from funcnn.onnx.importer import import_network
    from funcnn.onnx.metadata import full_scale_of

    in_shape = _open_shape(file, image_size)
    try:
        found = import_network(file, in_shape=in_shape)
    except ValueError as error:  # what follows the body need not be known here
        try:
            found = import_network(file, in_shape=in_shape, output="features")
        except ValueError:
            raise error from None
    nodes = logits = _nodes(found)
    while len(logits) > 1 and logits[-1].layer in AFTER_LOGITS:
        logits = logits[:-1]
    if logits[-1].layer == "dense":
        nodes = logits
    elif len(logits) < len(nodes):  # a classifier of convolutions, whose last one makes a map for each class
        nodes = _nodes(import_network(file, in_shape=in_shape, output="features"))
    is_ours = {"classes", "outputs"} <= found.metadata.keys()
    nodes, scaling = _without_scaling(nodes, found.in_shape, is_ours)
    outputs = nodes[-1].arguments["features"] if nodes[-1].layer == "dense" else 0
    if not outputs:
        shape = models.network(described(nodes)).init((0,), found.in_shape)[2]
        if len(shape) > 1:
            nodes = [*nodes, Node("global_avg_pool", {}, (len(nodes) - 1,), {}, {})]
        nodes = [*nodes, Node("dense", {"features": 1}, (len(nodes) - 1,), {}, {})]
    model = {"name": "network", "arguments": {"nodes": described(nodes)}}
    return Pretrained(
        file,
        model,
        [node.params for node in nodes],
        [node.state for node in nodes],
        found.in_shape,
        outputs,
        _classes(found.metadata, outputs) if is_ours else None,
        scaling,
        {"preprocessing": {"full_scale": full_scale_of(found.metadata)}}
        if is_ours and len(found.in_shape) == 3
        else {},
    )


def _nodes(found: ImportedNetwork) -> list[Node]:
    """Return the layers, with arguments as a checkpoint will return them."""
    return [node._replace(arguments=json.loads(json.dumps(node.arguments))) for node in found.nodes]


def _without_scaling(
    nodes: list[Node], in_shape: tuple[int, ...], is_ours: bool
) -> tuple[list[Node], dict[str, Any] | None]:
    """Return a network without the scaling that it begins with, and that as mean and standard deviation, if known.

    What the run standardises by is not trained.
    """
    is_image = len(in_shape) == 3 and not is_ours
    scale, offset, first = np.ones(in_shape[-1]), np.zeros(in_shape[-1]), 0
    for node in nodes[:-1]:
        if node.layer != "affine" or any(np.ndim(leaf) > 1 for leaf in tree.leaves(node.params)):
            break
        by = np.asarray(node.params.get("scale", 1.0), np.float64)
        scale, offset, first = scale * by, offset * by + node.params.get("bias", 0.0), first + 1
    rest = [node._replace(sources=tuple(source - first for source in node.sources)) for node in nodes[first:]]
    if not first or not (scale > 0).all() or min(min(node.sources) for node in rest) < -1:
        begins = nodes[0]
        if is_image and begins.layer == "batch_norm" and abs(begins.state["mean"]).max() > LARGEST_OF_UNIT_SCALE:
            return nodes, dict(PIXEL_SCALINGS["0..255"])  # its means are those of such pixels
        return nodes, {"mean": None, "std": None} if is_ours else None
    mean, std = 0.0 - offset / scale, 1 / scale  # no mean is -0
    if is_image and max(abs(mean).max(), std.max()) > LARGEST_OF_UNIT_SCALE:
        mean, std = mean / 255, std / 255
    return rest, {"mean": mean.tolist(), "std": std.tolist()}


def _classes(metadata: dict[str, str], outputs: int) -> list[str] | None:
    """Return the classes that the command's own export writes into an ONNX file."""
    try:
        classes = json.loads(metadata["classes"])
    except ValueError:
        return None
    is_list = isinstance(classes, list) and all(isinstance(name, str) for name in classes) and len(classes) > 1
    return classes if is_list and predictor.loss_for(len(classes))[0] == outputs else None


def _open_shape(file: Path, image_size: int | None) -> tuple[int, ...] | None:
    """Return the shape of images where an ONNX file leaves their size open, else None."""
    import onnx

    try:
        graph = onnx.load(file, load_external_data=False).graph
    except Exception:  # reading the network says what is wrong with the file
        return None
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value.type.tensor_type.shape.dim for value in graph.input if value.name not in constants]
    sizes = [d.dim_value for d in inputs[0]] if inputs else []
    if len(sizes) != 4 or min(sizes[1:]) > 0:
        return None
    channels_last = sizes[3] in (1, 3) and sizes[1] not in (1, 3)
    if image_size is None:
        raise ValueError(f"{file}: takes images of any size: name one by --image-size")
    return image_size, image_size, (sizes[3] if channels_last else sizes[1]) or 3
