"""Summary of a model: for each layer the shape of its output, its number of parameters and its multiply-adds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from funcnn import html, ops, tree
from funcnn.combinators import map_layers
from funcnn.keys import Key
from funcnn.layer import Layer, op_and_options
from funcnn.ops.conv import depthwise_conv
from funcnn.tree import Tree

__all__ = ["Row", "Summary", "format_summary", "summary"]


class Row(NamedTuple):
    """One layer of a model. Shape and multiply-adds are per example.

    Examples
    --------
    See `summary`.
    """

    path: str
    out_shape: tuple[int, ...]
    parameters: int
    multiply_adds: int


class Summary(list[Row]):
    """The rows of a model: `print` writes them as a table with totals, and a notebook displays it.

    Examples
    --------
    See `summary`.
    """

    def __str__(self) -> str:
        return format_summary(self)

    def _repr_html_(self) -> str:
        parameters, products = sum(row.parameters for row in self), sum(row.multiply_adds for row in self)
        return html.table(_HEAD, [*self, ("total", "", parameters, products)])


_HEAD = ("layer", "output", "parameters", "multiply-adds")


def summary(model: Layer, in_shape: tuple[int, ...]) -> Summary:
    """Return a row for each layer without children, in the order in which ``model.init`` calls them.

    Parameters
    ----------
    model : Layer
    in_shape : tuple of int
        Per example, without the batch axis.

    Returns
    -------
    Summary
        A list of `Row`. Multiply-adds are counted for convolutions and dense layers. All other layers count 0.

    Raises
    ------
    ValueError
        If the shape does not fit a layer; a note names its path.

    Examples
    --------
    >>> from funcnn.models import seed_convnet
    >>> summary(seed_convnet(), (8, 8, 1))[0]
    Row(path='0_conv2d', out_shape=(6, 6, 1), parameters=10, multiply_adds=324)
    """
    rows = Summary()

    def record(path: str, layer: Layer) -> Layer:
        def init(key: Key, in_shape: tuple[int, ...]) -> Any:
            params, state, out_shape = layer.init(key, in_shape)
            products = multiply_adds(layer, params, in_shape, out_shape)
            rows.append(Row(path, out_shape, tree.size(params), products))
            return params, state, out_shape

        return layer._replace(init=init)

    map_layers(record, model).init((0,), in_shape)
    return rows


def format_summary(rows: Sequence[Row]) -> str:
    """Return the rows as a plain-text table that ends with the totals.

    Parameters
    ----------
    rows : sequence of Row

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
    cells = [_HEAD, *((r.path, str(r.out_shape), f"{r.parameters:,}", f"{r.multiply_adds:,}") for r in rows)]
    cells.append((totals[0], totals[1], f"{totals[2]:,}", f"{totals[3]:,}"))
    widths = [max(len(row[i]) for row in cells) for i in range(4)]
    return "\n".join(f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d:>{widths[3]}}" for a, b, c, d in cells)


def multiply_adds(layer: Layer, params: Tree, in_shape: tuple[int, ...], out_shape: tuple[int, ...]) -> int:
    """Return the number of multiply-adds per example; 0 for all layers but convolutions and dense layers.

    Parameters
    ----------
    layer : Layer
        Without children.
    params : tree
    in_shape, out_shape : tuple of int
        Per example, without the batch axis.

    Returns
    -------
    int

    Examples
    --------
    >>> from funcnn.layers import conv2d
    >>> params, _, out_shape = conv2d(4, 3).init((0,), (8, 8, 2))
    >>> multiply_adds(conv2d(4, 3), params, (8, 8, 2), out_shape) == 6 * 6 * 4 * 3 * 3 * 2
    True
    """
    op, _ = op_and_options(layer)
    if op in (ops.conv, depthwise_conv, ops.dense):
        # Each entry of the output is a sum over the weights of its channel: one product for each.
        return math.prod(out_shape) * math.prod(np.shape(params["w"])[:-1])
    if op is ops.conv_transpose:
        # Each entry of the input is multiplied by each weight of its channel.
        return math.prod(in_shape) * math.prod(np.shape(params["w"])[:-1])
    return 0
