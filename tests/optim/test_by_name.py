"""Optimizers by name: each is the function of its name with the schedule of its name."""

import numpy as np
import pytest

from funcnn import optim

RATE, STEPS, DECAY = 0.1, 20, 0.01
OPTIMIZERS = {
    "sgd": lambda rate: optim.sgd(rate, weight_decay=DECAY),
    "momentum": lambda rate: optim.sgd(rate, momentum=0.9, nesterov=True, weight_decay=DECAY),
    "adam": lambda rate: optim.adam(rate, weight_decay=DECAY),
    "adamw": lambda rate: optim.adamw(rate, weight_decay=DECAY),
    "nadam": lambda rate: optim.nadam(rate, weight_decay=DECAY),
    "radam": lambda rate: optim.radam(rate, weight_decay=DECAY),
    "rmsprop": lambda rate: optim.rmsprop(rate, weight_decay=DECAY),
    "adagrad": lambda rate: optim.adagrad(rate, weight_decay=DECAY),
    "lion": lambda rate: optim.lion(rate, weight_decay=DECAY),
    "lamb": lambda rate: optim.lamb(rate, weight_decay=DECAY),
}
SCHEDULES = {
    "constant": optim.constant(RATE),
    "linear": optim.polynomial(RATE, STEPS),
    "exponential": optim.exponential(RATE, 0.01, STEPS),
    "cosine": optim.cosine(RATE, STEPS),
    "warmup-cosine": optim.warmup_cosine(RATE, 2, STEPS),
    "one-cycle": optim.one_cycle(RATE, STEPS),
}


def path(optimizer):
    """Parameters and learning rates of a few updates with fixed gradients."""
    params = {"w": np.array([[2.0, -1.0], [0.5, 3.0]]), "b": np.array([1.0, -2.0])}
    opt_state, seen = optimizer.init(params), []
    for step in range(5):
        seen.append(optim.learning_rate(opt_state))
        grads = {"w": np.cos(step + params["w"]), "b": np.sin(step + params["b"])}
        updates, opt_state = optimizer.update(grads, opt_state, params)
        params = optim.apply_updates(params, updates)
        seen += [*params["w"].ravel(), *params["b"]]
    return seen


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name):
    by_name = optim.by_name(name, RATE, schedule="cosine", steps=STEPS, weight_decay=DECAY)
    assert path(by_name) == path(OPTIMIZERS[name](SCHEDULES["cosine"]))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules(schedule):
    by_name = optim.by_name("adam", RATE, schedule=schedule, steps=STEPS, weight_decay=DECAY)
    assert path(by_name) == path(OPTIMIZERS["adam"](SCHEDULES[schedule]))


def test_by_default_the_rate_is_constant_and_nothing_decays():
    assert path(optim.by_name("sgd", RATE)) == path(optim.sgd(RATE))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("sdg", RATE), "the optimizer must be one of sgd, momentum, adam, adamw, .*lamb, got 'sdg'"),
        (("sgd", RATE, "one_cycle", 5), "the schedule must be one of constant, linear, .*one-cycle, got 'one_cycle'"),
        (("sgd", RATE, "linear"), "steps must be given for the schedule 'linear'"),
        (("sgd", RATE, "cosine", 0), "steps"),
        (("sgd", RATE, "constant", 0), "by_name: steps must be at least 1, got 0"),
        (("sgd", -0.1), r"learning_rate must be a finite number >= 0, got -0\.1"),
        (("sgd", float("nan")), "learning_rate must be a finite number >= 0, got nan"),
        (("sgd", float("inf")), "learning_rate must be a finite number >= 0, got inf"),
    ],
)
def test_unknown_names(arguments, words):
    name, rate, *rest = arguments
    with pytest.raises(ValueError, match=words):
        optim.by_name(name, rate, **dict(zip(("schedule", "steps"), rest, strict=False)))
