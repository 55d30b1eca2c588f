"""Running mean of the parameters over the steps."""

from __future__ import annotations

import numpy as np

from funcnn import tree
from funcnn.optim.optimizer import Optimizer, apply_updates, check_range, find_part
from funcnn.optim.per_array import flushed, running
from funcnn.tree import Array, Tree


def average_params(decay: float) -> Optimizer:
    """Keep a running mean of the parameters, which often generalises better than the last parameters.

    It passes updates through unchanged. Put it last in a chain, where its gradients are the updates that the parameters
    will get. `averaged_params` reads the mean from the state.

    Parameters
    ----------
    decay : float in [0, 1)
        Weight of the old value in the mean, which covers about the last 1 / (1 - decay) steps.

    Notes
    -----
    After step t, the mean weights the parameters after step k = 1..t by decay^(t-k). The weights sum to (1 - decay^t) /
    (1 - decay), so a <- (1-f) a + f p with f = (1 - decay) / (1 - decay^t). The initial parameters, which are random,
    have no weight; the means of PyTorch and Keras start with them, so after a short run these still dominate.

    With batch normalisation, note that the running statistics belong to the last parameters, not to their mean.

    Examples
    --------
    >>> from funcnn.optim import chain, sgd
    >>> optimizer, params = chain(sgd(1.0), average_params(0.5)), {"w": np.array([9.0])}
    >>> opt_state = optimizer.init(params)
    >>> for _ in range(2):
    ...     updates, opt_state = optimizer.update({"w": np.array([3.0])}, opt_state, params)
    ...     params = apply_updates(params, updates)
    >>> params, averaged_params(opt_state)  # the parameters were 6 and then 3, with weights 1/2 and 1
    ({'w': array([3.])}, {'w': array([4.])})
    """
    decay = check_range("average_params", "decay", decay, 1.0)

    def init(params: Tree) -> Tree:
        return {"step": np.asarray(0), "average": params}

    def update(grads: Tree, opt_state: Tree, params: Tree) -> tuple[Tree, Tree]:
        t = int(opt_state["step"]) + 1
        old_weight = 1 - (1 - decay) / (1 - decay**t)

        def averaged(a: Array, p: Array) -> Array:
            return running(old_weight, a, p)

        average = tree.map(averaged, opt_state["average"], apply_updates(params, grads))
        return grads, {"step": np.asarray(t), "average": flushed(average, t)}

    return Optimizer(init, update, "average_params")


def averaged_params(opt_state: Tree) -> Tree:
    """Return the mean of `average_params`; before the first step, these are the initial parameters.

    Parameters
    ----------
    opt_state : tree
        Of an optimizer that contains an `average_params`, also inside chains and wrappers.

    Returns
    -------
    tree
        Of the structure of the parameters.

    Raises
    ------
    ValueError
        If the optimizer contains no `average_params`.

    Examples
    --------
    >>> averaged_params(average_params(0.9).init({"w": np.array([1.0])}))
    {'w': array([1.])}
    """
    part = find_part(opt_state, "step", "average")
    if part is None:
        raise ValueError(f"averaged_params: no average_params in this state, only {tree.paths(opt_state)}")
    return part["average"]
