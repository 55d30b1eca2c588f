"""A layer reads as the call that makes it."""

import html

import pytest

from funcnn import frozen, graph, layers, models, residual, serial
from funcnn.initializers import zeros
from funcnn.layer import Layer


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (layers.conv2d(32, 3), "conv2d(32, 3)"),
        (layers.conv2d(8, (3, 5), stride=2, padding="same", w_init=zeros), None),
        (
            layers.conv_transpose1d(8, 3, output_padding=1, stride=2),
            "conv_transpose1d(8, 3, stride=2, output_padding=1)",
        ),
        (layers.depthwise_conv3d(3, bias=False), "depthwise_conv3d(3, bias=False)"),
        (layers.leaky_relu(0.1), "leaky_relu(slope=0.1)"),
        (layers.relu(), "relu()"),
        (layers.concat(), "concat()"),
        (serial(layers.relu(), layers.dense(3)), "serial(relu(), dense(3))"),
        (frozen(layers.batch_norm(eps=0.1)), "frozen(batch_norm(eps=0.1))"),
        (residual(layers.relu()), "residual(relu(), identity())"),
        (graph((layers.relu(), -1), (layers.add(), 0, -1)), "graph((relu(), -1), (add(), 0, -1))"),
        (
            models.seed_convnet(3),
            "seed_convnet(conv2d(1, 3), relu(), flatten(), dense(10), relu(), dense(3, w_init=lecun_normal))",
        ),
        (Layer("double", lambda key, shape: ({}, {}, shape), lambda *args, **options: None), "double()"),
    ],
    ids=lambda case: case if isinstance(case, str) else "",
)
def test_a_layer_reads_as_the_call_that_makes_it(layer, text):
    text = text or "conv2d(8, (3, 5), stride=2, padding='same', w_init=zeros)"
    assert repr(layer) == text
    assert layer._repr_html_() == f"<pre>{html.escape(text)}</pre>"


def test_a_long_layer_reads_as_one_line_for_each_argument():
    block = serial(layers.conv2d(16, 3, padding="same"), layers.batch_norm(), layers.relu())
    assert repr(serial(*[block] * 2, layers.global_avg_pool())) == (
        "serial(\n"
        "    serial(conv2d(16, 3, padding='same'), batch_norm(), relu()),\n"
        "    serial(conv2d(16, 3, padding='same'), batch_norm(), relu()),\n"
        "    global_avg_pool(),\n"
        ")"
    )


@pytest.mark.parametrize("nest", [lambda inner: serial(inner), lambda inner: residual(layers.relu(), inner)])
def test_layers_nested_in_each_other_are_printed_once_each(nest):
    layer = layers.dense(3)
    for _ in range(40):  # twice at each level would be 10^12 times
        layer = nest(layer)
    assert repr(layer).count("dense(3)") == 1


def test_of_layers_nested_deeper_than_python_s_stack_the_innermost_are_left_out():
    for nest in (serial, residual):
        layer = layers.relu()
        for _ in range(500):
            layer = nest(layer)
        assert repr(layer).startswith(nest.__name__) and "..." in repr(layer) and "..." in layer._repr_html_()
