"""Columns of unnamed rows: pixels of a square image, or a table."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits, make_classification

from funcnn.estimators import ConvNetClassifier
from funcnn.estimators.layout import of_columns

DIGITS, LABELS = load_digits(return_X_y=True)
RNG = np.random.default_rng(0)
SMALL = {"channels": (2,), "hidden_layer_sizes": (4,), "max_iter": 1, "random_state": 0, "threads": 1}


def table(columns, seed, rows=300):
    x, _ = make_classification(rows, columns, n_informative=10, n_redundant=20, random_state=seed)
    return (x - x.mean(axis=0)) / x.std(axis=0)


def blobs(n, side, width, seed=0):
    """Images of one soft spot each, at any place."""
    at, centre = np.arange(side), np.random.default_rng(seed).uniform(0, side, (n, 2, 1))
    across, down = np.moveaxis(np.exp(-(((at - centre) / width) ** 2)), 1, 0)
    return (down[:, :, None] * across[:, None, :]).reshape(n, -1)


def waves(n, length):
    phase, frequency = RNG.uniform(0, 7, (n, 1)), RNG.uniform(3, 20, (n, 1))
    return np.sin(phase + frequency * np.linspace(0, 1, length)) + 0.3 * RNG.standard_normal((n, length))


@pytest.mark.parametrize(
    "x",
    [
        DIGITS,
        DIGITS[:32],
        DIGITS[500:510],
        DIGITS * 1e-300,
        (DIGITS > 7).astype(float),
        (DIGITS - DIGITS.mean(axis=0)) / (DIGITS.std(axis=0) + 1e-9),
        DIGITS + 3 * RNG.standard_normal(DIGITS.shape),
        np.pad(np.kron(DIGITS.reshape(-1, 8, 8)[:200], np.ones((3, 3))), ((0, 0), (2, 2), (2, 2))).reshape(200, -1),
        blobs(100, 64, 12) + RNG.uniform(0, 9, (100, 1)),
    ],
    ids=["digits", "few", "ten", "units", "bits", "standardised", "noisy", "like MNIST", "like faces, of any exposure"],
)
def test_images(x):
    side = int(x.shape[1] ** 0.5)
    image_shape, reason, guess = of_columns(x, named=False)
    assert (
        image_shape == (side, side, 1) and f"images of {side}x{side}, for neighbours are alike" in reason and not guess
    )


@pytest.mark.parametrize(
    "x",
    [
        *(DIGITS[:n, RNG.permutation(64)] for n in (1797, 32)),
        *(table(columns, seed) for columns in (64, 100, 400) for seed in range(3)),
        table(64, 0, rows=20) * 10.0 ** RNG.uniform(-5, 5, 64),
        RNG.uniform(size=(300, 64)),
        waves(300, 100),
        RNG.standard_normal((300, 100)).cumsum(axis=1),
        RNG.standard_normal((300, 1)) + RNG.standard_normal((300, 64)),
        np.repeat(RNG.standard_normal((300, 8)), 8, axis=1) + RNG.standard_normal((300, 64)),
        np.eye(8)[RNG.integers(0, 8, (300, 8))].reshape(300, 64),
    ],
)
def test_tables(x):
    image_shape, reason, guess = of_columns(x, named=False)
    assert image_shape == (1, x.shape[1], 1) and "neighbours are not alike" in reason and not guess


@pytest.mark.parametrize(("columns", "image_shape"), [(30, (1, 30, 1)), (49, (7, 7, 1))])
def test_columns_that_are_no_square_or_too_small_a_one_are_not_compared(columns, image_shape):
    assert of_columns(RNG.uniform(size=(9, columns)), named=False)[::2] == (image_shape, False)


def test_the_decision_is_an_attribute_and_is_printed(capsys):
    net = ConvNetClassifier(**SMALL, verbose=True).fit(DIGITS, LABELS)
    assert net.image_shape_ == (8, 8, 1) and net.layout_ in capsys.readouterr().err
    net = clone(net).set_params(image_shape=(8, 8)).fit(table(64, 0), np.arange(300) % 2)
    assert net.image_shape_ == (8, 8, 1) and net.layout_ == "64 features are (8, 8, 1), as image_shape says"
    net = clone(net).set_params(image_shape=None).fit(table(64, 0).reshape(-1, 8, 8), np.arange(300) % 2)
    assert net.image_shape_ == (8, 8, 1) and net.layout_ == "64 features are (8, 8, 1), as X is"


def test_a_guess_is_a_warning():
    x = np.random.default_rng(0).uniform(size=(4, 64))  # too few
    with pytest.warns(UserWarning, match=r"a table, not images of 8x8.*guess: give image_shape=\(8, 8\) or \(1, 64\)"):
        assert ConvNetClassifier(**SMALL).fit(x, [0, 1, 0, 1]).image_shape_ == (1, 64, 1)


def test_named_columns_are_a_table_and_it_is_said_if_they_look_like_images():
    assert of_columns(table(64, 0), named=True) == ((1, 64, 1), "64 named columns are a table", False)
    image_shape, reason, guess = of_columns(DIGITS, named=True)
    assert image_shape == (1, 64, 1) and guess and "though they look like images of 8x8" in reason
    assert of_columns(DIGITS[:, :4], named=True).image_shape == (1, 4, 1)


def test_partial_fit_and_a_warm_start_keep_the_first_decision():
    net = ConvNetClassifier(**SMALL, warm_start=True).partial_fit(DIGITS[:50], LABELS[:50], classes=range(10))
    shuffled = DIGITS[:, RNG.permutation(64)]
    for again in (net.partial_fit, net.fit):
        assert again(shuffled, LABELS).image_shape_ == (8, 8, 1)
    assert net.set_params(warm_start=False).fit(shuffled, LABELS).image_shape_ == (1, 64, 1)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 3, 1, 2)], ids=["colours last", "colours first"])
def test_rows_that_look_like_colour_images_ask_for_their_shape(order):
    grey = blobs(50, 10, 3).reshape(50, 10, 10, 1)
    x = (grey * [1.0, 0.5, 0.2] + RNG.uniform(0, 0.1, (50, 10, 10, 3))).transpose(order).reshape(50, -1)
    words = (
        r"300 columns look like colour images of 10x10: give image_shape=\(10, 10, 3\) .* X.reshape\(-1, 3, 10, 10\)"
    )
    with pytest.raises(ValueError, match=words):
        of_columns(x, named=False)
    assert of_columns(x, named=True)[::2] == ((1, 300, 1), False)
    assert of_columns(RNG.permuted(x, axis=1), named=False)[::2] == ((1, 300, 1), False)


def test_a_table_as_wide_as_usual_colour_images_is_a_guess():
    with pytest.warns(UserWarning, match=r"3072 columns are a table, .* give image_shape=\(32, 32, 3\) or \(1, 3072\)"):
        ConvNetClassifier(**SMALL).fit(RNG.uniform(size=(9, 3072)), LABELS[:9])
