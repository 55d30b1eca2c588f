"""Whether the columns of unnamed rows are the pixels of square images: pixels beside each other are alike."""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import numpy as np

from funcnn import data
from funcnn.data import Source
from funcnn.estimators.scaling import mean_and_scale
from funcnn.tree import Array

# Smaller squares are often tables whose number of features is a square by chance.
SMALLEST_IMAGE = 8
# Rows that are compared.
_ROWS = 1000
# With fewer rows than these, pictures are compared in their mean too; with fewer than those, any table is a guess.
_CORRELATED, _KNOWN = 10, 5
# The side of the colour images of the usual data sets, from which on a table of as many columns is a guess.
_USUAL_SIDE = 32
# Neighbours are alike if their similarity is above that of all pairs by this part of what it could be, and by so many
# standard errors; from _TABLE to _IMAGE standard errors it is a guess. Of 300 permutations of 10 digits none has 3.
_LEAST, _TABLE, _ALIKE, _IMAGE = 0.03, 2.0, 3.0, 4.0


class Layout(NamedTuple):
    """What the columns were taken for.

    Attributes
    ----------
    image_shape : (int, int, int)
    reason : str
        A sentence for people.
    guess : bool
        Whether the data would allow the other, too.
    """

    image_shape: tuple[int, int, int]
    reason: str
    guess: bool


def of_columns(x: Source, *, named: bool) -> Layout:
    """Decide whether columns are a table or the pixels of square images.

    Columns below each other in the square must be alike as well as those beside each other: in series only these are,
    or those that are half a side apart are even more alike than those that are a whole side apart.

    Parameters
    ----------
    x : array or source (n, features)
    named : bool
        Whether the columns have names, which makes them a table.

    Returns
    -------
    Layout
        Tables have the image shape (1, features, 1). Unnamed squares smaller than 8x8 are laid out as such, but scaled
        and augmented as tables.

    Raises
    ------
    ValueError
        If the columns look like images of three colours, whose order they do not tell.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> x = load_digits().data
    >>> of_columns(x, named=False).image_shape, of_columns(np.random.default_rng(0).permuted(x, axis=1), named=False)[0]
    ((8, 8, 1), (1, 64, 1))
    """
    features = x.shape[1]
    side, _, channels = image = square_of(features)
    table = (1, features, 1)
    square = f"images of {side}x{side}"
    if side * side * channels != features:
        return Layout(table, f"{features} columns are a table: they are no square", guess=False)
    if channels == 3:
        return _of_colours(x, side, named)
    if side < SMALLEST_IMAGE:
        shape = table if named else image
        return Layout(shape, f"{features} columns are a table: too few for an image", guess=False)
    beside, below, all_pairs, error, slack = _similarities(x, side)
    rise = min(beside, below) - all_pairs
    enough = rise > _LEAST * (1 - all_pairs)
    alike = enough and rise > _ALIKE * error and slack > 0
    seen = f"correlations of {beside:.2f} beside and {below:.2f} below each other, {all_pairs:.2f} of all pairs"
    if named:
        reason = f"{features} named columns are a table" + (f", though they look like {square}: {seen}" * alike)
        return Layout(table, reason, guess=alike)
    if alike:
        return Layout(
            image, f"{features} columns are {square}, for neighbours are alike: {seen}", rise < _IMAGE * error
        )
    unclear = len(x) < _KNOWN or (enough and rise > _TABLE * error and slack > -rise / 5)
    return Layout(table, f"{features} columns are a table, not {square}, for neighbours are not alike: {seen}", unclear)


def square_of(features: int) -> tuple[int, int, int]:
    """Return the (h, w, c) of a square image of so many numbers: grey, else of three colours, else one that has fewer.

    Examples
    --------
    >>> square_of(64), square_of(3072), square_of(65)
    ((8, 8, 1), (32, 32, 3), (8, 8, 1))
    """
    side, coloured = math.isqrt(features), math.isqrt(features // 3)
    if side * side != features and 3 * coloured * coloured == features and coloured >= SMALLEST_IMAGE:
        return coloured, coloured, 3
    return side, side, 1


def _of_colours(x: Source, side: int, named: bool) -> Layout:
    """Decide about columns that may be square images of three colours; if they are, only the user knows their order."""
    table = (1, x.shape[1], 1)
    if named:
        return Layout(table, f"{x.shape[1]} named columns are a table", guess=False)
    for columns in (slice(None, None, 3), slice(side * side)):
        plane = data.Mapped(x, partial(_columns, columns=columns))
        if of_columns(plane, named=False).image_shape != (1, side * side, 1):
            raise ValueError(
                f"{x.shape[1]} columns look like colour images of {side}x{side}: give image_shape=({side}, {side}, 3) "
                f"if the colours of a pixel are beside each other, X.reshape(-1, 3, {side}, {side}).transpose(0, 2, 3, "
                f"1) if the pixels of a colour are, or image_shape=(1, {x.shape[1]}) if they are a table"
            )
    reason = f"{x.shape[1]} columns are a table, not colour images of {side}x{side}, for neighbours are not alike"
    return Layout(table, reason, guess=side >= _USUAL_SIDE)


def _columns(rows: Array, columns: slice) -> Array:
    return rows[:, columns]


def _similarities(x: Source, side: int) -> tuple[float, float, float, float, float]:
    """Return the mean correlations of columns beside and below each other and of all pairs, and the standard error.

    The last number is positive if columns that are half a side apart are less alike than neighbours in the other
    direction.
    """
    x = np.asarray(data.take(x, slice(None, None, -(-len(x) // _ROWS))), np.float64)
    enough = len(x) >= _CORRELATED
    columns = x if enough else x[:, :, None]
    mean, scale, varies = mean_and_scale(columns, None)
    z = np.where(varies, (x - mean) / scale, 0.0)
    varying = np.broadcast_to(varies, x.shape[1:])
    count = int(varying.sum())
    if count < 2:
        return 0.0, 0.0, 0.0, math.inf, 0.0
    all_pairs = float(((z.sum(axis=1) ** 2).mean() - (z**2).mean(axis=0).sum()) / (count * (count - 1)))
    images, varying = z.reshape(-1, side, side), varying.reshape(side, side)

    def similarity(rows: int, columns: int) -> tuple[float, float]:
        here, there = (slice(rows, None), slice(columns, None)), (slice(side - rows), slice(side - columns))
        products = (images[:, *here] * images[:, *there]).mean(axis=0)[varying[here] & varying[there]]
        return (float(products.mean()), float(products.std() / math.sqrt(products.size))) if products.size else (0.0, 0)

    (beside, error_beside), (below, error_below) = similarity(0, 1), similarity(1, 0)
    across, down = similarity(0, side // 2)[0], similarity(side // 2, 0)[0]
    rise = min(beside, below) - all_pairs
    # Of few rows, half a side tells less: it must not be much more alike.
    slack = min(below - across, beside - down) - rise * (0.2 if enough else -0.5)
    return beside, below, all_pairs, error_beside if beside < below else error_below, slack
