"""Summaries: shapes from the layers themselves, multiply-adds against a count of the products in the loops."""

import numpy as np
import pytest

from funcnn import models, tree
from funcnn.combinators import residual, serial
from funcnn.layers import conv1d, conv2d, conv3d, conv_transpose2d, dense, depthwise_conv1d, flatten, max_pool, relu
from funcnn.summary import Row, format_summary, summary


@pytest.mark.parametrize(
    ("layer", "in_shape"),
    [
        (dense(4), (7,)),
        (dense(4), (3, 7)),
        (conv1d(4, 3, stride=2), (9, 2)),
        (conv2d(4, 3, padding=1), (5, 6, 2)),
        (conv2d(4, (2, 3), groups=2), (5, 6, 2)),
        (conv3d(2, 2), (3, 4, 3, 2)),
        (depthwise_conv1d(3, multiplier=2), (9, 2)),
        (conv_transpose2d(4, (2, 3), stride=2, groups=2), (5, 6, 2)),
    ],
)
def test_multiply_adds_are_the_products_summed(layer, in_shape):
    # With all weights and inputs 1 and no padding each output counts its products; padding's products with 0 count too.
    params, state, out_shape = layer.init((0,), in_shape)
    padded = (
        tuple(s + 2 for s in in_shape[:-1]) + in_shape[-1:]
        if layer.name == "conv2d" and out_shape[0] == 5
        else in_shape
    )
    ones = {"w": np.ones(params["w"].shape), "b": np.zeros(params["b"].shape)}
    unpadded = conv2d(4, 3) if padded != in_shape else layer
    y, _, _ = unpadded.forward(ones, np.ones((1, *padded)), state, train=False)
    assert summary(layer, in_shape)[0].multiply_adds == y.sum()


def test_rows_follow_the_data():
    block = serial(conv2d(2, 3, padding=1), relu())
    model = serial(conv2d(2, 3), residual(block), max_pool(2), flatten(), dense(5))
    rows = summary(model, (8, 8, 1))
    assert rows == [
        Row("0_conv2d", (6, 6, 2), 20, 6 * 6 * 2 * 9),
        Row("1_residual/0_serial/0_conv2d", (6, 6, 2), 38, 6 * 6 * 2 * 18),
        Row("1_residual/0_serial/1_relu", (6, 6, 2), 0, 0),
        Row("1_residual/1_identity", (6, 6, 2), 0, 0),
        Row("2_max_pool", (3, 3, 2), 0, 0),
        Row("3_flatten", (18,), 0, 0),
        Row("4_dense", (5,), 95, 90),
    ]


OF_ARGUMENTS = {
    "network": {"nodes": [{"layer": "conv2d", "arguments": {"features": 4, "kernel_size": 3}}]},
    "fine_tuned": {"body": {"name": "convnet", "arguments": {}}, "frozen_layers": 2},
    "described": {"layer": {"layer": "conv2d", "arguments": {"features": 4, "kernel_size": 3}}},
    "ensemble": {"member": {"name": "convnet", "arguments": {"channels": [4]}}, "members": 2},
}
OF_SERIES = {"fcn", "inception_time", "resnet1d"}


@pytest.mark.parametrize("name", models.__all__)
def test_parameters_add_up(name):
    model = getattr(models, name)(**OF_ARGUMENTS.get(name, {}))
    in_shape = (32, 3) if name in OF_SERIES else (32, 32, 1)
    params, state, out_shape = model.init((0,), in_shape)
    rows = summary(model, in_shape)
    assert sum(row.parameters for row in rows) == tree.size(params) + tree.size(state if name == "fine_tuned" else {})
    assert rows[-1].out_shape == out_shape


def test_a_single_layer():
    assert summary(relu(), (3,)) == [Row("", (3,), 0, 0)]


def test_text():
    lines = format_summary(summary(models.lenet5(), (32, 32, 1))).splitlines()
    assert lines[0].split() == ["layer", "output", "parameters", "multiply-adds"]
    assert lines[-1].split() == ["total", "61,706", "416,520"]
    assert len({len(line) for line in lines}) == 1


def test_the_default_network_for_the_digits():
    assert "53,002" in format_summary(summary(models.convnet(10), (8, 8, 1)))
