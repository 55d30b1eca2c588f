"""What every optimizer promises: the published recurrence, written out for one number, and a pure update."""

import math

import numpy as np
import pytest

from funcnn import optim, tree

GRADS = [0.5, -2.0, 1.5, 0.25, -0.75, 3.0, -1.0, 0.5]
HALVING = lambda step: 0.1 / 2**step  # noqa: E731 - a schedule is a function


def run(optimizer, grads=GRADS, start=2.0):
    """The values of one parameter under given gradients."""
    params = {"layer": {"w": np.array([start])}}
    opt_state = optimizer.init(params)
    path = []
    for g in grads:
        updates, opt_state = optimizer.update({"layer": {"w": np.array([g])}}, opt_state, params)
        params = optim.apply_updates(params, updates)
        path.append(float(params["layer"]["w"][0]))
    return path


def at(rate, t):
    return rate(t) if callable(rate) else rate


def sgd(rate, momentum=0.0, nesterov=False, decay=0.0, dampening=0.0):
    p, m, path = 2.0, 0.0, []
    for t, g in enumerate(GRADS):
        g = g + decay * p
        m = momentum * m + (1 - dampening) * g if t else g
        p = p - at(rate, t) * (g + momentum * m if nesterov else m)
        path.append(p)
    return path


def adam(rate, b1=0.9, b2=0.999, eps=1e-8, l2=0.0, decay=0.0, amsgrad=False):
    p, m, v, largest, path = 2.0, 0.0, 0.0, 0.0, []
    for t, g in enumerate(GRADS, start=1):
        g = g + l2 * p
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        largest = max(largest, v) if amsgrad else v
        r = at(rate, t - 1)
        p = p - r * decay * p - r * (m / (1 - b1**t)) / (math.sqrt(largest / (1 - b2**t)) + eps)
        path.append(p)
    return path


def nadam(rate, b1=0.9, b2=0.999, eps=1e-8, l2=0.0, momentum_decay=0.004):
    u = [b1 * (1 - 0.96 ** (t * momentum_decay) / 2) for t in range(len(GRADS) + 2)]
    p, m, v, path = 2.0, 0.0, 0.0, []
    for t, g in enumerate(GRADS, start=1):
        g = g + l2 * p
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        ahead = u[t + 1] * m / (1 - math.prod(u[1 : t + 2])) + (1 - u[t]) * g / (1 - math.prod(u[1 : t + 1]))
        p = p - at(rate, t - 1) * ahead / (math.sqrt(v / (1 - b2**t)) + eps)
        path.append(p)
    return path


def radam(rate, b1=0.9, b2=0.999, eps=1e-8, l2=0.0):
    p, m, v, path = 2.0, 0.0, 0.0, []
    end = 2 / (1 - b2) - 1
    for t, g in enumerate(GRADS, start=1):
        g = g + l2 * p
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        n = end - 2 * t * b2**t / (1 - b2**t)
        step = m / (1 - b1**t)
        if n > 5:
            step *= math.sqrt((n - 4) * (n - 2) * end / ((end - 4) * (end - 2) * n))
            step *= math.sqrt(1 - b2**t) / (math.sqrt(v) + eps)
        p = p - at(rate, t - 1) * step
        path.append(p)
    return path


def rmsprop(rate, decay=0.99, eps=1e-8, momentum=0.0, centered=False, l2=0.0):
    p, v, a, m, path = 2.0, 0.0, 0.0, 0.0, []
    for t, g in enumerate(GRADS):
        g = g + l2 * p
        v, a = decay * v + (1 - decay) * g * g, decay * a + (1 - decay) * g
        m = momentum * m + g / (math.sqrt(v - a * a if centered else v) + eps)
        p = p - at(rate, t) * m
        path.append(p)
    return path


def adagrad(rate, start=0.0, eps=1e-10, l2=0.0):
    p, total, path = 2.0, start, []
    for t, g in enumerate(GRADS):
        g = g + l2 * p
        total += g * g
        p = p - at(rate, t) * g / (math.sqrt(total) + eps)
        path.append(p)
    return path


def adadelta(rate=1.0, decay=0.9, eps=1e-6, l2=0.0):
    p, v, s, path = 2.0, 0.0, 0.0, []
    for t, g in enumerate(GRADS):
        g = g + l2 * p
        v = decay * v + (1 - decay) * g * g
        d = math.sqrt(s + eps) / math.sqrt(v + eps) * g
        s = decay * s + (1 - decay) * d * d
        p = p - at(rate, t) * d
        path.append(p)
    return path


def lion(rate, b1=0.9, b2=0.99, decay=0.0):
    p, m, path = 2.0, 0.0, []
    for t, g in enumerate(GRADS):
        p = p - at(rate, t) * (math.copysign(1, b1 * m + (1 - b1) * g) + decay * p)
        m = b2 * m + (1 - b2) * g
        path.append(p)
    return path


def lamb(rate, b1=0.9, b2=0.999, eps=1e-6, decay=0.0):
    p, m, v, path = 2.0, 0.0, 0.0, []
    for t, g in enumerate(GRADS, start=1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        r = (m / (1 - b1**t)) / (math.sqrt(v / (1 - b2**t)) + eps) + decay * p
        p = p - at(rate, t - 1) * abs(p) / abs(r) * r
        path.append(p)
    return path


OPTIMIZERS = {
    "sgd": (optim.sgd(0.1), sgd(0.1)),
    "sgd, schedule": (optim.sgd(HALVING), sgd(HALVING)),
    "sgd, momentum": (optim.sgd(0.1, momentum=0.9), sgd(0.1, 0.9)),
    "sgd, momentum and schedule": (optim.sgd(HALVING, momentum=0.9), sgd(HALVING, 0.9)),
    "sgd, dampening": (optim.sgd(0.1, momentum=0.9, dampening=0.25), sgd(0.1, 0.9, dampening=0.25)),
    "sgd, nesterov": (optim.sgd(0.1, momentum=0.9, nesterov=True), sgd(0.1, 0.9, True)),
    "sgd, weight decay": (optim.sgd(0.1, weight_decay=0.2), sgd(0.1, decay=0.2)),
    "sgd, all": (
        optim.sgd(HALVING, momentum=0.8, nesterov=True, weight_decay=0.2),
        sgd(HALVING, 0.8, True, 0.2),
    ),
    "adam": (optim.adam(0.1), adam(0.1)),
    "adam, schedule": (optim.adam(HALVING), adam(HALVING)),
    "adam, hyperparameters": (optim.adam(0.1, b1=0.5, b2=0.9, eps=0.1), adam(0.1, 0.5, 0.9, 0.1)),
    "adam, L2": (optim.adam(0.1, weight_decay=0.3), adam(0.1, l2=0.3)),
    "adamw": (optim.adamw(0.1), adam(0.1, decay=0.01)),
    "adamw, decay": (optim.adamw(HALVING, weight_decay=0.5), adam(HALVING, decay=0.5)),
    "amsgrad": (optim.amsgrad(0.1), adam(0.1, amsgrad=True)),
    "amsgrad, all": (
        optim.amsgrad(HALVING, b1=0.5, b2=0.6, eps=0.1, weight_decay=0.3),
        adam(HALVING, 0.5, 0.6, 0.1, l2=0.3, amsgrad=True),
    ),
    "nadam": (optim.nadam(0.1), nadam(0.1)),
    "nadam, all": (
        optim.nadam(HALVING, b1=0.5, b2=0.9, eps=0.1, weight_decay=0.3, momentum_decay=0.5),
        nadam(HALVING, 0.5, 0.9, 0.1, 0.3, 0.5),
    ),
    "radam": (optim.radam(0.1), radam(0.1)),
    "radam, all": (optim.radam(HALVING, b1=0.5, b2=0.9, eps=0.1, weight_decay=0.3), radam(HALVING, 0.5, 0.9, 0.1, 0.3)),
    "radam, never adaptive": (optim.radam(0.1, b2=0.5), radam(0.1, b2=0.5)),
    "rmsprop": (optim.rmsprop(0.1), rmsprop(0.1)),
    "rmsprop, centered": (optim.rmsprop(0.1, centered=True), rmsprop(0.1, centered=True)),
    "rmsprop, all": (
        optim.rmsprop(HALVING, decay=0.8, eps=0.1, momentum=0.5, centered=True, weight_decay=0.3),
        rmsprop(HALVING, 0.8, 0.1, 0.5, True, 0.3),
    ),
    "adagrad": (optim.adagrad(0.1), adagrad(0.1)),
    "adagrad, all": (
        optim.adagrad(HALVING, initial_accumulator=0.5, eps=0.1, weight_decay=0.3),
        adagrad(HALVING, 0.5, 0.1, 0.3),
    ),
    "adadelta": (optim.adadelta(), adadelta()),
    "adadelta, all": (optim.adadelta(HALVING, decay=0.5, eps=0.1, weight_decay=0.3), adadelta(HALVING, 0.5, 0.1, 0.3)),
    "lion": (optim.lion(0.1), lion(0.1)),
    "lion, all": (optim.lion(HALVING, b1=0.3, b2=0.6, weight_decay=0.3), lion(HALVING, 0.3, 0.6, 0.3)),
    "lamb": (optim.lamb(0.1), lamb(0.1)),
    "lamb, all": (
        optim.lamb(HALVING, b1=0.5, b2=0.9, eps=0.1, weight_decay=0.3),
        lamb(HALVING, 0.5, 0.9, 0.1, 0.3),
    ),
}
# Transformations and wrappers: their values are in the test file of each; here is what all have in common.
COMPOSED = {
    "clip_by_value": optim.clip_by_value(0.1),
    "clip_by_norm": optim.clip_by_norm(0.1),
    "clip_by_global_norm": optim.clip_by_global_norm(0.1),
    "adaptive_clip": optim.adaptive_clip(),
    "add_weight_decay": optim.add_weight_decay(0.1, optim.weights_only),
    "average_params": optim.average_params(0.9),
    "accumulate": optim.accumulate(optim.adam(0.1), 2),
    "apply_if_finite": optim.apply_if_finite(optim.adam(0.1)),
    "freeze": optim.freeze(optim.adamw(0.1, mask=optim.weights_only), lambda path: path == "a"),
    "chain": optim.chain(optim.clip_by_norm(1.0), optim.lamb(0.1), optim.average_params(0.9)),
    "hyperparameters of NumPy's": optim.chain(
        optim.clip_by_global_norm(np.float64(0.1)),
        optim.add_weight_decay(np.float64(0.1)),
        optim.adamw(np.float64(0.1), b1=np.float64(0.9), weight_decay=np.float64(0.1)),
        optim.sgd(np.float64(0.1), momentum=np.float64(0.9)),
    ),
}
ALL = {name: optimizer for name, (optimizer, _) in OPTIMIZERS.items()} | COMPOSED


def test_every_public_optimizer_and_schedule_is_here():
    tested = {name.partition(",")[0] for name in OPTIMIZERS}
    composed = set(COMPOSED) - {"hyperparameters of NumPy's"} | {"averaged_params", "weights_only"}
    others = {
        "by_name",
        "FusedUpdate",
        "Optimizer",
        "Plateau",
        "Schedule",
        "apply_updates",
        "learning_rate",
        "set_learning_rate",
    }
    others |= {"step"}
    schedules = {"constant", "cosine", "cosine_restarts", "exponential", "inverse_time", "one_cycle", "piecewise"}
    schedules |= {"polynomial", "reduce_on_plateau", "warmup", "warmup_cosine"}
    assert tested | composed | others | schedules == set(optim.__all__)


@pytest.mark.parametrize(("optimizer", "expected"), OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_trajectory(optimizer, expected):
    np.testing.assert_allclose(run(optimizer), expected, rtol=1e-12)


@pytest.mark.parametrize("optimizer", ALL.values(), ids=ALL.keys())
def test_nothing_is_written_and_types_are_kept(optimizer):
    def frozen(value):
        array = np.full(3, value, np.float32)
        array.flags.writeable = False
        return array

    params = {"a": frozen(1.0), "b": {"w": frozen(2.0)}}
    grads = {"b": {"w": frozen(0.5)}, "a": frozen(-0.5)}  # in another order
    opt_state = optimizer.init(params)
    for _ in range(3):
        for leaf in tree.leaves(opt_state):
            leaf.flags.writeable = False
        updates, new_state = optimizer.update(grads, opt_state, params)
        again, _ = optimizer.update(grads, opt_state, params)
        tree.map(np.testing.assert_array_equal, updates, again)
        assert all(isinstance(leaf, np.ndarray) for leaf in tree.leaves(new_state))
        tree.map(
            lambda old, new: np.testing.assert_equal((new.shape, new.dtype), (old.shape, old.dtype)),
            opt_state,
            new_state,
        )
        assert {u.dtype for u in tree.leaves(updates)} == {np.dtype(np.float32)}
        opt_state = new_state


@pytest.mark.parametrize("optimizer", ALL.values(), ids=ALL.keys())
def test_a_step_is_the_update_and_its_application_bit_for_bit(optimizer):
    params = {"a": np.float32([[1.0, -2.0]]), "b": {"w": np.float32(0.5)}}
    grads = tree.map(lambda p: np.float32(0.3) * p + np.float32(0.1), params)
    opt_state = optimizer.init(params)
    for _ in range(3):
        held = tree.map(np.array, opt_state)
        updates, expected_state = optimizer.update(grads, opt_state, params)
        expected = optim.apply_updates(params, updates)
        stepped, new_state = optim.step(optimizer, grads, opt_state, params)
        tree.map(np.testing.assert_array_equal, stepped, expected)
        tree.map(np.testing.assert_array_equal, new_state, expected_state)
        tree.map(np.testing.assert_array_equal, opt_state, held)
        arrays = [*tree.leaves(new_state), *tree.leaves(grads), *tree.leaves(params)]
        assert not any(np.may_share_memory(leaf, other) for leaf in tree.leaves(stepped) for other in arrays)
        params, opt_state = stepped, new_state


def test_a_step_with_updates_of_another_dtype_keeps_the_parameters():
    def update(grads, opt_state, params):
        return {"w": np.array([0.5])}, {}

    params, optimizer = {"w": np.float32([1.0])}, optim.Optimizer(lambda params: {}, update)
    assert optim.step(optimizer, params, {}, params)[0]["w"].dtype == np.float32


@pytest.mark.parametrize(
    "optimizer",
    [optim.sgd(0.1, momentum=0.9), optim.adam(0.1), optim.freeze(optim.adam(0.1), lambda path: path == "b")],
)
def test_gradients_unlike_the_parameters_are_refused(optimizer):
    params = {"w": np.ones(2), "b": np.ones(1)}
    with pytest.raises(ValueError, match=r"lacks \['b'\]|missing: \['b'\]"):
        optimizer.update({"w": np.ones(2)}, optimizer.init(params), params)


def test_learning_rate_is_found_wherever_there_is_one():
    for optimizer in ALL.values():
        opt_state = optimizer.init({"a": np.ones(2), "b": {"w": np.ones(2)}})
        rated = any(path.rpartition("/")[2] == "learning_rate" for path in tree.paths(opt_state))
        assert (optim.learning_rate(opt_state) is not None) == rated
    assert optim.learning_rate(optim.lamb(0.3).init({"w": np.ones(1)})) == 0.3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.sgd(-0.1), "sgd: the learning rate must be >= 0, got -0.1"),
        (lambda: optim.sgd(float("nan")), "the learning rate must be >= 0, got nan"),
        (lambda: optim.sgd(0.1, momentum=1.0), r"momentum must be in \[0, 1.0\), got 1.0"),
        (lambda: optim.sgd(0.1, nesterov=True), "nesterov requires momentum > 0 and no dampening, got 0.0 and 0.0"),
        (lambda: optim.sgd(0.1, momentum=0.9, dampening=0.1, nesterov=True), "no dampening, got 0.9 and 0.1"),
        (lambda: optim.sgd(0.1, dampening=0.1), "sgd: dampening 0.1 requires momentum > 0"),
        (lambda: optim.sgd(0.1, momentum=0.9, dampening=1.0), "sgd: dampening must be"),
        (lambda: optim.sgd(0.1, weight_decay=-1), "weight_decay must be"),
        (lambda: optim.adam(0.1, b1=1.0), "adam: b1 must be"),
        (lambda: optim.adam(0.1, b2=-0.1), "adam: b2 must be"),
        (lambda: optim.adam(0.1, eps=-1), "eps must be"),
        (lambda: optim.adamw(0.1, weight_decay=-1), "adamw: weight_decay must be"),
        (lambda: optim.amsgrad(-1), "amsgrad: the learning rate must be"),
        (lambda: optim.amsgrad(0.1, b1=1.0), "amsgrad: b1 must be"),
        (lambda: optim.nadam(0.1, b2=1.0), "nadam: b2 must be"),
        (lambda: optim.nadam(0.1, momentum_decay=-1), "nadam: momentum_decay must be"),
        (lambda: optim.radam(0.1, b2=1.0), "radam: b2 must be"),
        (lambda: optim.rmsprop(-1), "rmsprop: the learning rate must be"),
        (lambda: optim.rmsprop(0.1, decay=1.0), "rmsprop: decay must be"),
        (lambda: optim.rmsprop(0.1, eps=-1), "rmsprop: eps must be"),
        (lambda: optim.rmsprop(0.1, momentum=1.0), "rmsprop: momentum must be"),
        (lambda: optim.rmsprop(0.1, weight_decay=-1), "rmsprop: weight_decay must be"),
        (lambda: optim.adagrad(-1), "adagrad: the learning rate must be"),
        (lambda: optim.adagrad(0.1, initial_accumulator=-1), "adagrad: initial_accumulator must be"),
        (lambda: optim.adagrad(0.1, eps=-1), "adagrad: eps must be"),
        (lambda: optim.adagrad(0.1, weight_decay=-1), "adagrad: weight_decay must be"),
        (lambda: optim.adadelta(-1), "adadelta: the learning rate must be"),
        (lambda: optim.adadelta(decay=1.0), "adadelta: decay must be"),
        (lambda: optim.adadelta(eps=-1), "adadelta: eps must be"),
        (lambda: optim.adadelta(weight_decay=-1), "adadelta: weight_decay must be"),
        (lambda: optim.lion(-1), "lion: the learning rate must be"),
        (lambda: optim.lion(0.1, b1=1.0), "lion: b1 must be"),
        (lambda: optim.lion(0.1, b2=1.0), "lion: b2 must be"),
        (lambda: optim.lion(0.1, weight_decay=-1), "lion: weight_decay must be"),
        (lambda: optim.lamb(-1), "lamb: the learning rate must be"),
        (lambda: optim.lamb(0.1, eps=-1), "lamb: eps must be"),
        (lambda: optim.lamb(0.1, weight_decay=-1), "lamb: weight_decay must be"),
    ],
)
def test_bad_hyperparameters_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.clip_by_value(0.0), "clip_by_value: limit must be > 0, got 0.0"),
        (lambda: optim.clip_by_norm(-1.0), "clip_by_norm: max_norm must be > 0, got -1.0"),
        (lambda: optim.clip_by_global_norm(0.0), "clip_by_global_norm: max_norm must be > 0, got 0.0"),
        (lambda: optim.clip_by_global_norm(math.nan), "max_norm must be > 0, got nan"),
        (lambda: optim.adaptive_clip(0.0), "adaptive_clip: clipping must be > 0, got 0.0"),
        (lambda: optim.adaptive_clip(eps=0.0), "adaptive_clip: eps must be > 0, got 0.0"),
        (lambda: optim.add_weight_decay(-0.1), "add_weight_decay: weight_decay must be"),
        (lambda: optim.average_params(1.0), r"average_params: decay must be in \[0, 1.0\), got 1.0"),
        (lambda: optim.accumulate(optim.sgd(0.1), 0), "accumulate: steps must be at least 1, got 0"),
        (lambda: optim.apply_if_finite(optim.sgd(0.1), -1), "apply_if_finite: max_consecutive must be >= 0, got -1"),
    ],
)
def test_bad_options_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


WITH_RATES = [
    *(optim.sgd, optim.adam, optim.adamw, optim.amsgrad, optim.nadam, optim.radam, optim.rmsprop, optim.adagrad),
    *(optim.adadelta, optim.lion, optim.lamb),
    lambda rate: optim.chain(optim.clip_by_norm(1.0), optim.accumulate(optim.sgd(rate), 1)),
    lambda rate: optim.freeze(optim.apply_if_finite(optim.sgd(rate)), lambda path: False),
]


@pytest.mark.parametrize("optimizer", WITH_RATES)
@pytest.mark.parametrize("bad", [-0.1, math.nan, math.inf, -math.inf])
def test_a_schedule_that_leaves_the_range_is_an_error_at_that_step(optimizer, bad):
    with pytest.raises(ValueError, match=f"the learning rate of step 3 must be finite and >= 0, got {bad}"):
        run(optimizer(lambda step: bad if step == 3 else 0.0))
    run(optimizer(lambda step: bad if step == len(GRADS) else 0.1))  # of a step that is never taken


@pytest.mark.parametrize("optimizer", WITH_RATES)
@pytest.mark.parametrize("bad", [None, "0.1", b"0.1", [0.1], np.array([0.1]), 0.1j, object()])
def test_a_schedule_that_returns_no_number_is_named_with_the_step(optimizer, bad):
    with pytest.raises(TypeError, match="the schedule at step 2: the learning rate must be a number, not"):
        run(optimizer(lambda step: bad if step == 2 else np.float32(0.1)))


def test_numbers_of_another_type_are_named():
    with pytest.raises(TypeError, match="sgd: the learning rate must be a number, not None"):
        optim.sgd(None)
    with pytest.raises(ValueError, match="sgd: the learning rate must be finite, got inf"):
        optim.sgd(math.inf)
    with pytest.raises(ValueError, match="set_learning_rate: the learning rate must be a number >= 0, got inf"):
        optim.set_learning_rate(optim.sgd(0.1).init({}), math.inf)
    with pytest.raises(TypeError, match="adam: weight_decay must be a number, not None"):
        optim.adam(0.1, weight_decay=None)
    with pytest.raises(TypeError, match=r"accumulate: steps must be an int, not 2\.5"):
        optim.accumulate(optim.sgd(0.1), 2.5)
    with pytest.raises(TypeError, match=r"reduce_on_plateau: patience must be an int, not 1\.5"):
        optim.reduce_on_plateau(patience=1.5)


WITH_MEANS = [
    lambda: optim.sgd(0.1, momentum=0.9),
    lambda: optim.adam(0.1, b2=0.9),
    lambda: optim.amsgrad(0.1, b2=0.9),
    lambda: optim.nadam(0.1, b2=0.9),
    lambda: optim.radam(0.1, b2=0.9),
    lambda: optim.lamb(0.1, b2=0.9),
    lambda: optim.lion(0.1, b2=0.9),
    lambda: optim.rmsprop(0.1, decay=0.9, momentum=0.9),
    lambda: optim.rmsprop(0.1, decay=0.9, centered=True),
    lambda: optim.adadelta(0.1, decay=0.9),
    lambda: optim.accumulate(optim.adam(0.1, b2=0.9), 1),
]


@pytest.mark.parametrize("make", WITH_MEANS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_means_of_units_without_a_gradient_never_become_subnormal(make, dtype):
    tiny = np.finfo(dtype).tiny
    params = {"w": np.array([1.0, 1.0], dtype)}
    optimizer, first = make(), np.array([1e-3, 1e-3], dtype) if dtype == np.float32 else np.array([1e-150, 1e-3])
    opt_state = optimizer.init(params)
    updates, opt_state = optimizer.update({"w": first}, opt_state, params)
    seen = []
    for _ in range(1200):
        updates, opt_state = optimizer.update({"w": np.array([0.0, 1e-3], dtype)}, opt_state, params)
        seen += [abs(leaf) for leaf in tree.leaves(opt_state) if leaf.dtype == dtype and leaf.ndim]
    values = np.concatenate(seen)
    assert not ((values > 0) & (values < tiny)).any()
    assert np.isfinite(updates["w"]).all() and updates["w"].dtype == dtype


def test_a_flush_changes_no_step_of_adam():
    """Against the recurrence in float64, whose means do not underflow, with a gradient that stops and comes back."""
    optimizer, params = optim.adam(0.1, b1=0.5, b2=0.5), {"w": np.array([1.0], np.float32)}
    opt_state, m, v = optimizer.init(params), 0.0, 0.0
    for t in range(1, 400):
        g = 0.0 if 3 < t < 300 else 1e-3
        updates, opt_state = optimizer.update({"w": np.array([g], np.float32)}, opt_state, params)
        m, v = 0.5 * m + 0.5 * g, 0.5 * v + 0.5 * g * g
        expected = -0.1 * m / (1 - 0.5**t) / (math.sqrt(v / (1 - 0.5**t)) + 1e-8)
        assert updates["w"][0] == pytest.approx(expected, rel=1e-5, abs=1e-30)


def test_without_eps_nothing_is_flushed_that_a_step_divides_by():
    params, g = {"w": np.array([1.0], np.float32)}, {"w": np.array([3e-22], np.float32)}
    optimizer = optim.adam(0.1, eps=0.0, b2=0.5)
    opt_state = optimizer.init(params)
    for _ in range(130):
        updates, opt_state = optimizer.update(g, opt_state, params)
    assert np.isfinite(updates["w"]).all()


@pytest.mark.parametrize("optimizer", [optim.sgd(1.0), optim.adam(0.1), optim.chain(optim.sgd(1.0))])
def test_an_optimizer_with_another_update_keeps_no_step_of_the_old_one(optimizer):
    params, grads = {"w": np.array([1.0])}, {"w": np.array([0.25])}
    changed = optimizer._replace(update=lambda grads, opt_state, params: (grads, opt_state))
    stepped, _ = optim.step(changed, grads, changed.init(params), params)
    np.testing.assert_array_equal(stepped["w"], [1.25])
    np.testing.assert_array_equal(grads["w"], [0.25])


def test_a_chain_steps_in_one_pass_after_what_comes_before(monkeypatch):
    params, grads = {"w": np.array([1.0, 2.0])}, {"w": np.array([3.0, 4.0])}
    optimizer = optim.chain(optim.clip_by_global_norm(1.0), optim.sgd(0.5))
    monkeypatch.setattr("funcnn.optim.optimizer.apply_updates", None)  # is not called
    np.testing.assert_allclose(optim.step(optimizer, grads, optimizer.init(params), params)[0]["w"], [0.7, 1.6])


def test_an_empty_chain_passes_gradients_on_and_a_step_adds_them():
    params, grads = {"w": np.array([1.0])}, {"w": np.array([0.25])}
    assert optim.chain().update(grads, {}, params) == (grads, {})
    np.testing.assert_array_equal(optim.step(optim.chain(), grads, {}, params)[0]["w"], [1.25])
