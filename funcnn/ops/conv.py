"""Convolution and transposed convolution in one to three dimensions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funcnn import checks
from funcnn.kernels.bias import add_bias, channel_sum
from funcnn.kernels.conv.dispatch import (
    AUTO_METHODS,
    check_method,
    choose,
    correlate,
    correlate_adjoint_w,
    correlate_adjoint_x,
    preference,
    prepare,
)
from funcnn.kernels.geometry import Geometry, Padding, PerAxis, cached_by_shapes, geometry, transposed_geometry
from funcnn.kernels.rectifier import rectify_adjoint
from funcnn.kernels.selection import active
from funcnn.tree import Array, Tree


def conv(
    params: Tree,
    x: Array,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    bias: bool = True,
    method: str = "auto",
) -> tuple[Array, Callable[..., tuple[Tree, Array | None]]]:
    """Convolution, as deep learning uses the word: cross-correlation of x with the kernel w, plus a bias.

    Parameters
    ----------
    params : dict
        ``w`` (K..., I/groups, O) and ``b`` (O).
    x : array (N, S..., I)
        One to three spatial axes S, the same number as ``w`` has kernel axes K.
    stride, dilation : int or tuple of int, >= 1
        The step between windows and between a window's taps; an int applies to every spatial axis.
    padding : int, tuple of int, tuple of (lo, hi), "valid" or "same"
        Positions of zeros around x. "same" gives ceil(S / stride) outputs; if the total padding is odd, the extra
        position is at the end.
    groups : int
        Splits input and output channels into this many groups; each group of outputs depends on one group of inputs.
    bias : bool
        Whether ``params`` has a ``b``. A normalisation that subtracts the mean makes a bias before it useless.
    method : {"auto", "exact", "im2col", "toeplitz", "row_blocks", "depthwise", "winograd"}
        The algorithm. All give the same result up to rounding, at different speeds. "auto" takes the fastest for the
        shapes, by the rules in `funcnn.kernels.conv.dispatch`; "exact" the fastest except "winograd". "auto" means
        "exact" for float64 and complex arrays, and within ``with funcnn.exact():``.

    Returns
    -------
    y : array (N, (S + lo + hi - dilation*(K-1) - 1)//stride + 1, ..., O)
    vjp : callable
        ``vjp(dy) -> (dparams, dx)``; ``vjp(dy, input_gradient=False)`` does not compute dx and returns None for it.

    Raises
    ------
    TypeError
        If an array is not of floats, or an option not of ints.
    ValueError
        If the shapes do not fit (the message lists them with kernel, stride, padding and dilation), or ``method``
        cannot compute this geometry.

    Notes
    -----
    With k running over the kernel's taps and o over output positions,

        y[n,o] = sum_k x[n, o*stride + k*dilation - lo] w[k] + b

    is linear in x and in w. Pairing each term with dy[n,o] and collecting the factors of each entry of x and w gives

        dx[n,s] = sum over the pairs (o, k) with o*stride + k*dilation - lo = s of dy[n,o] w[k]^T
        dw[k]   = sum_{n,o} x[n, o*stride + k*dilation - lo]^T dy[n,o]
        db      = sum_{n,o} dy[n,o]

    With groups, the same holds within each group. ``groups = I`` with O = m*I is the depthwise convolution with
    multiplier m: each channel has its own m filters, so C channels give C*m maps, each computed from one channel.
    (An ordinary convolution, groups=1, sums over the channels and gives O maps for any number of input channels.)

    In float32, the rounding error is about 1e-6 of the largest entry of y, dx or dw. "winograd", which "auto" takes for
    most 3x3 kernels without stride, dilation and groups in float32, has an error of about 1e-5. A NaN or infinity in x
    also makes outputs NaN that do not read it: those of the same block or tile, or of the same tiny image.

    ``torch.nn.Conv2d`` keeps the same ``w`` as (out, in/groups, kernel...).

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
    return conv_and_relu(
        params, x, stride=stride, padding=padding, dilation=dilation, groups=groups, bias=bias, method=method,
        relu=False,
    )  # fmt: skip


def conv_and_relu(
    params: Tree,
    x: Array,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    bias: bool = True,
    method: str = "auto",
    relu: bool = True,
) -> tuple[Array, Callable[..., tuple[Tree, Array | None]]]:
    """`conv`, and with ``relu`` the ReLU of its output: the numbers are rectified before another pass over memory."""
    method = preference(method)
    x, w, b, g, chosen = _checked(params, x, stride, padding, dilation, groups, bias, method)
    y = correlate(x, w, g, groups, chosen, b, relu)
    shape, dtype, outputs = y.shape, y.dtype, y if relu else None

    def conv_vjp(dy: Any, *, input_gradient: bool = True) -> tuple[Tree, Array | None]:
        dy = checks.cotangent("relu" if relu else "conv", dy, shape, dtype)
        if outputs is not None:
            dy = rectify_adjoint(outputs, dy)
        dparams: Tree = {"w": correlate_adjoint_w(x, dy, g, groups, chosen)}
        if b is not None:
            dparams["b"] = channel_sum(dy)
        return dparams, correlate_adjoint_x(dy, w, g, groups, method) if input_gradient else None

    return y, conv_vjp


def prepare_conv(
    params: Tree,
    x: Array,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    bias: bool = True,
    method: str = "auto",
    relu: bool = False,
    kept: bool = True,
) -> Callable[[Array], Array]:
    """Return what computes `conv_and_relu` without the VJP, for any array of x's shape and dtype.

    Arguments are checked, and what depends on params alone is computed, once. ``kept`` says that it serves many arrays.
    """
    x, w, b, g, chosen = _checked(params, x, stride, padding, dilation, groups, bias, preference(method), kept)
    return prepare(x, w, g, groups, chosen, b, relu)


def _checked(
    params: Tree, x: Array, stride: PerAxis, padding: Padding, dilation: PerAxis, groups: int, bias: bool, method: str,
    prepared: bool = False,
) -> tuple[Array, Array, Array | None, Geometry, str]:  # fmt: skip
    """Return x, w, b, the geometry and the method for y and dw."""
    w, b = checks.weights_and_bias("conv", params, bias)
    x = checks.floating("conv: x", x)
    g, chosen = _plan(
        x.shape, x.dtype, w.shape, None if b is None else b.shape, stride, padding, dilation, groups, method,
        active(x.size, x.dtype), prepared,
    )  # fmt: skip
    return x, w, b, g, chosen


@cached_by_shapes
def _plan(
    x: tuple[int, ...],
    dtype: np.dtype[Any],
    w: tuple[int, ...],
    b: tuple[int, ...] | None,
    stride: PerAxis,
    padding: Padding,
    dilation: PerAxis,
    groups: int,
    method: str,
    compiled: bool,
    prepared: bool,
) -> tuple[Geometry, str]:
    """Check the shapes and options of `conv`; return its geometry and the method for y and dw."""
    _check_axes("conv", x, w)
    in_channels, out_channels = w[-2:]
    checks.groups("conv", groups, x[-1], out_channels)
    if x[-1] != in_channels * groups:
        raise ValueError(
            f"conv: x {x} has {x[-1]} channels, but w {w} with groups {groups} takes {in_channels * groups}"
        )
    _check_bias("conv", b, w, out_channels)
    g = geometry("conv", x[1:-1], w[:-2], stride=stride, padding=padding, dilation=dilation)
    method = check_method("conv", method, g, x[-1], out_channels, groups)
    if method in AUTO_METHODS:
        method = choose(
            g, x[0], x[-1], out_channels, groups, dtype,
            exact=method == "exact", compiled=compiled, prepared=prepared,
        )  # fmt: skip
    return g, method


def depthwise_conv(
    params: Tree,
    x: Array,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    bias: bool = True,
    method: str = "auto",
) -> tuple[Array, Callable[..., tuple[Tree, Array | None]]]:
    """Depthwise convolution: `conv` with as many groups as x has channels."""
    return depthwise_conv_and_relu(
        params, x, stride=stride, padding=padding, dilation=dilation, bias=bias, method=method, relu=False
    )


def depthwise_conv_and_relu(
    params: Tree,
    x: Array,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    bias: bool = True,
    method: str = "auto",
    relu: bool = True,
) -> tuple[Array, Callable[..., tuple[Tree, Array | None]]]:
    """`depthwise_conv`, and with ``relu`` the ReLU of its output."""
    x = checks.images("conv", x)
    return conv_and_relu(
        params, x, stride=stride, padding=padding, dilation=dilation, groups=x.shape[-1], bias=bias, method=method,
        relu=relu,
    )  # fmt: skip


def prepare_depthwise_conv(
    params: Tree,
    x: Array,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    bias: bool = True,
    method: str = "auto",
    relu: bool = False,
    kept: bool = True,
) -> Callable[[Array], Array]:
    """As `prepare_conv`, for `depthwise_conv_and_relu`."""
    x = checks.images("conv", x)
    return prepare_conv(
        params, x, stride=stride, padding=padding, dilation=dilation, groups=x.shape[-1], bias=bias, method=method,
        relu=relu, kept=kept,
    )  # fmt: skip


def conv_transpose(
    params: Tree,
    x: Array,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    output_padding: PerAxis = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    bias: bool = True,
    method: str = "auto",
) -> tuple[Array, Callable[..., tuple[Tree, Array | None]]]:
    """Transposed convolution: the adjoint of `conv` of the same geometry, plus a bias.

    It maps the shape of `conv`'s output to the shape of `conv`'s input: with a stride, `conv` shrinks an image and
    `conv_transpose` enlarges it. With the same ``w``, <conv(u), x> = <u, conv_transpose(x)> (both without bias).

    Parameters
    ----------
    params : dict
        ``w`` (K..., O/groups, I), the weights of that `conv`, which maps y's channels to x's; and ``b`` (O).
    x : array (N, S..., I)
        One to three spatial axes S, the same number as ``w`` has kernel axes K.
    stride, dilation : int or tuple of int, >= 1
    padding : int, tuple of int, tuple of (lo, hi), "valid" or "same"
        The padding of that `conv`: these positions are cropped from the output. "same" gives S * stride outputs.
    output_padding : int or tuple of int, 0 to stride - 1
        With a stride, `conv` gives S outputs for several input sizes. y has the smallest of these sizes plus this many
        positions at the end. PyTorch also allows larger values if they are less than the dilation.
    groups : int
        As in `conv`.
    bias : bool
        Whether ``params`` has a ``b``.
    method : {"auto", "exact", "im2col", "toeplitz", "row_blocks", "depthwise", "winograd"}
        As in `conv`.

    Returns
    -------
    y : array (N, (S - 1)*stride + dilation*(K-1) + 1 + output_padding - lo - hi, ..., O)
    vjp : callable
        ``vjp(dy) -> (dparams, dx)``; ``vjp(dy, input_gradient=False)`` does not compute dx and returns None for it.

    Raises
    ------
    TypeError
        If an array is not of floats, or an option not of ints.
    ValueError
        If the shapes do not fit (the message lists them with kernel, stride, padding and dilation), or ``method``
        cannot compute this geometry.

    Notes
    -----
    Each x[n,s] adds a copy of the kernel, weighted by x[n,s], to the output:

        y[n,t] = sum over the pairs (s, k) with s*stride + k*dilation - lo = t of x[n,s] w[k]^T, plus b

    which is `conv`'s dx. It is linear in x and in w. The adjoint of an adjoint is the original map, so

        dx[n,s] = sum_k dy[n, s*stride + k*dilation - lo] w[k]          conv of dy
        dw[k]   = sum_{n,s} dy[n, s*stride + k*dilation - lo]^T x[n,s]  conv's dw, with dy and x swapped
        db      = sum_{n,t} dy[n,t]

    ``torch.nn.ConvTranspose2d`` keeps the same ``w`` as (in, out/groups, kernel...), Keras as (kernel..., out, in).
    M. Zeiler et al., Deconvolutional Networks, 2010; V. Dumoulin and F. Visin, A guide to convolution arithmetic for
    deep learning, 2016 (arXiv:1603.07285).

    Examples
    --------
    >>> import numpy as np
    >>> params = {"w": np.array([1.0, 2.0, 3.0]).reshape(3, 1, 1), "b": np.zeros(1)}
    >>> y, vjp = conv_transpose(params, np.array([[[1.0], [10.0]]]), stride=2)
    >>> y.ravel()
    array([ 1.,  2., 13., 20., 30.])
    >>> conv_transpose(params, np.ones((1, 4, 1)), stride=2, padding="same")[0].shape
    (1, 8, 1)
    """
    w, b = checks.weights_and_bias("conv_transpose", params, bias)
    x = checks.floating("conv_transpose: x", x)
    _check_axes("conv_transpose", x.shape, w.shape)
    if x.shape[-1] != w.shape[-1]:
        raise ValueError(f"conv_transpose: x {x.shape} has {x.shape[-1]} channels, but w {w.shape} takes {w.shape[-1]}")
    out_channels = w.shape[-2] * groups if checks.is_int(groups) else 0
    checks.groups("conv_transpose", groups, x.shape[-1], out_channels)
    _check_bias("conv_transpose", None if b is None else b.shape, w.shape, out_channels)
    g = transposed_geometry(
        "conv_transpose", x.shape[1:-1], w.shape[:-2], stride=stride, padding=padding, output_padding=output_padding,
        dilation=dilation,
    )  # fmt: skip
    method = check_method("conv_transpose", preference(method), g, out_channels, x.shape[-1], groups)
    y = add_bias(correlate_adjoint_x(x, w, g, groups, method), b)
    shape, dtype = y.shape, y.dtype

    def conv_transpose_vjp(dy: Any, *, input_gradient: bool = True) -> tuple[Tree, Array | None]:
        dy = checks.cotangent("conv_transpose", dy, shape, dtype)
        dparams: Tree = {"w": correlate_adjoint_w(dy, x, g, groups, method)}
        if b is not None:
            dparams["b"] = channel_sum(dy)
        return dparams, correlate(dy, w, g, groups, method) if input_gradient else None

    return y, conv_transpose_vjp


def _check_axes(op: str, x: tuple[int, ...], w: tuple[int, ...]) -> None:
    checks.image_axes(op, x)
    if len(w) != len(x):
        raise ValueError(
            f"{op}: x {x} has {len(x) - 2} spatial axes, so w must have {len(x)} axes (kernel..., in, out), not {w}"
        )


def _check_bias(op: str, b: tuple[int, ...] | None, w: tuple[int, ...], out_channels: int) -> None:
    if b is not None and b != (out_channels,):
        raise ValueError(f"{op}: b must be ({out_channels},) to match w {w}, not {b}")
