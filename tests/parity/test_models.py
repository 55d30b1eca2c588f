"""Whole networks beside PyTorch's modules of the same weights: loss and gradients, training, evaluation."""

import math

import numpy as np
import pytest
import torch
from parity.compare import array, close
from torch import nn

from funcnn import gradients, losses, models, optim, training, tree

SHAPE, CLASSES, BATCH, STEPS = (8, 8, 3), 5, 12, 20
RNG = np.random.default_rng(0)
X, LABELS = RNG.standard_normal((STEPS, BATCH, *SHAPE)), RNG.integers(0, CLASSES, (STEPS, BATCH))
DECAY = (
    0.9  # of batch normalisation's running statistics: the weight of the old value, where PyTorch's is the new one's
)


def torch_convnet():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding="same"), nn.MaxPool2d(2), nn.ReLU(),
        nn.Conv2d(4, 6, 3, padding="same"), nn.MaxPool2d(2), nn.ReLU(),
        nn.Flatten(), nn.Linear(6 * 2 * 2, 16), nn.ReLU(), nn.Linear(16, CLASSES),
    )  # fmt: skip


def torch_resnet():
    return nn.Sequential(
        *conv_norm(3, 4, 3, 1), nn.ReLU(),
        Residual(4, 4, 1), nn.ReLU(), Residual(4, 8, 2), nn.ReLU(), Residual(8, 8, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES),
    )  # fmt: skip


class Residual(nn.Module):
    def __init__(self, width, features, stride):
        super().__init__()
        second = conv_norm(features, features, 3, 1)
        self.body = nn.Sequential(*conv_norm(width, features, 3, stride), nn.ReLU(), *second)
        same = stride == 1 and width == features
        self.shortcut = nn.Identity() if same else nn.Sequential(*conv_norm(width, features, 1, stride))

    def forward(self, x):
        return self.body(x) + self.shortcut(x)


def conv_norm(width, features, size, stride):
    conv = nn.Conv2d(width, features, size, stride, size // 2, bias=False)
    return conv, nn.BatchNorm2d(features, momentum=1 - DECAY)


# funcnn's network, PyTorch's, and the (C, H, W) that it flattens
NETWORKS = {
    "convnet": (models.convnet(CLASSES, channels=(4, 6), hidden=(16,), dropout_rate=0.0), torch_convnet, (6, 2, 2)),
    "resnet": (models.resnet(CLASSES, blocks=(1, 2), channels=(4, 8)), torch_resnet, (8, 1, 1)),
}


@pytest.fixture(params=NETWORKS.values(), ids=NETWORKS.keys())
def network(request):
    """funcnn's model, params and state; PyTorch's module of the same weights; and a function from tensors like those of
    ``module.parameters()`` to a tree like params. Both sides hold weights in the order of the layers.
    """
    model, make_module, flattened = request.param
    torch.manual_seed(0)
    module = make_module()
    with torch.no_grad():
        for p in module.parameters():
            p += 0.1 * torch.randn(p.shape)  # scales and biases are not to be all 1 and 0
    template, state, _ = model.init((0,), SHAPE)

    def in_our_layout(tensors):
        rest = iter(tensors)
        return tree.map(lambda leaf: our_layout(next(rest), flattened), template)

    state = tree.map(lambda leaf: leaf.astype(np.float64), state)
    return model, in_our_layout(module.parameters()), state, module, in_our_layout


def our_layout(weight, flattened):
    weight = array(weight).copy()
    if weight.ndim == 4:
        return weight.transpose(2, 3, 1, 0)  # (out, in, K...) to (K..., in, out)
    if weight.ndim == 2 and weight.shape[1] == math.prod(flattened):
        # the layer after flatten sees (C, H, W) there and (H, W, C) here
        return weight.reshape(-1, *flattened).transpose(2, 3, 1, 0).reshape(-1, len(weight))
    return weight.T


def torch_step(module, x, labels):
    """The loss, its gradients left in the module's parameters."""
    module.train()
    module.zero_grad()
    loss = nn.functional.cross_entropy(module(torch.tensor(x).movedim(-1, 1)), torch.tensor(labels))
    loss.backward()
    return loss


def close_trees(what, ours, theirs):
    assert tree.paths(ours) == tree.paths(theirs)
    for path, leaf in tree.flatten(theirs).items():
        close(f"{what} {path}", tree.flatten(ours)[path], leaf)


def test_loss_and_gradients(network):
    model, params, state, module, in_our_layout = network
    value, grads, _ = gradients.value_and_grad(model, losses.softmax_cross_entropy)(
        params, state, X[0], LABELS[0], key=(0,)
    )
    close("the loss", value, torch_step(module, X[0], LABELS[0]))
    close_trees("the gradient of", grads, in_our_layout(p.grad for p in module.parameters()))


def test_training_and_evaluation(network):
    model, params, state, module, in_our_layout = network
    grad_fn = gradients.value_and_grad(model, losses.softmax_cross_entropy)
    ours, theirs = optim.adamw(0.01, weight_decay=0.05), torch.optim.AdamW(module.parameters(), 0.01, weight_decay=0.05)
    opt_state = ours.init(params)
    for x, labels in zip(X, LABELS, strict=True):
        value, grads, state = grad_fn(params, state, x, labels, key=(0,))
        updates, opt_state = ours.update(grads, opt_state, params)
        params = optim.apply_updates(params, updates)
        close("the loss", value, torch_step(module, x, labels))
        theirs.step()
        close_trees("after a step", params, in_our_layout(module.parameters()))

    norms = iter([layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)])
    for mean, var in running_statistics(state):
        norm = next(norms)
        close("a running mean", mean, norm.running_mean)
        # PyTorch's running variance is the unbiased one but for its start, 1, which has this weight left:
        start = DECAY**STEPS
        count = BATCH * {4: 8 * 8, 8: 4 * 4}[len(var)]  # values in a channel of the layer
        close("a running variance", var, start + (norm.running_var - start) * (count - 1) / count)
        norm.running_var = torch.tensor(var)

    module.eval()
    close("the outputs", training.predict(model, params, state, X[0]), module(torch.tensor(X[0]).movedim(-1, 1)))


def running_statistics(state):
    """Yield each batch normalisation's mean and variance, in the order of the layers."""
    if state.keys() == {"mean", "var"}:
        yield state["mean"], state["var"]
    else:
        for child in state.values():
            yield from running_statistics(child)
