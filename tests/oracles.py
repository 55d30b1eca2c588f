"""The same functions by another road: loops over single numbers, straight from the definitions, slow and obvious."""

import itertools
import math

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
    """All starts at which a window fits on ``length`` cells."""
    return [start for start in range(0, length, stride) if start + dilation * (window - 1) < length]


def conv(x, w, b, stride=1, padding=0, dilation=1, groups=1):
    rank = x.ndim - 2
    window = w.shape[:-2]
    stride, dilation = per_axis(stride, rank), per_axis(dilation, rank)
    pad = pairs(padding, x.shape[1:-1], window, stride, dilation)
    x = np.pad(x, [(0, 0), *pad, (0, 0)])
    starts = [positions(*a) for a in zip(x.shape[1:-1], window, stride, dilation, strict=True)]
    inner, outer = w.shape[-2], w.shape[-1]
    y = np.zeros((len(x), *map(len, starts), outer), np.result_type(x, w))
    for n, *o, c in np.ndindex(*y.shape):
        group = c // (outer // groups)
        total = b[c]
        for k in np.ndindex(*window):
            cell = [s[i] + d * j for s, i, d, j in zip(starts, o, dilation, k, strict=True)]
            for i in range(inner):
                total += x[n, *cell, group * inner + i] * w[*k, i, c]
        y[n, *o, c] = total
    return y


def windows(x, window, stride, padding, dilation, ceil_mode):
    """For each output position, the cells (by index into the unpadded x) that its window covers, and how many of the
    window's cells lie in x or in the declared padding.
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
        cells = list(itertools.product(*(found[i] for i, (found, *_) in zip(o, axes, strict=True))))
        inside = [c for c in cells if all(0 <= i < s for i, (_, s, _, _) in zip(c, axes, strict=True))]
        declared = [c for c in cells if all(-lo <= i < s + hi for i, (_, s, lo, hi) in zip(c, axes, strict=True))]
        yield o, inside, len(declared)


def max_pool(x, window, stride=None, padding=0, dilation=1, ceil_mode=False):
    """The maxima and, for each, the cell that it came from: the first of the largest in row-major order."""
    y, source = {}, {}
    for o, cells, _ in windows(x, window, stride, padding, dilation, ceil_mode):
        for n in range(len(x)):
            for c in range(x.shape[-1]):
                best = max(cells, key=lambda cell: x[n, *cell, c])
                y[n, *o, c], source[n, *o, c] = x[n, *best, c], (n, *best, c)
    return array_from(y), source


def avg_pool(x, window, stride=None, padding=0, ceil_mode=False, count_include_pad=False):
    y = {}
    for o, cells, declared in windows(x, window, stride, padding, 1, ceil_mode):
        count = declared if count_include_pad else len(cells)
        for n in range(len(x)):
            for c in range(x.shape[-1]):
                y[n, *o, c] = sum(x[n, *cell, c] for cell in cells) / count
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
