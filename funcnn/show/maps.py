"""Pictures of an example on its way through the layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from funcnn import intermediates
from funcnn.data import Dataset
from funcnn.data.lazy import extent
from funcnn.pictures.tiles import Bar, Gallery, Name, Scale, Tile, heat, signed
from funcnn.predictor import Predictor
from funcnn.show.examples import example_label, example_tile, has_images, matched, network, select_examples
from funcnn.show.picture import ArgumentError, Picture
from funcnn.tree import Array

__all__ = ["features"]

FEATURES_IN_A_ROW = 32
ENOUGH_MAPS = 4  # of a layer, where there is no room for all
FEWEST_LINES_OF_MAPS = 8  # of each layer, with its title, before layers are left out


def features(
    trained: Predictor,
    dataset: Dataset,
    example: int = 0,
    *,
    layers: Sequence[str] = (),
    limit: int = 16,
    lines: int = 60,
) -> Picture:
    """Draw the feature maps of an example, layer by layer.

    Parameters
    ----------
    trained : Predictor
    dataset : Dataset
        As `funcnn.data.open` returns it.
    example : int
        Its index.
    layers : sequence of str
        Only these layers, by their paths.
    limit : int
        The largest number of maps of a layer.
    lines : int
        The number of lines to fit into: maps are shrunk, and some left out.

    Returns
    -------
    Picture

    Raises
    ------
    ValueError
        If there is no such layer or example.

    Examples
    --------
    >>> from funcnn import data, models, predictor
    >>> network = {"name": "mlp", "arguments": {"outputs": 3}}
    >>> description = predictor.describe(network, (4, 4, 1), ["a", "b", "c"], full_scale=255)
    >>> trained = predictor.from_description(description, *models.mlp(outputs=3).init((0,), (4, 4, 1))[:2])
    >>> dataset = data.Dataset(np.eye(4, dtype=np.float32)[None, ..., None], np.array([1]), ["a", "b", "c"])
    >>> print(str(features(trained, dataset)).splitlines()[0])
    true b (#0)
    """
    dataset = matched(trained, dataset)
    image = select_examples(dataset, [example])
    x = trained.prepare(image, full_scale=1, warn_of_range=False)
    outputs = intermediates.activations(*network(trained), x)
    for path in layers:
        if path not in outputs:
            raise ArgumentError("layer", path, f"no such layer; the model has {', '.join(outputs)}")
    before: list[RenderableType] = [Text(example_label(dataset, example), "bold")]
    if has_images(dataset):
        before.append(Gallery([example_tile(extent(dataset.x), image[0])], lines=12))
    maps, last = [], x
    for path, batch in outputs.items():
        unchanged, last = np.array_equal(batch.ravel(), last.ravel()), batch
        if path in layers or not (layers or unchanged):  # leave out layers that only flatten, or drop nothing
            maps.append(maps_of_layer(path, batch[0], limit))
    after: list[RenderableType] = []
    if not layers:
        p = trained.predict_proba(image, full_scale=1, warn_of_range=False)[0]
        table = Table.grid(padding=(0, 2, 0, 0))
        for k in np.argsort(-p, kind="stable")[:10]:
            if p[k] < 0.0005:
                break
            table.add_row(Name(trained.classes[k]), Bar(float(p[k]), 20, "blue"), f"{p[k]:.1%}")
        after = [Text("largest predicted probabilities", "bold"), table]
    return Picture([FeaturePage(before, maps, after, lines, bool(layers))])


def maps_of_layer(path: str, output: Array, limit: int) -> LayerMaps:
    """Return the maps (h, w, c) of a layer as tiles, or its features (c) as rows of pixels."""
    if output.ndim == 3:
        images, total = np.moveaxis(output, -1, 0)[:limit], output.shape[-1]
    else:
        across, total = min(FEATURES_IN_A_ROW, output.size), 1
        images = np.append(output, np.zeros(-output.size % across)).reshape(1, -1, across)
    top, negative = float(np.abs(images).max()), images.min() < 0
    tiles = [(signed if negative else heat)(image, top) for image in images]
    scale = Scale(-top if negative else 0.0, top)
    return LayerMaps(path, "x".join(map(str, output.shape)), tiles, total, scale)


class LayerMaps(NamedTuple):
    """The maps of a layer: a title with their scale, and as many tiles as fit into ``lines``, at least one row."""

    path: str
    shape: str
    tiles: Sequence[Tile]
    total: int
    scale: Scale
    lines: int = 20

    def fitted(self, console: Console, options: ConsoleOptions) -> tuple[list[Text], Gallery, int]:
        """Return the lines of the title, the tiles, and the number of lines of both."""
        for title_lines in (1, 2):
            gallery = Gallery(self.tiles, lines=max(self.lines - title_lines, 1), enough=ENOUGH_MAPS)
            layout = gallery.layout(console, options)
            if layout.lines(len(self.tiles)) > gallery.lines:
                capacity = max(layout.capacity(gallery.lines), layout.in_a_row)
                gallery = gallery._replace(tiles=self.tiles[:capacity])
                layout = gallery.layout(console, options)
            count = len(gallery.tiles)
            title = Text(f"{self.path}  {self.shape}", "bold")
            if count < self.total:
                title.append(f", the first {count} of {self.total} maps")
            scale = self.scale.text(console, options)
            if title_lines == 1 and title.cell_len + 3 + scale.cell_len <= options.max_width:
                return [Text.assemble(title, "   ", scale)], gallery, 1 + layout.lines(count)
        return [title, scale], gallery, 2 + layout.lines(count)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        title, gallery, _ = self.fitted(console, options)
        yield from title
        yield gallery


class FeaturePage(NamedTuple):
    """Maps of layers, shrunk until the page has at most ``lines`` lines; then fewer layers, unless ``all_layers``."""

    before: Sequence[RenderableType]
    maps: Sequence[LayerMaps]
    after: Sequence[RenderableType]
    lines: int
    all_layers: bool

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        def count(renderables: Sequence[RenderableType]) -> int:
            return sum(len(console.render_lines(renderable, options)) for renderable in renderables)

        room = self.lines - count(self.before) - count(self.after)
        for each in range(max(20, room // max(len(self.maps), 1)), FEWEST_LINES_OF_MAPS - 1, -1):
            maps = [layer._replace(lines=each) for layer in self.maps]
            heights = [layer.fitted(console, options)[2] for layer in maps]
            if sum(heights) <= room:
                break
        chosen = list(range(len(maps)))
        rest: list[RenderableType] = []
        while not self.all_layers and len(chosen) > 1 and sum(heights[k] for k in chosen) + count(rest) > room:
            chosen = np.unique(np.linspace(0, len(maps) - 1, len(chosen) - 1).round().astype(int)).tolist()
            left_out = [maps[k].path for k in range(len(maps)) if k not in chosen]
            which = ": " + ", ".join(left_out) if len(left_out) <= 12 else " and a path that funcnn inspect lists"
            rest = [Text(f"{len(left_out)} more layers, with --layer{which}", "dim")]
        yield from self.before
        yield from (maps[k] for k in chosen)
        yield from rest
        yield from self.after
