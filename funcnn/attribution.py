"""Attribution: which entries of an input drove a classifier's decision.

The score of a class, s, is the entry of the outputs that stands for it (for a single logit: the logit for class 1, its
negative for class 0). All methods look at the gradient of s, in the input or in a layer's output, as the VJP of
``model.forward`` gives it, in evaluation mode, where examples do not depend on each other: one call of the VJP serves
all of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from funcnn import metrics
from funcnn.intermediates import forward_backward
from funcnn.layer import Layer
from funcnn.tree import Array, Tree

__all__ = ["grad_cam", "gradient_times_input", "input_gradient"]


def input_gradient(model: Layer, params: Tree, state: Tree, x: Array, classes: Any = None) -> Array:
    """Return the gradient of a class's score in the input: where the least change would change the score most.

    Parameters
    ----------
    model : Layer
        A classifier: outputs (N, C), or (N, 1) for a choice of two.
    params, state : tree
    x : array (N, ...)
    classes : int or array of int (N,), optional
        The classes whose scores to take, from 0; those that the model predicts if not given.

    Returns
    -------
    array (N, ...), shape of x

    Raises
    ------
    TypeError, ValueError
        If ``classes`` are not classes of the model, one for all or one for each example; if the outputs have another
        shape.

    Notes
    -----
    K. Simonyan, A. Vedaldi and A. Zisserman, Deep Inside Convolutional Networks, 2013 (arXiv:1312.6034), who for a map
    of images take the largest magnitude over the channels.

    Examples
    --------
    >>> from funcnn.layers import dense
    >>> params = {"w": np.array([[1.0, 2.0], [3.0, 4.0]]), "b": np.zeros(2)}
    >>> input_gradient(dense(2), params, {}, np.array([[1.0, 1.0]]))
    array([[2., 4.]])
    """
    outputs, vjp, _ = model.forward(params, x, state, train=False)
    return vjp(_score_cotangent("input_gradient", outputs, classes))[1]


def gradient_times_input(model: Layer, params: Tree, state: Tree, x: Array, classes: Any = None) -> Array:
    """Return the gradient of a class's score times the input: how much each entry contributed to the score.

    Parameters
    ----------
    model, params, state, x, classes
        As in `input_gradient`.

    Returns
    -------
    array (N, ...), shape of x

    Raises
    ------
    TypeError, ValueError
        As in `input_gradient`.

    Notes
    -----
    To first order, s(x) - s(0) is the sum of x ds/dx, entry by entry. The sum is exact where the score is linear in x
    with a constant. In a network of linear layers, ReLUs and max pooling without biases, s(a x) = a s(x) for all a > 0,
    so that by Euler's theorem the sum is s(x) itself. A. Shrikumar et al., Not Just a Black Box, 2016
    (arXiv:1605.01713).

    Examples
    --------
    >>> from funcnn.layers import dense
    >>> params = {"w": np.array([[1.0, 2.0], [3.0, 4.0]]), "b": np.zeros(2)}
    >>> gradient_times_input(dense(2), params, {}, np.array([[10.0, 1.0]]), classes=1)
    array([[20.,  4.]])
    """
    return np.asarray(x) * input_gradient(model, params, state, x, classes)


def grad_cam(model: Layer, params: Tree, state: Tree, x: Array, path: str, classes: Any = None) -> Array:
    """Return Grad-CAM: at which positions of a layer's maps there is evidence for a class.

    R. Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization, 2017
    (arXiv:1610.02391).

    Parameters
    ----------
    model, params, state, x, classes
        As in `input_gradient`.
    path : str
        Of the layer whose output to look at, as in `funcnn.intermediates.activations`. Deep layers know more of the
        classes, shallow ones of the place; usual is the last one before the maps get too small.

    Returns
    -------
    array (N, spatial...), >= 0
        Of the spatial size of the layer's maps.

    Raises
    ------
    TypeError, ValueError
        As in `input_gradient`; if there is no layer at ``path`` or its output has no spatial axes.

    Notes
    -----
    Let A[i, k] be the layer's output at position i (of P) in channel k. To first order the score changes with the maps
    by the sum of G[i, k] dA[i, k] over positions and channels, G = ds/dA. The weight of a map as a whole is its
    gradient's mean over the positions, w[k] = sum_i G[i, k] / P, so that what is left of the place comes from the maps
    themselves:

        L[i] = max(sum_k w[k] A[i, k], 0)

    where the ReLU leaves what speaks for the class. If the maps are averaged over the positions and a linear layer with
    weights v[k] follows, w[k] = v[k] / P, and without the maximum L sums to the logit but for its bias: it is then the
    class activation mapping of B. Zhou et al., 2015 (arXiv:1512.04150), which this generalises.

    Examples
    --------
    >>> from funcnn import layers, serial
    >>> model = serial(layers.identity(), layers.global_avg_pool(), layers.dense(1))
    >>> params, state, _ = model.init((0,), (2, 2, 1))
    >>> params["2_dense"]["w"] = np.array([[8.0]])
    >>> x = np.array([[[[1.0], [-1.0]], [[2.0], [0.0]]]])
    >>> grad_cam(model, params, state, x, "0_identity", classes=1)
    array([[[2., 0.],
            [4., 0.]]])
    """
    passes = forward_backward(model, params, state, x, lambda outputs: _score_cotangent("grad_cam", outputs, classes))
    if path not in passes:
        raise ValueError(f"grad_cam: no layer at {path!r}; the model's are {', '.join(passes)}")
    maps, gradient = passes[path].output, passes[path].gradient
    if maps.ndim < 3:
        raise ValueError(f"grad_cam: the output of {path} is {maps.shape}; it needs spatial axes, (N, spatial..., C)")
    weights = gradient.mean(axis=tuple(range(1, maps.ndim - 1)), keepdims=True)
    return np.maximum((weights * maps).sum(axis=-1), 0)


def _score_cotangent(where: str, outputs: Array, classes: Any) -> Array:
    """Return the cotangent that picks each example's score out of the outputs."""
    predicted = metrics.classes(outputs)
    count = max(2, outputs.shape[1])
    chosen = predicted if classes is None else np.asarray(classes)
    if chosen.dtype.kind not in "iu":
        raise TypeError(f"{where}: classes are ints, not {chosen.dtype}")
    if chosen.shape not in ((), predicted.shape):
        raise ValueError(f"{where}: {len(predicted)} examples need one class for all or one each, not {chosen.shape}")
    if chosen.size and not 0 <= chosen.min() <= chosen.max() < count:
        raise ValueError(
            f"{where}: classes from {chosen.min()} to {chosen.max()} do not fit a model of {count} classes"
        )
    chosen = np.broadcast_to(chosen, predicted.shape)
    if outputs.shape[1] == 1:
        return np.where(chosen == 1, 1, -1).astype(outputs.dtype)[:, None]
    return np.eye(count, dtype=outputs.dtype)[chosen]
