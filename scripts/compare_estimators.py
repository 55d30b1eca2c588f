"""Compare ConvNetClassifier with scikit-learn's MLPClassifier and SVC, all with their defaults, and print a table.

    OPENBLAS_NUM_THREADS=1 python scripts/compare_estimators.py    # all data: the table of scripts/site/estimators.md
    python scripts/compare_estimators.py --folds 2 --seeds 1 --only iris digits

Nothing is downloaded. The 28x28 images and the 32x32 colour images are scikit-learn's digits, enlarged, turned, shifted
and (in colour) drawn over coloured gradients with noise. The perceptron and the SVC get standardised features. Times
are the CPU's, of one thread.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy.ndimage import affine_transform
from sklearn import datasets
from sklearn.model_selection import StratifiedKFold
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from funcnn.estimators import ConvNetClassifier

Data = tuple[np.ndarray, np.ndarray]


def enlarged_digits(side: int, count: int) -> Data:
    """Return digits as images (count, side, side) from 0 to 1: enlarged, turned by up to 15 degrees, shifted."""
    rng = np.random.default_rng(0)
    digits, labels = datasets.load_digits(return_X_y=True)
    chosen = rng.permutation(len(digits))[:count]
    images = np.empty((len(chosen), side, side))
    for image, digit in zip(images, digits[chosen].reshape(-1, 8, 8) / 16, strict=True):
        angle, zoom = rng.uniform(-0.26, 0.26), 8 / side * rng.uniform(1.1, 1.4)
        turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        centre = 3.5 - turn @ (np.full(2, (side - 1) / 2) + rng.uniform(-side / 14, side / 14, 2))
        affine_transform(digit, turn, centre, output=image, order=1)
    return images, labels[chosen]


def coloured_digits(count: int) -> Data:
    """Return digits of one colour over gradients of another, with noise, as images (count, 32, 32, 3)."""
    rng = np.random.default_rng(1)
    masks, labels = enlarged_digits(32, count)
    start, end, ink = rng.uniform(0, 1, (3, len(masks), 1, 1, 3))
    gradient = start + (end - start) * np.linspace(0, 1, 32)[:, None]
    ink = np.where(abs(ink - gradient.mean(axis=(1, 2), keepdims=True)) < 0.3, 1 - ink, ink)
    images = gradient + masks[..., None] * (ink - gradient) + rng.normal(0, 0.05, (len(masks), 32, 32, 3))
    return images, labels


def above_the_median(load: Callable[..., Data]) -> Data:
    x, y = load(return_X_y=True)
    return x, (y > np.median(y)).astype(int)


DATA: dict[str, Callable[[], Data]] = {
    "iris": lambda: datasets.load_iris(return_X_y=True),
    "wine": lambda: datasets.load_wine(return_X_y=True),
    "breast cancer": lambda: datasets.load_breast_cancer(return_X_y=True),
    "diabetes, above the median": lambda: above_the_median(datasets.load_diabetes),
    "moons": lambda: datasets.make_moons(400, noise=0.2, random_state=0),
    "circles": lambda: datasets.make_circles(400, noise=0.1, factor=0.5, random_state=0),
    "gaussian quantiles": lambda: datasets.make_gaussian_quantiles(
        n_samples=500, n_features=5, n_classes=3, random_state=0
    ),
    "hastie": lambda: datasets.make_hastie_10_2(1000, random_state=0),
    "20 features": lambda: datasets.make_classification(500, random_state=0),
    "50 features, 5 classes": lambda: datasets.make_classification(
        1000, 50, n_informative=15, n_classes=5, random_state=0
    ),
    "digits": lambda: datasets.load_digits(return_X_y=True),
    "28x28 digits": lambda: enlarged_digits(28, 1797),
    "32x32 colour digits": lambda: coloured_digits(1797),
}


def flat_and_scaled(classifier: Any) -> Any:
    return make_pipeline(StandardScaler(), classifier)


ESTIMATORS: dict[str, Callable[[int], Any]] = {
    "ConvNetClassifier": lambda seed: ConvNetClassifier(random_state=seed, threads=1),
    "MLPClassifier": lambda seed: flat_and_scaled(MLPClassifier(random_state=seed)),
    "SVC": lambda seed: flat_and_scaled(SVC()),
}


def splits(x: np.ndarray, y: np.ndarray, folds: int, seeds: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield the seed, the training and the test indices of each fold of each seed."""
    for seed in range(seeds):
        for train, test in StratifiedKFold(folds, shuffle=True, random_state=seed).split(x.reshape(len(x), -1), y):
            yield seed, train, test


def measure(x: np.ndarray, y: np.ndarray, folds: int, seeds: int) -> dict[str, tuple[float, float]]:
    """Return the mean accuracy in percent and the median CPU seconds of a fit of each estimator, in the same folds."""
    scores: dict[str, list[float]] = {name: [] for name in ESTIMATORS}
    seconds: dict[str, list[float]] = {name: [] for name in ESTIMATORS}
    for seed, train, test in splits(x, y, folds, seeds):
        for name, make in ESTIMATORS.items():  # in turn, so that a busy moment meets all of them
            given = x if name == "ConvNetClassifier" else x.reshape(len(x), -1)
            begin = time.process_time()
            fitted = make(seed).fit(given[train], y[train])
            seconds[name].append(time.process_time() - begin)
            scores[name].append(fitted.score(given[test], y[test]))
    return {name: (100 * float(np.mean(scores[name])), float(np.median(seconds[name]))) for name in ESTIMATORS}


def main() -> None:
    """Print the table, row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3, help="of the folds and of the networks")
    parser.add_argument("--only", nargs="*", choices=list(DATA), default=list(DATA))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # MLPClassifier's, that its default of 200 epochs is not enough
    print("| data | ConvNetClassifier | MLPClassifier | SVC | less than the better | fit, CPU s | of MLPClassifier's |")
    print("|---|---|---|---|---|---|---|")
    for name in arguments.only:
        x, y = DATA[name]()
        of = measure(x, y, arguments.folds, arguments.seeds)
        (ours, our_time), (perceptron, its_time), (svc, _) = of.values()
        missing, ratio = max(perceptron, svc) - ours, our_time / its_time
        row = f"{name} ({len(x)}) | {ours:.1f} | {perceptron:.1f} | {svc:.1f} | {missing:+.1f}"
        print(f"| {row} | {our_time:.2f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
