"""The same functions by another road: loops over single numbers, straight from the definitions, slow and obvious."""

import itertools
import math
import statistics
from fractions import Fraction

import numpy as np


def pairs(padding, size, window, stride, dilation):
    """Padding as one (lo, hi) per axis, from the definition of each way to give it."""
    if padding == "valid":
        return [(0, 0)] * len(size)
    if padding == "same":
        result = []
        for s, k, t, d in zip(size, window, stride, dilation, strict=True):
            total = 0
            while (s + total - d * (k - 1) - 1) // t + 1 < math.ceil(s / t):
                total += 1
            result.append((total // 2, total - total // 2))
        return result
    entries = padding if isinstance(padding, tuple) else (padding,) * len(size)
    return [p if isinstance(p, tuple) else (p, p) for p in entries]


def per_axis(option, rank):
    return option if isinstance(option, tuple) else (option,) * rank


def positions(length, window, stride, dilation):
    """All starts at which a window fits on ``length`` positions."""
    return [start for start in range(0, length, stride) if start + dilation * (window - 1) < length]


def conv(x, w, b, stride=1, padding=0, dilation=1, groups=1):
    rank = x.ndim - 2
    window = w.shape[:-2]
    stride, dilation = per_axis(stride, rank), per_axis(dilation, rank)
    pad = pairs(padding, x.shape[1:-1], window, stride, dilation)
    x = np.pad(x, [(0, 0), *pad, (0, 0)])
    starts = [positions(*a) for a in zip(x.shape[1:-1], window, stride, dilation, strict=True)]
    in_channels, out_channels = w.shape[-2], w.shape[-1]
    y = np.zeros((len(x), *map(len, starts), out_channels), np.result_type(x, w))
    for n, *o, c in np.ndindex(*y.shape):
        group = c // (out_channels // groups)
        total = b[c]
        for k in np.ndindex(*window):
            position = [s[i] + d * j for s, i, d, j in zip(starts, o, dilation, k, strict=True)]
            for i in range(in_channels):
                total += x[n, *position, group * in_channels + i] * w[*k, i, c]
        y[n, *o, c] = total
    return y


def windows(x, window, stride, padding, dilation, ceil_mode):
    """For each output position, the positions of x that its window covers (by index into the unpadded x), and how many
    of the window's positions are in x or in the declared padding.
    """
    rank = x.ndim - 2
    window = per_axis(window, rank)
    stride = per_axis(window if stride is None else stride, rank)
    dilation = per_axis(dilation, rank)
    pad = pairs(padding, x.shape[1:-1], window, stride, dilation)
    axes = []
    for s, k, t, d, (lo, hi) in zip(x.shape[1:-1], window, stride, dilation, pad, strict=True):
        found = []
        for start in itertools.count(-lo, t):
            last = start + d * (k - 1)
            fits = last < s + hi
            if not fits and not (ceil_mode and start < s and start - t + d * (k - 1) < s + hi - 1):
                break
            found.append([start + d * j for j in range(k)])
        axes.append((found, s, lo, hi))
    for o in itertools.product(*(range(len(found)) for found, *_ in axes)):
        positions = list(itertools.product(*(found[i] for i, (found, *_) in zip(o, axes, strict=True))))
        inside = [c for c in positions if all(0 <= i < s for i, (_, s, _, _) in zip(c, axes, strict=True))]
        declared = [c for c in positions if all(-lo <= i < s + hi for i, (_, s, lo, hi) in zip(c, axes, strict=True))]
        yield o, inside, len(declared)


def max_pool(x, window, stride=None, padding=0, dilation=1, ceil_mode=False):
    """The maxima and, for each, the position that it came from: the first of the largest in row-major order."""
    y, source = {}, {}
    for o, positions, _ in windows(x, window, stride, padding, dilation, ceil_mode):
        for n in range(len(x)):
            for c in range(x.shape[-1]):
                best = max(positions, key=lambda position: x[n, *position, c])
                y[n, *o, c], source[n, *o, c] = x[n, *best, c], (n, *best, c)
    return array_from(y), source


def avg_pool(x, window, stride=None, padding=0, dilation=1, ceil_mode=False, count_include_pad=False):
    y = {}
    for o, positions, declared in windows(x, window, stride, padding, dilation, ceil_mode):
        count = declared if count_include_pad else len(positions)
        for n in range(len(x)):
            for c in range(x.shape[-1]):
                y[n, *o, c] = sum(x[n, *position, c] for position in positions) / count
    return array_from(y)


def array_from(entries):
    shape = [1 + max(i) for i in zip(*entries, strict=True)]
    y = np.full(shape, np.nan)
    for index, value in entries.items():
        y[index] = value
    return y


def dense(x, w, b):
    y = np.zeros((*x.shape[:-1], w.shape[1]))
    for *n, o in np.ndindex(*y.shape):
        y[*n, o] = b[o] + sum(x[*n, i] * w[i, o] for i in range(len(w)))
    return y


def softmax(x, axis=-1):
    rows = np.moveaxis(x, axis, -1)
    y = np.zeros(rows.shape)
    for n in np.ndindex(*rows.shape[:-1]):
        exps = [math.exp(v) for v in rows[n]]
        y[n] = [e / math.fsum(exps) for e in exps]
    return np.moveaxis(y, -1, axis)


def elementwise(f, x):
    return np.array([f(float(v)) for v in x.ravel()]).reshape(x.shape)


def conv_transpose(x, w, b, stride=1, padding=0, output_padding=0, dilation=1, groups=1):
    """Each input entry puts a copy of the kernel, weighted, into the output; then the padding is cut off."""
    rank = x.ndim - 2
    window = w.shape[:-2]
    stride, dilation, extra = (per_axis(option, rank) for option in (stride, dilation, output_padding))
    full = [
        (s - 1) * t + d * (k - 1) + 1 + e
        for s, t, d, k, e in zip(x.shape[1:-1], stride, dilation, window, extra, strict=True)
    ]
    if padding == "same":
        size = [s * t for s, t in zip(x.shape[1:-1], stride, strict=True)]
        pad = pairs("same", size, window, stride, dilation)
        full = [max(f, lo + s + hi) for f, s, (lo, hi) in zip(full, size, pad, strict=True)]
    else:
        pad = pairs(padding, full, window, stride, dilation)
    per_group_out, per_group_in = w.shape[-2], w.shape[-1] // groups
    y = np.zeros((len(x), *full, per_group_out * groups), np.result_type(x, w))
    for n, *s, i in np.ndindex(*x.shape):
        group = i // per_group_in
        for k in np.ndindex(*window):
            position = [p * t + d * j for p, t, d, j in zip(s, stride, dilation, k, strict=True)]
            for o in range(per_group_out):
                y[n, *position, group * per_group_out + o] += x[n, *s, i] * w[*k, o, i]
    cropped = tuple(slice(lo, f - hi) for f, (lo, hi) in zip(full, pad, strict=True))
    return y[:, *cropped] + b


def adaptive_windows(positions, windows):
    """For each window all positions that its share of the whole, an interval of real numbers, touches."""
    share = Fraction(positions, windows)
    return [[c for c in range(positions) if c < (i + 1) * share and c + 1 > i * share] for i in range(windows)]


def adaptive_pool(f, x, size):
    axes = [adaptive_windows(s, o) for s, o in zip(x.shape[1:-1], per_axis(size, x.ndim - 2), strict=True)]
    y = np.zeros((len(x), *map(len, axes), x.shape[-1]))
    for n, *o, c in np.ndindex(*y.shape):
        positions = itertools.product(*(axis[i] for axis, i in zip(axes, o, strict=True)))
        y[n, *o, c] = f([x[n, *position, c] for position in positions])
    return y


def standardize(x, members, eps):
    """(x - mean) / sqrt(var + eps) for each entry, of the entries that ``members`` names for its index."""
    y = np.zeros(x.shape)
    for index in np.ndindex(*x.shape):
        values = [float(x[m]) for m in members(index)]
        mean = statistics.fmean(values)
        y[index] = (x[index] - mean) / math.sqrt(statistics.pvariance(values, mean) + eps)
    return y
