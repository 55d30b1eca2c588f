"""What composes with optimizers: chains, limits, decay by mask, averages, and wrappers with the laws they keep."""

import io
import math

import numpy as np
import pytest
from arrays import normal

from funcnn import losses, optim, training, tree
from funcnn.combinators import serial
from funcnn.layers import dense, tanh

PARAMS = {"0_conv2d": {"w": normal(3, 3, 2, 4), "b": normal(4)}, "1_relu": {}, "2_dense": {"w": normal(5, 3)}}


def gradients(count, scale=1.0):
    rng = np.random.default_rng(7)
    return [tree.map(lambda p: scale * rng.normal(size=p.shape), PARAMS) for _ in range(count)]


def descend(optimizer, grads, params=PARAMS):
    """The parameters after each update, and the last state."""
    opt_state, path = optimizer.init(params), []
    for g in grads:
        updates, opt_state = optimizer.update(g, opt_state, params)
        params = optim.apply_updates(params, updates)
        path.append(params)
    return path, opt_state


def assert_close(a, b, rtol=1e-12):
    tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=1e-14), a, b)


def transformed(transformation, grads, params=PARAMS):
    return transformation.update(grads, transformation.init(params), params)[0]


def everything():
    """A chain with every kind of state, for which the scale of the gradients matters."""
    return optim.chain(
        optim.clip_by_global_norm(6.0),
        optim.adamw(optim.cosine(0.1, 20), eps=0.1, weight_decay=0.1),
        optim.sgd(0.9, momentum=0.5),
        optim.average_params(0.8),
    )


# chains


def test_chain_goes_from_first_to_last():
    optimizer = optim.chain(optim.clip_by_global_norm(1.0), optim.sgd(0.1, momentum=0.9))
    path, opt_state = descend(optimizer, [{"w": np.array([10.0])}, {"w": np.array([-0.5])}], {"w": np.array([2.0])})
    np.testing.assert_allclose([p["w"][0] for p in path], [1.9, 1.9 - 0.1 * (0.9 - 0.5)], rtol=1e-12)
    assert optim.learning_rate(opt_state) == 0.1
    assert optim.learning_rate(optim.clip_by_global_norm(1.0).init({})) is None


def test_the_order_of_a_chain_matters():
    grads = {"w": np.array([10.0])}
    clip, step = optim.clip_by_value(1.0), optim.sgd(0.5)
    assert transformed(optim.chain(clip, step), grads, grads)["w"] == -0.5
    assert transformed(optim.chain(step, clip), grads, grads)["w"] == -1.0


def test_chains_associate():
    a, b, c = optim.clip_by_norm(0.5), optim.add_weight_decay(0.1), optim.adam(0.1)
    left, _ = descend(optim.chain(optim.chain(a, b), c), gradients(3))
    right, _ = descend(optim.chain(a, optim.chain(b, c)), gradients(3))
    assert_close(left[-1], right[-1], rtol=0)


# limits


def test_clip_by_global_norm():
    grads = {"a": np.array([3.0, 0.0]), "b": {"c": np.array([[4.0]])}}
    for max_norm, scale in [(10.0, 1.0), (5.0, 1.0), (2.5, 0.5)]:
        clipped, _ = optim.clip_by_global_norm(max_norm).update(grads, {}, {})
        assert clipped["a"].tolist() == [3 * scale, 0] and clipped["b"]["c"].tolist() == [[4 * scale]]


@pytest.mark.parametrize("limit", [0.01, 1.0, 3.0, 100.0])
def test_limits_are_limits_and_leave_the_rest_alone(limit):
    (grads,) = gradients(1)
    clipped = transformed(optim.clip_by_global_norm(limit), grads)
    assert tree.norm(clipped) == pytest.approx(min(limit, tree.norm(grads)))
    assert_close(clipped, tree.map(lambda g: g * tree.norm(clipped) / tree.norm(grads), grads))

    def check_norm(g, c):
        assert tree.norm(c) == pytest.approx(min(limit, tree.norm(g)))
        np.testing.assert_allclose(c, g * tree.norm(c) / tree.norm(g))

    tree.map(check_norm, grads, transformed(optim.clip_by_norm(limit), grads))

    def check_value(g, c):
        assert c.ravel().tolist() == [min(max(x, -limit), limit) for x in g.ravel()]

    tree.map(check_value, grads, transformed(optim.clip_by_value(limit), grads))


@pytest.mark.parametrize("clipping", [0.1, 1.0, 10.0])
def test_adaptive_clip_unit_by_unit(clipping):
    (grads,) = gradients(1)
    params = {**PARAMS, "2_dense": {"w": PARAMS["2_dense"]["w"] * np.array([1.0, 1e-9, 0.0])}}  # two units below eps

    def expected(g, p):
        def unit(g, p):
            limit = clipping * max(tree.norm(p), 0.5)
            return g * min(1.0, limit / tree.norm(g))

        return unit(g, p) if g.ndim < 2 else np.stack([unit(g[..., o], p[..., o]) for o in range(g.shape[-1])], axis=-1)

    assert_close(transformed(optim.adaptive_clip(clipping, eps=0.5), grads, params), tree.map(expected, grads, params))


def test_adaptive_clip_of_no_gradient_is_none():
    zeros = tree.map(np.zeros_like, PARAMS)
    assert tree.norm(transformed(optim.adaptive_clip(), zeros, zeros)) == 0


# decay by mask


@pytest.mark.parametrize("make", [optim.adamw, optim.lion])
def test_masked_decay_is_decay_of_some_leaves_and_none_of_the_others(make):
    def only_dense(path):
        return path.startswith("2_")

    grads = gradients(4)
    masked, _ = descend(make(0.1, weight_decay=0.5, mask=only_dense), grads)
    decayed, _ = descend(make(0.1, weight_decay=0.5), grads)
    plain, _ = descend(make(0.1, weight_decay=0.0), grads)
    assert_close(masked[-1], {**plain[-1], "2_dense": decayed[-1]["2_dense"]}, rtol=0)


def test_masked_decay_of_lamb():
    grads = gradients(4)
    masked, _ = descend(optim.lamb(0.1, weight_decay=0.5, mask=optim.weights_only), grads)
    decayed, _ = descend(optim.lamb(0.1, weight_decay=0.5), grads)
    plain, _ = descend(optim.lamb(0.1), grads)
    for path, leaf in tree.flatten(masked[-1]).items():
        source, other = (decayed, plain) if path.endswith("/w") else (plain, decayed)
        assert np.array_equal(leaf, tree.flatten(source[-1])[path])
        assert not np.allclose(leaf, tree.flatten(other[-1])[path])


def test_add_weight_decay_before_an_optimizer_is_its_weight_decay():
    grads = gradients(4)
    for make in (optim.sgd, optim.adam, optim.rmsprop):
        chained, _ = descend(optim.chain(optim.add_weight_decay(0.3), make(0.1)), grads)
        built_in, _ = descend(make(0.1, weight_decay=0.3), grads)
        assert_close(chained[-1], built_in[-1], rtol=0)


def test_a_mask_sees_the_paths():
    seen = []
    transformed(optim.add_weight_decay(0.3, mask=lambda path: bool(seen.append(path))), PARAMS)
    assert seen == tree.paths(PARAMS) == ["0_conv2d/b", "0_conv2d/w", "2_dense/w"]


def test_weights_only():
    chosen = {
        path: optim.weights_only(path) for path in ("w", "b", "0_conv2d/w", "0_conv2d/b", "3/1_prelu/slope", "w/b")
    }
    assert [path for path, here in chosen.items() if here] == ["w", "0_conv2d/w"]


# averages


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_average_params_is_the_weighted_mean_of_the_parameters_so_far(decay):
    plain, _ = descend(optim.adam(0.1), gradients(6))
    path, opt_state = descend(optim.chain(optim.adam(0.1), optim.average_params(decay)), gradients(6))
    assert_close(path[-1], plain[-1], rtol=0)
    weights = [decay ** (6 - k) for k in range(1, 7)]
    expected = tree.map(lambda *ps: sum(w * p for w, p in zip(weights, ps, strict=True)) / sum(weights), *path)
    assert_close(optim.averaged_params(opt_state), expected)


def test_averaged_params_are_the_initial_ones_before_the_first_step():
    optimizer = optim.accumulate(optim.chain(optim.sgd(0.1), optim.average_params(0.9)), 2)
    assert_close(optim.averaged_params(optimizer.init(PARAMS)), PARAMS, rtol=0)


def test_averaged_params_without_an_average_are_refused():
    with pytest.raises(ValueError, match="averaged_params: no average_params in this state, only"):
        optim.averaged_params(optim.sgd(0.1).init(PARAMS))


def test_averages_come_out_of_training_and_survive_saving():
    model = serial(dense(4), tanh(), dense(1))
    x, targets = normal(10, 3).astype(np.float32), normal(10, 1).astype(np.float32)
    optimizer = optim.accumulate(optim.chain(optim.adam(0.1), optim.average_params(0.5)), 1)

    def fit(**options):
        return training.fit(model, losses.mse, optimizer, x, targets, batch_size=10, **options)

    epochs = list(fit(epochs=3, key=(0,)))
    mean = tree.map(lambda a, b, c: (a + 2 * b + 4 * c) / 7, *(epoch.train_state.params for epoch in epochs))
    assert_close(optim.averaged_params(epochs[-1].train_state.opt_state), mean, rtol=1e-4)

    reached = epochs[1].train_state
    file = io.BytesIO()
    np.savez(file, **tree.flatten(reached.opt_state))
    file.seek(0)
    fresh = optimizer.init(model.init((1,), (3,))[0])
    loaded = tree.unflatten(dict(np.load(file)), like=fresh)
    (last,) = fit(epochs=3, resume=reached._replace(opt_state=loaded))
    assert_close(last.train_state.opt_state, epochs[-1].train_state.opt_state, rtol=0)


# wrappers


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_accumulated_gradients_make_one_step_on_their_mean(steps):
    grads = gradients(4 * steps)
    means = [tree.map(lambda *gs: sum(gs) / steps, *grads[i : i + steps]) for i in range(0, len(grads), steps)]
    expected, inner = descend(everything(), means)
    path, opt_state = descend(optim.accumulate(everything(), steps), grads)
    for i, params in enumerate(path):
        whole = (i + 1) // steps
        assert_close(params, expected[whole - 1] if whole else PARAMS)
    assert_close(opt_state["inner"], inner)
    assert optim.learning_rate(opt_state) == optim.learning_rate(inner)


def test_apply_if_finite_is_the_optimizer_on_finite_gradients():
    expected, inner = descend(everything(), gradients(5))
    path, opt_state = descend(optim.apply_if_finite(everything()), gradients(5))
    assert_close(path[-1], expected[-1], rtol=0)
    assert_close(opt_state["inner"], inner, rtol=0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_apply_if_finite_leaves_out_the_others(bad):
    grads = gradients(3)
    spoiled = {**grads[0], "0_conv2d": {"w": grads[0]["0_conv2d"]["w"], "b": np.array([1.0, bad, 1.0, 1.0])}}
    expected, inner = descend(everything(), grads)
    optimizer = optim.apply_if_finite(everything(), max_consecutive=2)
    with_spoiled = [grads[0], spoiled, spoiled, grads[1], spoiled, grads[2]]
    path, opt_state = descend(optimizer, with_spoiled)
    assert_close(path[-1], expected[-1], rtol=0)
    assert_close(opt_state, {"inner": inner, "consecutive": np.asarray(0), "skipped": np.asarray(3)}, rtol=0)
    with pytest.raises(
        ValueError, match=r"apply_if_finite: 3 gradients in a row were not finite, the last at \['0_con"
    ):
        descend(optimizer, [grads[0], spoiled, spoiled, spoiled])


def test_freeze_leaves_the_others_as_if_there_were_no_more():
    def frozen(path):
        return path.startswith("0_") and path.endswith("/w")

    def thawed(params):
        return {**params, "0_conv2d": {"b": params["0_conv2d"]["b"]}}

    grads = gradients(5)
    expected, inner = descend(everything(), [thawed(g) for g in grads], thawed(PARAMS))
    path, opt_state = descend(optim.freeze(everything(), frozen), grads)
    assert_close(thawed(path[-1]), expected[-1], rtol=0)
    assert_close(opt_state, inner, rtol=0)
    assert np.array_equal(path[-1]["0_conv2d"]["w"], PARAMS["0_conv2d"]["w"])


def test_freeze_nothing_and_everything():
    for frozen, rate in [(False, 0.1), (True, 0.0)]:
        path, _ = descend(optim.freeze(optim.sgd(0.1), lambda _, frozen=frozen: frozen), gradients(2))
        expected, _ = descend(optim.sgd(rate), gradients(2))
        assert_close(path[-1], expected[-1], rtol=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.clip_by_value(0.0), "clip_by_value: limit must be > 0, got 0.0"),
        (lambda: optim.clip_by_norm(-1.0), "clip_by_norm: max_norm must be > 0, got -1.0"),
        (lambda: optim.clip_by_global_norm(0.0), "clip_by_global_norm: max_norm must be > 0, got 0.0"),
        (lambda: optim.clip_by_global_norm(math.nan), "max_norm must be > 0, got nan"),
        (lambda: optim.adaptive_clip(0.0), "adaptive_clip: clipping must be > 0, got 0.0"),
        (lambda: optim.adaptive_clip(eps=0.0), "adaptive_clip: eps must be > 0, got 0.0"),
        (lambda: optim.add_weight_decay(-0.1), "add_weight_decay: weight_decay must be"),
        (lambda: optim.average_params(1.0), r"average_params: decay must be in \[0, 1.0\), got 1.0"),
        (lambda: optim.accumulate(optim.sgd(0.1), 0), "accumulate: steps must be at least 1, got 0"),
        (lambda: optim.apply_if_finite(optim.sgd(0.1), -1), "apply_if_finite: max_consecutive must be >= 0, got -1"),
    ],
)
def test_bad_options_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
