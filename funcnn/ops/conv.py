"""Convolution in one to three dimensions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from funcnn.kernels import checks
from funcnn.kernels.bias import add_bias, channel_sum
from funcnn.kernels.convolution import correlate, correlate_adjoint_w, correlate_adjoint_x
from funcnn.kernels.geometry import Padding, PerAxis, geometry
from funcnn.tree import Array, Tree


def conv(
    params: Tree, x: Array, *, stride: PerAxis = 1, padding: Padding = 0, dilation: PerAxis = 1, groups: int = 1
) -> tuple[Array, Callable[..., tuple[Tree, Array | None]]]:
    """Convolution, in the field's sense: cross-correlation of x with the kernel w, plus a bias.

    Parameters
    ----------
    params : dict
        ``w`` (K..., I/groups, O) and ``b`` (O).
    x : array (N, S..., I)
        One to three spatial axes S, as many as ``w`` has kernel axes.
    stride, dilation : int or tuple of int, >= 1
        The step between windows and between a window's taps; an int applies to every spatial axis.
    padding : int, tuple of int, tuple of (lo, hi), "valid" or "same"
        Cells of zeros around x. "same" gives ceil(S / stride) outputs, with the odd cell of padding at the end.
    groups : int
        Input and output channels are cut into this many groups, and each group of outputs sees its own group of inputs.

    Returns
    -------
    y : array (N, (S + lo + hi - dilation*(K-1) - 1)//stride + 1, ..., O)
    vjp : callable
        ``vjp(dy) -> (dparams, dx)``; with ``input_gradient=False``, dx is left out (None).

    Raises
    ------
    TypeError
        If an array is not of floats, or an option not of ints.
    ValueError
        If the shapes do not fit; the message lists them with kernel, stride, padding and dilation.

    Notes
    -----
    With k running over the kernel's taps and o over output positions,

        y[n,o] = sum_k x[n, o*stride + k*dilation - lo] w[k] + b

    is linear in x and in w. Pairing each term with dy[n,o] and collecting what multiplies one entry gives

        dx[n,s] = sum over the pairs (o, k) with o*stride + k*dilation - lo = s of dy[n,o] w[k]^T
        dw[k]   = sum_{n,o} x[n, o*stride + k*dilation - lo]^T dy[n,o]
        db      = sum_{n,o} dy[n,o]

    With groups, the same holds within each group. ``groups = I`` and O = m*I is the depthwise convolution with
    multiplier m: "C channels, then C' filters give C*C' maps", each made from one channel alone. (An ordinary
    convolution, groups=1, sums over the channels and gives O maps however many channels come in.)

    Examples
    --------
    >>> import numpy as np
    >>> ones = {"w": np.ones((3, 3, 1, 1)), "b": np.zeros(1)}
    >>> y, vjp = conv(ones, np.ones((1, 8, 8, 1)))
    >>> y.shape
    (1, 6, 6, 1)
    >>> conv(ones, np.ones((1, 8, 8, 1)), padding="same")[0][0, 0, :3, 0]
    array([4., 6., 6.])
    >>> dparams, dx = vjp(np.ones_like(y))
    >>> dparams["w"][0, 0], dx[0, 0, :3, 0]
    (array([[36.]]), array([1., 2., 3.]))

    Three channels, two filters for each of them:

    >>> depthwise = {"w": np.ones((3, 3, 1, 6)), "b": np.zeros(6)}
    >>> conv(depthwise, np.ones((1, 8, 8, 3)), groups=3)[0].shape
    (1, 6, 6, 6)
    """
    w, b = checks.leaves("conv", params, ("w", "b"))
    x = checks.images("conv", x)
    if w.ndim != x.ndim:
        raise ValueError(
            f"conv: x {x.shape} has {x.ndim - 2} spatial axes, so w must have {x.ndim} axes (kernel..., in, out), "
            f"not {w.shape}"
        )
    inner, outer = w.shape[-2:]
    checks.groups("conv", groups, x.shape[-1], outer)
    if x.shape[-1] != inner * groups:
        raise ValueError(
            f"conv: x {x.shape} has {x.shape[-1]} channels, but w {w.shape} with groups {groups} takes {inner * groups}"
        )
    if b.shape != (outer,):
        raise ValueError(f"conv: b must be ({outer},) to go with w {w.shape}, not {b.shape}")
    g = geometry("conv", x.shape[1:-1], w.shape[:-2], stride=stride, padding=padding, dilation=dilation)
    y = add_bias(correlate(x, w, g, groups), b)
    shape, dtype = y.shape, y.dtype

    def conv_vjp(dy: Any, *, input_gradient: bool = True) -> tuple[Tree, Array | None]:
        dy = checks.cotangent("conv", dy, shape, dtype)
        dw = correlate_adjoint_w(x, dy, g, groups)
        dx = correlate_adjoint_x(dy, w, g, groups) if input_gradient else None
        return {"w": dw, "b": channel_sum(dy)}, dx

    return y, conv_vjp
