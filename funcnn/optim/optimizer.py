"""The type of an optimizer, chains of optimizers, and the learning rate in their states."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from funcnn import tree
from funcnn.kernels.updates import apply_update
from funcnn.optim.schedules import Schedule
from funcnn.tree import Array, Tree


class Optimizer(NamedTuple):
    """An optimizer: two pure functions, and a name.

    Attributes
    ----------
    init : callable
        ``init(params) -> opt_state``, a tree of arrays.
    update : callable
        ``update(grads, opt_state, params) -> updates, opt_state``. `apply_updates` adds the updates to the parameters.
        If it is a `FusedUpdate`, the function `step` does both at once.
    name : str
        Such as "adam" or "chain(clip_by_global_norm, adam)", without hyperparameters; "" for unknown. A state of
        training is refused to an optimizer of another name.

    Examples
    --------
    >>> descent = Optimizer(lambda params: {}, lambda grads, opt_state, params: ({"w": -0.1 * grads["w"]}, opt_state))
    >>> params = {"w": np.array([1.0, 2.0])}
    >>> updates, opt_state = descent.update({"w": np.array([10.0, 0.0])}, descent.init(params), params)
    >>> apply_updates(params, updates)
    {'w': array([0., 2.])}
    """

    init: Callable[[Tree], Tree]
    update: Callable[[Tree, Tree, Tree], tuple[Tree, Tree]]
    name: str = ""


@dataclass(frozen=True)
class FusedUpdate:
    """The ``update`` of an optimizer that computes the new parameters in the same pass over the trees.

    It is one function for both, so that an `Optimizer` with another ``update`` cannot keep the step of the old one.

    Attributes
    ----------
    advance : callable
        ``advance(grads, opt_state, params, applied) -> updates, opt_state``; if ``applied``, it returns `apply_updates`
        of the parameters and the updates instead of the updates, bit for bit, in new arrays.

    Examples
    --------
    >>> def advance(grads, opt_state, params, applied):
    ...     start = params["w"] if applied else 0
    ...     return {"w": start - 0.1 * grads["w"]}, opt_state
    >>> descent = Optimizer(lambda params: {}, FusedUpdate(advance))
    >>> step(descent, {"w": np.array([10.0, 0.0])}, {}, {"w": np.array([1.0, 2.0])})[0]
    {'w': array([0., 2.])}
    """

    advance: Callable[[Tree, Tree, Tree, bool], tuple[Tree, Tree]]

    def __call__(self, grads: Tree, opt_state: Tree, params: Tree) -> tuple[Tree, Tree]:
        """Return the updates and the new state."""
        return self.advance(grads, opt_state, params, False)


def name_around(name: str, *optimizers: Optimizer) -> str:
    """Return the name of what holds other optimizers; "" if the name of one is not known."""
    inner = [optimizer.name for optimizer in optimizers]
    return f"{name}({', '.join(inner)})" if all(inner) else ""


def apply_updates(params: Tree, updates: Tree) -> Tree:
    """Return params + updates, in the parameters' dtypes.

    Parameters
    ----------
    params, updates : tree

    Returns
    -------
    tree

    Raises
    ------
    ValueError
        If their structures or shapes differ.

    Examples
    --------
    >>> apply_updates({"w": np.array([1.0])}, {"w": np.array([-0.25])})
    {'w': array([0.75])}
    """
    return tree.map(apply_update, params, updates)


def step(optimizer: Optimizer, grads: Tree, opt_state: Tree, params: Tree) -> tuple[Tree, Tree]:
    """Return the parameters and the optimizer's state after one step: ``update`` and `apply_updates` in one.

    It is faster: most optimizers compute the new parameters in one pass, without arrays for the updates.

    Parameters
    ----------
    optimizer : Optimizer
    grads, opt_state, params : tree

    Returns
    -------
    params, opt_state : tree
        The same, bit for bit, as those of ``update`` and `apply_updates`.

    Raises
    ------
    ValueError
        As `apply_updates`.

    Examples
    --------
    >>> from funcnn.optim import sgd
    >>> optimizer, params = sgd(0.5), {"w": np.array([1.0])}
    >>> params, opt_state = step(optimizer, {"w": np.array([4.0])}, optimizer.init(params), params)
    >>> params
    {'w': array([-1.])}
    """
    if isinstance(optimizer.update, FusedUpdate):
        return optimizer.update.advance(grads, opt_state, params, True)
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return apply_updates(params, updates), opt_state


def scaling(factor: float) -> Callable[[Any], Any]:
    """Return a function that multiplies a leaf by the factor, in the leaf's dtype."""
    factors: dict[np.dtype[Any], Array] = {}  # as arrays; see `as_arrays`

    def scaled(leaf: Any) -> Any:
        converted = factors.get(leaf.dtype)
        if converted is None:
            converted = factors[leaf.dtype] = np.asarray(factor, leaf.dtype)
        return leaf * converted

    return scaled


def as_arrays(*numbers: float) -> Callable[[np.dtype[Any]], list[Array]]:
    """Return a function ``arrays(dtype)`` that converts the numbers to arrays of a dtype, once for each dtype.

    With these arrays, an operation on a small leaf takes half as long as with Python numbers, which NumPy converts to
    arrays in every operation.
    """
    arrays_by_dtype: dict[np.dtype[Any], list[Array]] = {}

    def arrays(dtype: np.dtype[Any]) -> list[Array]:
        if dtype not in arrays_by_dtype:
            arrays_by_dtype[dtype] = [np.asarray(number, dtype) for number in numbers]
        return arrays_by_dtype[dtype]

    return arrays


def chain(*optimizers: Optimizer) -> Optimizer:
    """Apply optimizers in sequence: each takes the updates of the previous one as its gradients.

    Transformations of gradients, such as `clip_by_global_norm`, come before the optimizer that computes the steps.

    Parameters
    ----------
    *optimizers : Optimizer

    Examples
    --------
    >>> from funcnn.optim import clip_by_global_norm, sgd
    >>> optimizer = chain(clip_by_global_norm(1.0), sgd(0.5))
    >>> params = {"w": np.array([0.0, 0.0])}
    >>> optimizer.update({"w": np.array([3.0, 4.0])}, optimizer.init(params), params)[0]
    {'w': array([-0.3, -0.4])}
    """

    def init(params: Tree) -> Tree:
        return {str(i): optimizer.init(params) for i, optimizer in enumerate(optimizers)}

    def advance(grads: Tree, opt_state: Tree, params: Tree, applied: bool) -> tuple[Tree, Tree]:
        new_state = {}
        for i, optimizer in enumerate(optimizers):
            one = partial(step, optimizer) if applied and i == len(optimizers) - 1 else optimizer.update
            grads, new_state[str(i)] = one(grads, opt_state[str(i)], params)
        return (grads if optimizers or not applied else apply_updates(params, grads)), new_state

    return Optimizer(init, FusedUpdate(advance), name_around("chain", *optimizers))


_RATE_LEAVES = ("step", "learning_rate")  # a part of a state that has these leaves has a learning rate


def learning_rate(opt_state: Tree) -> float | None:
    """Return the learning rate of the next update, or None if the optimizer has none.

    Parameters
    ----------
    opt_state : tree
        Of any optimizer, also of chains and wrappers. If several of their parts have a learning rate, that of the first
        is returned.

    Returns
    -------
    float or None

    Examples
    --------
    >>> from funcnn.optim import sgd
    >>> learning_rate(chain(sgd(0.5)).init({}))
    0.5
    """
    part = find_part(opt_state, *_RATE_LEAVES)
    return None if part is None else float(part["learning_rate"])


def set_learning_rate(opt_state: Tree, rate: float) -> Tree:
    """Return the state with another learning rate for the next update.

    If the optimizer was made with a number, all later updates have the new rate, too. If it was made with a schedule,
    the schedule determines their rates.

    Parameters
    ----------
    opt_state : tree
        Of any optimizer, also of chains and wrappers. All parts that have a learning rate get the new one.
    rate : float >= 0

    Returns
    -------
    tree

    Raises
    ------
    TypeError, ValueError
        If the rate is not a finite number >= 0, or the optimizer has no learning rate.

    Examples
    --------
    >>> from funcnn.optim import sgd
    >>> optimizer, params = sgd(0.5), {"w": np.array([1.0])}
    >>> opt_state = set_learning_rate(optimizer.init(params), 0.25)
    >>> optimizer.update({"w": np.array([4.0])}, opt_state, params)[0]
    {'w': array([-1.])}
    """
    if callable(rate) or not 0 <= number("set_learning_rate", "the learning rate", rate) < math.inf:
        raise ValueError(f"set_learning_rate: the learning rate must be a number >= 0, got {rate}")
    if learning_rate(opt_state) is None:
        raise ValueError(f"set_learning_rate: no learning rate in this state, only {tree.paths(opt_state)}")
    return _with_rate(opt_state, np.asarray(rate, np.float64))


def _with_rate(part: Tree, rate: Array) -> Tree:
    if _has(part, _RATE_LEAVES):
        return {**part, "learning_rate": rate}
    return {key: _with_rate(child, rate) if isinstance(child, dict) else child for key, child in part.items()}


def rate_state(rate: float | Schedule, step: int) -> Tree:
    """Return the part of an optimizer's state that holds the step and the learning rate of its update.

    It raises a TypeError if a schedule returns no number. Whether the number is in range is checked by `current_rate`,
    in the step that uses it: the rate after the last step of training is never used.
    """
    value = rate(step) if callable(rate) else rate
    if type(value) is not float and callable(rate):
        value = number(f"the schedule at step {step}", "the learning rate", value)
    return {"step": np.asarray(step), "learning_rate": np.asarray(value, np.float64)}


def next_rate(rate: float | Schedule, opt_state: Tree) -> Tree:
    """Return that part for the next step. Its rate is the schedule's or, without a schedule, that of the state."""
    step = int(opt_state["step"]) + 1
    return rate_state(rate if callable(rate) else opt_state["learning_rate"], step)


def current_rate(opt_state: Tree) -> float:
    """Return the learning rate of the update, or raise a ValueError if it is negative or not finite."""
    rate = float(opt_state["learning_rate"])
    if not 0 <= rate < math.inf:
        raise ValueError(f"the learning rate of step {opt_state['step']} must be finite and >= 0, got {rate}")
    return rate


def find_part(opt_state: Tree, *names: str) -> Tree | None:
    """Return the first part of a state that has all these keys, or None. Outer parts come before inner ones."""
    if _has(opt_state, names):
        return opt_state
    parts = (find_part(child, *names) for child in opt_state.values() if isinstance(child, dict))
    return next((part for part in parts if part is not None), None)


def _has(part: Tree, names: Sequence[str]) -> bool:
    return all(name in part for name in names)


def check_rate(optimizer: str, rate: float | Schedule) -> None:
    """Raise a TypeError or ValueError if the learning rate is neither a schedule nor a finite number >= 0."""
    if callable(rate):
        return
    if not number(optimizer, "the learning rate", rate) >= 0:
        raise ValueError(f"{optimizer}: the learning rate must be >= 0, got {rate}")
    if rate == math.inf:
        raise ValueError(f"{optimizer}: the learning rate must be finite, got {rate}")


def check_range(optimizer: str, name: str, value: float, below: float = math.inf) -> float:
    """Raise an error if it is no number in [0, below). Return it as a float, which keeps float32 arrays float32."""
    checked = number(optimizer, name, value)
    if not 0 <= checked < below:
        raise ValueError(f"{optimizer}: {name} must be in [0, {below}), got {value}")
    return checked


def number(where: str, name: str, value: Any) -> float:
    """Return ``value`` as a float; raise a TypeError unless it is a real number or a 0-d array of one."""
    if np.ndim(value) or np.asarray(value).dtype.kind not in "biuf":
        raise TypeError(f"{where}: {name} must be a number, not {value!r}")
    return float(value)
