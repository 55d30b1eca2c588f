"""Attribution: which entries of the input a classifier's prediction depends on.

The score s of a class is its entry of the outputs. If the outputs are a single logit, it is the score of class 1, and
its negative that of class 0. All methods use the gradient of s with respect to the input or a layer's output,
computed by the VJP of ``model.forward`` in evaluation mode. Examples are independent there, so one call of the VJP
gives the gradients of all examples.
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
    """Return the gradient of a class's score with respect to the input: how sensitive the score is to each entry.

    Parameters
    ----------
    model : Layer
        A classifier with outputs (N, C), or (N, 1) for two classes.
    params, state : tree
    x : array (N, ...)
    classes : int or array of int (N,), optional
        The classes to explain, numbered from 0: one for all examples, or one for each. By default the predicted ones.

    Returns
    -------
    array (N, ...), shape of x

    Raises
    ------
    TypeError, ValueError
        If ``classes`` are not such classes of the model, or its outputs do not have such a shape.

    Notes
    -----
    K. Simonyan, A. Vedaldi and A. Zisserman, Deep Inside Convolutional Networks, 2013 (arXiv:1312.6034). For a map
    of an image, they take the largest magnitude over the channels at each position.

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
    To first order, s(x) - s(0) is the sum of x ds/dx over the entries. This is exact if the score is affine in x. In a
    network of linear layers, ReLUs and max pooling without biases, s(a x) = a s(x) for all a > 0, so by Euler's theorem
    the sum is s(x). A. Shrikumar et al., Not Just a Black Box, 2016
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
    """Return Grad-CAM maps: how much evidence for a class there is at each position of a layer's output.

    R. Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization, 2017
    (arXiv:1610.02391).

    Parameters
    ----------
    model, params, state, x, classes
        As in `input_gradient`.
    path : str
        The layer whose output is used; paths are those of `funcnn.intermediates.activations`. Deep layers separate
        classes better, shallow ones positions. Usually one takes the last layer whose maps are not yet too small.

    Returns
    -------
    array (N, spatial...), >= 0
        With the spatial size of the layer's output.

    Raises
    ------
    TypeError, ValueError
        As in `input_gradient`, and if there is no layer at ``path`` or its output has no spatial axes.

    Notes
    -----
    Let A[i, k] be the layer's output at position i (of P) in channel k. To first order, a change dA changes the score
    by the sum of G[i, k] dA[i, k] over positions and channels, with G = ds/dA. The weight of channel k is the mean of
    its gradient over the positions, w[k] = sum_i G[i, k] / P, so that only A depends on the position in

        L[i] = max(sum_k w[k] A[i, k], 0)

    where the maximum keeps the evidence for the class and drops the evidence against it. If the layer is followed by
    the mean over the positions and a linear layer with weights v[k], then w[k] = v[k] / P, and without the maximum, L
    sums to the logit minus its bias. This special case is the class activation mapping of B. Zhou et al., 2015
    (arXiv:1512.04150).

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
    traces = forward_backward(model, params, state, x, lambda outputs: _score_cotangent("grad_cam", outputs, classes))
    if path not in traces:
        raise ValueError(f"grad_cam: no layer at {path!r}; the model has {', '.join(traces)}")
    maps, gradient = traces[path].output, traces[path].gradient
    if maps.ndim < 3:
        raise ValueError(f"grad_cam: the output of {path} is {maps.shape}; it needs spatial axes, (N, spatial..., C)")
    weights = gradient.mean(axis=tuple(range(1, maps.ndim - 1)), keepdims=True)
    return np.maximum((weights * maps).sum(axis=-1), 0)


def _score_cotangent(where: str, outputs: Array, classes: Any) -> Array:
    """Return the cotangent of the outputs whose pullback is the gradient of each example's score."""
    predicted = metrics.classes(outputs)
    count = max(2, outputs.shape[1])
    selected = predicted if classes is None else np.asarray(classes)
    if selected.dtype.kind not in "iu":
        raise TypeError(f"{where}: classes must be ints, not {selected.dtype}")
    if selected.shape not in ((), predicted.shape):
        raise ValueError(
            f"{where}: classes must be one for all {len(predicted)} examples or one each, not {selected.shape}"
        )
    if selected.size and not 0 <= selected.min() <= selected.max() < count:
        raise ValueError(
            f"{where}: classes from {selected.min()} to {selected.max()} do not fit a model of {count} classes"
        )
    selected = np.broadcast_to(selected, predicted.shape)
    if outputs.shape[1] == 1:
        return np.where(selected == 1, 1, -1).astype(outputs.dtype)[:, None]
    return np.eye(count, dtype=outputs.dtype)[selected]
