"""scikit-learn's callbacks: each epoch is a task, also inside a search; nothing where scikit-learn has none."""

import importlib.util
import pickle
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from funcnn.estimators import ConvNetClassifier, ConvNetRegressor, callbacks

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 6))
Y = (X[:, 0] > 0).astype(int)
needs_callbacks = pytest.mark.skipif(
    not hasattr(ConvNetClassifier, "set_callbacks"), reason="callbacks are of scikit-learn 1.9"
)


def net(estimator=ConvNetClassifier, **parameters):
    return estimator(channels=(2,), hidden_layer_sizes=(4,), max_iter=3, random_state=0, **parameters)


class Recorder:
    """A callback that records its calls and asks to stop after some epoch."""

    def __init__(self, stop=None):
        self.stop, self.calls, self.fitted = stop, [], []

    def setup(self, estimator, context):
        self.calls.append("setup")

    def teardown(self, estimator, context):
        self.calls.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.calls.append(("begin", context.task_name, context.task_id))

    def on_fit_task_end(self, estimator, context, *, X, y, metadata, fitted_estimator):
        self.calls.append(("end", context.task_name, context.task_id))
        self.fitted.append((fitted_estimator, X, y, metadata))
        return context.task_name == "epoch" and context.task_id == self.stop


@needs_callbacks
def test_each_epoch_is_a_task_of_the_fit():
    recorder = Recorder()
    net().set_callbacks(recorder).fit(X, Y)
    epochs = [(when, "epoch", k) for k in range(3) for when in ("begin", "end")]
    assert recorder.calls == ["setup", ("begin", "fit", 0), *epochs, ("end", "fit", 0), "teardown"]


@needs_callbacks
@pytest.mark.parametrize("estimator", [ConvNetClassifier, ConvNetRegressor])
def test_callbacks_get_an_estimator_as_if_the_fit_had_ended_with_the_epoch(estimator):
    recorder, weight = Recorder(), np.ones(len(X))
    whole = net(estimator).set_callbacks(recorder).fit(X, Y, weight)
    for epochs, (fitted, given, targets, metadata) in enumerate(recorder.fitted[:3], 1):
        assert given is X and targets is Y and metadata["sample_weight"] is weight
        assert fitted.loss_curve_ == whole.loss_curve_[:epochs]
    after_two, last = recorder.fitted[1][0], recorder.fitted[-1][0]
    assert not np.array_equal(after_two.predict(X), whole.predict(X)) or estimator is ConvNetClassifier
    np.testing.assert_array_equal(last.predict(X), whole.predict(X))


@needs_callbacks
def test_a_callback_can_stop_the_fit_and_changes_no_numbers():
    plain = net().fit(X, Y)
    stopped = net().set_callbacks(Recorder(stop=1)).fit(X, Y)
    assert stopped.loss_curve_ == plain.loss_curve_[:2]


@needs_callbacks
def test_after_an_error_callbacks_are_torn_down_and_the_estimator_is_what_it_was():
    class Failing(Recorder):
        def on_fit_task_end(self, estimator, context):
            raise RuntimeError("disk full")

    recorder = Failing()
    estimator = net().set_callbacks(recorder)
    with pytest.raises(RuntimeError, match="disk full"):
        estimator.fit(X, Y)
    assert recorder.calls[-1] == "teardown" and not hasattr(estimator, "params_")


@needs_callbacks
def test_scores_of_every_epoch_of_every_fit_inside_a_search():
    from sklearn.callback import ProgressBar, ScoringMonitor

    monitor = ScoringMonitor(scoring="neg_log_loss")
    search = GridSearchCV(net().set_callbacks(monitor), {"max_iter": [1, 2]}, cv=2)
    search.set_callbacks(ProgressBar(max_propagation_depth=None)).fit(X, Y)
    logs = monitor.get_logs(select="all")
    scores = [row for log in logs for row in log.data if row["task_name"] == "epoch"]
    best = search.best_params_["max_iter"]
    assert len(scores) == 2 * (1 + 2) + best  # two folds of each candidate, and the refit
    assert all(np.isfinite(row["neg_log_loss"]) for row in scores)


@needs_callbacks
def test_an_estimator_with_callbacks_is_cloned_and_its_fitted_clone_is_pickled():
    from sklearn.callback import ScoringMonitor

    fitted = clone(net().set_callbacks(ScoringMonitor(scoring="accuracy"))).fit(X, Y)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict(X), fitted.predict(X))


def test_without_sklearn_callback_a_fit_only_yields_its_epochs(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.callback", None)
    specification = importlib.util.spec_from_file_location("callbacks_of_1_8", callbacks.__file__)
    earlier = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(earlier)

    class Estimator(earlier.CallbackSupportMixin):
        @earlier.with_callbacks
        def fit(self):
            task = earlier.begin_fit(self, 2, X, Y, None)
            yield from task.epochs(iter(["first", "second"]))
            task.end()

    assert list(Estimator().fit()) == ["first", "second"]
    assert not hasattr(Estimator, "set_callbacks")
