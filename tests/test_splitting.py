"""Models split in two where a single value passes."""

import numpy as np
import pytest

from funcnn import graph, residual, serial
from funcnn.combinators import split, split_points
from funcnn.layers import add, dense, dropout, relu

SEQUENCE = serial(dense(4), relu(), residual(dense(4)), dense(2))
GRAPH = graph((dense(4), -1), (relu(), 0), (dense(4), 1), (add(), 1, 2), (relu(), 3), (dense(2), 4))


@pytest.mark.parametrize(("model", "points"), [(SEQUENCE, [1, 2, 3]), (GRAPH, [1, 2, 4, 5])], ids=["serial", "graph"])
def test_both_parts_compute_what_the_model_does(model, points):
    params, state, _ = model.init((0,), (3,))
    x = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    expected = model.forward(params, x, state, train=False)[0]
    assert split_points(model) == points
    children = list(params.values())
    for at in points:
        y, parts = x, split(model, at)
        assert [len(part.children) for part in parts] == [at, len(children) - at]
        for part, of_part in zip(parts, (children[:at], children[at:]), strict=True):
            made, part_state, _ = part.init((0,), y.shape[1:])
            y = part.forward(dict(zip(made, of_part, strict=True)), y, part_state, train=False)[0]
        np.testing.assert_array_equal(y, expected)


def test_no_split_inside_a_residual_block_or_of_another_layer():
    with pytest.raises(ValueError, match=r"graph cannot be split after 3 layers, only after \[1, 2, 4, 5\]"):
        split(GRAPH, 3)
    assert split_points(graph((dense(3), -1), (add(), -1, 0))) == []
    assert split_points(dropout(0.5)) == split_points(residual(dense(3))) == []
