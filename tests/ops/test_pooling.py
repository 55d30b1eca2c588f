"""Pooling: values and routes of gradients against loops, over a grid of geometries."""

import tracemalloc

import numpy as np
import oracles
import pytest
from arrays import distinct, layouts, normal

from funcnn import ops
from funcnn.testing import check_vjp

# x, window, options that both poolings have
GEOMETRIES = {
    "1-D": ((2, 9, 3), 2, {}),
    "2-D": ((2, 6, 8, 3), 2, {}),
    "window of one": ((2, 3, 4, 2), 1, {}),
    "overlapping": ((2, 7, 6, 2), 3, {"stride": 1}),
    "overlapping, stride 2": ((2, 7, 6, 2), 3, {"stride": 2}),
    "stride that does not divide": ((2, 7, 9, 2), 2, {"stride": 2}),
    "stride larger than the window": ((2, 8, 9, 2), 2, {"stride": (3, 4)}),
    "window as large as the input": ((2, 4, 5, 2), (4, 5), {}),
    "oblong": ((2, 6, 8, 2), (3, 2), {"stride": (2, 1)}),
    "padding": ((2, 5, 6, 2), 3, {"stride": 2, "padding": 1}),
    "asymmetric padding": ((2, 5, 6, 2), 3, {"stride": 2, "padding": ((0, 2), (1, 0))}),
    "same": ((2, 5, 7, 2), 3, {"stride": 2, "padding": "same"}),
    "ceil mode": ((2, 6, 7, 2), 3, {"stride": 2, "ceil_mode": True}),
    "ceil mode, no room for another": ((2, 6, 7, 2), 2, {"stride": 3, "ceil_mode": True}),
    "ceil mode and padding": ((2, 6, 8, 2), 3, {"stride": 2, "padding": 1, "ceil_mode": True}),
    "ceil mode, last window would start in the padding": (
        (2, 5, 5, 1),
        2,
        {"stride": 3, "padding": 1, "ceil_mode": True},
    ),
    "one pixel": ((2, 1, 1, 3), 1, {}),
    "3-D": ((2, 4, 5, 4, 2), (2, 3, 2), {}),
    "3-D, all options": (
        (2, 5, 4, 6, 2),
        2,
        {"stride": (1, 2, 3), "padding": ((1, 0), (0, 1), (1, 1)), "ceil_mode": True},
    ),
}
geometries = pytest.mark.parametrize(("shape", "window", "options"), GEOMETRIES.values(), ids=GEOMETRIES.keys())


@geometries
def test_max_pool_is_that_of_the_loops(shape, window, options):
    x = distinct(*shape)
    y, vjp = ops.max_pool(x, window, **options)
    expected, source = oracles.max_pool(x, window, **options)
    assert np.array_equal(y, expected)
    dy, dx = normal(*y.shape), np.zeros(shape)
    for index, position in source.items():
        dx[position] += dy[index]
    np.testing.assert_allclose(vjp(dy), dx, rtol=1e-12, atol=1e-12)
    check_vjp(lambda x: ops.max_pool(x, window, **options), x, strict=True)


@pytest.mark.parametrize("dilation", [2, (1, 3)])
def test_max_pool_with_dilation(dilation):
    x = distinct(2, 7, 8, 2)
    y, _ = ops.max_pool(x, 2, stride=1, dilation=dilation)
    expected, _ = oracles.max_pool(x, 2, stride=1, dilation=dilation)
    assert np.array_equal(y, expected)
    check_vjp(lambda x: ops.max_pool(x, 2, stride=1, dilation=dilation), x, strict=True)


@pytest.mark.parametrize("options", [{}, {"stride": 1}, {"stride": 2, "padding": 1}], ids=str)
@pytest.mark.parametrize("seed", range(5))
def test_max_pool_gives_ties_to_the_first_in_row_major_order(options, seed):
    x = np.random.default_rng(seed).integers(0, 3, (2, 6, 6, 2)).astype(float)
    y, vjp = ops.max_pool(x, 3, **options)
    _, source = oracles.max_pool(x, 3, **options)
    dy, dx = normal(*y.shape), np.zeros(x.shape)
    for index, position in source.items():
        dx[position] += dy[index]
    np.testing.assert_allclose(vjp(dy), dx, rtol=1e-12, atol=1e-12)


@geometries
def test_max_pool_that_keeps_its_input_is_the_same(shape, window, options):
    x = np.random.default_rng(0).integers(0, 3, shape).astype(float)  # with ties
    y, vjp = ops.max_pool(x, window, **options)
    same, same_vjp = ops.max_pool(x, window, keep_input=True, **options)
    dy = normal(*y.shape)
    assert np.array_equal(y, same) and np.array_equal(vjp(dy), same_vjp(dy))


@pytest.mark.parametrize("window", [(4, 4), (4, 5), (7, 7)])  # from seventeen positions on, an axis at a time
def test_max_pool_of_large_windows_is_that_of_the_loops(window):
    x = np.random.default_rng(0).integers(0, 9, (2, 8, 10, 2)).astype(float)
    y, vjp = ops.max_pool(x, window)
    expected, source = oracles.max_pool(x, window)
    assert np.array_equal(y, expected)
    dy, dx = normal(*y.shape), np.zeros(x.shape)
    for index, position in source.items():
        dx[position] += dy[index]
    assert np.array_equal(vjp(dy), dx)


def test_max_pool_of_negative_numbers_never_returns_the_padding():
    y, vjp = ops.max_pool(np.full((1, 3, 3, 1), -5.0), 3, stride=1, padding=1)
    assert (y == -5.0).all()
    assert vjp(np.ones_like(y)).sum() == 9.0


def test_maxima_without_their_positions_take_the_memory_of_one_array_beside_the_padded_one():
    x = np.ones((16, 48, 48, 8), np.float32)
    ops.max_pool(x, 3, stride=1, padding=1, keep_input=True)
    tracemalloc.start()
    try:
        ops.max_pool(x, 3, stride=1, padding=1, keep_input=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2.5 * x.nbytes


@geometries
@pytest.mark.parametrize("count_include_pad", [False, True])
def test_avg_pool_is_that_of_the_loops(shape, window, options, count_include_pad):
    x = normal(*shape)
    options = {**options, "count_include_pad": count_include_pad}
    y, _ = ops.avg_pool(x, window, **options)
    np.testing.assert_allclose(y, oracles.avg_pool(x, window, **options), rtol=1e-12, atol=1e-12)
    check_vjp(lambda x: ops.avg_pool(x, window, **options), x, strict=True)
    check_vjp(lambda x: ops.avg_pool(x, window, **options), x, method="central", step=1.0, rtol=1e-12, strict=True)


@pytest.mark.parametrize("shape", [(2, 5, 3), (2, 4, 5, 3), (1, 3, 2, 4, 2), (2, 1, 1, 1)])
def test_global_pools_are_pools_over_the_whole(shape):
    x = distinct(*shape)
    whole = shape[1:-1]
    for whole_pool, pool in ((ops.global_max_pool, ops.max_pool), (ops.global_avg_pool, ops.avg_pool)):
        y, vjp = whole_pool(x)
        y2, vjp2 = pool(x, whole)
        np.testing.assert_allclose(y, y2.reshape(y.shape), rtol=1e-12)
        np.testing.assert_allclose(vjp(y), vjp2(y2), rtol=1e-12)
        check_vjp(whole_pool, x, strict=True)


def test_global_max_pool_gives_ties_to_the_first():
    _, vjp = ops.global_max_pool(np.ones((1, 2, 2, 1)))
    assert vjp(np.ones((1, 1))).ravel().tolist() == [1, 0, 0, 0]


POOLS = {
    "max_pool": lambda x: ops.max_pool(x, 2),
    "overlapping max_pool": lambda x: ops.max_pool(x, 3, stride=2, padding=1),
    "avg_pool": lambda x: ops.avg_pool(x, 2),
    "overlapping avg_pool": lambda x: ops.avg_pool(x, 3, stride=2, padding=1),
    "global_max_pool": ops.global_max_pool,
    "global_avg_pool": ops.global_avg_pool,
    "adaptive_max_pool": lambda x: ops.adaptive_max_pool(x, 3),
    "adaptive_avg_pool": lambda x: ops.adaptive_avg_pool(x, 3),
}


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS.keys())
def test_memory_layout_does_not_matter(pool):
    x = distinct(3, 4, 6, 2)
    y, vjp = pool(x)
    for name, laid_out in layouts(x).items():
        y2, vjp2 = pool(laid_out)
        np.testing.assert_allclose(y, y2, rtol=1e-12, err_msg=name)
        np.testing.assert_allclose(vjp(y), vjp2(layouts(y)[name]), rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS.keys())
def test_no_examples(pool):
    y, vjp = pool(np.zeros((0, 4, 6, 2)))
    assert len(y) == 0
    assert vjp(y).shape == (0, 4, 6, 2)


@pytest.mark.parametrize("pool", [ops.max_pool, ops.avg_pool])
def test_bad_input_is_named(pool):
    x = normal(1, 4, 4, 1)
    with pytest.raises(ValueError, match=r"window spans 5 positions on spatial axis 0, the padded input has 4"):
        pool(x, 5)
    with pytest.raises(ValueError, match="window must be at least 1, got 0"):
        pool(x, 0)
    with pytest.raises(ValueError, match="stride must be at least 1, got 0"):
        pool(x, 2, stride=0)
    with pytest.raises(ValueError, match=r"a window is entirely in the padding: input \(4, 4\), window \(2, 2\)"):
        pool(x, 2, padding=2)
    with pytest.raises(TypeError, match="x has dtype uint8"):
        pool(np.zeros((1, 4, 4, 1), np.uint8), 2)
    with pytest.raises(ValueError, match=r"x must be \(N, spatial.*, got shape \(4, 4\)"):
        pool(normal(4, 4), 2)


NEED_POSITIONS = [
    ops.global_max_pool,
    ops.global_avg_pool,
    lambda x: ops.adaptive_max_pool(x, 1),
    lambda x: ops.adaptive_avg_pool(x, 1),
]


@pytest.mark.parametrize("pool", NEED_POSITIONS)
def test_nothing_to_pool_over_is_an_error(pool):
    with pytest.raises(ValueError, match=r"\(2, 0, 3, 1\) has no positions"):
        pool(np.zeros((2, 0, 3, 1)))


ADAPTIVE = [
    ((2, 7, 3), 3),
    ((2, 7, 3), 7),
    ((2, 3, 2), 5),
    ((2, 6, 8, 2), (3, 2)),
    ((2, 7, 5, 2), (3, 4)),
    ((2, 5, 4, 1), 1),
    ((1, 3, 5, 4, 2), (2, 3, 4)),
]


@pytest.mark.parametrize(("shape", "size"), ADAPTIVE)
def test_adaptive_pools_are_those_of_the_loops(shape, size):
    x = distinct(*shape)
    np.testing.assert_allclose(ops.adaptive_avg_pool(x, size)[0], oracles.adaptive_pool(np.mean, x, size), rtol=1e-12)
    assert np.array_equal(ops.adaptive_max_pool(x, size)[0], oracles.adaptive_pool(max, x, size))
    check_vjp(lambda x: ops.adaptive_avg_pool(x, size), x, strict=True)
    check_vjp(lambda x: ops.adaptive_max_pool(x, size), x, strict=True)


@pytest.mark.parametrize("seed", range(5))
def test_adaptive_max_pool_gives_ties_to_the_first_in_row_major_order(seed):
    x = np.random.default_rng(seed).integers(0, 3, (2, 6, 8, 2)).astype(float)
    y, vjp = ops.adaptive_max_pool(x, (3, 2))
    y2, vjp2 = ops.max_pool(x, (2, 4))
    assert np.array_equal(y, y2)
    dy = normal(*y.shape)
    assert np.array_equal(vjp(dy), vjp2(dy))


@pytest.mark.parametrize("pool", [ops.adaptive_avg_pool, ops.adaptive_max_pool])
def test_sizes_that_are_none(pool):
    x = normal(1, 4, 4, 1)
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        pool(x, 0)
    with pytest.raises(ValueError, match=r"size \(2, 2, 2\) has 3 entries, the input has 2 spatial axes"):
        pool(x, (2, 2, 2))
    with pytest.raises(TypeError, match=r"size must be an int or a tuple of 2 ints, not 2\.5"):
        pool(x, 2.5)


@pytest.mark.parametrize("dilation", [2, (1, 3)])
@pytest.mark.parametrize("count_include_pad", [False, True])
def test_avg_pool_with_dilation(dilation, count_include_pad):
    x = normal(2, 7, 8, 2)
    options = {
        "stride": 2,
        "padding": 1,
        "dilation": dilation,
        "ceil_mode": True,
        "count_include_pad": count_include_pad,
    }
    np.testing.assert_allclose(ops.avg_pool(x, 3, **options)[0], oracles.avg_pool(x, 3, **options), rtol=1e-12)
    check_vjp(lambda x: ops.avg_pool(x, 3, **options), x, strict=True)


@pytest.mark.parametrize("shape", [(2, 3), (2, 2, 2, 2, 2, 3)])
def test_images_have_one_to_three_spatial_axes(shape):
    with pytest.raises(ValueError, match=r"x must be .* with 1 to 3 spatial axes"):
        ops.global_avg_pool(normal(*shape))
