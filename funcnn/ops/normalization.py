"""Normalisation: subtract the mean and divide by the standard deviation, over some of the axes, then scale and shift.

Each op takes ``params`` and x (N, ..., C), and returns y of x's shape and ``vjp(dy) -> (dparams, dx)``;
``vjp(dy, input_gradient=False)`` does not compute dx and returns None for it. It raises a TypeError if an array is not
of floats, and a ValueError if the shapes do not fit, ``params`` has other leaves, or ``eps`` is below 0.

The ops differ in the axes that the mean and the variance are taken over; `rms_norm` subtracts no mean. ``eps`` is added
to the variance. All variances are the biased ones, the means of squared deviations. They are computed in two passes:
the difference of the mean square and the squared mean would lose all digits where the mean is large.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcnn import checks
from funcnn.kernels.bias import channel_sum
from funcnn.kernels.channels import Pooled, affine, affine_adjoint, channel_moments
from funcnn.kernels.geometry import Geometry
from funcnn.kernels.pooling import max_pool, max_pool_adjoint
from funcnn.kernels.rectifier import rectify_adjoint
from funcnn.sharding import current_shard
from funcnn.tree import Array, Tree


def batch_norm(
    params: Tree, x: Array, *, stats: Tree | None = None, eps: float = 1e-5
) -> tuple[Array, Callable[..., tuple[Tree, Array | None]], Tree]:
    """Batch normalisation: standardise each channel over the batch and all positions, or by given statistics.

    Parameters
    ----------
    params : dict
        ``scale`` (C) and ``bias`` (C).
    x : array (N, ..., C)
    stats : dict, optional
        ``mean`` (C) and ``var`` (C) to normalise by, as in evaluation; they are not differentiated. By default those
        of x, which must then have at least two values per channel (else a ValueError).
    eps : float >= 0

    Returns
    -------
    y : array, shape of x
    vjp : callable
    stats : dict
        The ``mean`` and ``var`` that y is normalised by.

    Notes
    -----
    y = z scale + bias with z = (x - mean) r and r = 1 / sqrt(var + eps). Let M be the mean over the n values of a
    channel, and dz = dy scale. The mean and the variance depend on x, which gives the last two terms of

        dx = r (dz - M[dz] - z M[dz z])        dscale = sum dy z        dbias = sum dy

    With given statistics, they do not, and dx = r dz. The code computes dx from dscale and dbias: as n M[dz] = scale
    dbias and n M[dz z] = scale dscale, and z = (x - mean) r,

        dx = (-(x - mean) r dscale / n + dy - dbias / n) r scale        (`affine_adjoint`)

    S. Ioffe and C. Szegedy, Batch Normalization, 2015 (arXiv:1502.03167).

    Examples
    --------
    >>> params, x = {"scale": np.array([2.0]), "bias": np.array([5.0])}, np.array([[1.0], [3.0]])
    >>> y, vjp, stats = batch_norm(params, x, eps=0.0)
    >>> y.ravel(), stats["mean"], stats["var"]
    (array([3., 7.]), array([2.]), array([1.]))
    >>> batch_norm(params, np.array([[4.0]]), stats=stats, eps=0.0)[0]
    array([[9.]])
    """
    return fused_batch_norm(params, x, stats=stats, eps=eps)


def fused_batch_norm(
    params: Tree,
    x: Array,
    pool: Geometry | None = None,
    *,
    relu: bool = False,
    stats: Tree | None,
    eps: float,
) -> tuple[Array, Callable[..., tuple[Tree, Array | None]], Tree]:
    """Batch normalisation, followed by max pooling, ReLU, or both.

    ``pool`` are the windows of max pooling. All ``scale`` must then be above 0. Normalisation keeps the order of the
    values of a channel, so that the maxima of y are the normalised maxima of x, at the same positions. So y, dscale and
    dbias are those of `batch_norm` with the maxima in place of x, although the statistics are those of x; and dx is
    that of `batch_norm` with max pooling's VJP of dy in place of dy. (Where rounding makes different values of x equal
    in y, the position stays that in x.)

    ReLU comes last; x must then be real. Its VJP replaces dy by 0 where y is 0.
    """
    scale, bias = checks.leaves("batch_norm", params, ("scale", "bias"))
    x = _check_channels("batch_norm", x, scale, bias)
    _check_eps("batch_norm", eps)
    count = x.size // max(x.shape[-1], 1)
    gather = current_shard().gather
    if stats is None:
        count, mean, var = _combine_stats(*gather(np.array(count), *channel_moments(x)))
        if count < 2:
            raise ValueError(
                f"batch_norm: statistics need at least 2 values in each channel, x {x.shape} has "
                f"{count}; train with larger batches, or pass stats"
            )
        used = {"mean": mean, "var": var}
    else:
        mean, var = checks.leaves("batch_norm: stats", stats, ("mean", "var"))
        if mean.shape != scale.shape or var.shape != scale.shape:
            raise ValueError(f"batch_norm: stats must be ({len(scale)},) each, not {mean.shape} and {var.shape}")
        used = stats
        mean, var = (a.astype(x.real.dtype, copy=False) for a in (mean, var))
    r = 1 / np.sqrt(var + eps)
    factor = r * scale
    # given statistics, the VJP is seldom called: then it finds the argmaxes itself
    maxima, argmaxes = (x, None) if pool is None else max_pool(x, pool, stats is None)
    y = affine(maxima, mean, factor, bias, relu)
    shape, dtype, relu_output = y.shape, y.dtype, y if relu else None

    def batch_norm_vjp(dy: Any, *, input_gradient: bool = True) -> tuple[Tree, Array | None]:
        dy = checks.cotangent("batch_norm", dy, shape, dtype)
        pooled = None
        if pool is not None and input_gradient:
            pooled = Pooled(x, argmaxes or max_pool(x, pool)[1], pool)
        centred, dbias, combine = affine_adjoint(maxima, mean, factor, bias, relu_output, dy, pooled)
        dparams = {"scale": centred * r, "bias": dbias}
        if not input_gradient:
            return dparams, None
        if stats is not None:
            dy = dy if relu_output is None else rectify_adjoint(relu_output, dy)
            return dparams, factor * (dy if pooled is None else max_pool_adjoint(dy, pooled.argmaxes, pooled.geometry))
        # dparams are this shard's, but dx depends, through the statistics, on the sums over the whole batch
        dscale, dbias = (_sum_of_shards(a) for a in gather(dparams["scale"], dbias))
        return dparams, combine(-r * dscale / count, -dbias / count)

    return y, batch_norm_vjp, used


def layer_norm(
    params: Tree, x: Array, *, axes: int | Sequence[int] = -1, eps: float = 1e-5
) -> tuple[Array, Callable[..., tuple[Tree, Array | None]]]:
    """Layer normalisation: standardise over the given axes, by default over the channels at each position.

    Parameters
    ----------
    params : dict
        ``scale`` and ``bias``, of the shape of the normalised axes: (C) for the default.
    x : array (N, ..., C)
    axes : int or sequence of int
        For example (1, 2, 3) for whole images.
    eps : float >= 0

    Notes
    -----
    The formulas are `batch_norm`'s, with M the mean over ``axes``: dx = r (dz - M[dz] - z M[dz z]), dz = dy scale;
    dscale and dbias are the sums of dy z and dy over the other axes. J. Ba et al., Layer Normalization, 2016
    (arXiv:1607.06450).

    Examples
    --------
    >>> params = {"scale": np.ones(2), "bias": np.zeros(2)}
    >>> y, vjp = layer_norm(params, np.array([[1.0, 3.0], [10.0, 30.0]]), eps=0.0)
    >>> y
    array([[-1.,  1.],
           [-1.,  1.]])
    """
    scale, bias = checks.leaves("layer_norm", params, ("scale", "bias"))
    x, over, scale, bias = _check_axes("layer_norm", x, axes, scale, bias)
    _check_eps("layer_norm", eps)
    z, z_vjp = _standardized(x, over, eps)
    y = z * scale + bias
    dtype = y.dtype

    def layer_norm_vjp(dy: Any, *, input_gradient: bool = True) -> tuple[Tree, Array | None]:
        dy = checks.cotangent("layer_norm", dy, z.shape, dtype)
        return _affine_gradient(dy, z, over), z_vjp(dy * scale) if input_gradient else None

    return y, layer_norm_vjp


def rms_norm(
    params: Tree, x: Array, *, axes: int | Sequence[int] = -1, eps: float = 1e-5
) -> tuple[Array, Callable[..., tuple[Tree, Array | None]]]:
    """Root mean square normalisation: divide by the root of the mean square over the given axes.

    Parameters
    ----------
    params : dict
        ``scale``, of the shape of the normalised axes: (C) for the default; and optionally ``bias`` of that shape.
    x : array (N, ..., C)
    axes : int or sequence of int
    eps : float >= 0
        Added to the mean square. PyTorch's default is smaller: the spacing of floats at 1.

    Notes
    -----
    y = z scale with z = x r, r = 1 / sqrt(M[x^2] + eps) and M the mean over ``axes``. The differential of r is
    dr = -r^3 M[x dx], so the VJP is dx = r (dz - z M[dz z]) with dz = dy scale. B. Zhang and R. Sennrich, Root Mean
    Square Layer Normalization, 2019 (arXiv:1910.07467).

    Examples
    --------
    >>> y, vjp = rms_norm({"scale": np.ones(2)}, np.array([[3.0, 3.0]]), eps=0.0)
    >>> y
    array([[1., 1.]])
    """
    names = ("scale", "bias") if isinstance(params, dict) and "bias" in params else ("scale",)
    scale, *rest = checks.leaves("rms_norm", params, names)
    x, over, scale, *biases = _check_axes("rms_norm", x, axes, scale, *rest)
    _check_eps("rms_norm", eps)
    r = 1 / np.sqrt(_mean(x * x, over) + eps)
    z = x * r
    y = sum(biases, z * scale)
    dtype = y.dtype

    def rms_norm_vjp(dy: Any, *, input_gradient: bool = True) -> tuple[Tree, Array | None]:
        dy = checks.cotangent("rms_norm", dy, z.shape, dtype)
        dparams = _affine_gradient(dy, z, over)
        dparams = {name: dparams[name] for name in names}
        if not input_gradient:
            return dparams, None
        dz = dy * scale
        return dparams, r * (dz - z * _mean(dz * z, over))

    return y, rms_norm_vjp


def group_norm(
    params: Tree, x: Array, groups: int, *, eps: float = 1e-5
) -> tuple[Array, Callable[..., tuple[Tree, Array | None]]]:
    """Group normalisation: standardise each group of channels of each example over its channels and positions.

    Parameters
    ----------
    params : dict
        ``scale`` (C) and ``bias`` (C).
    x : array (N, ..., C)
    groups : int
        Must divide C. 1 normalises each example as a whole, C is `instance_norm`.
    eps : float >= 0

    Notes
    -----
    The formulas are `layer_norm`'s, with M the mean over the positions and the channels of a group. Y. Wu and K. He,
    Group Normalization, 2018 (arXiv:1803.08494).

    Examples
    --------
    >>> params = {"scale": np.ones(4), "bias": np.zeros(4)}
    >>> group_norm(params, np.array([[1.0, 3.0, 10.0, 30.0]]), 2, eps=0.0)[0]
    array([[-1.,  1., -1.,  1.]])
    """
    scale, bias = checks.leaves("group_norm", params, ("scale", "bias"))
    x = _check_channels("group_norm", x, scale, bias)
    checks.groups("group_norm", groups, x.shape[-1], x.shape[-1])
    _check_eps("group_norm", eps)
    return _normalize_groups("group_norm", scale, bias, x, groups, eps)


def instance_norm(
    params: Tree, x: Array, *, eps: float = 1e-5
) -> tuple[Array, Callable[..., tuple[Tree, Array | None]]]:
    """Instance normalisation: standardise each channel of each example over its positions.

    Parameters
    ----------
    params : dict
        ``scale`` (C) and ``bias`` (C).
    x : array (N, S..., C)
        One to three spatial axes.
    eps : float >= 0

    Notes
    -----
    This is `group_norm` with as many groups as channels. A constant channel, for example one of a single position,
    becomes ``bias``. D. Ulyanov et al., Instance Normalization, 2016 (arXiv:1607.08022).

    Examples
    --------
    >>> params = {"scale": np.ones(1), "bias": np.zeros(1)}
    >>> instance_norm(params, np.array([[[1.0], [3.0]], [[10.0], [30.0]]]), eps=0.0)[0].reshape(2, 2)
    array([[-1.,  1.],
           [-1.,  1.]])
    """
    scale, bias = checks.leaves("instance_norm", params, ("scale", "bias"))
    x = _check_channels("instance_norm", checks.images("instance_norm", x), scale, bias)
    _check_eps("instance_norm", eps)
    return _normalize_groups("instance_norm", scale, bias, x, x.shape[-1], eps)


def _normalize_groups(
    op: str, scale: Array, bias: Array, x: Array, groups: int, eps: float
) -> tuple[Array, Callable[..., tuple[Tree, Array | None]]]:
    channels = x.shape[-1]
    split = (*x.shape[:-1], groups, channels // max(groups, 1))
    # the axes of the positions and of the channels in a group
    axes = (*range(1, x.ndim - 1), x.ndim)
    grouped, grouped_vjp = _standardized(x.reshape(split), axes, eps)
    z = grouped.reshape(x.shape)
    y = z * scale + bias
    dtype = y.dtype

    def normalize_groups_vjp(dy: Any, *, input_gradient: bool = True) -> tuple[Tree, Array | None]:
        dy = checks.cotangent(op, dy, z.shape, dtype)
        dparams = _affine_gradient(dy, z, (z.ndim - 1,))
        return dparams, grouped_vjp((dy * scale).reshape(split)).reshape(z.shape) if input_gradient else None

    return y, normalize_groups_vjp


def _standardized(x: Array, axes: tuple[int, ...], eps: float) -> tuple[Array, Callable[[Array], Array]]:
    """Return z = (x - mean) / sqrt(var + eps), with mean and var over ``axes``, and its VJP."""
    mean = _mean(x, axes)
    centred = x - mean
    var = _mean(centred * centred, axes)
    r = 1 / np.sqrt(var + eps)
    z = centred * r

    def standardized_vjp(dz: Array) -> Array:
        return r * (dz - _mean(dz, axes) - z * _mean(dz * z, axes))

    return z, standardized_vjp


def _combine_stats(counts: Array, means: Array, variances: Array) -> tuple[int, Array, Array]:
    """Return the count, mean and variance of a batch, given those of its shards (shards, C).

    The variance is the weighted mean of var_s + (mean_s - mean)^2 over the shards s, a sum of non-negative terms in
    which no digits cancel (T. Chan, G. Golub and R. LeVeque, Updating formulae and a pairwise algorithm for computing
    sample variances, 1979).
    """
    total = int(counts.sum())
    if len(counts) == 1:
        return total, means[0], variances[0]
    shares = (counts / total).astype(means.real.dtype)[:, None]
    mean = _sum_of_shards(means * shares)
    return total, mean, _sum_of_shards((variances + (means - mean) ** 2) * shares)


def _sum_of_shards(a: Array) -> Array:
    """Return the sum over the first axis, the terms added up in order (NumPy's sum may add up pairs)."""
    return a[0] if len(a) == 1 else np.add.accumulate(a)[-1]


def _mean(a: Array, axes: tuple[int, ...]) -> Array:
    if axes == tuple(range(a.ndim - 1)):
        count = a.size // max(a.shape[-1], 1)
        return (channel_sum(a) / count).reshape(*(1,) * (a.ndim - 1), -1)
    return a.mean(axis=axes, keepdims=True)


def _affine_gradient(dy: Array, z: Array, axes: tuple[int, ...]) -> Tree:
    """Return the gradients of scale and bias in y = z scale + bias, both of the shape of ``axes``."""
    others = tuple(a for a in range(dy.ndim) if a not in axes)
    if others == tuple(range(dy.ndim - 1)):
        return {"scale": channel_sum(dy * z), "bias": channel_sum(dy)}
    return {"scale": (dy * z).sum(axis=others), "bias": dy.sum(axis=others)}


def local_response_norm(
    x: Array, size: int, *, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> tuple[Array, Callable[[Any], Array]]:
    """Local response normalisation: divide each number by a power of the sum of squares over neighbouring channels.

    Parameters
    ----------
    x : array (N, ..., C)
    size : int >= 1
        Number of channels in a window: the channel itself, (size - 1) // 2 before it, and the others after it, as far
        as there are any. PyTorch places a window of even size one channel earlier.
    alpha, beta, k : float
        ``k`` must be above 0, ``alpha`` at least 0.

    Notes
    -----
    y[c] = x[c] s[c]^-beta with s[c] = k + alpha/size (sum of x[j]^2 over the window of c). Its differential is

        dy[c] = s[c]^-beta dx[c] - 2 alpha beta/size x[c] s[c]^(-beta - 1) (sum of x[j] dx[j] over the window of c)

    Channel j is in the windows of those c that lie in its own window turned around, so the VJP is

        dx[j] = dy[j] s[j]^-beta - 2 alpha beta/size x[j] (sum of dy[c] x[c] s[c]^(-beta - 1) over these c)

    A. Krizhevsky et al., ImageNet Classification with Deep Convolutional Neural Networks, 2012.

    Examples
    --------
    >>> y, vjp = local_response_norm(np.array([[1.0, 2.0, 2.0]]), 3, alpha=3.0, beta=0.5, k=4.0)
    >>> y
    array([[0.33333333, 0.5547002 , 0.57735027]])
    """
    x = checks.floating("local_response_norm: x", x)
    checks.count("local_response_norm", "size", size)
    if x.ndim < 2:
        raise ValueError(f"local_response_norm: x must be (N, ..., C), got shape {x.shape}")
    alpha, beta, k = float(alpha), float(beta), float(k)
    if not (k > 0 and alpha >= 0):
        raise ValueError(f"local_response_norm: k must be above 0 and alpha at least 0, got {k} and {alpha}")
    before, after = (size - 1) // 2, size // 2
    s = k + alpha / size * _channel_windows(x * x, before, after)
    shape, dtype = x.shape, x.dtype

    def local_response_norm_vjp(dy: Any) -> Array:
        dy = checks.cotangent("local_response_norm", dy, shape, dtype)
        scaled = dy * s**-beta
        return scaled - 2 * alpha * beta / size * x * _channel_windows(scaled * x / s, after, before)

    return x * s**-beta, local_response_norm_vjp


def _channel_windows(a: Array, before: int, after: int) -> Array:
    """Return for each channel the sum of ``a`` over it, ``before`` channels before it and ``after`` after it."""
    total = a.copy()
    for d in range(1, min(before, a.shape[-1] - 1) + 1):
        total[..., d:] += a[..., :-d]
    for d in range(1, min(after, a.shape[-1] - 1) + 1):
        total[..., :-d] += a[..., d:]
    return total


def _check_channels(op: str, x: Any, scale: Array, bias: Array) -> Array:
    x = checks.floating(f"{op}: x", x)
    if x.ndim < 2 or scale.shape != x.shape[-1:] or bias.shape != x.shape[-1:]:
        raise ValueError(
            f"{op}: x must be (N, ..., C), scale and bias (C); "
            f"got x {x.shape}, scale {scale.shape} and bias {bias.shape}"
        )
    return x


def _check_axes(op: str, x: Any, axes: int | Sequence[int], *leaves: Array) -> tuple[Any, ...]:
    """Return x, the sorted non-negative axes, and the leaves reshaped to broadcast against x."""
    x = checks.floating(f"{op}: x", x)
    listed = list(axes) if isinstance(axes, Sequence) else [axes]
    over = tuple(sorted({checks.axis(op, a, x.ndim) for a in listed}))
    if not over or len(over) != len(listed):
        raise ValueError(f"{op}: axes {axes} must name at least one axis, and none twice")
    shape = tuple(x.shape[a] for a in over)
    for leaf in leaves:
        if leaf.shape != shape:
            raise ValueError(
                f"{op}: x {x.shape} normalised over axes {over} needs leaves of shape {shape}, got {leaf.shape}"
            )
    broadcastable = [x.shape[a] if a in over else 1 for a in range(x.ndim)]
    return x, over, *(leaf.reshape(broadcastable) for leaf in leaves)


def _check_eps(op: str, eps: float) -> None:
    if not eps >= 0:
        raise ValueError(f"{op}: eps must be >= 0, got {eps}")
