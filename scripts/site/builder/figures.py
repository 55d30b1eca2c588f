"""The figures of the pages that derive gradients, computed by the ops that they show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from builder.drawing import COLOURS, Array, Drawing, box, curves, line, stacked, sticks, text, tiles
from funcnn import losses, ops
from funcnn.kernels.conv import toeplitz
from funcnn.kernels.geometry import geometry

STEP = 56


def windows() -> Drawing:
    """A convolution of seven positions with three taps, and its adjoint."""
    read, collect = "y[2] reads three positions of x", "dx[3] collects from the three y that read x[3]"
    parts = {
        "forward: y[2] = x[2] w[0] + x[3] w[1] + x[4] w[2]": _taps(read, lambda o, k: o == 2, near_x=True),
        "backward: dx[3] = dy[1] w[2] + dy[2] w[1] + dy[3] w[0]": _taps(collect, lambda o, k: o + k == 3, near_x=False),
    }
    return stacked(parts, "a convolution and its adjoint")


def _taps(title: str, shown: Callable[[int, int], bool], *, near_x: bool) -> Drawing:
    """Draw all pairs of outputs and taps, those ``shown`` with their weight, written near x or near y."""
    elements = []
    for o in range(5):
        for k in range(3):
            used = shown(o, k)
            ends = (30 + (o + 1) * STEP, 40, 30 + (o + k) * STEP, 110)
            elements.append(line(*ends, colour=COLOURS[k] if used else "#8886", width=3 if used else 1))
            if used:
                share = 0.75 if near_x else 0.25
                place = ends[0] + share * (ends[2] - ends[0]) + 18, ends[1] + share * (ends[3] - ends[1]) + 4
                elements.append(text(*place, f"w[{k}]", colour=COLOURS[k]))
    for o in range(5):
        elements += [box(30 + (o + 1) * STEP - 20, 12, 40, 26), text(30 + (o + 1) * STEP, 30, f"y[{o}]")]
    for s in range(7):
        elements += [box(30 + s * STEP - 20, 112, 40, 26), text(30 + s * STEP, 130, f"x[{s}]")]
    return Drawing(7 * STEP + 10, 145, tuple(elements), title)


def toeplitz_matrix() -> Drawing:
    """The matrix that the Toeplitz method multiplies a 4x4 image by, for a 3x3 kernel without padding."""
    w = np.arange(1.0, 10).reshape(3, 3, 1, 1)
    matrix = toeplitz.matrix(w, geometry("conv", (4, 4), (3, 3)))
    return tiles(matrix[None], "the Toeplitz matrix of a 3x3 kernel on a 4x4 image: 16 positions, 4 outputs", side=320)


def ties() -> Drawing:
    """What a maximum over windows of two does with equal numbers."""
    x = np.array([[[1.0], [3.0], [2.0], [2.0], [0.0], [-1.0]]])
    y, vjp = ops.max_pool(x, 2)
    dx = vjp(np.ones_like(y)).ravel()
    elements = [text(20, 28, "y"), text(20, 98, "x"), text(20, 148, "dx")]
    for i, value in enumerate(x.ravel()):
        place = 70 + i * STEP
        colour = COLOURS[0] if dx[i] else "currentColor"
        elements += [box(place - 20, 80, 40, 26, stroke=colour), text(place, 98, f"{value:g}")]
        elements += [text(place, 148, f"{dx[i]:g}", colour=colour)]
        top = 70 + (i // 2) * 2 * STEP + STEP / 2
        elements.append(line(top, 38, place, 80, colour=COLOURS[0] if dx[i] else "#8886", width=3 if dx[i] else 1))
    for o, value in enumerate(y.ravel()):
        middle = 70 + o * 2 * STEP + STEP / 2
        elements += [box(middle - 20, 10, 40, 26), text(middle, 28, f"{value:g}")]
    return Drawing(70 + 6 * STEP, 160, tuple(elements), "windows of two: the second has a tie, and its first 2 gets dy")


def mean_terms() -> Drawing:
    """What the two mean terms take from the gradient of a normalised channel."""
    rng = np.random.default_rng(3)
    x = np.sort(rng.normal(size=10))
    z = (x - x.mean()) / x.std()
    dz = 0.6 + 0.5 * z + 0.4 * rng.normal(size=10)
    without_mean = dz - dz.mean()
    rest = without_mean - z * (dz * z).mean()
    return stacked({
        f"dz: its mean is {dz.mean():.2f}, its mean with z {(dz * z).mean():.2f}": sticks(dz, "dz", width=420),
        f"dz - M[dz]: mean 0, mean with z {(without_mean * z).mean():.2f}": sticks(without_mean, "", width=420),
        "dz - M[dz] - z M[dz z]: both 0": sticks(rest, "", width=420, colour=COLOURS[0]),
    }, "the gradient of ten values of a channel, in the order of the values")  # fmt: skip


def kinked() -> Drawing:
    """Activations of several branches and their derivatives."""
    return _with_derivatives(np.linspace(-4, 8, 241), (ops.relu, ops.elu, ops.hard_swish, ops.relu6))


def smooth() -> Drawing:
    """Smooth activations and their derivatives."""
    return _with_derivatives(np.linspace(-4, 4, 161), (ops.tanh, ops.sigmoid, ops.gelu, ops.mish))


def _with_derivatives(x: Array, ops_of_x: tuple[Callable[..., Any], ...]) -> Drawing:
    """Draw activations and what their own VJPs make of dy = 1."""
    fs = {f.__name__: f(x) for f in ops_of_x}
    return stacked({
        "y": curves(x, {name: y for name, (y, _) in fs.items()}, "four activations"),
        "dx for dy = 1": curves(x, {name: vjp(np.ones_like(x)) for name, (_, vjp) in fs.items()}, "their derivatives"),
    }, "activations and their derivatives")  # fmt: skip


def errors() -> Drawing:
    """The losses of an error, and their derivatives."""
    e = np.linspace(-3, 3, 121)
    each = {
        f.__name__: [f(np.array([error]), np.zeros(1)) for error in e] for f in (losses.mse, losses.mae, losses.huber)
    }
    return stacked({
        "the loss of an error e": curves(
            e, {name: np.array([value for value, _ in pairs]) for name, pairs in each.items()}, "losses"
        ),
        "its derivative": curves(
            e, {name: np.array([vjp(1.0)[0] for _, vjp in pairs]) for name, pairs in each.items()}, "derivatives"
        ),
    }, "squared, absolute and Huber's loss of an error")  # fmt: skip


def resize_matrix() -> Drawing:
    """The matrix that resizes a row of 5 positions to 12: what it makes of the unit vectors."""
    rows = np.eye(5)[:, :, None]
    forward, vjp = ops.resize(rows, 12)
    backward = np.stack([vjp(np.broadcast_to(unit[:, None], forward.shape))[0, :, 0] for unit in np.eye(12)], axis=1)
    return stacked({
        "R: a row for each position of y, a column for each of x": tiles(forward[:, :, 0].T[None], "R", side=240),
        "what the VJP multiplies dy by: the transpose": tiles(backward[None], "R^T", side=240)._replace(height=110),
    }, "the matrix of a resizing, and that of its VJP")  # fmt: skip


def chain() -> Drawing:
    """Two layers in sequence beside a shortcut: what is computed forward, and what comes back."""
    forward = _chain(COLOURS[1], {150: "f", 260: "g", 350: "+"}, {20: "x", 205: "f(x)", 312: "z", 410: "y"})
    vjps = {80: "+", 150: "vjp of f", 260: "vjp of g"}
    back = _chain(COLOURS[0], vjps, {20: "dx", 205: "df", 312: "dy", 410: "dy"})
    return stacked(
        {
            "forward, to the right: z = g(f(x)), y = x + z": forward,
            "backward, to the left: copies are added up, sums copied": back,
        },
        "y = x + g(f(x)), and its gradient",
    )


def _chain(colour: str, boxes: Mapping[int, str], labels: Mapping[int, str]) -> Drawing:
    """Draw a line with boxes and labels at some places, and the shortcut from 80 to 350."""
    around = [(80, 60), (80, 14), (350, 14), (350, 60)]
    elements = [line(*a, *b, colour=colour, width=2) for a, b in pairwise(around)]
    elements.append(line(5, 60, 425, 60, colour=colour, width=2))
    for place, words in boxes.items():
        width = 30 if words == "+" else 64
        elements.append(box(place - width / 2, 45, width, 30, fill="var(--color-background-primary, white)"))
        elements.append(text(place, 64, words))
    elements += [text(place, 92, words, colour=colour) for place, words in labels.items()]
    return Drawing(430, 104, tuple(elements), "")


def probabilities() -> Drawing:
    """The gradient of the cross-entropy of five logits."""
    logits = np.array([[1.0, 2.5, -0.5, 0.5, 1.5]])
    p, _ = ops.softmax(logits)
    _, vjp = losses.softmax_cross_entropy(logits, np.array([4]))
    return stacked({
        "p, the softmax of five logits": sticks(p[0], "p", width=420),
        "dlogits = p - t, for the label 4": sticks(
            vjp(1.0)[0], "dlogits", width=420, colour=COLOURS[0]
        ),
    }, "the gradient of a cross-entropy")  # fmt: skip


FIGURES = {
    f.__name__: f
    for f in (windows, toeplitz_matrix, ties, mean_terms, kinked, smooth, probabilities, errors, resize_matrix, chain)
}
