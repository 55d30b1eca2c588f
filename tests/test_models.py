"""Models: their shapes, sizes and gradients, and that they can be rebuilt from plain arguments."""

import inspect

import numpy as np
import pytest
from arrays import normal

from funcnn import models, tree
from funcnn.testing import check_layer

# model, input, parameters
MODELS = {
    "seed_convnet": (models.seed_convnet(), (8, 8, 1), (9 + 1) + (36 * 10 + 10) + (10 * 10 + 10)),
    "seed_convnet, wider": (
        models.seed_convnet(3, features=4, hidden=6),
        (8, 8, 2),
        (72 + 4) + (144 * 6 + 6) + (18 + 3),
    ),
    "convnet": (
        models.convnet(10, channels=(2, 3), hidden=(5,)),
        (8, 8, 1),
        (9 * 2 + 2) + (9 * 2 * 3 + 3) + (12 * 5 + 5) + (5 * 10 + 10),
    ),
    "convnet, one block, no hidden layer": (
        models.convnet(2, channels=(3,), hidden=()),
        (4, 5, 2),
        (54 + 3) + (12 * 2 + 2),
    ),
    "mlp": (models.mlp(1, hidden=(6, 4)), (5,), 36 + 28 + 5),
    "mlp on images": (models.mlp(3, hidden=()), (2, 3, 1), 21),
    "lenet5": (models.lenet5(), (28, 28, 1), 156 + 2416 + (256 * 120 + 120) + 10164 + 850),
}


def test_every_public_model_is_here():
    assert {name.partition(",")[0].partition(" ")[0] for name in MODELS} == set(models.__all__)


@pytest.mark.parametrize(("model", "in_shape", "parameters"), MODELS.values(), ids=MODELS.keys())
def test_sizes(model, in_shape, parameters):
    params, state, out_shape = model.init((0,), in_shape)
    assert tree.size(params) == parameters
    y, _, _ = model.forward(params, normal(2, *in_shape).astype(np.float32), state, train=False)
    assert y.shape == (2, *out_shape) and y.dtype == np.float32


@pytest.mark.parametrize(("model", "in_shape"), [case[:2] for name, case in MODELS.items()], ids=MODELS.keys())
def test_gradients(model, in_shape):
    check_layer(model, in_shape, batch=2, strict=True)


@pytest.mark.parametrize("name", models.__all__)
def test_arguments_are_plain(name):
    for parameter in inspect.signature(getattr(models, name)).parameters.values():
        assert isinstance(parameter.default, (int, float, str, tuple)), parameter
    assert getattr(models, name)().name == name


def test_an_image_too_small_is_named():
    with pytest.raises(ValueError, match="window spans 3 cells") as error:
        models.seed_convnet().init((0,), (2, 8, 1))
    assert error.value.__notes__ == ["in layer 0_conv2d"]
