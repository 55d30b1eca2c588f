"""Compare classifiers of time series: accuracy and CPU time on data that aeon carries, all on the same folds.

    pip install ".[aeon]"       # and torch, for InceptionTime in PyTorch
    python scripts/time_series.py --folds 3

Fold 0 is the split that the data come with, the others are stratified splits of the same sizes. All classifiers get
series standardised by channel, by the mean and the standard deviation of the training series. Times are those of fit
and predict together, CPU time with one thread, medians over the folds; numba compiles before. InceptionTime, here and
in PyTorch, is one network, trained for as many updates as the default; its paper averages five.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split

from funcnn.estimators import TimeSeriesConvClassifier

DATA = ("GunPoint", "ItalyPowerDemand", "ArrowHead", "BasicMotions")
UPDATES, BATCH_SIZE = 450, 32


def folds(name: str, count: int) -> Iterator[tuple[Any, ...]]:
    """Yield X, X_test, y, y_test of each fold, standardised by channel."""
    from aeon.datasets import load_classification

    (X, y), (X_test, y_test) = (load_classification(name, split=split) for split in ("train", "test"))
    yield *standardised(X, X_test), y, y_test
    whole = np.concatenate([X, X_test]), np.concatenate([y, y_test])
    for seed in range(1, count):
        x, x_test, *labels = train_test_split(*whole, train_size=len(X), stratify=whole[1], random_state=seed)
        yield *standardised(x, x_test), *labels


def standardised(X: Any, X_test: Any) -> tuple[Any, Any]:
    """Return both by the mean and the standard deviation of each channel of the first."""
    mean, std = X.mean(axis=(0, 2), keepdims=True), X.std(axis=(0, 2), keepdims=True)
    return (X - mean) / std, (X_test - mean) / std


def classifiers() -> dict[str, Callable[[int], Any]]:
    """Return what makes each classifier, of a seed."""
    from aeon.classification.convolution_based import MiniRocketClassifier, RocketClassifier

    made: dict[str, Callable[[int], Any]] = {
        "ours, default": lambda seed: TimeSeriesConvClassifier(random_state=seed, threads=1),
        "ours, inception_time": lambda seed: TimeSeriesConvClassifier("inception_time", random_state=seed, threads=1),
        "ROCKET": lambda seed: RocketClassifier(random_state=seed),
        "MiniRocket": lambda seed: MiniRocketClassifier(random_state=seed),
    }
    try:
        import torch  # noqa: F401
    except ImportError:
        warnings.warn("torch is not installed: no InceptionTime in PyTorch", stacklevel=2)
    else:
        made["PyTorch's InceptionTime"] = TorchInceptionTime
    return made


class TorchInceptionTime:
    """The network of `funcnn.models.inception_time` in PyTorch, trained by the same optimizer and schedule."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def fit(self, X: Any, y: Any) -> None:
        """Train on series (n, channels, time)."""
        import torch
        from torch import nn

        torch.manual_seed(self.seed)
        torch.set_num_threads(1)
        self.classes, labels = np.unique(y, return_inverse=True)
        x, targets = torch.from_numpy(X.astype(np.float32)), torch.from_numpy(labels)

        def same(size: int) -> Any:
            return nn.ConstantPad1d(((size - 1) // 2, size // 2), 0.0)

        class Module(nn.Module):  # type: ignore[misc]
            def __init__(self, width: int) -> None:
                super().__init__()
                self.narrow = nn.Conv1d(width, 32, 1, bias=False) if width > 1 else nn.Identity()
                narrow = 32 if width > 1 else 1
                self.convs = nn.ModuleList(
                    nn.Sequential(same(size), nn.Conv1d(narrow, 32, size, bias=False)) for size in (40, 20, 10)
                )
                self.pooled = nn.Sequential(nn.MaxPool1d(3, 1, 1), nn.Conv1d(width, 32, 1, bias=False))
                self.norm = nn.BatchNorm1d(128)

            def forward(self, x: Any) -> Any:
                narrow = self.narrow(x)
                return self.norm(torch.cat([*(conv(narrow) for conv in self.convs), self.pooled(x)], 1)).relu()

        class Third(nn.Module):  # type: ignore[misc]
            def __init__(self, width: int) -> None:
                super().__init__()
                self.body = nn.Sequential(Module(width), Module(128), Module(128))
                self.shortcut = nn.Sequential(nn.Conv1d(width, 128, 1, bias=False), nn.BatchNorm1d(128))

            def forward(self, x: Any) -> Any:
                return (self.body(x) + self.shortcut(x)).relu()

        pooling = nn.AdaptiveAvgPool1d(1)
        self.net = nn.Sequential(
            Third(X.shape[1]), Third(128), pooling, nn.Flatten(), nn.Linear(128, len(self.classes))
        )
        optimizer = torch.optim.AdamW(self.net.parameters(), weight_decay=0.5)
        epochs = max(10, -(-UPDATES // -(-len(x) // BATCH_SIZE)))
        steps = epochs * -(-len(x) // BATCH_SIZE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 8e-3, steps)
        for _ in range(epochs):
            for batch in torch.randperm(len(x)).split(BATCH_SIZE):
                optimizer.zero_grad()
                nn.functional.cross_entropy(self.net(x[batch]), targets[batch]).backward()
                optimizer.step()
                schedule.step()

    def score(self, X: Any, y: Any) -> float:
        """Return the accuracy."""
        import torch

        with torch.no_grad():
            outputs = self.net.eval()(torch.from_numpy(X.astype(np.float32))).numpy()
        return float((self.classes[outputs.argmax(1)] == y).mean())


def main() -> None:
    """Print a table in Markdown, a row for each classifier."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--data", nargs="+", default=DATA, help=f"sets of aeon, by default {' '.join(DATA)}")
    parser.add_argument("--only", nargs="+", help="classifiers whose names contain one of these words")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    print(f"| accuracy in %, CPU seconds | {' | '.join(options.data)} |")
    print("|---" * (1 + len(options.data)) + "|")
    for title, make in classifiers().items():
        if options.only and not any(word in title for word in options.only):
            continue
        # numba compiles another program for several channels
        for channels in (1, 2) if "ocket" in title.lower() else ():
            make(0).fit(rng.normal(size=(10, channels, 60)), np.arange(10) % 2)
        cells = []
        for name in options.data:
            scores, seconds = [], []
            for seed, (X, X_test, y, y_test) in enumerate(folds(name, options.folds)):
                before, classifier = time.process_time(), make(seed)
                classifier.fit(X, y)
                scores.append(100 * classifier.score(X_test, y_test))
                seconds.append(time.process_time() - before)
            cells.append(f"{statistics.mean(scores):.1f}, {statistics.median(seconds):.1f} s")
        print(f"| {title} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
