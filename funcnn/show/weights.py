"""Pictures of weights."""

from __future__ import annotations

import numpy as np
from rich.console import RenderableType
from rich.text import Text

from funcnn import tree
from funcnn.pictures.tiles import Gallery, Scale, photograph, signed
from funcnn.predictor import Predictor
from funcnn.show.picture import ArgumentError, Picture
from funcnn.summary import summary
from funcnn.tree import Array

__all__ = ["kernels"]


def kernels(trained: Predictor, layer: str | None = None, *, limit: int = 64) -> Picture:
    """Draw the kernels of a convolution, or the weights of a first dense layer as images.

    Parameters
    ----------
    trained : Predictor
    layer : str, optional
        The path of the layer, such as ``"3_conv2d"``, by default the first one.
    limit : int
        The number of kernels, the largest ones.

    Returns
    -------
    Picture

    Raises
    ------
    ValueError
        If the model, or the layer, has no kernels of images.

    Examples
    --------
    >>> from funcnn import models, predictor
    >>> network = {"name": "convnet", "arguments": {"outputs": 3, "channels": [2]}}
    >>> description = predictor.describe(network, (4, 4, 1), ["a", "b", "c"], full_scale=255)
    >>> model = models.convnet(outputs=3, channels=[2])
    >>> trained = predictor.from_description(description, *model.init((0,), (4, 4, 1))[:2])
    >>> print(str(kernels(trained)).splitlines()[0])
    0_conv2d: 2 kernels of 3x3
    """
    arrays = kernel_arrays(trained)
    if not arrays:
        raise ValueError(
            "the model has neither convolutions of images nor a first dense layer whose weights are images"
        )
    path = next(iter(arrays)) if layer is None else layer
    if path not in arrays:
        raise ArgumentError("layer", path, f"no kernels there, but at {', '.join(arrays)}")
    w = arrays[path]
    height, width, in_channels, out_channels = w.shape
    top = float(np.abs(w).max())
    if in_channels == trained.in_shape[-1] == 3 and path == next(iter(arrays)):  # a kernel of colours
        tiles = [photograph(w[..., o], -top, top) for o in range(out_channels)]
        norms = np.linalg.norm(w.reshape(-1, out_channels), axis=0)
        legend: RenderableType = Text(
            f"weights of red, green and blue as colours; grey is 0, the largest is {top:.3g}", "dim"
        )
    else:
        captions = [
            (i, o, f"{i}>{o}" if in_channels > 1 else "") for o in range(out_channels) for i in range(in_channels)
        ]
        tiles = [signed(w[:, :, i, o], top, caption) for i, o, caption in captions]
        norms, legend = np.linalg.norm(w, axis=(0, 1)).T.ravel(), Scale(-top, top)
    largest = np.sort(np.argsort(-norms, kind="stable")[:limit])
    title = f"{path}: {out_channels} kernel{'s' * (out_channels != 1)} of {height}x{width}"
    title += f"x{in_channels}" * (in_channels > 1)
    if len(largest) < len(tiles):
        what = "slices, input>output channel" if tiles[0].caption else "kernels"
        title += f"; the {len(largest)} largest of {len(tiles)} {what}"
    picture = [Text(title, "bold"), legend, Text(), Gallery([tiles[k] for k in largest])]
    others = [other for other in arrays if other != path]
    return Picture([*picture, Text(f"more with --layer: {', '.join(others)}", "dim")] if others else picture)


def kernel_arrays(trained: Predictor) -> dict[str, Array]:
    """Return the weights that are images, (height, width, in, out), by layer in the model's order."""
    leaves = tree.flatten(trained.params)
    paths = [row.path for row in summary(trained.model, trained.in_shape)]
    weights = {path: leaves[f"{path}/w"] for path in paths if f"{path}/w" in leaves}
    found = {path: w for path, w in weights.items() if w.ndim == 4 and w.shape[:2] != (1, 1)}
    first = next(iter(weights), "")
    if not found and first and len(trained.in_shape) == 3 and len(weights[first]) == np.prod(trained.in_shape):
        return {first: weights[first].reshape(*trained.in_shape, -1)}  # each unit has a weight for each pixel
    return found
