"""From strokes to an image as the handwritten digits are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["image_of"]

Array = np.ndarray[Any, Any]

BITS = 32  # the digits' bitmaps have 32 by 32 bits, of which each block of 4 by 4 became the count of its bits
INK = 312  # bits of a bitmap that are on: the mean over the digits is 312.6, and within 303 to 330 for every digit
WIDTH = 25  # bits that a digit is wide at most; its height is all 32
LARGEST_SCALE = 20 * BITS  # so that a drawing is as high as the digits from a 20th of the pad on
LARGEST_RADIUS = 5.0  # of the pen, so that a dot stays a dot
CHUNK = 128  # lines whose distances are computed at once: 1 megabyte


def image_of(strokes: Sequence[Sequence[Sequence[float]]]) -> Array:
    """Return strokes as an image like the digits'.

    The digits were scanned, scaled to the height of 32 bits, and 4 by 4 bits were counted. Their ink is nearly the same
    for all. So the strokes are scaled and centred, and the pen is as thick as makes that many bits dark.

    Parameters
    ----------
    strokes : sequence of sequences of (x, y)
        Points from 0 to 1, y downwards.

    Returns
    -------
    array of int (8, 8), from 0 to 16
    """
    points = [np.asarray(stroke, float).reshape(-1, 2) for stroke in strokes if len(stroke)]
    if not points:
        return np.zeros((8, 8), int)
    every = np.concatenate(points)
    least, size = every.min(axis=0), np.ptp(every, axis=0)
    radius = 2.0
    for _ in range(4):  # the thicker the pen, the smaller what its centre draws
        room = np.array([WIDTH, BITS]) - 2 * radius
        x, y = room / np.maximum(size, 1e-6)
        scale = np.array([min(x, y), min(y, 2 * x)])  # a digit fills the height; a dash is not blown up
        scale = np.minimum(scale, LARGEST_SCALE)  # nor is a dot with a shaky hand
        middle = (least + size / 2) * scale
        distances = _distances([stroke * scale - middle + BITS / 2 for stroke in points])
        radius = float(min(np.partition(distances, INK, axis=None)[INK], LARGEST_RADIUS))
    bits = distances < radius
    return bits.reshape(8, 4, 8, 4).sum(axis=(1, 3))


def _distances(strokes: Sequence[Array]) -> Array:
    """Return the distance of each bit's middle from the nearest stroke, (BITS, BITS)."""
    middles, nearest = np.arange(BITS) + 0.5, np.full((BITS, BITS), np.inf)
    begins = np.concatenate([stroke[:-1] if len(stroke) > 1 else stroke for stroke in strokes])
    ends = np.concatenate([stroke[1:] if len(stroke) > 1 else stroke for stroke in strokes])
    for first in range(0, len(begins), CHUNK):
        begin, along = begins[first : first + CHUNK], (ends - begins)[first : first + CHUNK]
        x, y = (middles - begin[:, axis, None] for axis in (0, 1))
        dot = (y * along[:, 1:])[:, :, None] + (x * along[:, :1])[:, None, :]
        length = (along**2).sum(axis=1)[:, None, None]
        part = np.clip(dot / np.maximum(length, 1e-12), 0, 1)  # of the way along a line, where it is nearest
        squares = (y**2)[:, :, None] + (x**2)[:, None, :] - part * (2 * dot - part * length)
        np.minimum(nearest, squares.min(axis=0), out=nearest)
    return np.sqrt(np.maximum(nearest, 0))
