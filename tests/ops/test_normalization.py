"""Normalisation against the definition, entry by entry, and where variance or examples are lacking."""

import numpy as np
import oracles
import pytest
from arrays import normal

from funcnn import layers, ops
from funcnn.testing import check_vjp

SHAPES = [(5, 4), (2, 3, 4), (2, 3, 2, 4), (2, 2, 3, 2, 4)]
EPS = 1e-3


def affine(*shape):
    return {"scale": normal(*shape), "bias": normal(*shape, seed=1)}


def entries(shape, same):
    """All indices whose position on the axes ``same`` is that of a given index."""
    return lambda index: [m for m in np.ndindex(*shape) if all(m[a] == index[a] for a in same)]


@pytest.mark.parametrize("shape", SHAPES)
def test_batch_norm(shape):
    params, x = affine(4), 3 + normal(*shape)
    y, _, stats = ops.batch_norm(params, x, eps=EPS)
    expected = oracles.standardize(x, entries(shape, [len(shape) - 1]), EPS) * params["scale"] + params["bias"]
    np.testing.assert_allclose(y, expected, rtol=1e-11, atol=1e-12)
    rows = x.reshape(-1, 4)
    np.testing.assert_allclose(stats["mean"], rows.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(stats["var"], rows.var(axis=0), rtol=1e-12)
    check_vjp(lambda params, x: ops.batch_norm(params, x, eps=EPS), params, x, strict=True)


@pytest.mark.parametrize("shape", [*SHAPES, (1, 4)])
def test_batch_norm_by_given_statistics(shape):
    params, x = affine(4), 3 + normal(*shape)
    stats = {"mean": normal(4, seed=2), "var": normal(4, seed=3) ** 2}
    y, _, used = ops.batch_norm(params, x, stats=stats, eps=EPS)
    expected = (x - stats["mean"]) / np.sqrt(stats["var"] + EPS) * params["scale"] + params["bias"]
    np.testing.assert_allclose(y, expected, rtol=1e-12)
    assert used is stats
    check_vjp(lambda params, x: ops.batch_norm(params, x, stats=stats, eps=EPS), params, x, strict=True)


def test_batch_norm_by_its_own_statistics_is_the_same_value_but_another_function():
    params, x = affine(4), normal(5, 4)
    y, vjp, stats = ops.batch_norm(params, x)
    fixed, fixed_vjp, _ = ops.batch_norm(params, x, stats=stats)
    np.testing.assert_allclose(y, fixed, rtol=1e-12)
    dparams, dx = vjp(normal(5, 4, seed=2))
    fixed_dparams, fixed_dx = fixed_vjp(normal(5, 4, seed=2))
    np.testing.assert_allclose(dparams["scale"], fixed_dparams["scale"], rtol=1e-12)
    assert abs(dx - fixed_dx).max() > 0.01
    np.testing.assert_allclose(dx.sum(axis=0), 0, atol=1e-12)  # a shift of all examples changes nothing


@pytest.mark.parametrize("axes", [-1, 1, (1, 2), (1, 2, 3), (-1, 1), (0, 3), (0, 1, 2, 3)])
def test_layer_norm_and_rms_norm(axes):
    shape = (2, 3, 2, 4)
    over = sorted(a % 4 for a in (axes if isinstance(axes, tuple) else (axes,)))
    x, leaf_shape = 2 + normal(*shape), [shape[a] for a in over]
    params = affine(*leaf_shape)
    spread = {name: leaf.reshape([s if a in over else 1 for a, s in enumerate(shape)]) for name, leaf in params.items()}
    others = [a for a in range(4) if a not in over]

    y, _ = ops.layer_norm(params, x, axes=axes, eps=EPS)
    expected = oracles.standardize(x, entries(shape, others), EPS) * spread["scale"] + spread["bias"]
    np.testing.assert_allclose(y, expected, rtol=1e-11, atol=1e-12)
    check_vjp(lambda params, x: ops.layer_norm(params, x, axes=axes, eps=EPS), params, x, strict=True)

    y, _ = ops.rms_norm({"scale": params["scale"]}, x, axes=axes, eps=EPS)
    scaled = np.zeros(shape)
    for index in np.ndindex(*shape):
        values = [x[m] for m in entries(shape, others)(index)]
        scaled[index] = x[index] / np.sqrt(sum(v * v for v in values) / len(values) + EPS)
    np.testing.assert_allclose(y, scaled * spread["scale"], rtol=1e-11)
    check_vjp(lambda p, x: ops.rms_norm(p, x, axes=axes, eps=EPS), {"scale": params["scale"]}, x, strict=True)
    biased, _ = ops.rms_norm(params, x, axes=axes, eps=EPS)
    np.testing.assert_allclose(biased, y + spread["bias"], rtol=1e-12)
    check_vjp(lambda p, x: ops.rms_norm(p, x, axes=axes, eps=EPS), params, x, strict=True)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_group_norm(shape, groups):
    params, x = affine(4), 3 + normal(*shape)

    def members(index):
        group = index[-1] // (4 // groups)
        return [m for m in np.ndindex(*shape) if m[0] == index[0] and m[-1] // (4 // groups) == group]

    y, _ = ops.group_norm(params, x, groups, eps=EPS)
    expected = oracles.standardize(x, members, EPS) * params["scale"] + params["bias"]
    np.testing.assert_allclose(y, expected, rtol=1e-11, atol=1e-12)
    check_vjp(lambda params, x: ops.group_norm(params, x, groups, eps=EPS), params, x, strict=True)


@pytest.mark.parametrize("shape", SHAPES[1:])
def test_instance_norm(shape):
    params, x = affine(4), 3 + normal(*shape)
    y, _ = ops.instance_norm(params, x, eps=EPS)
    expected = oracles.standardize(x, entries(shape, [0, len(shape) - 1]), EPS) * params["scale"] + params["bias"]
    np.testing.assert_allclose(y, expected, rtol=1e-11, atol=1e-12)
    check_vjp(lambda params, x: ops.instance_norm(params, x, eps=EPS), params, x, strict=True)


@pytest.mark.parametrize("shape", SHAPES)
def test_channel_affine_is_batch_norm_with_fixed_statistics(shape):
    params, x, stats = affine(4), normal(*shape), {"mean": normal(4, seed=2), "var": normal(4, seed=3) ** 2}
    scale = params["scale"] / np.sqrt(stats["var"] + EPS)
    y, _ = ops.channel_affine({"scale": scale, "bias": params["bias"] - stats["mean"] * scale}, x)
    np.testing.assert_allclose(y, ops.batch_norm(params, x, stats=stats, eps=EPS)[0], rtol=1e-11, atol=1e-12)
    check_vjp(ops.channel_affine, params, x, strict=True)


@pytest.mark.parametrize("shape", [*SHAPES, (3, 2, 7)])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 9])
def test_local_response_norm(shape, size):
    x, options = normal(*shape), {"alpha": 0.7, "beta": 0.6, "k": 1.5}
    expected = np.empty(shape)
    for *position, c in np.ndindex(*shape):
        window = x[(*position, slice(max(0, c - (size - 1) // 2), c + size // 2 + 1))]
        expected[(*position, c)] = x[(*position, c)] / (1.5 + 0.7 / size * (window**2).sum()) ** 0.6
    np.testing.assert_allclose(ops.local_response_norm(x, size, **options)[0], expected, rtol=1e-12)
    check_vjp(lambda x: ops.local_response_norm(x, size, **options), x, strict=True)


NORMS = {
    "batch_norm": lambda p, x, **options: ops.batch_norm(p, x, **options)[:2],
    "layer_norm": ops.layer_norm,
    "group_norm": lambda p, x, **options: ops.group_norm(p, x, 2, **options),
    "instance_norm": ops.instance_norm,
}


@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS.keys())
def test_a_large_mean_costs_no_digits(norm):
    # the difference of the mean square and the squared mean would have none left
    x = normal(4, 5, 4)
    y, _ = norm(affine(4), x)
    shifted, _ = norm(affine(4), x + 1e8)
    np.testing.assert_allclose(shifted, y, atol=1e-6)


@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS.keys())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_variance(norm, dtype):
    params = {name: leaf.astype(dtype) for name, leaf in affine(4).items()}
    y, vjp = norm(params, np.full((3, 5, 4), 7.0, dtype))
    np.testing.assert_allclose(y, np.broadcast_to(params["bias"], y.shape), rtol=1e-6)
    dparams, dx = vjp(np.ones_like(y))
    assert np.isfinite(dx).all() and not dparams["scale"].any()


@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS.keys())
def test_bad_input_is_named(norm):
    with pytest.raises(ValueError, match="eps must be >= 0, got -1"):
        norm(affine(4), normal(3, 5, 4), eps=-1)
    with pytest.raises(ValueError, match=r"\(3, 5, 4\).*\(6,\)"):
        norm(affine(6), normal(3, 5, 4))
    with pytest.raises(ValueError, match=r"missing \['bias'\]"):
        norm({"scale": normal(4)}, normal(3, 5, 4))
    with pytest.raises(TypeError, match="x has dtype uint8"):
        norm(affine(4), np.ones((3, 5, 4), np.uint8))


@pytest.mark.parametrize(("shape", "values"), [((1, 4), 1), ((0, 4), 0), ((1, 1, 1, 4), 1), ((3, 0, 4), 0)])
def test_batch_statistics_need_two_values(shape, values):
    with pytest.raises(
        ValueError, match=rf"statistics need at least 2 values in each channel, .* has {values}; train with"
    ):
        ops.batch_norm(affine(4), np.ones(shape))


def test_options_that_do_not_fit():
    with pytest.raises(ValueError, match="groups 3 must divide the 4 input"):
        ops.group_norm(affine(4), normal(3, 4), 3)
    with pytest.raises(ValueError, match=r"axes \(\) must name at least one axis"):
        ops.layer_norm(affine(4), normal(3, 4), axes=())
    with pytest.raises(ValueError, match=r"axes \(1, -1\) must name at least one axis, and none twice"):
        ops.layer_norm(affine(4), normal(3, 4), axes=(1, -1))
    with pytest.raises(ValueError, match="axis 2 is out of range"):
        ops.rms_norm({"scale": normal(4)}, normal(3, 4), axes=2)
    with pytest.raises(ValueError, match=r"stats must be \(4,\) each, not \(3,\) and \(4,\)"):
        ops.batch_norm(affine(4), normal(3, 4), stats={"mean": np.zeros(3), "var": np.ones(4)})
    with pytest.raises(ValueError, match=r"channel_affine: x must be .* got x \(3, 5\), scale \(4,\) and bias \(4,\)"):
        ops.channel_affine(affine(4), normal(3, 5))
    with pytest.raises(ValueError, match=r"local_response_norm: size must be at least 1, got 0"):
        ops.local_response_norm(normal(3, 4), 0)
    with pytest.raises(ValueError, match=r"k must be above 0 and alpha at least 0, got 0\.0 and 0\.0001"):
        ops.local_response_norm(normal(3, 4), 3, k=0)
    with pytest.raises(ValueError, match=r"local_response_norm: x must be \(N, \.\.\., C\), got shape \(4,\)"):
        ops.local_response_norm(normal(4), 3)
    with pytest.raises(ValueError, match=r"instance_norm: x must be .* got shape \(3, 4\)"):
        ops.instance_norm(affine(4), normal(3, 4))


def test_batch_norm_layer_averages_its_statistics():
    layer = layers.batch_norm(decay=0.8)
    params, state, _ = layer.init((0,), (3,))
    assert not state["mean"].any() and (state["var"] == 1).all()
    mean, var = np.zeros(3), np.ones(3)
    for step in range(5):
        x = normal(6, 3, seed=step) * 3 + 5
        y, _, state = layer.forward(params, x, state, train=True)
        np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-6)  # by the batch's own statistics, for any state
        mean, var = 0.8 * mean + 0.2 * x.mean(axis=0), 0.8 * var + 0.2 * x.var(axis=0)
    assert state["mean"].dtype == np.float32
    np.testing.assert_allclose(state["mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(state["var"], var, rtol=1e-5)
    x = normal(2, 3, seed=9)
    y, _, after = layer.forward(params, x, state, train=False)
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(var + 1e-5), rtol=1e-4)
    assert all(np.array_equal(after[name], state[name]) for name in state)


def test_a_complex_step_leaves_no_trace_in_the_state():
    layer = layers.batch_norm()
    params, state, _ = layer.init((0,), (3,))
    _, _, after = layer.forward(params, normal(6, 3) + 1e-40j, state, train=True)
    assert {leaf.dtype for leaf in after.values()} == {np.dtype(np.float32)}


def test_batch_norm_layer_bad_input():
    with pytest.raises(ValueError, match=r"decay, the weight of the old value, must be in \[0, 1\], not 1.5"):
        layers.batch_norm(decay=1.5)
    layer = layers.batch_norm()
    params, _, _ = layer.init((0,), (3,))
    with pytest.raises(ValueError, match=r"batch_norm: state: params must have exactly the leaves \['mean', 'var'\]"):
        layer.forward(params, normal(6, 3), {}, train=False)
    for make in (layers.layer_norm, layers.rms_norm):
        with pytest.raises(ValueError, match=r"axes \(0, 1\) include axis 0"):
            make(axes=(0, 1)).init((0,), (3,))
