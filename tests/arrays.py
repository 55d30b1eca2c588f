"""Arrays for tests: fixed random numbers, and the same array laid out in memory in unusual ways."""

import math

import numpy as np


def normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def distinct(*shape, seed=0):
    """Numbers at least 0.1 apart, in random order: no ties, and no kink near."""
    n = math.prod(shape)
    return (np.random.default_rng([seed, *shape]).permutation(n) - n / 2 + 0.25).reshape(shape) * 0.1


def layouts(x):
    """The same values, laid out in memory in ways that a kernel might not expect."""
    strided = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)[..., ::2]
    strided[...] = x
    read_only = x.copy()
    read_only.flags.writeable = False
    unaligned = np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    unaligned[...] = x
    return {
        "transposed": np.ascontiguousarray(x.T).T,
        "negative strides": np.flip(np.ascontiguousarray(np.flip(x))),
        "strided": strided,
        "Fortran order": np.asfortranarray(x),
        "read-only": read_only,
        "unaligned": unaligned,
    }
