"""Weight decay: of the leaves that a mask selects, in an optimizer or before it."""

import pytest
from updates import PARAMS, assert_close, descend, gradients, transformed

from funcnn import optim, tree


@pytest.mark.parametrize("make", [optim.adamw, optim.lion])
def test_masked_decay_is_decay_of_some_leaves_and_none_of_the_others(make):
    def only_dense(path):
        return path.startswith("2_")

    grads = gradients(4)
    masked, _ = descend(make(0.1, weight_decay=0.5, mask=only_dense), grads)
    decayed, _ = descend(make(0.1, weight_decay=0.5), grads)
    plain, _ = descend(make(0.1, weight_decay=0.0), grads)
    assert_close(masked[-1], {**plain[-1], "2_dense": decayed[-1]["2_dense"]}, rtol=0)


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
