"""Twins of `funcnn.kernels.channels`.

As there, x is a matrix whose rows hold several positions, and the per-channel arguments are repeated to match, so that
the inner loops are long and run over neighbouring numbers. The routines repeat them: in Python, that would take as long
as a small layer. Sums are taken of blocks of rows that fit in the cache, then over the blocks in float64, which makes
float32's sums more accurate than NumPy's pairwise ones. Several threads share the blocks, and the sums over these are
the same for any number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from funcnn.kernels import threads
from funcnn.kernels.channels import Pooled, long_rows
from funcnn.kernels.compiled.parallel import in_parallel, team
from funcnn.kernels.compiled.pooling import argmax_of_all_axes, as_matrices, window_rows
from funcnn.kernels.compiled.routines import helper, routine, same_floats
from funcnn.tree import Array

_ROW = 1 << 9  # numbers of a row, at most: the repeated arguments stay in the first cache
_BLOCK = 1 << 15  # numbers of a block: what is read twice stays in the second cache


def channel_moments(x: Array) -> Any:
    """See `funcnn.kernels.channels.channel_moments`."""
    if not same_floats(x):
        return NotImplemented
    channels = x.shape[-1]
    moments = np.zeros((2, channels))
    if x.size:
        _moments(_team(x), _rows(x), channels, moments)
    mean, var = moments.astype(x.dtype)
    return mean, var


def affine(x: Array, mean: Array, factor: Array, shift: Array, relu: bool = False) -> Array:
    """See `funcnn.kernels.channels.affine`."""
    if not same_floats(x, mean, factor, shift):
        return NotImplemented
    y = np.empty(x.shape, x.dtype)
    if x.size:
        rows = _rows(x)
        mean, factor, shift = _contiguous(mean, factor, shift)
        _affine(_team(x), rows, mean, factor, shift, relu, y.reshape(rows.shape))
    return y


def affine_adjoint(
    x: Array, mean: Array, factor: Array, shift: Array, y: Array | None, dy: Array, pooled: Pooled | None = None
) -> Any:
    """See `funcnn.kernels.channels.affine_adjoint`. Where y was 0 is computed again, which saves reading y."""
    argmax = None if pooled is None else argmax_of_all_axes(pooled.argmaxes, pooled.geometry)
    if not same_floats(x, mean, factor, shift, dy) or (pooled is not None and argmax is None):
        return NotImplemented
    relu, rows = y is not None, _rows(x)
    dy_rows = np.ascontiguousarray(dy).reshape(rows.shape)
    mean, factor, shift = _contiguous(mean, factor, shift)
    sums = np.zeros((2, x.shape[-1]))
    if x.size:
        _adjoint_sums(_team(x), rows, mean, factor, shift, relu, dy_rows, sums)

    def combine(slope: Array, offset: Array) -> Array:
        whole = x if pooled is None else pooled.x
        dx = np.empty(whole.shape, x.dtype)
        slope, offset = _contiguous(slope, offset)
        if not whole.size:
            return dx
        if pooled is None or argmax is None:
            _combine(_team(x), rows, mean, factor, shift, relu, dy_rows, slope, offset, dx.reshape(rows.shape))
        else:
            images = np.ascontiguousarray(whole).reshape(len(x), *long_rows(whole[0], _ROW).shape)
            maxima, dys, at = as_matrices(x), as_matrices(dy), window_rows(pooled.geometry)
            _combine_pooled(
                _team(whole),
                images,
                mean,
                factor,
                shift,
                relu,
                maxima,
                dys,
                argmax,
                at,
                slope,
                offset,
                dx.reshape(images.shape),
            )
        return dx

    centred, total = sums.astype(x.dtype)
    return centred, total, combine


def _rows(x: Array) -> Array:
    return long_rows(np.ascontiguousarray(x), _ROW)


def _team(x: Array) -> Array:
    return team(threads.worth_passes(x.size))


def _contiguous(*per_channel: Array) -> Any:
    return [np.ascontiguousarray(v) for v in per_channel]


@helper
def _repeated(v, row):  # type: ignore[no-untyped-def]
    """Return v (C,) once for each position of a row of so many numbers."""
    repeated = np.empty(row, v.dtype)
    for j in range(row):
        repeated[j] = v[j % len(v)]
    return repeated


@helper
def _rows_of_block(x):  # type: ignore[no-untyped-def]
    return max(8, _BLOCK // x.shape[1])


@helper
def _blocks(x):  # type: ignore[no-untyped-def]
    return (len(x) + _rows_of_block(x) - 1) // _rows_of_block(x)


@helper
def _rows_at(x, block):  # type: ignore[no-untyped-def]
    """Return the first row of a block, and the first of the next one."""
    first = block * _rows_of_block(x)
    return first, min(first + _rows_of_block(x), len(x))


@in_parallel
def _block_moments(arguments, thread, block):  # type: ignore[no-untyped-def]
    """Write the means of a block, and the sums of the squared deviations from them."""
    x, moments = arguments
    start, stop = _rows_at(x, block)
    row, channels = x.shape[1], moments.shape[2]
    total, centre = np.zeros(row, x.dtype), np.empty(row, x.dtype)
    for i in range(start, stop):
        for j in range(row):
            total[j] += x[i, j]
    for c in range(channels):
        mean = 0.0
        for j in range(c, row, channels):
            mean += total[j]
        mean /= (stop - start) * (row // channels)
        moments[block, 0, c], moments[block, 1, c] = mean, 0
        for j in range(c, row, channels):
            centre[j] = mean
    total[:] = 0
    for i in range(start, stop):
        for j in range(row):
            total[j] += (x[i, j] - centre[j]) ** 2
    for j in range(row):
        moments[block, 1, j % channels] += total[j]


@routine("void(i8[::1], R[:,::1], intp, float64[:,::1])")
def _moments(team: Array, x: Array, channels: int, moments: Array) -> None:
    of_blocks = np.empty((_blocks(x), 2, channels), np.float64)
    _block_moments(team, (x, of_blocks), len(of_blocks))
    for k in range(len(of_blocks)):
        first, last = _rows_at(x, k)
        for c in range(channels):
            # combine the means of the blocks before and of this one, and their squared deviations from both
            change = of_blocks[k, 0, c] - moments[0, c]
            moments[0, c] += change * (last - first) / last
            moments[1, c] += of_blocks[k, 1, c] + change * change * (first / last) * (last - first) * (
                x.shape[1] // channels
            )
    for c in range(channels):
        moments[1, c] /= len(x) * (x.shape[1] // channels)


@in_parallel
def _block_affine(arguments, thread, block):  # type: ignore[no-untyped-def]
    x, mean, factor, shift, relu, y = arguments
    start, stop = _rows_at(x, block)
    zero = x.dtype.type(0)
    for i in range(start, stop):
        if relu:
            for j in range(x.shape[1]):
                v = (x[i, j] - mean[j]) * factor[j] + shift[j]
                y[i, j] = zero if v <= 0 else v
        else:
            for j in range(x.shape[1]):
                y[i, j] = (x[i, j] - mean[j]) * factor[j] + shift[j]


@routine("void(i8[::1], R[:,::1], R[::1], R[::1], R[::1], boolean, T[:,::1])")
def _affine(team: Array, x: Array, means: Array, factors: Array, shifts: Array, relu: bool, y: Array) -> None:
    row = x.shape[1]
    mean, factor, shift = _repeated(means, row), _repeated(factors, row), _repeated(shifts, row)
    _block_affine(team, (x, mean, factor, shift, relu, y), _blocks(x))


@in_parallel
def _block_sums(arguments, thread, block):  # type: ignore[no-untyped-def]
    """Write sum (x - mean) dy and sum dy of a block."""
    x, mean, factor, shift, relu, dy, sums = arguments
    start, stop = _rows_at(x, block)
    row, zero = x.shape[1], x.dtype.type(0)
    centred, total = np.zeros(row, x.dtype), np.zeros(row, x.dtype)
    for i in range(start, stop):
        if relu:
            for j in range(row):
                d = x[i, j] - mean[j]
                v = dy[i, j] if d * factor[j] + shift[j] > 0 else zero
                centred[j] += d * v
                total[j] += v
        else:
            for j in range(row):
                centred[j] += (x[i, j] - mean[j]) * dy[i, j]
                total[j] += dy[i, j]
    sums[block] = 0
    for j in range(row):
        sums[block, 0, j % sums.shape[2]] += centred[j]
        sums[block, 1, j % sums.shape[2]] += total[j]


@routine("void(i8[::1], R[:,::1], R[::1], R[::1], R[::1], boolean, R[:,::1], float64[:,::1])")
def _adjoint_sums(
    team: Array, x: Array, means: Array, factors: Array, shifts: Array, relu: bool, dy: Array, sums: Array
) -> None:  # fmt: skip
    row = x.shape[1]
    mean, factor, shift = _repeated(means, row), _repeated(factors, row), _repeated(shifts, row)
    of_blocks = np.empty((_blocks(x), *sums.shape), np.float64)
    _block_sums(team, (x, mean, factor, shift, relu, dy, of_blocks), len(of_blocks))
    for k in range(len(of_blocks)):
        sums += of_blocks[k]


@in_parallel
def _block_combined(arguments, thread, block):  # type: ignore[no-untyped-def]
    x, mean, factor, shift, relu, dy, slope, offset, dx = arguments
    start, stop = _rows_at(x, block)
    zero = x.dtype.type(0)
    for i in range(start, stop):
        if relu:
            for j in range(x.shape[1]):
                d = x[i, j] - mean[j]
                v = dy[i, j] if d * factor[j] + shift[j] > 0 else zero
                dx[i, j] = (d * slope[j] + v + offset[j]) * factor[j]
        else:
            for j in range(x.shape[1]):
                dx[i, j] = ((x[i, j] - mean[j]) * slope[j] + dy[i, j] + offset[j]) * factor[j]


@routine("void(i8[::1], R[:,::1], R[::1], R[::1], R[::1], boolean, R[:,::1], R[::1], R[::1], T[:,::1])")
def _combine(
    team: Array, x: Array, means: Array, factors: Array, shifts: Array, relu: bool, dy: Array, slopes: Array,
    offsets: Array, dx: Array,
) -> None:  # fmt: skip
    row = x.shape[1]
    mean, factor, shift = _repeated(means, row), _repeated(factors, row), _repeated(shifts, row)
    slope, offset = _repeated(slopes, row), _repeated(offsets, row)
    _block_combined(team, (x, mean, factor, shift, relu, dy, slope, offset, dx), _blocks(x))


@in_parallel
def _image_combined(arguments, thread, n):  # type: ignore[no-untyped-def]
    x, mean, factor, shift, relu, maxima, dy, argmax, window_rows, slope, offset, dx = arguments
    rows, row = x.shape[1:]
    windows, channels = dy.shape[1:]
    zero = x.dtype.type(0)
    scattered = np.zeros((rows, row), x.dtype)  # dy of the image, at the positions of the maxima
    masked = np.empty(channels, x.dtype)
    positions = scattered.reshape((rows * row // channels, channels))
    for o in range(windows):
        for c in range(channels):
            passed = not relu or (maxima[n, o, c] - mean[c]) * factor[c] + shift[c] > 0
            masked[c] = dy[n, o, c] if passed else zero
        for c in range(channels):
            positions[window_rows[o, argmax[n, o, c]], c] += masked[c]
    for i in range(rows):
        for j in range(row):
            dx[n, i, j] = ((x[n, i, j] - mean[j]) * slope[j] + scattered[i, j] + offset[j]) * factor[j]


@routine(
    "void(i8[::1], R[:,:,::1], R[::1], R[::1], R[::1], boolean, R[:,:,::1], R[:,:,::1], uint8[:,:,::1], int32[:,::1],"
    "R[::1], R[::1], T[:,:,::1])"
)
def _combine_pooled(
    team: Array, x: Array, means: Array, factors: Array, shifts: Array, relu: bool, maxima: Array, dy: Array,
    argmax: Array, window_rows: Array, slopes: Array, offsets: Array, dx: Array,
) -> None:  # fmt: skip
    row = x.shape[2]
    mean, factor, shift = _repeated(means, row), _repeated(factors, row), _repeated(shifts, row)
    slope, offset = _repeated(slopes, row), _repeated(offsets, row)
    arguments = x, mean, factor, shift, relu, maxima, dy, argmax, window_rows, slope, offset, dx
    _image_combined(team, arguments, len(x))
