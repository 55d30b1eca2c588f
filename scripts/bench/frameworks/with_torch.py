"""PyTorch, as its users write it for speed: eager in either memory format, and compiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from bench import jobs
from bench.jobs import Array, Job, Task


class Residual(nn.Module):
    """The sum of a body and a shortcut."""

    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add them."""
        return self.body(x) + self.shortcut(x)


def make_module(job: Job, weights: Sequence[Array], memory_format: torch.memory_format) -> nn.Module:
    """Make the network of a job, with these weights."""
    network = jobs.NETWORKS[job.network]
    module = _sequential(network.layers)
    module.eval()  # the call below only initialises the lazy layers and must not change running statistics
    height, width, channels = network.in_shape
    module(torch.zeros(1, channels, height, width))
    with torch.no_grad():
        for parameter, weight in zip(module.parameters(), _in_torch_layout(weights), strict=True):
            parameter.copy_(torch.from_numpy(weight))
    return module.to(memory_format=memory_format).train(job.train)


def _sequential(specs: Sequence[Any]) -> nn.Sequential:
    def make(spec: Any) -> nn.Module:
        match spec:
            case jobs.Conv(features, kernel, padding, stride, bias, groups):
                return nn.LazyConv2d(features, kernel, stride, padding, groups=groups, bias=bias)
            case jobs.Dense(features):
                return nn.LazyLinear(features)
            case jobs.MaxPool(window, _, padding):
                return nn.MaxPool2d(window, spec.step(), padding)
            case jobs.Dropout(rate):
                return nn.Dropout(rate)
            case jobs.BatchNorm():
                return nn.LazyBatchNorm2d()
            case jobs.Relu():
                return nn.ReLU()
            case jobs.Flatten():
                return nn.Flatten()
            case jobs.GlobalAverage():
                return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
            case jobs.Residual(body, shortcut):
                return Residual(_sequential(body), _sequential(shortcut) if shortcut else nn.Identity())
        raise TypeError(f"no such layer: {spec}")

    return nn.Sequential(*map(make, specs))


def _in_torch_layout(weights: Sequence[Array]) -> list[Array]:
    """Turn (kernel..., in, out) into (out, in, kernel...); after flatten, reorder (H, W, C) inputs to (C, H, W)."""
    converted, channels = [], 0
    for weight in weights:
        if weight.ndim == 4:
            channels = weight.shape[-1]
            weight = weight.transpose(3, 2, 0, 1)
        elif weight.ndim == 2 and channels:
            weight = weight.reshape(-1, channels, weight.shape[1]).transpose(2, 1, 0).reshape(weight.shape[1], -1)
            channels = 0
        elif weight.ndim == 2:
            weight = weight.T
        converted.append(np.ascontiguousarray(weight))
    return converted


def _images(x: Array, memory_format: torch.memory_format) -> torch.Tensor:
    return torch.from_numpy(x).movedim(-1, 1).contiguous(memory_format=memory_format)


def _optimizer(job: Job, module: nn.Module, steps: int) -> tuple[torch.optim.Optimizer, Callable[[], None]]:
    """Return the optimizer of a job, and the function that advances its learning rate after a step."""
    if not jobs.is_adamw(job):
        return torch.optim.SGD(module.parameters(), jobs.LEARNING_RATE), lambda: None
    # fused takes a third of the default's time; for SGD it makes no difference
    optimizer = torch.optim.AdamW(module.parameters(), jobs.PEAK_RATE, weight_decay=jobs.WEIGHT_DECAY, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, jobs.PEAK_RATE, steps, cycle_momentum=False)
    return optimizer, schedule.step


def make_run(
    task: Task, memory_format: torch.memory_format = torch.contiguous_format, compiled: bool = False
) -> Callable[[int], float]:
    """Return ``run(steps)``, which does the steps and returns the loss of the last, or the mean of its output."""
    module = make_module(task.job, task.weights, memory_format)
    loss_fn = make_loss(module, compiled)
    forward = torch.compile(module) if compiled else module
    optimizer, next_rate = _optimizer(task.job, module, jobs.ENDLESS)
    batches = cycle([(_images(x, memory_format), torch.from_numpy(labels)) for x, labels in task.batches])

    def predict(steps: int) -> float:
        with torch.inference_mode():
            for x, _ in islice(batches, steps):
                outputs = forward(x)
            return outputs.mean().item()

    def train(steps: int) -> float:
        for x, labels in islice(batches, steps):
            loss = step(optimizer, loss_fn, x, labels)
            next_rate()
        return loss.item()

    return train if task.job.train else predict


def make_loss(module: nn.Module, compiled: bool) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Return the loss of a network as a function of images and labels."""

    def loss_fn(x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(module(x), labels)

    return torch.compile(loss_fn) if compiled else loss_fn


def step(
    optimizer: torch.optim.Optimizer,
    loss_fn: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    labels: torch.Tensor,
) -> torch.Tensor:
    """Take one step of training; return the loss before it."""
    optimizer.zero_grad(set_to_none=True)
    loss = loss_fn(x, labels)
    loss.backward()
    optimizer.step()
    return loss


def train_digits(
    seed: int, path: Path, memory_format: torch.memory_format = torch.contiguous_format, compiled: bool = False
) -> tuple[int, float]:
    """Train the default network to the target accuracy, save it, and return the epochs and the accuracy."""
    x, labels, test_x, test_labels = jobs.split_digits()
    images, targets = _images(x, memory_format), torch.from_numpy(labels)
    test_images, test_targets = _images(test_x, memory_format), torch.from_numpy(test_labels)
    torch.manual_seed(seed)
    job = Job("estimator")
    module = make_module(job, jobs.initial_weights(jobs.NETWORKS[job.network], seed), memory_format)
    loss_fn = make_loss(module, compiled)
    optimizer, next_rate = _optimizer(job, module, jobs.EPOCHS * len(x) // jobs.BATCH_SIZE)
    epoch, accuracy = 0, 0.0
    while accuracy < jobs.ACCURACY and epoch < jobs.EPOCHS:
        epoch += 1
        module.train()
        for batch in torch.randperm(len(x)).split(jobs.BATCH_SIZE):
            step(optimizer, loss_fn, images[batch], targets[batch])
            next_rate()
        module.eval()
        with torch.inference_mode():
            accuracy = (module(test_images).argmax(1) == test_targets).float().mean().item()
    torch.save(module.state_dict(), path)
    return epoch, accuracy
