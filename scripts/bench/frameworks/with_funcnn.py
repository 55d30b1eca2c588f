"""funcnn, as its documentation uses it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

from bench import jobs
from bench.jobs import Job, Task
from funcnn import data, gradients, keys, layers, losses, metrics, models, optim, residual, serial, training, tree
from funcnn.data_parallel import cores, over_threads
from funcnn.layer import Layer
from funcnn.tree import Tree


def make_model(job: Job) -> Layer:
    """Make the network of a job."""
    if job.network == "estimator":
        return models.convnet(10)
    if job.network == "resnet":
        return models.resnet(10, blocks=(1, 1, 1))
    if job.network == "resnet18":
        return models.resnet(10, blocks=(2, 2, 2, 2), channels=(64, 128, 256, 512), large_images=True)
    if job.network == "mobilenet":
        return models.mobilenet(10)
    return _serial(jobs.NETWORKS[job.network].layers)


def _serial(specs: Sequence[Any]) -> Layer:
    def make(spec: Any) -> Layer:
        match spec:
            case jobs.Conv(_, kernel, padding, stride, bias, groups) if groups > 1:
                return layers.depthwise_conv2d(kernel, padding=padding, stride=stride, bias=bias)
            case jobs.Conv(features, kernel, padding, stride, bias):
                return layers.conv2d(features, kernel, padding=padding, stride=stride, bias=bias)
            case jobs.Dense(features):
                return layers.dense(features)
            case jobs.MaxPool(window, _, padding):
                return layers.max_pool(window, stride=spec.step(), padding=padding)
            case jobs.Dropout(rate):
                return layers.dropout(rate)
            case jobs.Residual(body, shortcut):
                return residual(_serial(body), _serial(shortcut) if shortcut else None)
        plain = {
            jobs.BatchNorm: layers.batch_norm,
            jobs.Relu: layers.relu,
            jobs.Flatten: layers.flatten,
            jobs.GlobalAverage: layers.global_avg_pool,
        }
        return plain[type(spec)]()

    return serial(*map(make, specs))


def make_optimizer(job: Job, steps: int = jobs.ENDLESS) -> optim.Optimizer:
    """Make the optimizer of a job; ``steps`` is the length of its schedule."""
    if jobs.is_adamw(job):
        return optim.adamw(optim.one_cycle(jobs.PEAK_RATE, steps), weight_decay=jobs.WEIGHT_DECAY)
    return optim.sgd(jobs.LEARNING_RATE)


def make_network(task: Task) -> tuple[Layer, Tree, Tree]:
    """Return model, params and state of a task."""
    model = make_model(task.job)
    params, state, _ = model.init((0,), jobs.NETWORKS[task.job.network].in_shape)
    rest = iter(task.weights)
    return model, tree.map(lambda leaf: next(rest).reshape(leaf.shape), params), state


def make_run(task: Task) -> Callable[[int], float]:
    """Return ``run(steps)``, which does the steps and returns the loss of the last, or the mean of its output."""
    model, params, state = make_network(task)
    batches = cycle(task.batches)

    prepared = training.prepared(model, params, state)  # as others make a session, or compile

    def predict(steps: int) -> float:
        for x, _ in islice(batches, steps):
            outputs = prepared(x)
        return float(outputs.mean())

    grad_fn = over_threads(gradients.value_and_grad(model, losses.softmax_cross_entropy), cores())
    optimizer = make_optimizer(task.job)
    opt_state, step = optimizer.init(params), 0

    def train(steps: int) -> float:
        nonlocal params, state, opt_state, step
        for x, labels in islice(batches, steps):
            value, grads, state = grad_fn(params, state, x, labels, keys.fold_in((0,), step))
            params, opt_state = optim.step(optimizer, grads, opt_state, params)
            step += 1
        return float(value)

    return train if task.job.train else predict


def train_digits(seed: int, path: Path) -> tuple[int, float]:
    """Train the default network to the target accuracy, save it, and return the epochs and the accuracy."""
    x, labels, test_x, test_labels = jobs.split_digits(data.digits)
    model = models.convnet(10)
    optimizer = make_optimizer(Job("estimator"), jobs.EPOCHS * len(x) // jobs.BATCH_SIZE)
    for epoch in training.fit(
        model,
        losses.softmax_cross_entropy,
        optimizer,
        x,
        labels,
        epochs=jobs.EPOCHS,
        batch_size=jobs.BATCH_SIZE,
        key=(seed,),
    ):
        params, state = epoch.train_state.params, epoch.train_state.state
        accuracy = metrics.accuracy(training.predict(model, params, state, test_x), test_labels)
        if accuracy >= jobs.ACCURACY:
            break
    np.savez(path, **tree.flatten({"params": params, "state": state}))
    return epoch.epoch, accuracy
