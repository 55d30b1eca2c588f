"""What a model is made of: a row for each layer with its output's shape, parameters and multiply-adds."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from funcnn import tree
from funcnn.combinators import map_layers
from funcnn.keys import Key
from funcnn.layer import Layer
from funcnn.tree import Tree

__all__ = ["Row", "format_summary", "summary"]


class Row(NamedTuple):
    """A layer of a model: its path, output shape (per example), number of parameters and of multiply-adds per
    example.
    """

    path: str
    out_shape: tuple[int, ...]
    parameters: int
    multiply_adds: int


def summary(model: Layer, in_shape: tuple[int, ...]) -> list[Row]:
    """Return a row for each layer, in the order in which they are initialised.

    Parameters
    ----------
    model : Layer
    in_shape : tuple of int
        Per example, without the batch axis.

    Returns
    -------
    list of Row
        Multiply-adds are those of convolutions and dense layers; elementwise work, pooling and additions count as none.

    Raises
    ------
    ValueError
        With the path of the layer, if the shape does not fit.

    Examples
    --------
    >>> from funcnn.models import seed_convnet
    >>> summary(seed_convnet(), (8, 8, 1))[0]
    Row(path='0_conv2d', out_shape=(6, 6, 1), parameters=10, multiply_adds=324)
    """
    rows: list[Row] = []

    def recorded(path: str, layer: Layer) -> Layer:
        def init(key: Key, in_shape: tuple[int, ...]) -> Any:
            params, state, out_shape = layer.init(key, in_shape)
            products = multiply_adds(layer.name, params, in_shape, out_shape)
            rows.append(Row(path, out_shape, tree.size(params), products))
            return params, state, out_shape

        return layer._replace(init=init)

    map_layers(recorded, model).init((0,), in_shape)
    return rows


def format_summary(rows: list[Row]) -> str:
    """Return the rows as a table of plain text, with their totals.

    Parameters
    ----------
    rows : list of Row

    Returns
    -------
    str

    Examples
    --------
    >>> from funcnn.models import mlp
    >>> print(format_summary(summary(mlp(1, hidden=(8,)), (30,))))
    layer      output  parameters  multiply-adds
    0_flatten  (30,)            0              0
    1_dense    (8,)           248            240
    2_relu     (8,)             0              0
    3_dropout  (8,)             0              0
    4_dense    (1,)             9              8
    total                     257            248
    """
    totals = ("total", "", sum(r.parameters for r in rows), sum(r.multiply_adds for r in rows))
    head = ("layer", "output", "parameters", "multiply-adds")
    cells = [head, *((r.path, str(r.out_shape), f"{r.parameters:,}", f"{r.multiply_adds:,}") for r in rows)]
    cells.append((totals[0], totals[1], f"{totals[2]:,}", f"{totals[3]:,}"))
    widths = [max(len(row[i]) for row in cells) for i in range(4)]
    return "\n".join(f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d:>{widths[3]}}" for a, b, c, d in cells)


def multiply_adds(name: str, params: Tree, in_shape: tuple[int, ...], out_shape: tuple[int, ...]) -> int:
    """Return how many products a layer of this name sums up for an example; not 0 in convolutions and dense layers."""
    kind = name[:-2] if name.endswith(("1d", "2d", "3d")) else name
    if kind in ("conv", "depthwise_conv", "dense"):
        # Every entry of the output sums one product for each weight that leads to its channel.
        return math.prod(out_shape) * math.prod(params["w"].shape[:-1])
    if kind == "conv_transpose":
        # The other way round: every entry of the input is multiplied by each weight that leads from its channel.
        return math.prod(in_shape) * math.prod(params["w"].shape[:-1])
    return 0
