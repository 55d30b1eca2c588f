"""Values at the edge of the number line: infinite, undefined, tiny, huge, or no variance at all. NumPy's warnings are
errors here, so a result must also come about without any, except where a test says so.
"""

import math

import numpy as np
import pytest
from arrays import normal
from examplewise import EXAMPLEWISE, arguments, each

from funcnn import losses, ops, tree

NAN, INF = float("nan"), float("inf")


# ---------------------------------------------------------------------------------------------------------------------
# NaN


@pytest.mark.parametrize("name", [name for name in EXAMPLEWISE if name != "parameter"])  # which does not depend on x
def test_nan_spoils_what_depends_on_it_and_no_other_example(name):
    f, *shapes = EXAMPLEWISE[name]
    args = arguments(shapes, 3, 0)
    for i, x in enumerate(args):
        if isinstance(x, dict):
            continue

        def with_entry(value, index, i=i, x=x):
            changed = x.copy()
            changed[index] = value
            with np.errstate(invalid="ignore"):  # NumPy may warn of NaN
                return f(*args[:i], changed, *args[i + 1 :])[0]

        for entry in range(0, x[0].size, 5):
            index = (0, *np.unravel_index(entry, x.shape[1:]))
            spoilt = np.isnan(with_entry(NAN, index))
            depends = with_entry(1000.0, index) != with_entry(-1000.0, index)
            assert spoilt[0].any()
            assert spoilt[depends].all()
            assert not spoilt[1:].any()


def test_nan_in_a_batch_that_is_normalised_spoils_its_channel():
    x = normal(4, 3, 2)
    x[1, 2, 0] = NAN
    y, vjp, stats = ops.batch_norm({"scale": normal(2), "bias": normal(2)}, x)
    dparams, dx = vjp(np.ones_like(y))
    for array in (y, dx, stats["mean"], stats["var"], dparams["scale"]):
        assert np.isnan(array[..., 0]).all() and np.isfinite(array[..., 1]).all()


def test_nan_in_a_row_of_a_table_spoils_its_uses():
    w = normal(3, 2)
    w[1] = NAN
    y, _ = ops.embedding({"w": w}, np.array([0, 1, 2, 1]))
    assert np.isnan(y).all(axis=1).tolist() == [False, True, False, True]
    assert np.isfinite(y[[0, 2]]).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_an_undefined_maximum_sends_its_gradient_to_the_first_nan(dtype):
    x = normal(1, 4, 4, 1).astype(dtype)
    x[0, 0, 3] = x[0, 1, 0] = x[0, 1, 1] = x[0, 3, 3] = NAN
    y, vjp = ops.max_pool(x, 2)
    assert np.isnan(y).ravel().tolist() == [True, True, False, True]
    dx = vjp(np.array([1.0, 2.0, 3.0, 4.0]).reshape(y.shape))[0, :, :, 0]
    assert [dx[1, 0], dx[0, 3], dx[2:, :2].sum(), dx[3, 3]] == [1, 2, 3, 4]
    assert np.count_nonzero(dx) == 4


WHOLE = {
    "max_pool": lambda x: ops.max_pool(x, 3),
    "padded max_pool": lambda x: ops.max_pool(x, 7, padding=((2, 2), (3, 1))),
    "adaptive_max_pool": lambda x: ops.adaptive_max_pool(x, 1),
    "global_max_pool": ops.global_max_pool,
    "reduce_max": lambda x: ops.reduce_max(x, (1, 2)),
}


@pytest.mark.parametrize("pool", WHOLE.values(), ids=WHOLE.keys())
def test_the_maximum_of_an_image_is_its_first_nan_or_else_its_first_maximum(pool):
    for values, first in (
        ([0, INF, 0, 0, 0, NAN, NAN, 0, 0], 5),
        ([0, -INF, 0, INF, 0, 0, INF, 0, 0], 3),
        ([-INF] * 9, 0),
        ([-INF] * 4 + [-1e300] + [-INF] * 4, 4),
        ([7.0] * 9, 0),
    ):
        y, vjp = pool(np.array(values).reshape(1, 3, 3, 1))
        np.testing.assert_equal(y.item(), values[first])
        assert np.array_equal(vjp(np.full(y.shape, 5.0)).ravel(), 5.0 * np.eye(9)[first])


# ---------------------------------------------------------------------------------------------------------------------
# Infinity


@pytest.mark.parametrize("padding", [0, 1, ((2, 0), (1, 1)), ((0, 2), (2, 2)), "same"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
def test_windows_of_minus_infinity_send_their_gradient_where_other_equal_numbers_do(padding, stride, dilation):
    def pool(level):
        return ops.max_pool(np.full((2, 5, 6, 1), level), 3, stride=stride, padding=padding, dilation=dilation)

    y, vjp = pool(-INF)
    assert (y == -INF).all()
    dy = normal(*y.shape)
    assert np.array_equal(vjp(dy), pool(0.0)[1](dy))
    np.testing.assert_allclose(vjp(dy).sum(), dy.sum(), rtol=1e-12)


@pytest.mark.parametrize("f", [ops.softmax, ops.log_softmax])
@pytest.mark.parametrize("row", [[INF, 0.0, 1.0], [INF, INF, 0.0], [-INF, -INF, -INF]], ids=str)
def test_an_undefined_softmax_is_nan_only_in_its_row(f, row):
    x = normal(3, 3)
    expected, expected_vjp = f(x)
    x[1] = row
    with np.errstate(invalid="ignore"):  # NumPy warns of infinity minus infinity
        y, vjp = f(x)
    assert np.isnan(y[1]).all() and np.isnan(vjp(np.eye(3))[1]).all()
    for whole, part in ((expected, y), (expected_vjp(np.eye(3)), vjp(np.eye(3)))):
        assert np.array_equal(whole[[0, 2]], part[[0, 2]])


def test_the_logarithm_of_a_softmax_of_minus_infinity():
    x = np.array([[0.0, 0.0, -INF]])
    y, vjp = ops.log_softmax(x)
    assert y[0, 2] == -INF
    np.testing.assert_allclose(y[0, :2], -math.log(2), rtol=1e-15)
    for label, loss, dx in ((1, math.log(2), [0.5, -0.5, 0.0]), (2, INF, [0.5, 0.5, -1.0])):
        value, nll_vjp = losses.nll(y, np.array([label]))
        np.testing.assert_allclose(value, loss, rtol=1e-15)
        np.testing.assert_allclose(vjp(nll_vjp(1.0)), [dx], rtol=1e-15)


# ---------------------------------------------------------------------------------------------------------------------
# Tiny and huge


def of_size(size, shapes, dtype):
    """Params of size 1 and arrays of the given one; params of that size, too, if it is tiny."""
    return [
        tree.map(lambda a: (a * min(size, 1.0)).astype(dtype), arg)
        if isinstance(arg, dict)
        else (arg * size).astype(dtype)
        for arg in arguments(shapes, 3, 0)
    ]


def everything(f, args, size):
    """The output, and all cotangents for a cotangent of ones and for one of the given size."""
    y, vjp = f(*args)[:2]
    found = [y]
    for dy in (np.ones_like(y), np.full_like(y, size)):
        for cotangent in each(vjp(dy)):
            found += tree.leaves(cotangent) if isinstance(cotangent, dict) else [cotangent]
    return found


# the quotient by a denormal number is rightly infinite
CASES = {name: (f, shapes) for name, (f, *shapes) in EXAMPLEWISE.items() if name != "divide"}
CASES["batch_norm in training"] = (ops.batch_norm, [{"scale": (3,), "bias": (3,)}, (2, 3)])
SIZES = [
    pytest.param(np.float32, 1e-41, id="denormal float32"),
    pytest.param(np.float64, 1e-310, id="denormal float64"),
    # numbers whose squares can still be represented, for that is what variances need
    pytest.param(np.float32, 1e16, id="huge float32"),
    pytest.param(np.float64, 1e150, id="huge float64"),
]


UNBOUNDED = {"exp", "divide"}  # of huge and by tiny numbers they are infinite
BOUNDED = {name: case for name, case in CASES.items() if name not in UNBOUNDED}


@pytest.mark.parametrize(("dtype", "size"), SIZES)
@pytest.mark.parametrize(("f", "shapes"), BOUNDED.values(), ids=BOUNDED.keys())
def test_tiny_and_huge_numbers_stay_finite(f, shapes, dtype, size):
    for array in everything(f, of_size(size, shapes, dtype), size):
        assert array.dtype == dtype
        assert np.isfinite(array).all()


@pytest.mark.parametrize(("dtype", "tiny"), [(np.float32, 1e-41), (np.float64, 1e-310)])
def test_losses_of_tiny_numbers(dtype, tiny):
    x = (tiny * normal(4, 3)).astype(dtype)
    labels, zero = np.array([0, 1, 2, 0]), np.zeros((4, 3))
    for loss, targets, expected in (
        (losses.softmax_cross_entropy, labels, math.log(3)),
        (losses.focal, labels, math.log(3) * 4 / 9),
        (losses.sigmoid_binary_cross_entropy, zero, math.log(2)),
        (losses.hinge, zero + 1, 1.0),
        (losses.mse, zero, 0.0),
        (losses.mae, zero, 0.0),
        (losses.huber, zero, 0.0),
    ):
        value, vjp = loss(x, targets)
        np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-30)
        assert np.isfinite(vjp(1.0)).all()


# ---------------------------------------------------------------------------------------------------------------------
# Nothing to choose from


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_zeros_have_no_root_mean_square(dtype):
    params = {"scale": np.ones(4, dtype), "bias": np.full(4, 2.0, dtype)}
    y, vjp = ops.rms_norm(params, np.zeros((3, 4), dtype))
    assert (y == 2).all()
    dparams, dx = vjp(np.ones_like(y))
    assert not dparams["scale"].any()
    np.testing.assert_allclose(dx, 1 / math.sqrt(1e-5), rtol=1e-6)


PIXEL = {
    "max_pool": lambda x: ops.max_pool(x, 1),
    "padded max_pool": lambda x: ops.max_pool(x, 3, padding=1),
    "avg_pool": lambda x: ops.avg_pool(x, 1),
    "padded avg_pool": lambda x: ops.avg_pool(x, 3, padding=1),
    "global_max_pool": ops.global_max_pool,
    "global_avg_pool": ops.global_avg_pool,
    "adaptive_max_pool": lambda x: ops.adaptive_max_pool(x, 1),
    "adaptive_avg_pool": lambda x: ops.adaptive_avg_pool(x, 1),
    "upsample": lambda x: ops.upsample(x, 1),
    "resize": lambda x: ops.resize(x, 1),
    "reduce_sum": lambda x: ops.reduce_sum(x, range(1, x.ndim)),
    "reduce_mean": lambda x: ops.reduce_mean(x, range(1, x.ndim), keepdims=True),
    "reduce_max": lambda x: ops.reduce_max(x, range(1, x.ndim)),
    "reshape": lambda x: ops.reshape(x, (1, -1)),
    "transpose": lambda x: ops.transpose(x, (0, *range(x.ndim - 1, 0, -1))),
    "broadcast_to": lambda x: ops.broadcast_to(x, (1,) * (x.ndim - 1)),
    "crop": lambda x: ops.crop(x, ((0, 1, 2),) * (x.ndim - 1)),
    "reversed crop": lambda x: ops.crop(x, ((0, -1, -1),) * (x.ndim - 1)),
    "power": lambda x: ops.power(x, 1),
    "power by an array": lambda x: ops.power(x, [1]),
    "resize of a region": lambda x: ops.resize(x, 1, coordinates="tf_crop_and_resize"),
    "pad": lambda x: ops.pad(x, 0, mode="reflect"),
    "space_to_depth": lambda x: ops.space_to_depth(x, 1),
    "depth_to_space": lambda x: ops.depth_to_space(x, 1),
    "concat": ops.concat,
    "add": ops.add,
    "multiply": ops.multiply,
}


@pytest.mark.parametrize("f", PIXEL.values(), ids=PIXEL.keys())
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_a_single_pixel_passes_through(f, axes):
    y, vjp = f(np.full((1,) * (axes + 2), 3.0))
    assert y.ravel().tolist() == [3.0]
    assert vjp(np.full(y.shape, 5.0)).ravel().tolist() == [5.0]


def test_a_single_number_has_no_deviation_of_its_own():
    params, x = {"scale": np.array([2.0]), "bias": np.array([7.0])}, np.full((2, 1, 1, 1), 3.0)
    for y, vjp in (
        ops.layer_norm(params, x),
        ops.group_norm(params, x, 1),
        ops.instance_norm(params, x),
        ops.batch_norm(params, x)[:2],  # of two examples, which are equal
    ):
        assert (y == 7).all()
        dparams, dx = vjp(np.full(x.shape, 5.0))
        assert not dx.any()
        assert (dparams["scale"], dparams["bias"]) == (0, 10)


def test_a_single_class_is_certain():
    x = np.array([[3.0], [-1e4]])
    for (y, vjp), certain in ((ops.softmax(x), 1), (ops.log_softmax(x), 0)):
        assert (y == certain).all() and not vjp(np.ones_like(y)).any()
    for loss in (losses.softmax_cross_entropy, losses.focal):
        value, vjp = loss(x, np.array([0, 0]))
        assert value == 0 and not vjp(1.0).any()
