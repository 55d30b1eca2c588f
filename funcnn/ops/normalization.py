"""Normalisation: subtract the mean and divide by the standard deviation, over some of the axes, then scale and shift.

The ops differ in the axes alone. All variances are the biased ones (the mean of squared deviations), computed in two
passes: the difference of mean square and squared mean loses every digit where the mean is large.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcnn import checks
from funcnn.kernels.bias import channel_sum
from funcnn.kernels.channels import affine, affine_of_two, centred_product_sum
from funcnn.sharding import current_shard
from funcnn.tree import Array, Tree


def batch_norm(
    params: Tree, x: Array, *, stats: Tree | None = None, eps: float = 1e-5
) -> tuple[Array, Callable[..., tuple[Tree, Array | None]], Tree]:
    """Batch normalisation: each channel standardised over the batch and all positions, or by given statistics.

    Parameters
    ----------
    params : dict
        ``scale`` (C) and ``bias`` (C).
    x : array (N, ..., C)
    stats : dict, optional
        ``mean`` (C) and ``var`` (C) to normalise by, as in evaluation; not differentiated. If not given, those of x,
        which then needs at least two values in a channel.
    eps : float >= 0
        Added to the variance.

    Returns
    -------
    y : array, shape of x
    vjp : callable
        ``vjp(dy) -> (dparams, dx)``; with ``input_gradient=False``, dx is left out (None). With ``per_example=True``
        and given statistics, the leaves of dparams have a leading axis N.
    stats : dict
        ``mean`` and ``var`` (the biased one) that y was normalised by.

    Raises
    ------
    TypeError
        If an array is not of floats.
    ValueError
        If the shapes do not fit, ``params`` has other leaves, or there are fewer than two values to take statistics of.

    Notes
    -----
    y = z scale + bias with z = (x - mean) r and r = 1 / sqrt(var + eps). With M the mean over the batch and the
    positions, and dz = dy scale, the mean and the variance depend on x, too:

        dx = r (dz - M[dz] - z M[dz z])        dscale = sum dy z        dbias = sum dy

    With given statistics they do not, and dx = r dz. S. Ioffe and C. Szegedy, Batch Normalization, 2015
    (arXiv:1502.03167).

    Examples
    --------
    >>> params, x = {"scale": np.array([2.0]), "bias": np.array([5.0])}, np.array([[1.0], [3.0]])
    >>> y, vjp, stats = batch_norm(params, x, eps=0.0)
    >>> y.ravel(), stats["mean"], stats["var"]
    (array([3., 7.]), array([2.]), array([1.]))
    >>> batch_norm(params, np.array([[4.0]]), stats=stats, eps=0.0)[0]
    array([[9.]])
    """
    scale, bias = checks.leaves("batch_norm", params, ("scale", "bias"))
    x = _channels("batch_norm", x, scale, bias)
    _check_eps("batch_norm", eps)
    count = x.size // max(x.shape[-1], 1)
    gather = current_shard().gather
    if stats is None:
        mean = channel_sum(x) / max(count, 1)
        var = centred_product_sum(x, mean) / max(count, 1)
        count, mean, var = _pooled(gather((count, mean, var)))
        if count < 2:
            raise ValueError(
                f"batch_norm: statistics need at least 2 values in each channel, x {x.shape} has "
                f"{count}; train with larger batches, or give stats"
            )
        used = {"mean": mean, "var": var}
    else:
        mean, var = checks.leaves("batch_norm: stats", stats, ("mean", "var"))
        if mean.shape != scale.shape or var.shape != scale.shape:
            raise ValueError(f"batch_norm: stats must be ({len(scale)},) each, not {mean.shape} and {var.shape}")
        used = stats
        mean, var = (a.astype(x.real.dtype, copy=False) for a in (mean, var))
    r = 1 / np.sqrt(var + eps)
    y = affine(x, mean, r * scale, bias)
    dtype = y.dtype

    def batch_norm_vjp(dy: Any, *, input_gradient: bool = True, per_example: bool = False) -> tuple[Tree, Array | None]:
        dy = checks.cotangent("batch_norm", dy, x.shape, dtype)
        if per_example and stats is None:
            raise ValueError(
                "batch_norm: in training, examples share their statistics and have no gradients of their own"
            )
        if per_example:
            dparams = _affine_gradient(dy, (x - mean) * r, (x.ndim - 1,), per_example)
        else:
            dparams = {"scale": centred_product_sum(x, mean, dy) * r, "bias": channel_sum(dy)}
        if not input_gradient:
            return dparams, None
        if stats is not None:
            return dparams, dy * (r * scale)
        # dparams are of x alone, but through the statistics dx depends on all of the batch
        first, *others = gather(dparams)
        dscale, dbias = (sum((other[name] for other in others), first[name]) for name in ("scale", "bias"))
        return dparams, affine_of_two(x, mean, -r * dscale / count, dy, -dbias / count, r * scale)

    return y, batch_norm_vjp, used


def layer_norm(
    params: Tree, x: Array, *, axes: int | Sequence[int] = -1, eps: float = 1e-5
) -> tuple[Array, Callable[..., tuple[Tree, Array | None]]]:
    """Layer normalisation: standardised over the given axes, by default the channels of each position.

    Parameters
    ----------
    params : dict
        ``scale`` and ``bias``, of the shape of the normalised axes: (C) for the default.
    x : array (N, ..., C)
    axes : int or sequence of int
        E.g. (1, 2, 3) for whole images.
    eps : float >= 0
        Added to the variance.

    Returns
    -------
    y : array, shape of x
    vjp : callable
        ``vjp(dy) -> (dparams, dx)``; with ``input_gradient=False``, dx is left out (None). With ``per_example=True``,
        the leaves of dparams have a leading axis N.

    Raises
    ------
    TypeError, ValueError
        If an array is not of floats, the shapes do not fit, or ``params`` has other leaves.

    Notes
    -----
    As `batch_norm` by the statistics of x, with M the mean over ``axes``: dx = r (dz - M[dz] - z M[dz z]), dz = dy
    scale; dscale and dbias sum dy z and dy over the other axes. J. Ba et al., Layer Normalization, 2016
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
    x, over, scale, bias = _normalized_axes("layer_norm", x, axes, scale, bias)
    _check_eps("layer_norm", eps)
    z, z_vjp, _, _ = _standardized(x, over, eps)
    y = z * scale + bias
    dtype = y.dtype

    def layer_norm_vjp(dy: Any, *, input_gradient: bool = True, per_example: bool = False) -> tuple[Tree, Array | None]:
        dy = checks.cotangent("layer_norm", dy, z.shape, dtype)
        return _affine_gradient(dy, z, over, per_example), z_vjp(dy * scale) if input_gradient else None

    return y, layer_norm_vjp


def rms_norm(
    params: Tree, x: Array, *, axes: int | Sequence[int] = -1, eps: float = 1e-5
) -> tuple[Array, Callable[..., tuple[Tree, Array | None]]]:
    """Root mean square normalisation: divided by the root of the mean square over the given axes, nothing subtracted.

    Parameters
    ----------
    params : dict
        ``scale``, of the shape of the normalised axes: (C) for the default; and ``bias`` of that shape if preference.
    x : array (N, ..., C)
    axes : int or sequence of int
    eps : float >= 0
        Added to the mean square. PyTorch's default is the spacing of floats at 1, much less.

    Returns
    -------
    y : array, shape of x
    vjp : callable
        ``vjp(dy) -> (dparams, dx)``; with ``input_gradient=False``, dx is left out (None). With ``per_example=True``,
        the leaves of dparams have a leading axis N.

    Raises
    ------
    TypeError, ValueError
        If an array is not of floats, the shapes do not fit, or ``params`` has other leaves.

    Notes
    -----
    y = z scale with z = x r, r = 1 / sqrt(M[x^2] + eps) and M the mean over ``axes``. Since dr = -r^3 M[x dx], dx =
    r (dz - z M[dz z]) with dz = dy scale. B. Zhang and R. Sennrich, Root Mean Square Layer Normalization, 2019
    (arXiv:1910.07467).

    Examples
    --------
    >>> y, vjp = rms_norm({"scale": np.ones(2)}, np.array([[3.0, 3.0]]), eps=0.0)
    >>> y
    array([[1., 1.]])
    """
    names = ("scale", "bias") if isinstance(params, dict) and "bias" in params else ("scale",)
    scale, *rest = checks.leaves("rms_norm", params, names)
    x, over, scale, *biases = _normalized_axes("rms_norm", x, axes, scale, *rest)
    _check_eps("rms_norm", eps)
    r = 1 / np.sqrt(_mean(x * x, over) + eps)
    z = x * r
    y = sum(biases, z * scale)
    dtype = y.dtype

    def rms_norm_vjp(dy: Any, *, input_gradient: bool = True, per_example: bool = False) -> tuple[Tree, Array | None]:
        dy = checks.cotangent("rms_norm", dy, z.shape, dtype)
        dparams = _affine_gradient(dy, z, over, per_example)
        dparams = {name: dparams[name] for name in names}
        if not input_gradient:
            return dparams, None
        dz = dy * scale
        return dparams, r * (dz - z * _mean(dz * z, over))

    return y, rms_norm_vjp


def group_norm(
    params: Tree, x: Array, groups: int, *, eps: float = 1e-5
) -> tuple[Array, Callable[..., tuple[Tree, Array | None]]]:
    """Group normalisation: each example's groups of channels standardised over all their positions.

    Parameters
    ----------
    params : dict
        ``scale`` (C) and ``bias`` (C).
    x : array (N, ..., C)
    groups : int
        Divides C. 1 normalises each example as a whole; C is `instance_norm`.
    eps : float >= 0
        Added to the variance.

    Returns
    -------
    y : array, shape of x
    vjp : callable
        ``vjp(dy) -> (dparams, dx)``; with ``input_gradient=False``, dx is left out (None). With ``per_example=True``,
        the leaves of dparams have a leading axis N.

    Raises
    ------
    TypeError, ValueError
        If an array is not of floats, the shapes do not fit, or ``params`` has other leaves.

    Notes
    -----
    As `layer_norm` with M the mean over positions and the channels of a group. Y. Wu and K. He, Group Normalization,
    2018 (arXiv:1803.08494).

    Examples
    --------
    >>> params = {"scale": np.ones(4), "bias": np.zeros(4)}
    >>> group_norm(params, np.array([[1.0, 3.0, 10.0, 30.0]]), 2, eps=0.0)[0]
    array([[-1.,  1., -1.,  1.]])
    """
    scale, bias = checks.leaves("group_norm", params, ("scale", "bias"))
    x = _channels("group_norm", x, scale, bias)
    checks.groups("group_norm", groups, x.shape[-1], x.shape[-1])
    _check_eps("group_norm", eps)
    return _by_groups("group_norm", scale, bias, x, groups, eps)


def instance_norm(
    params: Tree, x: Array, *, eps: float = 1e-5
) -> tuple[Array, Callable[..., tuple[Tree, Array | None]]]:
    """Instance normalisation: each channel of each example standardised over its positions.

    Parameters
    ----------
    params : dict
        ``scale`` (C) and ``bias`` (C).
    x : array (N, S..., C)
        One to three spatial axes.
    eps : float >= 0
        Added to the variance.

    Returns
    -------
    y : array, shape of x
    vjp : callable
        ``vjp(dy) -> (dparams, dx)``; with ``input_gradient=False``, dx is left out (None). With ``per_example=True``,
        the leaves of dparams have a leading axis N.

    Raises
    ------
    TypeError, ValueError
        If an array is not of floats, the shapes do not fit, or ``params`` has other leaves.

    Notes
    -----
    `group_norm` with a group for each channel. A channel that is constant, as one of a single position is, becomes
    ``bias``. D. Ulyanov et al., Instance Normalization, 2016 (arXiv:1607.08022).

    Examples
    --------
    >>> params = {"scale": np.ones(1), "bias": np.zeros(1)}
    >>> instance_norm(params, np.array([[[1.0], [3.0]], [[10.0], [30.0]]]), eps=0.0)[0].reshape(2, 2)
    array([[-1.,  1.],
           [-1.,  1.]])
    """
    scale, bias = checks.leaves("instance_norm", params, ("scale", "bias"))
    x = _channels("instance_norm", checks.images("instance_norm", x), scale, bias)
    _check_eps("instance_norm", eps)
    return _by_groups("instance_norm", scale, bias, x, x.shape[-1], eps)


def _by_groups(
    op: str, scale: Array, bias: Array, x: Array, groups: int, eps: float
) -> tuple[Array, Callable[..., tuple[Tree, Array | None]]]:
    channels = x.shape[-1]
    split = (*x.shape[:-1], groups, channels // max(groups, 1))
    # the positions and the channels of a group: all axes but the batch and the groups
    over = (*range(1, x.ndim - 1), x.ndim)
    grouped, grouped_vjp, _, _ = _standardized(x.reshape(split), over, eps)
    z = grouped.reshape(x.shape)
    y = z * scale + bias
    dtype = y.dtype

    def by_groups_vjp(dy: Any, *, input_gradient: bool = True, per_example: bool = False) -> tuple[Tree, Array | None]:
        dy = checks.cotangent(op, dy, z.shape, dtype)
        dparams = _affine_gradient(dy, z, (z.ndim - 1,), per_example)
        return dparams, grouped_vjp((dy * scale).reshape(split)).reshape(z.shape) if input_gradient else None

    return y, by_groups_vjp


def _standardized(x: Array, axes: tuple[int, ...], eps: float) -> tuple[Array, Callable[[Array], Array], Array, Array]:
    """Return z = (x - mean) / sqrt(var + eps), its VJP, and mean and var over ``axes``, which are kept with size 1."""
    mean = _mean(x, axes)
    centred = x - mean
    var = _mean(centred * centred, axes)
    r = 1 / np.sqrt(var + eps)
    z = centred * r

    def standardized_vjp(dz: Array) -> Array:
        return r * (dz - _mean(dz, axes) - z * _mean(dz * z, axes))

    return z, standardized_vjp, mean, var


def _pooled(parts: list[tuple[int, Array, Array]]) -> tuple[int, Array, Array]:
    """Return count, mean and variance of a batch from those of its pieces.

    The variance is the mean of the parts' variances and of the squared distances of their means, nothing else: nothing
    cancels (T. Chan, G. Golub and R. LeVeque, Updating formulae and a pairwise algorithm for computing sample
    variances, 1979).
    """
    if len(parts) == 1:
        return parts[0]
    total = sum(count for count, _, _ in parts)
    mean = np.sum([mean * (count / total) for count, mean, _ in parts], axis=0)
    var = np.sum([(var + (own - mean) ** 2) * (count / total) for count, own, var in parts], axis=0)
    return total, mean, var


def _mean(a: Array, axes: tuple[int, ...]) -> Array:
    if axes == tuple(range(a.ndim - 1)):
        count = a.size // max(a.shape[-1], 1)
        return (channel_sum(a) / count).reshape(*(1,) * (a.ndim - 1), -1)
    return a.mean(axis=axes, keepdims=True)


def _affine_gradient(dy: Array, z: Array, axes: tuple[int, ...], per_example: bool) -> Tree:
    """Return the gradients of scale and bias in y = z scale + bias, which have the shape of ``axes``."""
    if per_example and 0 in axes:
        raise ValueError("axis 0 is normalised over, so examples have no gradients of their own")
    others = tuple(a for a in range(1 if per_example else 0, dy.ndim) if a not in axes)
    if others == tuple(range(dy.ndim - 1)):
        return {"scale": channel_sum(dy * z), "bias": channel_sum(dy)}
    return {"scale": (dy * z).sum(axis=others), "bias": dy.sum(axis=others)}


def _channels(op: str, x: Any, scale: Array, bias: Array) -> Array:
    x = checks.floating(f"{op}: x", x)
    if x.ndim < 2 or scale.shape != x.shape[-1:] or bias.shape != x.shape[-1:]:
        raise ValueError(
            f"{op}: x must be (N, ..., C), scale and bias (C); "
            f"got x {x.shape}, scale {scale.shape} and bias {bias.shape}"
        )
    return x


def _normalized_axes(op: str, x: Any, axes: int | Sequence[int], *leaves: Array) -> tuple[Any, ...]:
    """Return x, the axes in order, and the leaves of these axes' shape made to broadcast against x."""
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
    spread = [x.shape[a] if a in over else 1 for a in range(x.ndim)]
    return x, over, *(leaf.reshape(spread) for leaf in leaves)


def _check_eps(op: str, eps: float) -> None:
    if not eps >= 0:
        raise ValueError(f"{op}: eps must be >= 0, got {eps}")
