"""Every loss over random shapes and options against PyTorch's.

Where PyTorch averages in the same way its own mean is used, else its losses of single entries are averaged here.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from parity.compare import Case, cases, channels_first, check, label

from funcnn import losses


def maybe(rng, value, probability=0.5):
    return value if rng.random() < probability else None


def batch(rng, low=1):
    """(N, ...)"""
    return tuple(int(s) for s in rng.integers(low, 5, rng.integers(1, 4)))


def weighted(loss, weight):
    """sum(w l) / sum(w) over a tensor (N, ...), by weights (N, ...)."""
    return (loss * weight).sum() / weight.sum()


# classes


def class_loss(ours, to_predictions, theirs_of):
    """A loss over classes; PyTorch's is cross_entropy of "logits" or nll_loss, of "log_probs" or the log of "probs"."""

    def draw(rng):
        shape, classes = batch(rng), int(rng.integers(2, 6))
        scores = to_predictions(2 * rng.standard_normal((*shape, classes)))
        soft = bool(rng.random() < 0.4)
        ignored = None if soft else maybe(rng, int(rng.choice([-100, 0])))
        target = rng.integers(0, classes, shape)
        if soft:
            target = rng.dirichlet(np.ones(classes), shape)
        elif ignored is not None:
            target[rng.random(shape) < 0.3] = ignored
            target.flat[0] = classes - 1
        options = {
            "class_weight": maybe(rng, rng.uniform(0.2, 3, classes)),
            "label_smoothing": float(rng.choice([0.0, 0.1, 0.5])),
            "ignore_index": ignored,
            "sample_weight": maybe(rng, rng.uniform(0.2, 3, shape[:1]), 0.3),
        }

        def theirs(scores):
            scores = scores.log() if theirs_of == "probs" else scores
            return torch_class_loss(scores, target, of_logits=theirs_of == "logits", **options)

        given = {name: option is not None for name, option in options.items() if name.endswith("weight")}
        text = label(x=scores.shape, soft=soft, smoothing=options["label_smoothing"], ignore=ignored, **given)
        return Case(text, lambda scores: ours(scores, target, **options), theirs, (scores,))

    return draw


def torch_class_loss(scores, target, *, of_logits, class_weight, label_smoothing, ignore_index, sample_weight):
    classes = scores.shape[-1]
    target, scores = torch.tensor(target), channels_first(scores)
    soft = target.is_floating_point()
    weight = None if class_weight is None else torch.tensor(class_weight)
    ignore = -100 if ignore_index is None else ignore_index
    agree = sample_weight is None and not (weight is not None and (soft or label_smoothing))
    if of_logits and agree:
        target = channels_first(target) if soft else target
        return F.cross_entropy(scores, target, weight, ignore_index=ignore, label_smoothing=label_smoothing)
    if agree and not soft and not label_smoothing:
        return F.nll_loss(scores, target, weight, ignore_index=ignore)
    # An example has one weight here; PyTorch weighs the terms of targets that name several classes each by its own.
    kept = target != ignore if not soft else torch.ones(target.shape[:-1], dtype=torch.bool)
    probs = target if soft else F.one_hot(torch.where(kept, target, 0), classes).double()
    w = kept.double()
    if weight is not None:
        w = w * (probs @ weight)
    if sample_weight is not None:
        w = w * torch.tensor(sample_weight).reshape(-1, *(1,) * (w.dim() - 1))
    probs = (1 - label_smoothing) * probs + label_smoothing / classes
    if of_logits:
        return weighted(F.cross_entropy(scores, channels_first(probs), reduction="none"), w)
    return weighted(-(scores.movedim(1, -1) * probs).sum(-1), w)


def kl_divergence(rng):
    shape, classes = batch(rng), int(rng.integers(2, 6))
    log_probs = log_softmax(2 * rng.standard_normal((*shape, classes)))
    target = rng.dirichlet(np.ones(classes), shape)
    target[(0,) * len(shape)] = np.eye(classes)[0]  # 0 log 0 is 0
    sample_weight = maybe(rng, rng.uniform(0.2, 3, shape[:1]), 0.3)

    def theirs(log_probs):
        if sample_weight is None and len(shape) == 1:
            return F.kl_div(log_probs, torch.tensor(target), reduction="batchmean")
        each = F.kl_div(log_probs, torch.tensor(target), reduction="none").sum(-1)
        return weighted(each, map_batches(sample_weight, each))

    text = label(x=log_probs.shape, sample_weight=sample_weight is not None)

    def ours(log_probs):
        return losses.kl_divergence(log_probs, target, sample_weight=sample_weight)

    return Case(text, ours, theirs, (log_probs,))


def focal(rng):
    """No function of PyTorch: the definition, by autograd."""
    shape, classes, gamma = batch(rng), int(rng.integers(2, 6)), float(rng.choice([0.0, 0.5, 2.0, 5.0]))
    logits = 2 * rng.standard_normal((*shape, classes))
    target = rng.integers(0, classes, shape)
    class_weight = maybe(rng, rng.uniform(0.2, 3, classes))

    def theirs(logits):
        labels = torch.tensor(target)
        log_p = F.log_softmax(logits, -1).gather(-1, labels[..., None])[..., 0]
        weight = torch.ones(classes) if class_weight is None else torch.tensor(class_weight)
        return weighted(-((1 - log_p.exp()) ** gamma) * log_p, weight[labels])

    text = label(x=logits.shape, gamma=gamma, class_weight=class_weight is not None)

    def ours(logits):
        return losses.focal(logits, target, gamma=gamma, class_weight=class_weight)

    return Case(text, ours, theirs, (logits,))


# outcomes and numbers


def paired(ours, theirs, draw_target, draw_options=None):
    """A loss of predictions and targets (N, ...); ``theirs(x, target, reduction=..., **options)``."""

    def draw(rng):
        shape = batch(rng)
        x, target = 2 * rng.standard_normal(shape), draw_target(rng, shape)
        options = draw_options(rng, shape) if draw_options else {}
        sample_weight = maybe(rng, rng.uniform(0.2, 3, shape[:1]), 0.3)

        def theirs_weighted(x):
            if sample_weight is None:
                return theirs(x, torch.tensor(target), reduction="mean", **options)
            each = theirs(x, torch.tensor(target), reduction="none", **options)
            return weighted(each, map_batches(sample_weight, each))

        printed = {name: np.shape(option) or option for name, option in options.items()}
        text = label(x=shape, **printed, sample_weight=sample_weight is not None)
        return Case(text, lambda x: ours(x, target, sample_weight=sample_weight, **options), theirs_weighted, (x,))

    return draw


def map_batches(sample_weight, each):
    """Weights (N) for every entry of (N, ...); 1 if there are none."""
    weight = torch.ones(len(each)) if sample_weight is None else torch.tensor(sample_weight)
    return weight.reshape(-1, *(1,) * (each.dim() - 1)).expand_as(each)


def binary_cross_entropy(x, target, *, pos_weight, label_smoothing, reduction):
    target = (1 - label_smoothing) * target + label_smoothing / 2
    pos_weight = None if pos_weight is None else torch.tensor(pos_weight)
    return F.binary_cross_entropy_with_logits(x, target, pos_weight=pos_weight, reduction=reduction)


def margin(x, target, reduction):
    """PyTorch's hinge_embedding_loss is another function; its ranking loss against 0 is max(0, 1 - t x)."""
    return F.margin_ranking_loss(x, torch.zeros_like(x), target, margin=1, reduction=reduction)


def binary_options(rng, shape):
    factors = [None, float(rng.uniform(0.2, 4)), rng.uniform(0.2, 4, shape[1:]), rng.uniform(0.2, 4, shape[-1:])]
    return {
        "pos_weight": factors[rng.integers(0, 4 if len(shape) > 1 else 2)],
        "label_smoothing": float(rng.choice([0.0, 0.2])),
    }


def numbers(rng, shape):
    return rng.standard_normal(shape)


def yes_or_no(rng, shape):
    return rng.integers(0, 2, shape) if rng.random() < 0.5 else rng.random(shape)


def signs(rng, shape):
    return rng.choice([-1.0, 1.0], shape)


def delta(rng, shape):
    return {"delta": float(rng.uniform(0.2, 3))}


def unchanged(x):
    return x


def log_softmax(x):
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def softmax(x):
    return np.exp(log_softmax(x))


def huber(x, target, *, delta, reduction):
    return F.huber_loss(x, target, reduction, delta)


# name in funcnn.losses: what draws a case
LOSSES = {
    "cross_entropy": class_loss(losses.cross_entropy, softmax, "probs"),
    "focal": focal,
    "hinge": paired(losses.hinge, margin, signs),
    "huber": paired(losses.huber, huber, numbers, delta),
    "kl_divergence": kl_divergence,
    "mae": paired(losses.mae, F.l1_loss, numbers),
    "mse": paired(losses.mse, F.mse_loss, numbers),
    "nll": class_loss(losses.nll, log_softmax, "log_probs"),
    "sigmoid_binary_cross_entropy": paired(
        losses.sigmoid_binary_cross_entropy, binary_cross_entropy, yes_or_no, binary_options
    ),
    "softmax_cross_entropy": class_loss(losses.softmax_cross_entropy, unchanged, "logits"),
}

NOT_COMPARED: dict[str, str] = {}


def test_every_loss_is_compared_or_has_a_reason():
    assert sorted([*LOSSES, *NOT_COMPARED]) == sorted(losses.__all__)


@pytest.mark.parametrize("case", **cases(LOSSES))
def test_value_and_gradient(case):
    check(case)
