"""Resizing against interpolation of single numbers in fractions, straight from the formulas."""

import math
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from arrays import normal

from funcnn import ops
from funcnn.testing import check_vjp

HALF = Fraction(1, 2)
COORDINATES = {
    "half_pixel": lambda o, n, m, f: (o + HALF) / f - HALF,
    "half_pixel_symmetric": lambda o, n, m, f: (o + HALF) / f - HALF + Fraction(n, 2) * (1 - m / (f * n)),
    "pytorch_half_pixel": lambda o, n, m, f: (o + HALF) / f - HALF if m > 1 else Fraction(0),
    "align_corners": lambda o, n, m, f: o * (n - 1) / (f * n - 1) if f * n != 1 else Fraction(0),
    "asymmetric": lambda o, n, m, f: o / f,
    "tf_half_pixel_for_nn": lambda o, n, m, f: (o + HALF) / f,
}
ROUNDING = {
    "round_prefer_floor": lambda c: math.ceil(c - HALF),
    "round_prefer_ceil": lambda c: math.floor(c + HALF),
    "floor": math.floor,
    "ceil": math.ceil,
}


def resized(values, m, coordinates, rounding=None, factor=None):
    """Resize a list of numbers to m; interpolate if there is no rounding."""
    n = len(values)
    factor = Fraction(m, n) if factor is None else Fraction(factor)
    found = []
    for o in range(m):
        at = COORDINATES[coordinates](Fraction(o), n, m, factor)
        at = min(max(Fraction(ROUNDING[rounding](at)) if rounding else at, 0), n - 1)
        below = math.floor(at)
        above = min(below + 1, n - 1)
        found.append((1 - float(at - below)) * values[below] + float(at - below) * values[above])
    return found


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("rounding", [None, *ROUNDING])
@pytest.mark.parametrize(("n", "m"), [(5, 5), (1, 4), (4, 1), (4, 8), (8, 4), (2, 16), (3, 7), (7, 3)])
def test_one_axis(n, m, coordinates, rounding):
    x = normal(2, n, 3)
    options = {"coordinates": coordinates} | ({"mode": "nearest", "rounding": rounding} if rounding else {})
    y, _ = ops.resize(x, m, **options)
    expected = np.apply_along_axis(lambda row: resized(row, m, coordinates, rounding), 1, x)
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-14)
    check_vjp(lambda x: ops.resize(x, m, **options), x, strict=True)


@pytest.mark.parametrize(("shape", "size"), [((2, 5, 3), (8,)), ((2, 4, 5, 3), (3, 7)), ((1, 2, 3, 4, 2), (5, 1, 6))])
@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_axes_are_resized_one_by_one(shape, size, mode):
    x = normal(*shape)
    expected = x
    for a, m in enumerate(size, start=1):
        rounding = "round_prefer_floor" if mode == "nearest" else None
        expected = np.apply_along_axis(lambda row, m=m, r=rounding: resized(row, m, "half_pixel", r), a, expected)
    np.testing.assert_allclose(ops.resize(x, size, mode=mode)[0], expected, rtol=1e-12, atol=1e-14)
    check_vjp(lambda x: ops.resize(x, size, mode=mode), x, strict=True)


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("factor", [0.5, 0.75, 1.25, 3.0])
def test_factors_that_are_not_those_of_the_sizes(coordinates, factor):
    x = normal(2, 6, 2)
    y, _ = ops.resize(x, 5, coordinates=coordinates, factors=(factor,))
    expected = np.apply_along_axis(lambda row: resized(row, 5, coordinates, factor=factor), 1, x)
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-14)
    check_vjp(lambda x: ops.resize(x, 5, coordinates=coordinates, factors=(factor,)), x, strict=True)


REGIONS = [
    (0, 1),
    (Fraction(1, 4), Fraction(3, 4)),
    (HALF, 2),
    (-1, HALF),
    (1, 0),
    (Fraction(5, 4), Fraction(-1, 4)),
    (2, 3),
]


def region(values, m, start, end, rounding, outside):
    """Resize the part of a list of numbers from start to end, fractions of it, to m."""
    n, found = len(values), []
    for o in range(m):
        at = (n - 1) * (Fraction(start + end, 2) if m == 1 else start + o * Fraction(end - start, m - 1))
        if not 0 <= at <= n - 1:
            found.append(outside)
            continue
        at = Fraction(ROUNDING[rounding](at)) if rounding else at
        below = math.floor(at)
        found.append((1 - float(at - below)) * values[below] + float(at - below) * values[min(below + 1, n - 1)])
    return found


@pytest.mark.parametrize(("start", "end"), REGIONS, ids=str)
@pytest.mark.parametrize("rounding", [None, *ROUNDING])
def test_a_region(start, end, rounding):
    options = {"coordinates": "tf_crop_and_resize", "outside": 7.0}
    options |= {"mode": "nearest", "rounding": rounding} if rounding else {}
    for n, m in ((5, 5), (5, 9), (9, 5), (1, 3), (4, 1)):
        x = normal(2, n, 3)
        f = partial(ops.resize, size=m, roi=[(float(start), float(end))], **options)
        expected = np.apply_along_axis(lambda row, m=m: region(row, m, start, end, rounding, 7.0), 1, x)
        np.testing.assert_allclose(f(x)[0], expected, rtol=1e-12, atol=1e-14)
        check_vjp(f, x, strict=True)


def test_a_region_of_an_image():
    x = normal(2, 5, 9, 3)
    f = partial(ops.resize, size=(5, 3), coordinates="tf_crop_and_resize", roi=[(0.5, 1.5), (0.25, 0.75)], outside=-2.0)
    y, vjp = f(x)
    assert np.array_equal(y[:, :3], x[:, 2::, 2:7:2][:, [0, 1, 2]]) and (y[:, 3:] == -2).all()
    assert vjp(np.ones_like(y)).sum() == 2 * 3 * 3 * 3  # what is outside does not count
    check_vjp(f, x, strict=True)


def test_without_a_region_the_corners_are_aligned():
    x = normal(2, 5, 4, 3)
    y, _ = ops.resize(x, (7, 3), coordinates="tf_crop_and_resize")
    np.testing.assert_allclose(y, ops.resize(x, (7, 3), coordinates="align_corners")[0], rtol=1e-13)


def test_ties_between_positions():
    x = np.arange(4.0).reshape(1, 4, 1)
    chosen = {r: ops.resize(x, 2, mode="nearest", rounding=r)[0].ravel().tolist() for r in ROUNDING}
    assert chosen == {
        "round_prefer_floor": [0, 2], "round_prefer_ceil": [1, 3], "floor": [0, 2], "ceil": [1, 3],
    }  # fmt: skip


def test_resizing_by_whole_factors_from_the_start_is_upsampling():
    x = normal(2, 3, 4, 5)
    y, vjp = ops.resize(x, (6, 12), mode="nearest", coordinates="asymmetric", rounding="floor")
    expected, expected_vjp = ops.upsample(x, (2, 3))
    assert np.array_equal(y, expected)
    np.testing.assert_allclose(vjp(y), expected_vjp(y), rtol=1e-14)


@pytest.mark.parametrize("coordinates", COORDINATES)
def test_a_constant_image_stays_constant_and_the_gradient_keeps_its_sum(coordinates):
    y, vjp = ops.resize(np.full((1, 5, 7, 1), 0.3), (9, 4), coordinates=coordinates)
    assert (y == 0.3).all()
    dy = normal(*y.shape)
    np.testing.assert_allclose(vjp(dy).sum(), dy.sum(), rtol=1e-12)


def test_a_long_axis_needs_no_matrix():
    x = np.ones((1, 200_000, 1), np.float32)
    y, vjp = ops.resize(x, 300_000)
    np.testing.assert_allclose(vjp(y).sum(), 300_000, rtol=1e-5)


def test_infinity_stays_where_it_is():
    x = np.array([[[1.0], [np.inf], [-np.inf]]])
    for m, options in ((3, {}), (6, {"mode": "nearest"})):
        y, vjp = ops.resize(x, m, **options)
        assert y.ravel().tolist() == np.repeat([1, np.inf, -np.inf], m // 3).tolist()
        assert vjp(y).ravel().tolist() == [m // 3, np.inf, -np.inf]


def test_nan_shows():
    x = normal(1, 5, 1)
    x[0, 2] = np.nan
    assert np.isnan(ops.resize(x, 10)[0]).ravel().tolist() == [False] * 3 + [True] * 4 + [False] * 3


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: ops.resize(x, 4, mode="cubic"), ValueError, "mode must be one of linear, nearest, not 'cubic'"),
        (lambda x: ops.resize(x, 4, coordinates="corners"), ValueError, "coordinates must be one of half_pixel, .*not"),
        (lambda x: ops.resize(x, 4, rounding="up"), ValueError, "rounding must be one of .* not 'up'"),
        (lambda x: ops.resize(x, 0), ValueError, "size must be at least 1, got 0"),
        (lambda x: ops.resize(x, 2.5), TypeError, "size must be an int or a tuple of 2 ints, not 2.5"),
        (lambda x: ops.resize(x, (4, 4, 4)), ValueError, "has 3 entries, the input has 2"),
        (lambda x: ops.resize(x[:, :0], 4), ValueError, r"x \(2, 0, 5, 3\) has no positions to resize"),
        (lambda x: ops.resize(x, 4, factors=(1.0,)), ValueError, r"one for each of 2 axes, got \(1.0,\)"),
        (lambda x: ops.resize(x, 4, factors=(1.0, 0.0)), ValueError, r"must be positive, .* got \(1.0, 0.0\)"),
        (lambda x: ops.resize(x, (1 << 40, 4)), ValueError, "1099511627776"),
        (lambda x: ops.resize(x, 4, roi=[(0, 1)] * 2), ValueError, "'tf_crop_and_resize', got .* and 'half_pixel'"),
        (
            lambda x: ops.resize(x, 4, coordinates="tf_crop_and_resize", roi=[(0, 1)]),
            ValueError,
            r"roi must be \(start, end\) for each of 2 axes, .* got \[\(0, 1\)\]",
        ),
        (
            lambda x: ops.resize(x, 4, coordinates="tf_crop_and_resize", roi=[(0, math.inf)] * 2),
            ValueError,
            "roi must be .* got .*inf",
        ),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call(normal(2, 4, 5, 3))
