"""Neighbouring ops computed together, where that gives the same in less time.

`funcnn.combinators.serial` asks here which of its layers, by what op they apply, stand in one of two runs:

- ReLU and max pooling, in this order. The maximum of max(x, 0) is max(maximum, 0), so the pooling goes first and leaves
  a fraction of the numbers to the ReLU. Where a maximum is above 0, its position is the same; elsewhere nothing goes
  back.
- A 2-D convolution and max pooling of 2x2, with or without a ReLU between or after them. As a bias moves all positions
of a
  window alike, it too can wait for the pooling: y = max(max over the window of x * w, + b, 0). The VJP sends dy, where
  y > 0, to the position that held the maximum; db is its sum, and dw and dx are the convolution's
  (`funcnn.kernels.conv.conv_pool`).

The layers remain what they are, to the reader as to `init`, states, gradients, summaries and errors. A run falls back
on them whenever something is out of the ordinary: other types, a wrong shape, which they will name, or no gain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from funcnn import checks
from funcnn.kernels.bias import add_bias, channel_sum
from funcnn.kernels.conv.conv_pool import adjoints, choose_conv_pool, correlate_max
from funcnn.kernels.conv.dispatch import AUTO_METHODS, preference
from funcnn.kernels.geometry import geometry
from funcnn.kernels.rectifier import rectify, rectify_adjoint
from funcnn.ops.activations import relu
from funcnn.ops.pooling import max_pool
from funcnn.tree import Array, Tree

__all__ = ["Run", "runs"]

Vjp: TypeAlias = Callable[..., tuple[Tree, Array | None]]

_FEW = 1024  # numbers that are not worth a closer look
# How an option may be written that has its usual value on both axes.
_ONE, _TWO, _NOTHING = (1, (1, 1)), (2, (2, 2)), (0, (0, 0), ((0, 0), (0, 0)), "valid")


class Run(NamedTuple):
    """Layers in sequence that can be computed together.

    Attributes
    ----------
    names : tuple of str
        Of the layers, as the combinator calls them.
    forward : callable
        ``forward(params, x, state, train) -> (y, vjp)``, given the combinator's own params and state, or None if the
        layers are to be computed one by one. ``vjp(dy) -> (dparams, dx)``, with the layers' names in ``dparams``, takes
        the keywords of a layer's VJP. None of the layers has state.
    """

    names: tuple[str, ...]
    forward: Callable[[Tree, Array, Tree, bool], tuple[Array, Vjp] | None]


def runs(names: Sequence[str], descriptions: Sequence[tuple[str, Mapping[str, Any]] | None]) -> dict[int, Run]:
    """Return the runs in a sequence of layers, by the place of their first layer.

    Parameters
    ----------
    names : sequence of str
        Of the layers, as the combinator calls them.
    descriptions : sequence of tuple or None
        For each layer what it is and the options of its op; None for one of which these do not say all.

    Returns
    -------
    dict of Run

    Examples
    --------
    >>> pooling = {"window": 2, "stride": None, "padding": 0, "dilation": 1, "ceil_mode": False}
    >>> found = runs(["a", "b", "c", "d"], [None, ("relu", {}), ("max_pool", pooling), ("relu", {})])
    >>> [run.names for run in found.values()]
    [('b', 'c')]
    """
    kinds = ["" if description is None else description[0] for description in descriptions]
    options = [{} if description is None else description[1] for description in descriptions]
    found = {}
    for i, kind in enumerate(kinds):
        after = kinds[i + 1 : i + 3]
        if kind == "relu" and after[:1] == ["max_pool"]:
            found[i] = _relu_max_pool(tuple(names[i : i + 2]), options[i + 1])
        elif kind == "conv2d" and (after[:1] == ["max_pool"] or after == ["relu", "max_pool"]):
            pool = options[i + 1 + after.index("max_pool")]
            if _is_ordinary(options[i], pool):
                length = 3 if "relu" in after else 2
                found[i] = _conv_max_pool(tuple(names[i : i + length]), options[i], rectified="relu" in after)
    return found


def _is_ordinary(conv: Mapping[str, Any], pool: Mapping[str, Any]) -> bool:
    """Say whether a convolution goes position by position, and a pooling by windows of 2x2 side by side."""
    return (
        all(conv[option] in _ONE for option in ("stride", "dilation", "groups"))
        and pool["window"] in _TWO
        and pool["stride"] in (None, *_TWO)
        and pool["dilation"] in _ONE
        and pool["padding"] in _NOTHING
        and not pool["ceil_mode"]
    )


def _empty(tree: Tree, names: tuple[str, ...]) -> bool:
    return not any(map(tree.__getitem__, names))


def _relu_max_pool(names: tuple[str, ...], pool: Mapping[str, Any]) -> Run:
    def forward(params: Tree, x: Array, state: Tree, train: bool) -> tuple[Array, Vjp] | None:
        try:
            if not (_empty(params, names) and _empty(state, names)):
                return None
            maxima, max_pool_vjp = max_pool(x, **pool, keep_input=not train)
            y, relu_vjp = relu(maxima)
        except (TypeError, ValueError):
            return None
        shape, dtype = y.shape, y.dtype

        def relu_max_pool_vjp(
            dy: Any, *, input_gradient: bool = True, per_example: bool = False
        ) -> tuple[Tree, Array | None]:
            dy = checks.cotangent("max_pool", dy, shape, dtype)
            dx = max_pool_vjp(relu_vjp(dy)) if input_gradient else None
            return {name: {} for name in names}, dx

        return y, relu_max_pool_vjp

    return Run(names, forward)


def _conv_max_pool(names: tuple[str, ...], conv: Mapping[str, Any], *, rectified: bool) -> Run:
    last = names[-1].split("_", 1)[-1]  # what the last layer is called, without its number

    def forward(params: Tree, x: Array, state: Tree, train: bool) -> tuple[Array, Vjp] | None:
        chosen = preference(conv["method"])
        if np.size(x) <= _FEW or chosen not in AUTO_METHODS:
            return None
        try:
            if not (_empty(params, names[1:]) and _empty(state, names)):
                return None
            w, b = checks.weights_and_bias("conv2d", params[names[0]], conv["bias"])
            x = checks.images("conv2d", x)
            if not (x.dtype == w.dtype and w.ndim == x.ndim == 4 and x.shape[-1] == w.shape[-2]):
                return None
            in_channels, out_channels = w.shape[-2:]
            if b is not None and (b.dtype != w.dtype or b.shape != (out_channels,)):
                return None
            g = geometry("conv2d", x.shape[1:-1], w.shape[:-2], padding=conv["padding"])
        except (TypeError, ValueError):
            return None
        method = choose_conv_pool(g, len(x), in_channels, out_channels, x.dtype, exact=chosen == "exact")
        if method is None:
            return None
        maxima, argmax = correlate_max(x, w, g, method, return_argmax=train)
        y = add_bias(maxima, b)
        shape, dtype = y.shape, y.dtype
        positive = rectify(y, out=y) if rectified else None

        def conv_max_pool_vjp(
            dy: Any, *, input_gradient: bool = True, per_example: bool = False
        ) -> tuple[Tree, Array | None]:
            dy = checks.cotangent(last, dy, shape, dtype)
            if positive is not None:
                dy = rectify_adjoint(positive, dy)
            number = argmax if argmax is not None else correlate_max(x, w, g, method, return_argmax=True)[1]
            assert number is not None
            dw, dx = adjoints(
                x,
                w,
                dy,
                number,
                g,
                method,
                input_gradient=input_gradient,
                per_example=per_example,
                preference=chosen,
            )
            dparams: Tree = {name: {} for name in names}
            dparams[names[0]] = {"w": dw} if b is None else {"w": dw, "b": channel_sum(dy, per_example)}
            return dparams, dx

        return y, conv_max_pool_vjp

    return Run(names, forward)
