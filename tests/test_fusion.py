"""Fused layers give the results of unfused ones for every geometry, and stay visible as layers."""

import numpy as np
import pytest
from arrays import distinct, layouts, normal

import funcnn
from funcnn import combinators, fusion, ops, tree
from funcnn.combinators import map_layers, serial
from funcnn.kernels.conv import conv_pool
from funcnn.kernels.conv.dispatch import correlate
from funcnn.kernels.geometry import geometry
from funcnn.layer import op_and_options
from funcnn.layers import avg_pool, conv2d, dense, depthwise_conv2d, flatten, max_pool, relu, tanh


def unfused(model):
    """The same model with wrapped layers, which cannot be fused."""

    def wrapped(path, layer):
        return layer._replace(forward=lambda *args, **options: layer.forward(*args, **options))

    return map_layers(wrapped, model)


def prepared(model, in_shape, dtype, seed=0):
    params, state, _ = model.init((seed,), in_shape)
    return tree.map(lambda leaf: leaf + 0.1 * normal(*leaf.shape).astype(dtype), params), state


def segments_of(model):
    return fusion.segments([f"{i}_{layer.name}" for i, layer in enumerate(model.children)], model.children)


def fused_of(model):
    """Return the fused run that a model starts with."""
    fused = segments_of(model)[0].fused
    assert fused is not None, "these layers must be fused"
    return fused


def compare(model, in_shape, n, dtype, tolerance, x=None):
    """Compare output and gradients with the layers' own."""
    params, state = prepared(model, in_shape, dtype)
    x = normal(n, *in_shape).astype(dtype) if x is None else x
    assert fused_of(model)(params, x, state, True) is not None, "these arguments must be computed fused"
    for train in (True, False):
        y, vjp, new_state = model.forward(params, x, state, train=train)
        y_unfused, vjp_unfused, state_unfused = unfused(model).forward(params, x, state, train=train)
        assert new_state == state_unfused
        assert (y.dtype, y.shape) == (np.dtype(dtype), y_unfused.shape)
        np.testing.assert_allclose(y, y_unfused, rtol=tolerance, atol=tolerance * abs(y_unfused).max())
        dy = normal(*y.shape, seed=1).astype(dtype)
        for options in ({}, {"input_gradient": False}):
            (dparams, dx), (dparams_alone, dx_alone) = vjp(dy, **options), vjp_unfused(dy, **options)
            assert tree.paths(dparams) == tree.paths(dparams_alone)
            assert (dx is None) == (dx_alone is None) == ("input_gradient" in options)
            found, expected = [*tree.leaves(dparams), dx], [*tree.leaves(dparams_alone), dx_alone]
            for a, b in zip(found, expected, strict=True):
                if b is not None:
                    assert a.dtype == dtype
                    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(abs(b).max(), 1e-30))


# examples, (height, width, channels), features, kernel, padding: by row blocks: few channels and many positions
ROW_BLOCKS = {
    "even": (20, (12, 12, 1), 5, 3, 0),
    "odd number of outputs": (20, (13, 10, 2), 4, (3, 4), 0),
    "padded": (30, (9, 8, 3), 6, 5, ((1, 2), (3, 0))),
    "same": (30, (8, 8, 1), 32, 3, "same"),
    "wide": (9, (6, 40, 7), 3, (2, 5), 0),
    "row blocks that reach beyond the row": (12, (8, 26, 1), 6, 3, 1),
}
ORDERS = {
    "pool": lambda conv: serial(conv, max_pool(2)),
    "relu, pool": lambda conv: serial(conv, relu(), max_pool(2)),
    "pool, relu": lambda conv: serial(conv, max_pool(2), relu()),
}


@pytest.mark.parametrize("case", ROW_BLOCKS)
@pytest.mark.parametrize("order", ORDERS)
def test_row_blocks_of_two_rows(case, order):
    n, in_shape, features, kernel, padding = ROW_BLOCKS[case]
    model = ORDERS[order](conv2d(features, kernel, padding=padding, bias=case != "padded"))
    compare(model, in_shape, n, np.float64, 1e-11)
    compare(model, in_shape, n, np.float32, 2e-5)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("n", "in_shape"), [(8, (8, 8, 16)), (3, (13, 15, 13)), (6, (7, 12, 13)), (40, (4, 8, 24))])
def test_winograd_tiles(n, in_shape, order):
    compare(ORDERS[order](conv2d(20, 3, padding=1)), in_shape, n, np.float32, 5e-5)


@pytest.mark.parametrize("method", ["row_blocks", "winograd"])
@pytest.mark.parametrize("size", [(8, 8), (9, 11), (2, 3), (5, 30)])
def test_the_maximum_is_that_of_the_convolution(method, size):
    x, w = normal(3, *size, 4), normal(3, 3, 4, 5)
    g = geometry("conv", size, 3, padding=1)
    y = correlate(x, w, g, 1, "im2col")
    rows, columns = (o // 2 for o in g.out)
    positions = y[:, : 2 * rows, : 2 * columns].reshape(3, rows, 2, columns, 2, 5).transpose(0, 1, 3, 5, 2, 4)
    positions = positions.reshape(3, rows, columns, 5, 4)
    maxima, argmax = conv_pool.correlate_max(x, w, g, method, return_argmax=True)
    np.testing.assert_allclose(maxima, positions.max(axis=-1), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(argmax, positions.argmax(axis=-1))
    assert conv_pool.correlate_max(x, w, g, method, return_argmax=False)[1] is None


@pytest.mark.parametrize("method", ["row_blocks", "winograd"])
def test_the_way_back_is_the_adjoint(method):
    """With the argmax given, y is linear in x and in w: <dy, y> = <dx, x> = <dw, w>."""
    x, w = normal(3, 9, 10, 4), normal(3, 3, 4, 5)
    g = geometry("conv", (9, 10), 3, padding=((1, 1), (2, 1)))
    y, argmax = conv_pool.correlate_max(x, w, g, method, return_argmax=True)
    dy = normal(*y.shape, seed=2)
    dw, dx = conv_pool.adjoints(x, w, dy, argmax, g, method, input_gradient=True, preference="auto")
    assert np.vdot(dy, y) == pytest.approx(np.vdot(dx, x), rel=1e-10)
    assert np.vdot(dy, y) == pytest.approx(np.vdot(dw, w), rel=1e-10)


def test_the_gradient_is_the_slope():
    """Central differences in a random direction, for the complex step would go through the layers one by one."""
    model = serial(conv2d(4, 3, padding=1), relu(), max_pool(2))
    params, state = prepared(model, (10, 10, 2), np.float64)
    x = distinct(40, 10, 10, 2)
    y, vjp, _ = model.forward(params, x, state, train=True)
    dy, step = normal(*y.shape), 1e-7
    along, dparams_along = normal(*x.shape, seed=3), tree.map(lambda leaf: normal(*leaf.shape, seed=4), params)

    def value(t):
        moved = tree.map(lambda leaf, d: leaf + t * d, params, dparams_along)
        return np.vdot(dy, model.forward(moved, x + t * along, state, train=True)[0])

    dparams, dx = vjp(dy)
    slope = np.vdot(dx, along) + sum(
        np.vdot(a, b) for a, b in zip(tree.leaves(dparams), tree.leaves(dparams_along), strict=True)
    )
    assert (value(step) - value(-step)) / (2 * step) == pytest.approx(slope, rel=1e-5)


@pytest.mark.parametrize("pool", [max_pool(2), max_pool(3, stride=1, padding=1), max_pool((2, 3), ceil_mode=True)])
def test_relu_waits_for_the_pooling(pool):
    model = serial(relu(), pool)
    x = normal(4, 7, 8, 5)
    x[0] = 0  # ties
    for train in (True, False):
        y, vjp, _ = model.forward({"0_relu": {}, "1_max_pool": {}}, x, {"0_relu": {}, "1_max_pool": {}}, train=train)
        y_unfused, vjp_unfused, _ = unfused(model).forward(
            {"0_relu": {}, "1_max_pool": {}}, x, {"0_relu": {}, "1_max_pool": {}}, train=train
        )
        dy = normal(*y.shape)
        np.testing.assert_array_equal(y, y_unfused)
        np.testing.assert_array_equal(vjp(dy)[1], vjp_unfused(dy)[1])
        assert vjp(dy, input_gradient=False)[1] is None
    assert segments_of(model)[0].names == ("0_relu", "1_max_pool")


def test_of_equal_positions_the_first_is_the_maximum():
    model = serial(conv2d(4, 3, padding=1), max_pool(2))
    params, state = prepared(model, (12, 12, 2), np.float64)
    params["0_conv2d"]["w"][...] = 0
    x = normal(40, 12, 12, 2)
    dy = normal(40, 6, 6, 4)
    found, expected = (m.forward(params, x, state, train=True)[1](dy)[0] for m in (model, unfused(model)))
    np.testing.assert_allclose(found["0_conv2d"]["w"], expected["0_conv2d"]["w"], rtol=1e-11)


def test_nan_is_seen():
    model = serial(conv2d(4, 3, padding=1), relu(), max_pool(2))
    params, state = prepared(model, (12, 12, 2), np.float64)
    x = normal(40, 12, 12, 2)
    x[3, 5, 5] = np.nan
    y = model.forward(params, x, state, train=True)[0]
    assert np.isnan(y[3]).any()
    assert not np.isnan(np.delete(y, 3, axis=0)).any()


@pytest.mark.parametrize("layout", sorted(layouts(np.zeros((1, 1, 1, 1)))))
@pytest.mark.parametrize(("channels", "dtype"), [(2, np.float64), (8, np.float32)])
def test_any_layout_and_nothing_is_written(layout, channels, dtype):
    model = serial(conv2d(4, 3, padding=1), relu(), max_pool(2))
    params, state = prepared(model, (12, 12, channels), dtype)
    for leaf in tree.leaves(params):
        leaf.flags.writeable = False
    x = normal(20, 12, 12, channels).astype(dtype)
    laid_out = layouts(x)[layout]
    laid_out.flags.writeable = False
    y, vjp, _ = model.forward(params, laid_out, state, train=True)
    dy = normal(*y.shape).astype(dtype)
    dy.flags.writeable = y.flags.writeable = False
    first = vjp(dy)
    expected = model.forward(params, x, state, train=True)[1](dy)
    for a, b, c in zip(*([*tree.leaves(d), dx] for d, dx in (first, vjp(dy), expected)), strict=True):
        np.testing.assert_array_equal(a, b)  # a closure can be called again
        np.testing.assert_allclose(a, c, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "model",
    [
        serial(conv2d(4, 3), tanh(), max_pool(2)),
        serial(conv2d(4, 3), relu(), relu(), max_pool(2)),
        serial(conv2d(4, 3), relu(), avg_pool(2)),
        serial(conv2d(4, 3, stride=2), max_pool(2)),
        serial(conv2d(4, 3, dilation=2), max_pool(2)),
        serial(conv2d(4, 3, groups=2), max_pool(2)),
        serial(conv2d(4, 3), max_pool(3)),
        serial(conv2d(4, 3), max_pool(2, stride=1)),
        serial(conv2d(4, 3), max_pool(2, padding=1)),
        serial(conv2d(4, 3), max_pool(2, ceil_mode=True)),
        unfused(serial(conv2d(4, 3), relu(), max_pool(2))),
        serial(conv2d(4, 3)._replace(forward=avg_pool(2).forward), max_pool(2)),
    ],
)
def test_what_is_not_fused_with_pooling(model):
    # a convolution and a ReLU are fused all the same
    assert segments_of(model)[0].names == (("0_conv2d", "1_relu") if relu_comes_second(model) else ("0_conv2d",))


def relu_comes_second(model):
    return op_and_options(model.children[1])[0] is ops.relu


LINEAR = {
    "convolution": (conv2d(6, 3, stride=2), (9, 8, 3)),
    "convolution without bias": (conv2d(5, (3, 1), padding=1, bias=False), (6, 7, 4)),
    "depthwise convolution": (depthwise_conv2d(3), (6, 6, 5)),
    "dense": (dense(7), (5,)),
    "dense without bias": (dense(7, bias=False), (3, 5)),
}


@pytest.mark.parametrize("case", LINEAR)
def test_linear_layer_and_relu(case):
    layer, in_shape = LINEAR[case]
    model = serial(layer, relu())
    for dtype, tolerance in ((np.float64, 1e-11), (np.float32, 2e-5)):
        compare(model, in_shape, 4, dtype, tolerance)
    params, state = prepared(model, in_shape, np.float64)
    x = normal(2, *in_shape).astype(np.complex128)
    y, vjp, _ = model.forward(params, x, state, train=True)
    assert np.array_equal(y, unfused(model).forward(params, x, state, train=True)[0])
    with pytest.raises(ValueError, match="relu_vjp: dy") as caught:
        vjp(y[:1])
    assert caught.value.__notes__ == ["in layer 1_relu"]
    x = np.full_like(x.real, np.nan)
    y, vjp, _ = model.forward(params, x, state, train=True)
    assert np.isnan(y).any() and not vjp(np.where(np.isnan(y), 1.0, 0.0))[1].any()  # no gradient where y is not above 0


@pytest.mark.parametrize("dtype", [np.float16, np.complex64, np.complex128])
def test_other_types_go_one_by_one(dtype):
    model = serial(conv2d(4, 3, padding=1), max_pool(2))
    params, state = prepared(model, (12, 12, 2), dtype)
    x = normal(40, 12, 12, 2).astype(dtype)
    y = model.forward(params, x, state, train=True)[0]
    np.testing.assert_array_equal(y, unfused(model).forward(params, x, state, train=True)[0])


def test_exact_and_methods_by_hand_are_kept():
    x = normal(8, 8, 8, 16).astype(np.float32)
    model = serial(conv2d(24, 3, padding=1), max_pool(2))
    params, state = prepared(model, (8, 8, 16), np.float32)
    assert fused_of(model)(params, x, state, True) is not None
    for method in ("exact", "im2col"):
        same = serial(conv2d(24, 3, padding=1, method=method), max_pool(2))
        assert fused_of(same)(params, x, state, True) is None
    with funcnn.exact():
        assert fused_of(model)(params, x, state, True) is None


def test_errors_are_the_layers_own():
    model = serial(conv2d(4, 3, padding=1), relu(), max_pool(2), flatten(), dense(3))
    params, state = prepared(model, (12, 12, 2), np.float32)
    x = normal(40, 12, 12, 2).astype(np.float32)

    def error(model, params=params, state=state, x=x, dy=None):
        with pytest.raises((ValueError, TypeError)) as caught:
            vjp = model.forward(params, x, state, train=True)[1]
            vjp(dy)
        return str(caught.value), caught.value.__notes__

    wrong = [
        {"x": x[..., :1]},
        {"x": x[:, :1]},
        {"x": x.astype(int)},
        {"x": x[0]},
        {"params": {**params, "0_conv2d": {"w": params["0_conv2d"]["w"]}}},
        {"params": {**params, "1_relu": {"w": x}}},
        {"params": {**params, "2_max_pool": {"w": x}}},
        {"state": {**state, "0_conv2d": {"mean": x}}},
        {"state": {**state, "1_relu": {"mean": x}}},
        {"state": {**state, "1_relu": np.ones(2)}},
        {"params": {**params, "2_max_pool": np.ones(2)}},
        {"dy": np.zeros((40, 4))},
    ]
    for change in wrong:
        assert error(model, **change) == error(unfused(model), **change)
    body = serial(conv2d(4, 3, padding=1), relu(), max_pool(2))
    message, notes = error(body, *({k: v for k, v in t.items() if int(k[0]) < 3} for t in (params, state)), dy=x)
    assert message == "max_pool_vjp: dy has shape (40, 12, 12, 2), but the output has shape (40, 6, 6, 4)"
    assert notes == ["in layer 2_max_pool"]


def test_layers_stay_visible():
    model = serial(conv2d(4, 3), relu(), max_pool(2))
    seen = []
    map_layers(lambda path, layer: seen.append(path) or layer, model)
    assert seen == ["0_conv2d", "1_relu", "2_max_pool"]
    params, state = prepared(model, (12, 12, 2), np.float32)
    assert list(params) == list(state) == seen
    _, vjp, new_state = model.forward(params, normal(9, 12, 12, 2).astype(np.float32), state, train=True)
    assert list(new_state) == list(vjp(np.zeros((9, 5, 5, 4), np.float32))[0]) == seen


def test_a_batch_of_none_and_of_one():
    model = serial(conv2d(4, 3), relu(), max_pool(2))
    params, state = prepared(model, (40, 40, 2), np.float64)
    for n in (0, 1):
        x = normal(n, 40, 40, 2)
        y, vjp, _ = model.forward(params, x, state, train=True)
        expected, vjp_unfused, _ = unfused(model).forward(params, x, state, train=True)
        np.testing.assert_allclose(y, expected, rtol=1e-11, atol=1e-11)
        np.testing.assert_allclose(vjp(y)[1], vjp_unfused(y)[1], rtol=1e-10, atol=1e-10)


def test_combinators_inside_each_other():
    """A run within a branch, and gradients that go no further back than the first layer with parameters."""
    model = combinators.residual(
        serial(conv2d(4, 3, padding=1), relu(), max_pool(2)), serial(max_pool(2), conv2d(4, 1))
    )
    params, state = prepared(model, (12, 12, 2), np.float64)
    x = normal(9, 12, 12, 2)
    found, expected = (
        m.forward(params, x, state, train=True)[1](normal(9, 6, 6, 4), input_gradient=False)[0]
        for m in (model, unfused(model))
    )
    for a, b in zip(tree.leaves(found), tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    "spelling", [{"stride": [1, 1]}, {"padding": [0, 0], "dilation": (1, 1)}, {"padding": "valid"}]
)
@pytest.mark.parametrize(
    "pool", [max_pool([2, 2]), max_pool(2, stride=[2, 2]), max_pool((2, 2), padding=[[0, 0], [0, 0]])]
)
def test_options_are_fused_however_they_are_spelt(spelling, pool):
    compare(serial(conv2d(5, 3, **spelling), relu(), pool), (12, 12, 1), 20, np.float64, 1e-11)


def test_names_do_not_matter():
    model = serial(
        conv2d(5, 3)._replace(name="stem"), relu()._replace(name="rectify"), max_pool(2)._replace(name="shrink")
    )
    assert segments_of(model)[0].names == ("0_stem", "1_rectify", "2_shrink")
    compare(model, (12, 12, 1), 20, np.float64, 1e-11)


# kernel, padding, size, channels in and out: all that a fused convolution of 2x2 pooling can meet
KERNELS = [1, 2, 3, 4, (3, 5), (1, 4), (5, 2), 7]
PADDINGS = [0, 1, (0, 2), ((1, 0), (0, 3)), ((2, 2), (1, 2)), "same"]
SIZES = [(8, 8), (7, 9), (12, 5), (2, 16), (16, 3)]
CHANNELS = [(1, 1), (1, 6), (2, 5), (3, 32), (7, 4), (8, 12)]


def geometries():
    """Each kernel with each padding, the sizes and channels taking turns; those that fit."""
    for i, (kernel, padding) in enumerate((k, p) for k in KERNELS for p in PADDINGS):
        for j in range(3):
            size, channels = SIZES[(i + 2 * j) % len(SIZES)], CHANNELS[(i + j) % len(CHANNELS)]
            try:
                g = geometry("conv", size, kernel, padding=padding)
            except ValueError:
                continue
            if min(g.out) >= 2:
                yield g, channels, padding


GEOMETRIES = list(geometries())


@pytest.mark.parametrize("method", ["row_blocks", "winograd"])
def test_the_kernels_give_the_layers_gradients_over_all_geometries(method):
    """Output, dw and dx against convolution by im2col and then pooling, in float64; and against central differences."""
    counted = 0
    for k, (g, (in_channels, out_channels), padding) in enumerate(GEOMETRIES):
        if method == "winograd" and g.window != (3, 3):
            continue
        counted += 1
        n = 1 + k % 3
        x, w = normal(n, *g.size, in_channels, seed=k), normal(*g.window, in_channels, out_channels, seed=k + 1)
        maxima, argmax = conv_pool.correlate_max(x, w, g, method, return_argmax=True)
        z, conv_vjp = ops.conv({"w": w}, x, padding=padding, bias=False, method="im2col")
        expected, pool_vjp = ops.max_pool(z, 2)
        np.testing.assert_allclose(maxima, expected, rtol=1e-10, atol=1e-10, err_msg=f"{g}")
        dy = normal(*maxima.shape, seed=k + 2)
        dw, dx = conv_pool.adjoints(x, w, dy, argmax, g, method, input_gradient=True, preference="exact")
        dparams, dx_alone = conv_vjp(pool_vjp(dy))
        np.testing.assert_allclose(dw, dparams["w"], rtol=1e-9, atol=1e-9, err_msg=f"{g}")
        np.testing.assert_allclose(dx, dx_alone, rtol=1e-9, atol=1e-9, err_msg=f"{g}")
        without, none = conv_pool.adjoints(x, w, dy, argmax, g, method, input_gradient=False, preference="exact")
        assert none is None and np.array_equal(without, dw)

        # the maximum is piecewise linear: a small step almost surely stays within one linear region
        step, v, u = 1e-7, normal(*x.shape, seed=k + 3), normal(*w.shape, seed=k + 4)

        def value(t, x=x, w=w, v=v, u=u, g=g, dy=dy):
            return np.vdot(dy, conv_pool.correlate_max(x + t * v, w + t * u, g, method, return_argmax=False)[0])

        slope = (value(step) - value(-step)) / (2 * step)
        scale = abs(dx * v).sum() + abs(dw * u).sum()
        assert abs(slope - np.vdot(dx, v) - np.vdot(dw, u)) <= 1e-6 * scale, g
    assert counted >= (9 if method == "winograd" else 100)


@pytest.mark.parametrize("order", ORDERS)
def test_whole_models_over_all_geometries(order):
    """Through `serial`, with bias and ReLU, wherever the dispatch fuses: on batches large enough that it does."""
    fused = 0
    for k, (g, (in_channels, out_channels), padding) in enumerate(GEOMETRIES[::2]):
        model = ORDERS[order](conv2d(out_channels, g.window, padding=padding))
        params, state = prepared(model, (*g.size, in_channels), np.float64, seed=k)
        x = normal(1 + 2048 // (g.out[0] * g.out[1]), *g.size, in_channels, seed=k)
        if fused_of(model)(params, x, state, True) is not None:
            fused += 1
            compare(model, (*g.size, in_channels), len(x), np.float64, 1e-10, x)
    assert fused >= 25


@pytest.mark.parametrize("order", ORDERS)
def test_a_wrong_dy_is_refused_by_the_op_for_any_names_of_the_layers(order):
    model = map_layers(lambda path, layer: layer._replace(name="stage"), ORDERS[order](conv2d(4, 3, padding=1)))
    params, state = prepared(model, (12, 12, 2), np.float32)
    x = normal(40, 12, 12, 2).astype(np.float32)
    messages = []
    for each in (model, unfused(model)):
        with pytest.raises(ValueError) as caught:
            each.forward(params, x, state, train=True)[1](x)
        messages.append((str(caught.value), caught.value.__notes__))
    assert messages[0] == messages[1] and "_vjp: dy has shape" in messages[0][0]


def test_an_error_of_a_kernel_is_not_hidden(monkeypatch):
    def broken(*args, **options):
        raise ValueError("a mistake in the kernel")

    monkeypatch.setattr(fusion, "correlate_max", broken)
    model = serial(conv2d(4, 3, padding=1), relu(), max_pool(2))
    params, state = prepared(model, (12, 12, 2), np.float32)
    with pytest.raises(ValueError, match="a mistake in the kernel"):
        model.forward(params, normal(40, 12, 12, 2).astype(np.float32), state, train=True)
