"""Batch normalisation fused with the ReLU and max pooling after it gives the results of the layers one by one."""

import copy

import numpy as np
import pytest
from arrays import normal

from funcnn import losses, tree, value_and_grad
from funcnn.combinators import map_layers, serial
from funcnn.data_parallel import over_threads
from funcnn.fusion import segments
from funcnn.layers import batch_norm, conv2d, flatten, max_pool, relu
from funcnn.testing import check_layer

ORDERS = {
    "pool": lambda pool: serial(batch_norm(), pool),
    "relu, pool": lambda pool: serial(batch_norm(decay=0.7, eps=0.1), relu(), pool),
    "pool, relu": lambda pool: serial(batch_norm(), pool, relu()),
}
# shape of an example, pooling
POOLS = {
    "2x2": ((6, 8, 3), max_pool(2)),
    "odd": ((7, 5, 3), max_pool(2)),
    "overlapping and padded": ((7, 8, 3), max_pool(3, stride=2, padding=1)),
    "beyond the end": ((7, 8, 2), max_pool((2, 3), ceil_mode=True)),
    "1-D": ((9, 4), max_pool(3, dilation=2)),
    "3-D": ((4, 4, 6, 2), max_pool(2)),
}


def unfused(model):
    """The same model with wrapped layers, which cannot be fused."""

    def wrapped(path, layer):
        return layer._replace(forward=lambda *args, **options: layer.forward(*args, **options))

    return map_layers(wrapped, model)


def fused_of(model):
    (segment,) = segments([f"{i}_{layer.name}" for i, layer in enumerate(model.children)], model.children)
    return segment.fused


def prepared(model, in_shape, dtype=np.float64):
    """Parameters with scales above 0, and a state that is not the initial one."""
    params, state, _ = model.init((0,), in_shape)
    params, state = (tree.map(lambda v: (v + 0.5 * abs(normal(*v.shape))).astype(dtype), t) for t in (params, state))
    params["0_batch_norm"]["bias"] -= 0.5
    return params, state


def compare(model, params, state, x, tolerance):
    for train in (True, False):
        y, vjp, new_state = model.forward(params, x, state, train=train)
        expected, expected_vjp, expected_state = unfused(model).forward(params, x, state, train=train)
        np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance)
        assert tree.paths(new_state) == tree.paths(expected_state)
        assert all(map(np.array_equal, tree.leaves(new_state), tree.leaves(expected_state)))
        dy = normal(*y.shape).astype(x.dtype)
        dy.flags.writeable = x.flags.writeable = False
        gradients = [*vjp(dy), *vjp(dy), *vjp(dy, input_gradient=False)[:1]]  # can be called again
        dparams, dx = expected_vjp(dy)
        for found, wanted in zip(gradients, (dparams, dx, dparams, dx, dparams), strict=True):
            for a, b in zip(tree.leaves({"": found}), tree.leaves({"": wanted}), strict=True):
                assert a.dtype == x.dtype
                np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * abs(b).max())


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("pool", POOLS)
def test_the_results_are_those_of_the_layers(order, pool):
    in_shape, pool = POOLS[pool]
    model = ORDERS[order](pool)
    for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 1e-4)):
        params, state = prepared(model, in_shape, dtype)
        x = normal(3, *in_shape).astype(dtype)
        assert fused_of(model)(params, x, state, True) is not None
        compare(model, params, state, x, tolerance)


def test_relu_without_pooling_is_fused_for_scales_of_any_sign():
    model = serial(batch_norm(decay=0.7, eps=0.1), relu())
    for in_shape in ((6, 5, 3), (4,)):
        for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 1e-4)):
            params, state = prepared(model, in_shape, dtype)
            params["0_batch_norm"]["scale"][:2] = -1.0, 0.0
            x = normal(7, *in_shape).astype(dtype)
            assert fused_of(model)(params, x, state, True) is not None
            compare(model, params, state, x, tolerance)
    check_layer(model, (4, 3))


@pytest.mark.parametrize("order", ORDERS)
def test_the_gradients_are_those_of_the_complex_step(order):
    """The complex step goes through the layers one by one, the VJP that it checks is the fused one."""
    check_layer(ORDERS[order](max_pool(2)), (4, 6, 3))


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan])
def test_a_scale_that_does_not_keep_the_order_is_computed_layer_by_layer(scale):
    model = ORDERS["relu, pool"](max_pool(2))
    params, state = prepared(model, (6, 6, 3))
    params["0_batch_norm"]["scale"][1] = scale
    x = normal(3, 6, 6, 3)
    assert fused_of(model)(params, x, state, True) is None
    if scale <= 0:
        compare(model, params, state, x, 1e-12)


def test_of_equal_positions_the_first_is_the_maximum():
    model = serial(batch_norm(), max_pool(2))
    params, state = prepared(model, (2, 4, 1))
    x = np.array([[[1.0, 1.0, 0.0, 2.0], [1.0, 0.0, 2.0, 2.0]]])[..., None]
    compare(model, params, state, x, 1e-12)


def test_a_nan_is_seen():
    model = ORDERS["relu, pool"](max_pool(2))
    params, state = prepared(model, (6, 6, 2))
    x = normal(3, 6, 6, 2)
    x[0, 0, 0, 0] = np.nan
    y = model.forward(params, x, state, train=True)[0]
    assert np.isnan(y[..., 0]).all() and not np.isnan(y[..., 1]).any()


@pytest.mark.parametrize("scale", [1.0, -1.0])
def test_shards_have_the_statistics_of_the_whole_batch(scale):
    model = serial(conv2d(3, 3), batch_norm(), relu(), max_pool(2), flatten())
    params, state, out_shape = model.init((0,), (8, 8, 1))
    params = tree.map(lambda leaf: leaf.astype(float), params)
    params["1_batch_norm"]["scale"] *= scale
    x, targets = normal(5, 8, 8, 1), normal(5, *out_shape)
    grad_fn = value_and_grad(model, losses.mse)
    whole = grad_fn(params, state, x, targets)
    in_shards = over_threads(grad_fn, 2, min_work=0)(params, state, x, targets)
    for a, b in zip(*(tree.leaves({"": t[1], "state": t[2]}) for t in (whole, in_shards)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_errors_are_the_layers_own():
    model = ORDERS["relu, pool"](max_pool(2))
    params, state = prepared(model, (6, 6, 3))
    norm, x = params["0_batch_norm"], normal(3, 6, 6, 3)

    def error(model, params=params, state=state, x=x, dy=None):
        with pytest.raises((ValueError, TypeError)) as caught:
            model.forward(params, x, state, train=True)[1](dy)
        return str(caught.value), caught.value.__notes__

    wrong = [
        {"x": x[:, :1]},
        {"x": x[:1, :1, :1]},
        {"x": x[..., :2]},
        {"x": x.astype(int)},
        {"x": x[0, 0]},
        {"params": {**params, "0_batch_norm": {**norm, "w": norm["scale"]}}},
        {"params": {**params, "0_batch_norm": {**norm, "scale": norm["scale"][:2]}}},
        {"params": {**params, "1_relu": {"w": x}}},
        {"state": {**state, "0_batch_norm": {"mean": norm["bias"]}}},
    ]
    for change in wrong:
        assert error(model, **change) == error(unfused(model), **change)
    assert error(model, dy=x)[1] == ["in layer 2_max_pool"]


def test_a_copied_layer_is_fused_and_keeps_its_decay():
    model = copy.deepcopy(ORDERS["relu, pool"](max_pool(2)))
    params, state = prepared(model, (6, 6, 3))
    x = normal(3, 6, 6, 3)
    assert fused_of(model)(params, x, state, True) is not None
    compare(model, params, state, x, 1e-12)
