"""Optimizers' trajectories over 50 steps of a changing learning rate, and schedules step by step, against PyTorch's."""

import math

import numpy as np
import pytest
import torch
from parity.compare import cases, close, label

from funcnn import optim, tree

STEPS = 50


def rate(step):
    """Some learning rate, another one at every step."""
    return 0.05 * (1 + 0.5 * math.sin(step)) / (1 + 0.02 * step)


# optimizers: each draws a label, funcnn's optimizer, and PyTorch's as a function of its parameters


def decay(rng):
    return float(rng.choice([0.0, 0.1]))


def sgd(rng):
    momentum = float(rng.choice([0.0, 0.5, 0.9]))
    nesterov = bool(momentum and rng.random() < 0.5)
    dampening = 0.3 if momentum and not nesterov and rng.random() < 0.5 else 0.0
    options = {"momentum": momentum, "dampening": dampening, "nesterov": nesterov, "weight_decay": decay(rng)}
    return label(**options), optim.sgd(rate, **options), lambda ps: torch.optim.SGD(ps, **options)


def adam_like(ours, theirs, **more):
    def draw(rng):
        b1, b2, eps = rng.choice([0.0, 0.5, 0.9]), rng.choice([0.9, 0.99, 0.999]), rng.choice([1e-8, 1e-3])
        b1, b2, options = float(b1), float(b2), {"eps": float(eps), "weight_decay": decay(rng)}
        mine = ours(rate, b1=b1, b2=b2, **options)
        return label(b1=b1, b2=b2, **options), mine, lambda ps: theirs(ps, betas=(b1, b2), **options, **more)

    return draw


def nadam(rng):
    momentum_decay = float(rng.choice([0.004, 0.1, 1.0]))

    def ours(rate, **options):
        return optim.nadam(rate, momentum_decay=momentum_decay, **options)

    text, mine, theirs = adam_like(ours, torch.optim.NAdam, momentum_decay=momentum_decay)(rng)
    return f"{text} momentum_decay={momentum_decay}", mine, theirs


def rmsprop(rng):
    alpha = float(rng.choice([0.5, 0.9, 0.99]))
    options = {
        "momentum": float(rng.choice([0.0, 0.9])),
        "centered": bool(rng.random() < 0.5),
        "eps": float(rng.choice([1e-8, 1e-3])),
        "weight_decay": decay(rng),
    }
    mine = optim.rmsprop(rate, decay=alpha, **options)
    return label(decay=alpha, **options), mine, lambda ps: torch.optim.RMSprop(ps, alpha=alpha, **options)


def adagrad(rng):
    start, options = (
        float(rng.choice([0.0, 0.1])),
        {"eps": float(rng.choice([1e-10, 1e-3])), "weight_decay": decay(rng)},
    )
    mine = optim.adagrad(rate, initial_accumulator=start, **options)

    def theirs(ps):
        return torch.optim.Adagrad(ps, initial_accumulator_value=start, **options)

    return label(start=start, **options), mine, theirs


def inverse_time(rng):
    """PyTorch has it as an option of Adagrad."""
    lr_decay = float(rng.uniform(0.01, 1))
    falling = optim.inverse_time(1.0, lr_decay)
    mine = optim.adagrad(lambda step: rate(step) * falling(step))
    return label(lr_decay=lr_decay), mine, lambda ps: torch.optim.Adagrad(ps, lr_decay=lr_decay)


def adadelta(rng):
    rho = float(rng.choice([0.5, 0.9]))
    options = {"eps": float(rng.choice([1e-6, 1e-2])), "weight_decay": decay(rng)}
    mine = optim.adadelta(rate, decay=rho, **options)
    return label(decay=rho, **options), mine, lambda ps: torch.optim.Adadelta(ps, rho=rho, **options)


OPTIMIZERS = {
    "adadelta": adadelta,
    "adagrad": adagrad,
    "adam": adam_like(optim.adam, torch.optim.Adam),
    "adamw": adam_like(optim.adamw, torch.optim.AdamW),
    "amsgrad": adam_like(optim.amsgrad, torch.optim.Adam, amsgrad=True),
    "inverse_time": inverse_time,
    "nadam": nadam,
    "radam": adam_like(optim.radam, torch.optim.RAdam),
    "rmsprop": rmsprop,
    "sgd": sgd,
}

PARAMS = {
    "0_conv2d": {"w": np.random.default_rng(0).standard_normal((2, 3)), "b": np.array([0.5, -1.0, 0.0])},
    "1_batch_norm": {"scale": np.ones(3)},
}
WEIGHTS = [path for path in tree.paths(PARAMS) if optim.weights_only(path)]
NOISE = [{path: np.random.default_rng([t]).standard_normal(leaf.shape) for path, leaf in tree.flatten(PARAMS).items()}
         for t in range(STEPS)]  # fmt: skip


def gradients(flat, t):
    """Those of (p + noise)^2 / 2: they depend on the parameters, so an error affects all later steps."""
    return {path: p + NOISE[t][path] for path, p in flat.items()}


def check_trajectory(ours, make_theirs, prepare=lambda flat: None):
    """Ask for the same parameters after every step; ``prepare`` changes the gradients of PyTorch's parameters."""
    params, opt_state = PARAMS, ours.init(PARAMS)
    theirs = {path: torch.tensor(leaf, requires_grad=True) for path, leaf in tree.flatten(PARAMS).items()}
    optimizer = make_theirs(theirs)
    for t in range(STEPS):
        grads = tree.unflatten(gradients(tree.flatten(params), t), like=params)
        updates, opt_state = ours.update(grads, opt_state, params)
        params = optim.apply_updates(params, updates)

        for path, g in gradients({path: p.detach().numpy() for path, p in theirs.items()}, t).items():
            theirs[path].grad = torch.tensor(g)
        prepare(theirs)
        for group in optimizer.param_groups:
            group["lr"] = rate(t)
        optimizer.step()
        for path, p in tree.flatten(params).items():
            close(f"step {t}, {path}", p, theirs[path])


@pytest.mark.parametrize("case", **cases(OPTIMIZERS, count=12))
def test_trajectory(case):
    _, ours, theirs = case
    check_trajectory(ours, lambda flat: theirs(list(flat.values())))


# what goes before an optimizer, or around it


def torch_sgd(flat, **options):
    return torch.optim.SGD(list(flat.values()), momentum=0.9, **options)


def sgd_of_groups(flat):
    weights = [p for path, p in flat.items() if path in WEIGHTS]
    others = [p for path, p in flat.items() if path not in WEIGHTS]
    return torch.optim.SGD([{"params": weights, "weight_decay": 0.2}, {"params": others}], momentum=0.9)


def adamw_of_groups(flat):
    weights = [p for path, p in flat.items() if path in WEIGHTS]
    others = [p for path, p in flat.items() if path not in WEIGHTS]
    return torch.optim.AdamW([{"params": weights, "weight_decay": 0.2}, {"params": others, "weight_decay": 0.0}])


def shorten(tensors):
    """clip_grad_norm_ but for the 1e-6 that it adds to the norm."""
    norm = torch.linalg.vector_norm(torch.cat([p.grad.ravel() for p in tensors]))
    for p in tensors:
        p.grad *= torch.clamp(1.5 / norm, max=1)


def clip_each(flat):
    for p in flat.values():
        shorten([p])


# name in funcnn.optim: funcnn's optimizer, PyTorch's, and what is done to its gradients
AROUND = {
    "add_weight_decay": (
        optim.chain(optim.add_weight_decay(0.2), optim.sgd(rate, momentum=0.9)),
        lambda flat: torch_sgd(flat, weight_decay=0.2),
        lambda flat: None,
    ),
    "add_weight_decay, weights_only": (
        optim.chain(optim.add_weight_decay(0.2, mask=optim.weights_only), optim.sgd(rate, momentum=0.9)),
        sgd_of_groups,
        lambda flat: None,
    ),
    "adamw, weights_only": (
        optim.adamw(rate, weight_decay=0.2, mask=optim.weights_only), adamw_of_groups, lambda flat: None,
    ),
    "clip_by_value": (
        optim.chain(optim.clip_by_value(0.7), optim.sgd(rate, momentum=0.9)),
        torch_sgd,
        lambda flat: torch.nn.utils.clip_grad_value_(flat.values(), 0.7),
    ),
    "clip_by_global_norm": (
        optim.chain(optim.clip_by_global_norm(1.5), optim.sgd(rate, momentum=0.9)),
        torch_sgd,
        lambda flat: shorten(list(flat.values())),
    ),
    "clip_by_norm": (
        optim.chain(optim.clip_by_norm(1.5), optim.sgd(rate, momentum=0.9)), torch_sgd, clip_each,
    ),
    "freeze": (
        optim.freeze(optim.adam(rate), lambda path: path not in WEIGHTS),
        lambda flat: torch.optim.Adam([flat[path] for path in WEIGHTS]),
        lambda flat: None,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("ours", "theirs", "prepare"), AROUND.values(), ids=AROUND.keys())
def test_trajectory_with_wrappers(ours, theirs, prepare):
    check_trajectory(ours, theirs, prepare)


def test_accumulated_gradients():
    """PyTorch adds up what backward leaves in .grad; the mean is the caller's division."""
    params, p = {"w": PARAMS["0_conv2d"]["w"]}, torch.tensor(PARAMS["0_conv2d"]["w"], requires_grad=True)
    ours, theirs = optim.accumulate(optim.adam(0.1), 3), torch.optim.Adam([p], lr=0.1)
    opt_state = ours.init(params)
    for t in range(STEPS):
        noise = NOISE[t]["0_conv2d/w"]
        updates, opt_state = ours.update({"w": params["w"] + noise}, opt_state, params)
        params = optim.apply_updates(params, updates)
        ((p + torch.tensor(noise)).square().sum() / 2 / 3).backward()
        if t % 3 == 2:
            theirs.step()
            theirs.zero_grad()
        close(f"step {t}", params["w"], p)


# schedules: each draws a label, funcnn's schedule, the rate PyTorch's optimizer has at first, PyTorch's scheduler, and
# the number of steps to compare

lr_scheduler = torch.optim.lr_scheduler


def constant(rng):
    return "", optim.constant(0.3), 0.3, lambda o: lr_scheduler.ConstantLR(o, factor=1.0), STEPS


def piecewise(rng):
    boundaries = sorted(int(b) for b in rng.choice(range(1, STEPS), 3, replace=False))
    gamma = float(rng.uniform(0.1, 0.9))
    ours = optim.piecewise([0.3 * gamma**i for i in range(4)], boundaries)
    return label(at=tuple(boundaries)), ours, 0.3, lambda o: lr_scheduler.MultiStepLR(o, boundaries, gamma), STEPS


def exponential(rng):
    gamma, steps, stairs = float(rng.uniform(0.5, 1)), int(rng.integers(1, 9)), bool(rng.random() < 0.5)
    ours = optim.exponential(0.3, gamma, steps, staircase=stairs)

    def theirs(o):
        return lr_scheduler.StepLR(o, steps, gamma) if stairs else lr_scheduler.ExponentialLR(o, gamma ** (1 / steps))

    return label(decay=gamma, steps=steps, staircase=stairs), ours, 0.3, theirs, STEPS


def polynomial(rng):
    steps, power = int(rng.integers(1, STEPS)), float(rng.choice([0.5, 1.0, 2.0]))
    ours = optim.polynomial(0.3, steps, power=power)
    return label(steps=steps, power=power), ours, 0.3, lambda o: lr_scheduler.PolynomialLR(o, steps, power), STEPS


def cosine(rng):
    steps, final = int(rng.integers(1, STEPS)), float(rng.choice([0.0, 0.01]))
    ours = optim.cosine(0.3, steps, final)
    # to its end: after it, PyTorch's rises again
    return (
        label(steps=steps, final=final),
        ours,
        0.3,
        lambda o: lr_scheduler.CosineAnnealingLR(o, steps, final),
        steps + 1,
    )


def cosine_restarts(rng):
    steps, factor, final = int(rng.integers(1, 9)), int(rng.integers(1, 4)), float(rng.choice([0.0, 0.01]))
    ours = optim.cosine_restarts(0.3, steps, factor, final)

    def theirs(o):
        return lr_scheduler.CosineAnnealingWarmRestarts(o, steps, factor, final)

    return label(steps=steps, factor=factor, final=final), ours, 0.3, theirs, 2 * STEPS


def one_cycle(rng):
    steps, warmup = int(rng.integers(8, STEPS)), float(rng.uniform(0.2, 0.8))
    divisors = float(rng.uniform(2, 50)), float(rng.uniform(10, 1e4))
    ours = optim.one_cycle(0.3, steps, warmup=warmup, initial_divisor=divisors[0], final_divisor=divisors[1])

    def theirs(o):
        return lr_scheduler.OneCycleLR(
            o, 0.3, steps, pct_start=warmup, div_factor=divisors[0], final_div_factor=divisors[1], cycle_momentum=False
        )

    return label(steps=steps, warmup=warmup), ours, 0.3 / divisors[0], theirs, steps


def warmup(rng):
    """To a constant, or to half a cosine."""
    rise, fall, start = int(rng.integers(1, 20)), int(rng.integers(1, 30)), float(rng.uniform(0.01, 1))
    then_cosine = bool(rng.random() < 0.5)
    ours = optim.warmup(optim.cosine(0.3, fall) if then_cosine else 0.3, rise, initial=0.3 * start)

    def theirs(o):
        linear = lr_scheduler.LinearLR(o, start_factor=start, total_iters=rise)
        if not then_cosine:
            return linear
        return lr_scheduler.SequentialLR(o, [linear, lr_scheduler.CosineAnnealingLR(o, fall)], milestones=[rise])

    text = label(steps=rise, start=start, cosine=fall if then_cosine else None)
    return text, ours, 0.3, theirs, rise + fall + 1 if then_cosine else STEPS


SCHEDULES = {
    "constant": constant,
    "cosine": cosine,
    "cosine_restarts": cosine_restarts,
    "exponential": exponential,
    "one_cycle": one_cycle,
    "piecewise": piecewise,
    "polynomial": polynomial,
    "warmup": warmup,
}


@pytest.mark.parametrize("case", **cases(SCHEDULES, count=12))
def test_schedule(case):
    _, schedule, first, make_scheduler, steps = case
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=first)
    scheduler = make_scheduler(optimizer)
    theirs = []
    for step in range(steps):
        theirs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step < steps - 1:
            scheduler.step()
    close("the rates", [schedule(step) for step in range(steps)], np.array(theirs))


@pytest.mark.parametrize("seed", range(30))
def test_reduce_on_plateau(seed):
    rng = np.random.default_rng(seed)
    options = {
        "factor": float(rng.choice([0.1, 0.5])),
        "patience": int(rng.integers(0, 4)),
        "threshold": float(rng.choice([0.0, 1e-4, 0.1])),
        "mode": str(rng.choice(["min", "max"])),
        "cooldown": int(rng.integers(0, 4)),
    }
    least = float(rng.choice([0.0, 0.01]))
    plateau = optim.reduce_on_plateau(**options, min_rate=least)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, **options, min_lr=least, eps=0)
    state = plateau.init(0.3)
    for value in rng.uniform(0.5, 1.5, STEPS) * 0.97 ** np.arange(STEPS):
        state = plateau.update(state, value)
        scheduler.step(value)
        close("the rate", state["learning_rate"], optimizer.param_groups[0]["lr"])


NOT_COMPARED = {
    "Optimizer": "a type",
    "Plateau": "a type",
    "Schedule": "a type",
    "adaptive_clip": "PyTorch has none",
    "apply_if_finite": "PyTorch has none but for its gradient scaler, which also changes its scale",
    "average_params": "PyTorch's average starts with the initial parameters, which do not count here",
    "by_name": "chooses one of the optimizers and schedules compared here",
    "averaged_params": "reads what average_params keeps",
    "lamb": "PyTorch has none",
    "learning_rate": "reads the state",
    "lion": "PyTorch has none",
    "set_learning_rate": "writes the state",
    "warmup_cosine": "warmup and cosine, each compared; PyTorch's warm-up cannot start at 0",
}


def test_everything_is_compared_or_has_a_reason():
    around = {name for names in AROUND for name in names.split(", ")}
    compared = {*OPTIMIZERS, *SCHEDULES, *around, "accumulate", "apply_updates", "step", "chain", "reduce_on_plateau"}
    assert not compared & NOT_COMPARED.keys()
    assert sorted(compared | NOT_COMPARED.keys()) == sorted(optim.__all__)
