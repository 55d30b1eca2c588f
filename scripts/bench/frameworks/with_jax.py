"""JAX, as its users write it for speed: the whole step as one compiled function whose input buffers are donated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial, reduce
from itertools import cycle, islice, product
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from bench import jobs
from bench.jobs import Array, Job, Task

LAYOUT = ("NHWC", "HWIO", "NHWC")
DECAY, EPS = 0.9, 1e-5  # of batch normalisation
B1, B2, ADAM_EPS = 0.9, 0.999, 1e-8


def assemble(specs: Sequence[Any], weights: Iterator[Array]) -> tuple[list[Any], list[Any]]:
    """Return lists of the layers' parameters and states; the parameters come from ``weights``, in order."""
    params: list[Any] = []
    state: list[Any] = []
    for spec in specs:
        own: Any = ()
        kept: Any = ()
        match spec:
            case jobs.Conv(bias=bias):
                own = tuple(jnp.asarray(next(weights)) for _ in range(1 + bias))
            case jobs.Dense():
                own = (jnp.asarray(next(weights)), jnp.asarray(next(weights)))
            case jobs.BatchNorm():
                own = (jnp.asarray(next(weights)), jnp.asarray(next(weights)))
                kept = (jnp.zeros_like(own[0]), jnp.ones_like(own[0]))
            case jobs.Residual(body, shortcut):
                inside, beside = assemble(body, weights), assemble(shortcut, weights)
                own, kept = zip(inside, beside, strict=True)
        params.append(own)
        state.append(kept)
    return params, state


def forward(
    specs: Sequence[Any], params: Sequence[Any], state: Sequence[Any], x: Any, train: bool, key: Any
) -> tuple[Any, list[Any]]:
    """Return the output of layers, and their new state."""
    new_state = []
    for i, (spec, own, kept) in enumerate(zip(specs, params, state, strict=True)):
        match spec:
            case jobs.Conv(_, _, padding, stride, bias, groups):
                options: Any = {"dimension_numbers": LAYOUT, "feature_group_count": groups}
                x = lax.conv_general_dilated(x, own[0], (stride, stride), [(padding, padding)] * 2, **options)
                x = x + own[1] if bias else x
            case jobs.Dense():
                x = x @ own[0] + own[1]
            case jobs.MaxPool():
                x = max_pool(x, spec, train)
            case jobs.Dropout(rate):
                if train:
                    kept_units = jax.random.bernoulli(jax.random.fold_in(key, i), 1 - rate, x.shape)
                    x = jnp.where(kept_units, x / (1 - rate), 0)
            case jobs.BatchNorm():
                mean, var = (x.mean((0, 1, 2)), x.var((0, 1, 2))) if train else kept
                x = (x - mean) * (lax.rsqrt(var + EPS) * own[0]) + own[1]
                if train:
                    kept = (DECAY * kept[0] + (1 - DECAY) * mean, DECAY * kept[1] + (1 - DECAY) * var)
            case jobs.Relu():
                x = jax.nn.relu(x)
            case jobs.Flatten():
                x = x.reshape(len(x), -1)
            case jobs.GlobalAverage():
                x = x.mean((1, 2))
            case jobs.Residual(body, shortcut):
                inside, body_state = forward(body, own[0], kept[0], x, train, key)
                beside, shortcut_state = forward(shortcut, own[1], kept[1], x, train, key)
                x, kept = inside + beside, (body_state, shortcut_state)
        new_state.append(kept)
    return x, new_state


def max_pool(x: Any, spec: jobs.MaxPool, train: bool) -> Any:
    """Return the maxima of windows, by the form that is faster on a CPU.

    In training these are slices: with reduce_window and its gradient, a step of the estimator takes 1.6 times as long.
    In prediction it is reduce_window: with slices, vgg takes 2.9 times as long.
    """
    window, stride = spec.window, spec.step()
    widths = [(0, 0), *[(spec.padding, spec.padding)] * 2, (0, 0)]
    if train:
        x = jnp.pad(x, widths, constant_values=-jnp.inf) if spec.padding else x
        height, width = (stride * ((side - window) // stride) + 1 for side in x.shape[1:3])
        starts = product(range(window), repeat=2)
        return reduce(jnp.maximum, [x[:, i : i + height : stride, j : j + width : stride] for i, j in starts])
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, window, window, 1), (1, stride, stride, 1), widths)


def make_step(job: Job, steps: int) -> Callable[..., tuple[Any, Any, Any, Any]]:
    """Return the compiled step ``(params, state, opt_state, x, labels) -> loss, params, state, opt_state``."""
    specs = jobs.NETWORKS[job.network].layers

    def loss_fn(params: Any, state: Any, x: Any, labels: Any, key: Any) -> tuple[Any, Any]:
        logits, state = forward(specs, params, state, x, True, key)
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1).mean(), state

    @partial(jax.jit, donate_argnums=(0, 1, 2))
    def step(params: Any, state: Any, opt_state: Any, x: Any, labels: Any) -> tuple[Any, Any, Any, Any]:
        key = jax.random.fold_in(opt_state["key"], opt_state["step"]) if opt_state else None
        (loss, state), grads = jax.value_and_grad(loss_fn, has_aux=True)(params, state, x, labels, key)
        if opt_state:
            params, opt_state = adamw(grads, opt_state, params, steps)
        else:
            params = jax.tree.map(lambda p, g: p - jobs.LEARNING_RATE * g, params, grads)
        return loss, params, state, opt_state

    return step


def init_optimizer(job: Job, params: Any, seed: int = 0) -> dict[str, Any]:
    """Return the optimizer's state, which also holds the random key of dropout; plain SGD needs none."""
    if not jobs.is_adamw(job):
        return {}
    zeros = partial(jax.tree.map, jnp.zeros_like)
    return {"mean": zeros(params), "square": zeros(params), "step": jnp.array(0), "key": jax.random.key(seed)}


def adamw(grads: Any, opt_state: Any, params: Any, steps: int) -> tuple[Any, Any]:
    """Update the parameters by AdamW, with a one-cycle learning rate: half a cosine up and half a cosine down."""
    t = opt_state["step"]
    start, top = jobs.PEAK_RATE / 25, 0.3 * steps - 1
    up = start + (jobs.PEAK_RATE - start) * (1 - jnp.cos(jnp.pi * t / top)) / 2
    fall = jnp.minimum((t - top) / (steps - 1 - top), 1)
    down = start / 1e4 + (jobs.PEAK_RATE - start / 1e4) * (1 + jnp.cos(jnp.pi * fall)) / 2
    rate = jnp.where(t < top, up, down)
    mean = jax.tree.map(lambda m, g: B1 * m + (1 - B1) * g, opt_state["mean"], grads)
    square = jax.tree.map(lambda v, g: B2 * v + (1 - B2) * g * g, opt_state["square"], grads)
    first, second = 1 - B1 ** (t + 1), 1 - B2 ** (t + 1)
    params = jax.tree.map(
        lambda p, m, v: p - rate * (jobs.WEIGHT_DECAY * p + m / first / (jnp.sqrt(v / second) + ADAM_EPS)),
        *(params, mean, square),
    )
    return params, {**opt_state, "mean": mean, "square": square, "step": t + 1}


def make_run(task: Task) -> Callable[[int], float]:
    """Return ``run(steps)``, which does the steps and returns the loss of the last, or the mean of its output."""
    specs = jobs.NETWORKS[task.job.network].layers
    params, state = assemble(specs, iter(task.weights))
    opt_state = init_optimizer(task.job, params)
    batches = cycle([(jnp.asarray(x), jnp.asarray(labels)) for x, labels in task.batches])
    step = make_step(task.job, jobs.ENDLESS)
    apply = jax.jit(lambda params, state, x: forward(specs, params, state, x, False, None)[0])

    def predict(steps: int) -> float:
        for x, _ in islice(batches, steps):
            outputs = apply(params, state, x).block_until_ready()  # JAX computes asynchronously: wait for the result
        return float(outputs.mean())

    def train(steps: int) -> float:
        nonlocal params, state, opt_state
        for x, labels in islice(batches, steps):
            loss, params, state, opt_state = step(params, state, opt_state, x, labels)
        jax.block_until_ready(params)
        return float(loss)

    return train if task.job.train else predict


def train_digits(seed: int, path: Path) -> tuple[int, float]:
    """Train the default network to the target accuracy, save it, and return the epochs and the accuracy."""
    x, labels, test_x, test_labels = jobs.split_digits()
    job = Job("estimator")
    network, rng = jobs.NETWORKS[job.network], np.random.default_rng(seed)
    params, state = assemble(network.layers, iter(jobs.initial_weights(network, seed)))
    opt_state = init_optimizer(job, params, seed)
    step = make_step(job, jobs.EPOCHS * len(x) // jobs.BATCH_SIZE)

    predicted = jax.jit(lambda params, state, x: forward(network.layers, params, state, x, False, None)[0].argmax(1))
    epoch, accuracy = 0, 0.0
    while accuracy < jobs.ACCURACY and epoch < jobs.EPOCHS:
        epoch += 1
        order = rng.permutation(len(x)).reshape(-1, jobs.BATCH_SIZE)
        for batch in order:
            _, params, state, opt_state = step(params, state, opt_state, x[batch], labels[batch])
        accuracy = float((predicted(params, state, test_x) == test_labels).mean())
    leaves = jax.tree.leaves((params, state))
    np.savez(path, *map(np.asarray, leaves))
    return epoch, accuracy
