"""scikit-learn's callbacks (`sklearn.callback`, from scikit-learn 1.9 on): each epoch is a task of the fit.

Earlier versions have none: there an estimator has no ``set_callbacks``, and a fit only yields its epochs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from funcnn.training import Epoch

try:
    from sklearn.callback import CallbackSupportMixin as CallbackSupportMixin
    from sklearn.callback import with_callbacks as with_callbacks
except ImportError:  # scikit-learn 1.7 and 1.8

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """No callbacks."""

    def with_callbacks(method: Callable[..., Any]) -> Callable[..., Any]:
        """Return the method as it is."""
        return method


class FitTask(NamedTuple):
    """The task of one call of ``fit``, whose subtasks are its epochs.

    Attributes
    ----------
    estimator : estimator
    context : sklearn.callback.CallbackContext or None
        None if scikit-learn has no callbacks.
    data : dict
        What callbacks may ask for: X and y as ``fit`` was given them, and the sample weights.
    """

    estimator: Any
    context: Any
    data: dict[str, Any]

    def epochs(self, records: Iterator[Epoch]) -> Iterator[Epoch]:
        """Yield the records, each after the callbacks of its epoch; the last one is where a callback asks to stop.

        A record's attributes are in the estimator before it is yielded here.
        """
        if self.context is None:
            yield from records
            return
        for _ in range(self.context.max_subtasks):
            task = self.context.subcontext(task_name="epoch")
            task.call_on_fit_task_begin(estimator=self.estimator, **self.data)
            epoch = next(records)
            stop = task.call_on_fit_task_end(
                estimator=self.estimator, **self.data, reconstruction_attributes=self._attributes
            )
            yield epoch
            if stop:
                return

    def end(self) -> None:
        """Tell the callbacks that the estimator is fitted."""
        if self.context is not None:
            self.context.call_on_fit_task_end(
                estimator=self.estimator, **self.data, reconstruction_attributes=self._attributes
            )

    def _attributes(self) -> dict[str, Any]:
        """Return those attributes of the estimator that later epochs change: with its own, a copy is fitted."""
        names = ("params_", "state_", "loss_curve_", "validation_scores_")
        values = {name: getattr(self.estimator, name) for name in names}
        return {name: list(value) if isinstance(value, list) else value for name, value in values.items()}


def begin_fit(estimator: Any, epochs: int, X: Any, y: Any, sample_weight: Any) -> FitTask:
    """Tell the estimator's callbacks that a fit of a number of epochs begins.

    Parameters
    ----------
    estimator : estimator
        Its method that calls this function is decorated by `with_callbacks`.
    epochs : int
        The largest number.
    X, y, sample_weight
        As ``fit`` was given them.

    Returns
    -------
    FitTask
    """
    data = {"X": X, "y": y, "metadata": None if sample_weight is None else {"sample_weight": sample_weight}}
    if not hasattr(estimator, "set_callbacks"):
        return FitTask(estimator, None, data)
    context = estimator._init_callback_context(max_subtasks=epochs)
    context.call_on_fit_task_begin(estimator=estimator, **data)
    return FitTask(estimator, context, data)
