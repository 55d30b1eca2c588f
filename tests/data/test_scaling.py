"""Standardisation, weighted and not."""

import numpy as np
import pytest
from arrays import normal
from sources import Strict

from funcnn import data
from funcnn.data import lazy


def test_standardised_data_have_mean_0_and_variance_1():
    x = 3 + 5 * normal(50, 4, 3)
    for axes in (0, (0, 1), None):
        z = data.standardize(x, *data.mean_and_std(x, axes))
        np.testing.assert_allclose(z.mean(axis=axes), 0, atol=1e-12)
        np.testing.assert_allclose(z.std(axis=axes), 1, rtol=1e-12)
    mean, std = data.mean_and_std(x)
    np.testing.assert_allclose(data.standardize(x[:1], mean, std), (x[:1] - x.mean(0)) / x.std(0), rtol=1e-12)
    np.testing.assert_allclose(data.standardize(x[0], 3.0, 5.0), (x[0] - 3) / 5, rtol=1e-12)


def test_constant_features_become_zero_even_where_their_mean_is_rounded():
    x = np.stack([np.full(1000, 0.1), normal(1000)], axis=1).astype(np.float32)
    mean, std = data.mean_and_std(x)
    assert std[0, 0] == 0 and std.dtype == mean.dtype == np.float32
    z = data.standardize(x, mean, std)
    assert z.dtype == np.float32 and np.abs(z[:, 0]).max() < 1e-7
    moved = data.standardize(x + np.float32(1), mean, std)
    np.testing.assert_allclose(moved[:, 0], 1, rtol=1e-6)


def test_many_values_are_summed_in_double_precision():
    x = (1000 + normal(200_000, 1)).astype(np.float32)
    mean, std = data.mean_and_std(x)
    np.testing.assert_allclose([mean.item(), std.item()], [x.mean(dtype=float), x.std(dtype=float)], rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: data.mean_and_std(np.arange(3)), TypeError, "mean_and_std: x has dtype int64"),
        (lambda: data.mean_and_std(np.ones((0, 3))), ValueError, r"mean_and_std: x \(0, 3\) has no values"),
        (lambda: data.standardize(np.arange(3), 0.0, 1.0), TypeError, "standardize: x has dtype int64"),
        (
            lambda: data.standardize(np.ones((4, 3)), np.ones(4), 1.0),
            ValueError,
            r"mean must broadcast to the shape of x, \(4, 3\), got \(4,\)",
        ),
        (
            lambda: data.standardize(np.ones(3), 0.0, np.ones((2, 3))),
            ValueError,
            r"std must broadcast to the shape of x, \(3",
        ),
        (lambda: data.standardize(np.ones(3), 0.0, -1.0), ValueError, "standardize: std must be >= 0, got -1"),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("axes", [0, (0, 1), -3, (0, 1, 2), None])
def test_weights_are_repeats(axes):
    x, weight = 3 + 5 * normal(20, 4, 3), np.arange(20) % 4
    x[weight == 0] = 1e6  # counts for nothing
    mean, std = data.mean_and_std(x, axes, weight)
    repeated = data.mean_and_std(x.repeat(weight, axis=0), axes)
    np.testing.assert_allclose(mean, repeated[0], rtol=1e-12)
    np.testing.assert_allclose(std, repeated[1], rtol=1e-12)
    assert mean.shape == repeated[0].shape and std.shape == repeated[1].shape
    for factor in (1e-200, 1e200):
        np.testing.assert_allclose(data.mean_and_std(x, axes, weight * factor)[1], std, rtol=1e-12)


def test_features_that_vary_only_in_examples_of_no_weight_are_constant():
    x = np.stack([np.full(1000, 0.1), normal(1000)], axis=1).astype(np.float32)
    x[-1] = 7
    mean, std = data.mean_and_std(x, sample_weight=np.arange(1000) < 999)
    assert std[0, 0] == 0 and std[0, 1] > 0 and mean.dtype == std.dtype == np.float32
    np.testing.assert_allclose(mean[0, 0], 0.1, rtol=1e-6)


@pytest.mark.parametrize(
    ("axes", "weight", "message"),
    [
        (0, np.ones(3), r"sample_weight \(3,\) must have one weight for each of x \(4, 2\)"),
        (0, -np.ones(4), "must be finite, >= 0 and not all 0"),
        (0, np.zeros(4), "must be finite, >= 0 and not all 0"),
        (0, np.full(4, np.nan), "must be finite, >= 0 and not all 0"),
        (1, np.ones(4), "with sample_weight, axes 1 must contain 0"),
        (-1, np.ones(4), "with sample_weight, axes -1 must contain 0"),
    ],
)
def test_weights_that_do_not_fit(axes, weight, message):
    with pytest.raises(ValueError, match=message):
        data.mean_and_std(normal(4, 2), axes, weight)


def test_without_weights_the_results_are_numpys_bit_for_bit():
    x = (3 + 5 * normal(50, 4, 3)).astype(np.float32)
    for axes in (0, (0, 1), None):
        mean, std = data.mean_and_std(x, axes)
        assert np.array_equal(mean, x.mean(axis=axes, dtype=np.float64, keepdims=True).astype(np.float32))
        assert np.array_equal(std, x.std(axis=axes, dtype=np.float64, keepdims=True).astype(np.float32))


@pytest.mark.parametrize("scale", [5e-324, 1e308])
def test_weights_of_any_size(scale):
    x = np.arange(6.0).reshape(3, 2)
    of_any, of_one = (data.mean_and_std(x, sample_weight=np.full(3, s)) for s in (scale, 1.0))
    assert all(np.array_equal(a, b) for a, b in zip(of_any, of_one, strict=True))


@pytest.mark.parametrize("unit", [1e-300, 1e-160, 1e-13, 1.0, 1e160, 1e300])
@pytest.mark.parametrize("weight", [None, np.arange(1, 51)])
def test_units_do_not_matter(unit, weight):
    x = 3 + 5 * normal(50, 4)
    mean, std = data.mean_and_std(unit * x, sample_weight=weight)
    of_one = data.mean_and_std(x, sample_weight=weight)
    np.testing.assert_allclose(mean / unit, of_one[0], rtol=1e-12)
    np.testing.assert_allclose(std / unit, of_one[1], rtol=1e-12)


def test_what_is_equal_up_to_rounding_is_constant_and_what_varies_is_not():
    x = np.array([[0.1 + 0.2, 1.7e9, 1e-300], [0.3, 1.7e9 + 1, 2e-300]])
    assert (data.mean_and_std(x)[1] > 0).tolist() == [[False, True, True]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weight", [None, np.arange(50.0)])
def test_powers_of_two_change_no_digit(dtype, weight):
    largest = np.finfo(dtype).maxexp - 24
    x = normal(50, 3).astype(dtype)
    for exponent in (-largest, largest):
        there, here = (data.mean_and_std(given, sample_weight=weight) for given in (np.ldexp(x, exponent), x))
        assert all(np.array_equal(a, np.ldexp(b, exponent)) for a, b in zip(there, here, strict=True))


@pytest.mark.parametrize("weighted", [False, True])
def test_statistics_by_blocks_are_those_of_the_whole_to_rounding_and_of_a_source_bit_for_bit(weighted, monkeypatch):
    x = np.random.default_rng(0).normal(5, 2, (40, 3, 2, 4)).astype(np.float32)
    weight = np.arange(40) % 3 if weighted else None
    whole = data.mean_and_std(x, (0, 1, 2), weight)
    monkeypatch.setattr(lazy, "_BLOCK", 7 * 24)
    blocks = data.mean_and_std(x, (0, 1, 2), weight)
    for a, b, c in zip(whole, blocks, data.mean_and_std(Strict(x), (0, 1, 2), weight), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
        np.testing.assert_array_equal(b, c)
