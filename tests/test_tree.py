"""Trees: maps are strict, orders do not depend on insertion, vectors come back whole."""

import numpy as np
import pytest
from arrays import normal

from funcnn import tree
from funcnn.optim import adamw, freeze, sgd

PARAMS = {
    "0_conv2d": {"w": normal(3, 3, 1, 2), "b": normal(2)},
    "1_relu": {},
    "2_dense": {"b": normal(1), "w": normal(4, 1)},
}


def test_map_goes_by_key_not_by_order():
    a, b = {"x": 1, "y": {"z": 2}}, {"y": {"z": 20}, "x": 10}
    assert tree.map(lambda p, q: p + q, a, b) == {"x": 11, "y": {"z": 22}}
    assert tree.map(lambda p: -p, {"e": {}}) == {"e": {}}
    assert tree.map(lambda p, q: p * q, 3, 4) == 12


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"x": 1, "y": {}}, r"trees differ at y: tree 1 lacks \['z'\] and has unexpected keys \[\]"),
        ({"x": 1, "y": {"z": 1, "q": 2}}, r"differ at y: tree 1 lacks \[\] and has unexpected keys \['q'\]"),
        ({"x": 1}, r"differ at the root: tree 1 lacks \['y'\]"),
        ({"x": 1, "y": 2}, "differ at y: a dict in tree 0, a leaf in tree 1"),
        ({"x": {}, "y": {"z": 1}}, "differ at x: a leaf in tree 0, a dict in tree 1"),
    ],
)
def test_map_refuses_trees_of_other_structure(other, message):
    with pytest.raises(ValueError, match=message):
        tree.map(lambda p, q: p, {"x": 1, "y": {"z": 2}}, other)
    with pytest.raises(ValueError, match=message.replace("tree 1", "tree 2")):
        tree.map(lambda p, q, r: p, {"x": 1, "y": {"z": 2}}, {"y": {"z": 4}, "x": 3}, other)


def test_paths_and_leaves_do_not_depend_on_insertion():
    backwards = {key: dict(reversed(child.items())) for key, child in reversed(PARAMS.items())}
    assert tree.paths(PARAMS) == tree.paths(backwards) == ["0_conv2d/b", "0_conv2d/w", "2_dense/b", "2_dense/w"]
    assert np.array_equal(tree.ravel(PARAMS)[0], tree.ravel(backwards)[0])


def test_flatten_and_back():
    back = tree.unflatten(tree.flatten(PARAMS), like=PARAMS)
    assert back.keys() == PARAMS.keys() and back["1_relu"] == {}
    tree.map(np.testing.assert_array_equal, PARAMS, back)
    with pytest.raises(ValueError, match=r"leaves missing: \['2_dense/w'\], leaves not expected: \['x'\]"):
        tree.unflatten({"0_conv2d/b": 0, "0_conv2d/w": 0, "2_dense/b": 0, "x": 0}, like=PARAMS)


def test_size_and_norm():
    assert tree.size(PARAMS) == 9 * 2 + 2 + 1 + 4
    np.testing.assert_allclose(tree.norm(PARAMS), np.linalg.norm(tree.ravel(PARAMS)[0]), rtol=1e-14)
    assert tree.size({}) == 0 and tree.norm({}) == 0.0


def test_ravel_round_trip_keeps_shapes_and_dtypes():
    mixed = {"a": np.float32([[1.5, 2.5]]), "b": np.arange(3), "c": np.zeros((0, 2)), "d": np.array(7.0)}
    vector, unravel = tree.ravel(mixed)
    assert vector.dtype == np.float64 and vector.shape == (6,)
    back = unravel(vector)
    for name, leaf in mixed.items():
        assert back[name].dtype == leaf.dtype and np.array_equal(back[name], leaf)


def test_unravel_keeps_a_complex_step():
    vector, unravel = tree.ravel({"a": np.float32([1, 2])})
    assert unravel(vector + 1j)["a"].tolist() == [1 + 1j, 2 + 1j]


def test_unravel_refuses_another_length():
    _, unravel = tree.ravel(PARAMS)
    with pytest.raises(ValueError, match=r"the vector must have shape \(25,\), got \(3,\)"):
        unravel(np.zeros(3))


def test_empty_tree():
    vector, unravel = tree.ravel({"a": {}})
    assert vector.shape == (0,) and unravel(vector) == {"a": {}}


@pytest.mark.parametrize(
    "colliding",
    [{"a/b": 1.0, "a": {"b": 2.0}}, {"a/b": {"c": 1.0}, "a": {"b/c": 2.0}}, {"": {"a": 1.0}, "a": 2.0}],
)
def test_leaves_of_the_same_path_are_refused_and_not_dropped(colliding):
    for function in (tree.flatten, tree.paths, tree.leaves, tree.size, tree.norm, tree.ravel):
        with pytest.raises(ValueError, match="two leaves of a tree have the same path 'a"):
            function(colliding)
    with pytest.raises(ValueError, match="two leaves of a tree have the same path 'a"):
        tree.unflatten({"a/b": 1.0}, like=colliding)
    for optimizer in (freeze(sgd(0.1), lambda path: True), adamw(0.1, mask=lambda path: True)):
        with pytest.raises(ValueError, match="two leaves of a tree have the same path 'a"):
            optimizer.update(colliding, optimizer.init(colliding), colliding)


def test_a_key_with_a_slash_that_collides_with_nothing_is_a_key():
    harmless = {"a/b": 1.0, "a": {"c": 2.0}}
    assert tree.unflatten(tree.flatten(harmless), like=harmless) == harmless


@pytest.mark.parametrize("scale", [1e-40, 1e-30, 1.0, 1e30])
def test_the_norm_of_float32_neither_overflows_nor_underflows(scale):
    arrays = {"a": np.array([3.0 * scale], np.float32), "b": np.array([[4.0 * scale]], np.float32), "c": np.zeros(0)}
    assert tree.norm(arrays) == pytest.approx(5 * scale, rel=1e-4)
    assert tree.norm({"a": np.zeros(3)}) == 0 and tree.norm({}) == 0
    assert tree.norm({"a": np.array([1e30, np.inf], np.float32)}) == np.inf
    assert np.isnan(tree.norm({"a": np.array([1.0, np.nan])}))
