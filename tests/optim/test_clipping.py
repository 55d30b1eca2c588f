"""Clipping by value, by norms, and unit by unit."""

import numpy as np
import pytest
from updates import PARAMS, assert_close, gradients, transformed

from funcnn import optim, tree


def test_clip_by_global_norm():
    grads = {"a": np.array([3.0, 0.0]), "b": {"c": np.array([[4.0]])}}
    for max_norm, scale in [(10.0, 1.0), (5.0, 1.0), (2.5, 0.5)]:
        clipped, _ = optim.clip_by_global_norm(max_norm).update(grads, {}, {})
        assert clipped["a"].tolist() == [3 * scale, 0] and clipped["b"]["c"].tolist() == [[4 * scale]]


@pytest.mark.parametrize("limit", [0.01, 1.0, 3.0, 100.0])
def test_clipping_limits_norms_and_keeps_smaller_gradients(limit):
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


@pytest.mark.parametrize("clip", [optim.clip_by_norm(1.0), optim.clip_by_global_norm(1.0)])
def test_gradients_whose_squares_overflow_are_clipped_and_not_dropped(clip):
    grads = {"w": np.array([3e30, 4e30], np.float32)}
    np.testing.assert_allclose(clip.update(grads, clip.init(grads), grads)[0]["w"], [0.6, 0.8], rtol=1e-6)


def test_adaptive_clipping_of_gradients_whose_squares_overflow():
    params, grads = {"w": np.array([3.0, 4.0], np.float32)}, {"w": np.array([3e30, 4e30], np.float32)}
    with np.errstate(over="ignore"):  # as in training
        clipped = optim.adaptive_clip(0.1).update(grads, {}, params)[0]["w"]
    np.testing.assert_allclose(clipped, [0.3, 0.4], rtol=1e-6)
    assert clipped.dtype == np.float32
