"""Scaling: any unit, what does not vary, images with odd pixels, images with few bright ones."""

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_digits

from funcnn.estimators import ConvNetClassifier, ConvNetRegressor
from funcnn.estimators.scaling import apply, mean_and_scale, of_images, of_rows

DIGITS, LABELS = load_digits(return_X_y=True)
SMALL = {"channels": (4,), "hidden_layer_sizes": (16,), "max_iter": 3, "random_state": 0, "threads": 1}
UNITS = [1e-300, 1e-155, 1e-13, 1e155, 1e300]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(
    "measure", [lambda x: of_rows(x, None), lambda x: of_images(x, None, 1)], ids=["rows", "images"]
)
def test_units_do_not_matter(measure, unit):
    here, there = (apply(measure(x), x, np.float64) for x in (DIGITS, DIGITS * unit))
    assert np.allclose(here, there, rtol=1e-9, atol=1e-9) and here.std() > 0.5


@pytest.mark.parametrize("image_shape", [(8, 8), (1, 64)])
def test_a_power_of_two_as_unit_changes_no_bit(image_shape):
    probabilities = [
        ConvNetClassifier(image_shape=image_shape, **SMALL).fit(x, LABELS).predict_proba(x[:50])
        for x in (DIGITS, np.ldexp(DIGITS, -900), np.ldexp(DIGITS, 900))
    ]
    assert np.array_equal(*probabilities[:2]) and np.array_equal(*probabilities[1:])


@pytest.mark.parametrize(("of_x", "of_y"), [(2.0**-40, 1.0), (1.0, 2.0**-50), (2.0**900, 2.0**-900)])
def test_units_of_inputs_and_targets_of_a_regression(of_x, of_y):
    x, y = load_diabetes(return_X_y=True)
    scores = [ConvNetRegressor(**SMALL).fit(x * a, y * b).score(x * a, y * b) for a, b in ((1, 1), (of_x, of_y))]
    assert scores[0] == scores[1] > 0.2


@pytest.mark.parametrize("unit", UNITS)
def test_each_feature_has_its_own_unit(unit):
    x = np.random.default_rng(0).standard_normal((300, 10))
    y = x[:, 3] > 0
    x[:, 3] *= unit
    assert ConvNetClassifier(**{**SMALL, "max_iter": 20}).fit(x, y).score(x, y) > 0.95


@pytest.mark.parametrize(
    ("column", "dtype"),
    [
        (1e6 + 1e-10, np.float64),
        (1e20 + 1e4, np.float64),
        (1e6 + 0.03, np.float32),
        (7.0, np.float64),
        (0.0, np.float64),
    ],
)
def test_what_is_constant_up_to_rounding_is_not_amplified(column, dtype):
    mean = float(f"{column:.0e}")
    noise = (column - mean) * np.random.default_rng(0).standard_normal(100)
    x = np.stack([mean + noise, np.arange(100.0)], axis=1).astype(dtype)
    _, scale, varies = mean_and_scale(x, None)
    assert varies.tolist() == [False, True] and scale[1] == pytest.approx(np.arange(100).std())
    assert np.abs(apply(of_rows(x, None), x, np.float64)[:, 0]).max() < 1e-5
    assert np.abs(apply(of_images(x[:, :1], None, 1), x[:, :1], np.float64)).max() < 1e-5


def test_channels_of_images_have_their_own_units():
    x = np.random.default_rng(0).uniform(size=(50, 16, 2))
    scaled = apply(of_images((x * [1, 1e-13]).reshape(50, -1), None, 2), (x * [1, 1e-13]).reshape(50, -1), np.float64)
    assert np.allclose(scaled.reshape(50, 16, 2).std(axis=(0, 1)), 1)


@pytest.mark.parametrize("odd", [-1000.0, -16.0, -5.0, 1e6, 1e300])
def test_one_odd_pixel_in_a_thousand_images_changes_nothing_but_itself(odd):
    x = DIGITS[:1000].copy()
    x[7, 20] = odd
    scaled, plain = (apply(of_images(given, None, 1), given, np.float64) for given in (x, DIGITS[:1000]))
    others = np.ones(x.shape, bool)
    others[7, 20] = False
    assert np.allclose(scaled[others], plain[others], rtol=1e-3) and np.abs(scaled).max() < 4


def test_odd_images_are_named_and_clipped_in_training_and_in_prediction():
    x = DIGITS[:500].copy()
    x[3:6, 10] = -1000
    with pytest.warns(
        UserWarning, match="3 of 500 images have pixels outside of the range .*, 0 to 16; these are clipped"
    ):
        net = ConvNetClassifier(image_shape=(8, 8), **SMALL).fit(x, LABELS[:500])
    assert net.range_[0][0] == 0 and net.range_[1][0] == 16
    assert np.array_equal(net.predict_proba(DIGITS - 1e9 * (DIGITS == 0)), net.predict_proba(DIGITS))


def test_images_with_one_bright_pixel_keep_it():
    rng = np.random.default_rng(0)
    row, column = rng.integers(0, 8, (2, 400))
    x = np.zeros((400, 8, 8))
    x[np.arange(400), row, column] = 1
    net = ConvNetClassifier(**{**SMALL, "max_iter": 20}).fit(x, row >= 4)
    assert net.range_[1][0] == 1 and net.score(x, row >= 4) > 0.95
    # and where few images have any
    assert of_images(np.concatenate([x[:2], np.zeros((998, 8, 8))]).reshape(1000, -1), None, 1).high[0] == 1


def test_later_calls_of_partial_fit_widen_the_range():
    net = ConvNetClassifier(image_shape=(8, 8), **SMALL).partial_fit(DIGITS[:40] / 8, LABELS[:40], classes=range(10))
    offset, scale, high = net.offset_[0], net.scale_[0], net.range_[1][0]
    net.partial_fit(DIGITS[:40], LABELS[:40])
    assert (net.offset_[0], net.scale_[0]) == (offset, scale) and high == 2 and net.range_[1][0] == 16


def test_a_target_that_does_not_vary_is_predicted_as_it_is():
    x = DIGITS[:50]
    for value in (0.0, 7e-15, 1e6, 1e300):
        assert np.allclose(
            ConvNetRegressor(**SMALL).fit(x, np.full(50, value)).predict(x), value, rtol=1e-12, atol=1e-12
        )


def test_rows_too_far_outside_are_an_error_rather_than_any_answer():
    net = ConvNetClassifier(image_shape=(1, 64), **SMALL).fit(DIGITS[:99] * 1e-13, LABELS[:99])
    with pytest.raises(ValueError, match="the outputs of row 1 are not finite"):
        net.predict(np.stack([DIGITS[0] * 1e-13, DIGITS[0] * 1e300]))
