"""
Your own layer, proven
======================

A layer is a function and its VJP. This one scales every channel: y = s x.
"""

import numpy as np

from funcnn.testing import check_vjp


def scale(params, x):
    """Return y = s x; <dy, ds x + s dx> = <sum dy x, ds> + <s dy, dx>."""

    def scale_vjp(dy):
        return {"s": (dy * x).sum(axis=tuple(range(x.ndim - 1)))}, params["s"] * dy

    return params["s"] * x, scale_vjp


check_vjp(scale, {"s": np.array([2.0, 3.0])}, np.ones((4, 2)))
