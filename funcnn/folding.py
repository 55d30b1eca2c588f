"""Folding batch normalisation into the layer before it: in evaluation, both are one affine map of each channel.

With the running statistics, batch normalisation computes factor y + shift, where factor = scale / sqrt(var + eps) and
shift = bias - mean factor. A convolution, transposed convolution or dense layer before it computes y = w x + b, so that
the two together are (factor w) x + (factor b + shift): the same layer with other weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from funcnn import ops
from funcnn.combinators import frozen, graph, parallel
from funcnn.combinators.mapping import combined_layers, has_replaced_parts
from funcnn.inference import with_bias
from funcnn.kernels.channels import normalization_affine
from funcnn.layer import Layer, op_and_options
from funcnn.layers.shaping import identity
from funcnn.ops.conv import depthwise_conv
from funcnn.tree import Array, Tree

__all__ = ["fold_batch_norm"]

_FOLDABLE = (ops.conv, depthwise_conv, ops.conv_transpose, ops.dense)


class _Part(NamedTuple):
    """A layer without children, its params and its state."""

    layer: Layer
    params: Tree
    state: Tree


def fold_batch_norm(model: Layer, params: Tree, state: Tree) -> tuple[Layer, Tree, Tree]:
    """Fold each batch normalisation into the convolution or dense layer before it, for evaluation.

    Parameters
    ----------
    model : Layer
    params, state : tree
        Of a trained model. They are not changed; the results share the arrays of all other layers.

    Returns
    -------
    model, params, state
        A model with the same outputs in evaluation, up to rounding. In place of a folded layer is ``identity()``, so
        that the other layers keep their names. A layer before it that had no bias has one. Without anything to fold,
        the arguments themselves.

    Notes
    -----
    A `funcnn.layers.batch_norm` is folded if all it reads is the output of a convolution, transposed convolution or
    dense layer, and nothing else reads that output; so is a `funcnn.layers.affine` of one number for each channel. They
    are found through `serial`, `parallel`, `residual`, `graph` and `frozen`. Whatever else lies between the two, such
    as an activation or a layer of your own, is left as it is, and so is the normalisation after it. It also stays where
    its arrays do not fit (evaluating the model raises the error) or the folded weights would not be finite.

    The result is for evaluation: trained further, it has no batch normalisation.

    Examples
    --------
    >>> from funcnn import serial
    >>> from funcnn.layers import batch_norm, conv2d, relu
    >>> model = serial(conv2d(4, 3, bias=False), batch_norm(), relu())
    >>> folded, params, state = fold_batch_norm(model, *model.init((0,), (8, 8, 3))[:2])
    >>> [layer.name for layer in folded.children]
    ['conv2d', 'identity', 'relu']
    >>> list(params["0_conv2d"]), params["1_identity"]
    (['w', 'b'], {})
    """
    given = _Part(model, params, state)
    parts: dict[str, _Part] = {}
    _visit(parts, "", given, None)
    rebuilt = _rebuilt(parts, "", given)
    return rebuilt.layer, rebuilt.params, rebuilt.state


def _visit(parts: dict[str, _Part], path: str, part: _Part, producer: str | None) -> str | None:
    """Visit the layers in the order in which they are computed, and fold into those of ``parts`` what can be.

    Parameters
    ----------
    parts : dict
        By path: the layers that others can be folded into, and the identities that replace folded ones.
    path : str
    part : _Part
        The layer to visit.
    producer : str or None
        The path of the layer in ``parts`` whose output is this layer's x, if nothing else reads it.

    Returns
    -------
    str or None
        The same for what reads this layer's output.
    """
    op, _ = op_and_options(part.layer)
    if children := _children(part):
        outputs: list[str | None] = []
        sources = _sources(part.layer)
        readers = Counter(source for of_child in sources for source in of_child)
        for (name, child), (source, *others) in zip(children.items(), sources, strict=True):
            alone = not others and readers[source] == 1
            x = None if not alone else producer if source < 0 else outputs[source]
            outputs.append(_visit(parts, f"{path}/{name}", child, x))
        return None if op is parallel else outputs[-1]
    if op is ops.identity:
        return producer
    affine = None if producer is None else _channel_affine(part)
    if producer is not None and affine is not None and (folded := _folded(parts[producer], *affine)):
        parts[producer], parts[path] = folded, _Part(identity(), {}, {})
        return producer
    if op not in _FOLDABLE:
        return None
    parts[path] = part
    return path


def _rebuilt(parts: dict[str, _Part], path: str, part: _Part) -> _Part:
    """Return a layer with the layers inside replaced by those of ``parts``; the same one if all are the same."""
    children = _children(part)
    if not children:
        return parts.get(path, part)
    rebuilt = [_rebuilt(parts, f"{path}/{name}", child) for name, child in children.items()]
    if all(a is b for new, old in zip(rebuilt, children.values(), strict=True) for a, b in zip(new, old, strict=True)):
        return part
    assert part.layer.rebuild is not None
    layer = part.layer.rebuild(*(child.layer for child in rebuilt))._replace(name=part.layer.name)
    if op_and_options(layer)[0] is frozen:
        return _Part(layer, {}, {"params": rebuilt[0].params, "state": rebuilt[0].state})
    named = [(f"{i}_{child.layer.name}", child) for i, child in enumerate(rebuilt)]
    return _Part(layer, {name: child.params for name, child in named}, {name: child.state for name, child in named})


def _children(part: _Part) -> dict[str, _Part]:
    """Return the layers that a combinator computes, by name; {} for other layers, or if params or state do not fit."""
    layer, params, state = part
    layers = combined_layers(layer)
    if layer.rebuild is None or has_replaced_parts(layer):
        return {}
    names = [f"{i}_{child.name}" for i, child in enumerate(layers)]
    if op_and_options(layer)[0] is frozen:
        if params != {} or not isinstance(state, dict) or state.keys() != {"params", "state"}:
            return {}
        params, state = ({names[0]: state[what]} for what in ("params", "state"))
    if not all(isinstance(tree, dict) and tree.keys() == set(names) for tree in (params, state)):
        return {}
    return {name: _Part(child, params[name], state[name]) for name, child in zip(names, layers, strict=True)}


def _sources(layer: Layer) -> Sequence[Sequence[int]]:
    """Return what each child of a combinator reads: the indices of others, and -1 for the combinator's x."""
    op, options = op_and_options(layer)
    if op is graph:
        sources: Sequence[Sequence[int]] = options["sources"]
        return sources
    return [(-1,) if op is parallel else (i - 1,) for i in range(len(layer.children))]


def _channel_affine(part: _Part) -> tuple[Array, Array] | None:
    """Return factor and shift if the layer computes factor x + shift with a number for each channel; else None."""
    (op, options), params, state = op_and_options(part.layer), part.params, part.state
    if op is ops.batch_norm and options["stats"] is None and options["eps"] >= 0:
        if not (_has_floats(params, "scale", "bias") and _has_floats(state, "mean", "var")):
            return None
        if not _are_vectors(*params.values(), *state.values()):
            return None
        return normalization_affine(params, state, options["eps"], np.result_type(*params.values()))
    if op is ops.affine and state == {} and isinstance(params, dict) and len(params) > 0:
        if not (params.keys() <= {"scale", "bias"} and _has_floats(params, *params) and _are_vectors(*params.values())):
            return None
        (any_leaf, *_) = params.values()
        return params.get("scale", np.ones_like(any_leaf)), params.get("bias", np.zeros_like(any_leaf))
    return None


def _has_floats(tree: Any, *names: str) -> bool:
    """Return whether a tree has exactly these leaves, all of them arrays of floats."""
    return (
        isinstance(tree, dict)
        and tree.keys() == set(names)
        and all(isinstance(leaf, np.ndarray) and leaf.dtype.kind in "fc" for leaf in tree.values())
    )


def _are_vectors(*arrays: Array) -> bool:
    """Return whether arrays are vectors of one length."""
    return arrays[0].ndim == 1 and len({array.shape for array in arrays}) == 1


def _folded(part: _Part, factor: Array, shift: Array) -> _Part | None:
    """Return a layer that computes factor y + shift, where y is the output of this one; None if it cannot be."""
    layer, params, state = part
    op, options = op_and_options(layer)
    if state != {} or not _has_floats(params, *(("w", "b") if options["bias"] else ("w",))):
        return None
    w, b = params["w"], params.get("b", np.zeros_like(shift))
    channels = w.shape[-2] * options["groups"] if op is ops.conv_transpose else w.shape[-1]
    if not (_are_vectors(factor, shift, b) and len(factor) == channels):
        return None
    with np.errstate(all="ignore"):
        new = {"w": w * (_by_input(factor, w, options["groups"]) if op is ops.conv_transpose else factor)}
        new["b"] = b * factor + shift
    if not all(np.isfinite(leaf).all() for leaf in (factor, *new.values())):
        return None
    return _Part(with_bias(layer), new, state)


def _by_input(factor: Array, w: Array, groups: int) -> Array:
    """Repeat the factors of a transposed convolution's outputs to (O/groups, I), the last axes of its w."""
    return np.repeat(factor.reshape(groups, -1).T, w.shape[-1] // groups, axis=1)
