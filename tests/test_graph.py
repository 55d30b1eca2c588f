"""Graphs of layers: what is read, fused, kept and left out, and which nodes errors name."""

import gc
import tracemalloc
import weakref

import numpy as np
import pytest
from arrays import normal

from funcnn import checkpoint, combinators, derivatives, intermediates, losses, ops, optim, profiling, training, tree
from funcnn.combinators import graph, map_layers, parallel, residual, serial
from funcnn.data_parallel import over_threads
from funcnn.gradients import value_and_grad
from funcnn.layer import Layer, joining, output, pull_back, wrap_forward
from funcnn.layers import (
    add,
    batch_norm,
    concat,
    conv2d,
    dense,
    dropout,
    flatten,
    global_avg_pool,
    max_pool,
    relu,
    tanh,
)
from funcnn.summary import summary

IMAGE = (8, 8, 3)
# two branches whose nodes alternate, the first of them read once more at the end
NET = graph(
    (conv2d(4, 3, padding="same"), -1),
    (relu(), 0),
    (batch_norm(), -1),
    (conv2d(4, 1), 1),
    (conv2d(4, 1), 2),
    (add(), 3, 4, 1),
    (concat(), 5, 0),
    (global_avg_pool(), 6),
    (dense(3), 7),
)


def made(model, in_shape, dtype=np.float32, n=5):
    params, state, _ = model.init((0,), in_shape)
    return params, state, normal(n, *in_shape).astype(dtype)


def test_a_chain_is_the_same_bits_as_serial():
    layers = (conv2d(4, 3), relu(), max_pool(2), tanh(), dropout(0.5), flatten(), dense(3))
    chain = graph(*((layer, i - 1) for i, layer in enumerate(layers)))
    params, state, x = made(serial(*layers), (12, 12, 3))
    results = []
    for model in (serial(*layers), chain):
        y, vjp, _ = model.forward(params, x, state, train=True, key=(1,))
        results.append({"y": y, "init": model.init((0,), (12, 12, 3))[0], "dparams": vjp(y)[0], "dx": vjp(y)[1]})
    assert tree.paths(results[0]) == tree.paths(results[1])
    assert all(map(np.array_equal, tree.leaves(results[0]), tree.leaves(results[1])))


def test_residual_and_parallel_blocks_written_as_graphs():
    body, other, x = conv2d(3, 3, padding="same"), tanh(), normal(2, *IMAGE)
    for combined, as_graph in [
        (residual(body), graph((body, -1), (add(), 0, -1))),
        (parallel(body, other, join=ops.concat), graph((body, -1), (other, -1), (concat(), 0, 1))),
    ]:
        params, state, _ = combined.init((0,), IMAGE)
        in_graph, in_graph_state, _ = as_graph.init((0,), IMAGE)
        assert np.array_equal(params["0_conv2d"]["w"], in_graph["0_conv2d"]["w"])
        y, vjp, _ = combined.forward(params, x, state, train=True)
        z, graph_vjp, _ = as_graph.forward(in_graph, x, in_graph_state, train=True)
        assert np.array_equal(y, z) and np.array_equal(vjp(y)[1], graph_vjp(y)[1])


def test_names_of_nodes_stand_in_their_order():
    params, state, x = made(NET, IMAGE)
    names = ["0_conv2d", "1_relu", "2_batch_norm", "3_conv2d", "4_conv2d", "5_add", "6_concat", "7_global_avg_pool",
             "8_dense"]  # fmt: skip
    y, vjp, new_state = NET.forward(params, x, state, train=True)
    assert list(params) == list(state) == list(new_state) == list(vjp(y)[0]) == names
    assert [row.path for row in summary(NET, IMAGE)] == names
    assert list(intermediates.activations(NET, params, state, x)) == names
    assert list(intermediates.forward_backward(NET, params, state, x, np.ones_like)) == names
    assert list(profiling.layer_times(NET, params, state, x, rounds=1)) == names


def test_rebuilding_keeps_the_sources_and_the_name():
    named = NET._replace(name="net")
    same = map_layers(lambda path, layer: layer, named)
    params, state, x = made(NET, IMAGE)
    assert same.name == "net" and same.forward.options["sources"] == NET.forward.options["sources"]
    assert np.array_equal(output(same, params, x, state), output(NET, params, x, state))
    other = map_layers(lambda path, layer: tanh() if path == "1_relu" else layer, NET)
    assert [layer.name for layer in other.children][:3] == ["conv2d", "tanh", "batch_norm"]


def test_the_bits_of_a_graph_do_not_depend_on_threads_or_batches_of_prediction():
    params, state, x = made(NET, IMAGE, n=7)
    whole = training.predict(NET, params, state, x)
    assert np.allclose(training.predict(NET, params, state, x, batch_size=2, threads=2), whole, atol=1e-6)
    evaluated = graph(*((layer, *of) for layer, of in zip(NET.children, NET.forward.options["sources"], strict=True)))
    assert np.array_equal(training.predict(evaluated, params, state, x), whole)


def test_training_in_threads_gives_the_same_gradient():
    model = graph((conv2d(4, 3), -1), (relu(), 0), (batch_norm(), 0), (add(), 1, 2), (flatten(), 3), (dense(3), 4))
    params, state, x = made(model, IMAGE, np.float64, n=64)
    grad_fn = value_and_grad(model, losses.softmax_cross_entropy)
    targets = np.arange(64) % 3
    value, grads, _ = grad_fn(params, state, x, targets)
    threaded = over_threads(grad_fn, 2, min_work=0, sync_batch_stats=True)(params, state, x, targets)
    assert np.isclose(threaded[0], value)
    assert all(np.allclose(a, b) for a, b in zip(tree.leaves(threaded[1]), tree.leaves(grads), strict=True))


def test_a_checkpoint_holds_a_graph_and_training_resumes_in_it(tmp_path):
    x, targets = normal(12, *IMAGE).astype(np.float32), np.arange(12) % 3

    def run(resume=None):
        loss, optimizer = losses.softmax_cross_entropy, optim.adam(0.01)
        return list(training.fit(NET, loss, optimizer, x, targets, epochs=2, batch_size=4, key=(0,), resume=resume))

    first, second = run()
    checkpoint.save(tmp_path / "net.safetensors", checkpoint.Checkpoint(first.train_state, {}))
    resumed = run(checkpoint.load(tmp_path / "net.safetensors").train_state)[-1]
    for name in ("params", "state", "opt_state"):
        ours, theirs = (tree.leaves(getattr(epoch.train_state, name)) for epoch in (second, resumed))
        assert all(map(np.array_equal, ours, theirs))


def test_gradients_of_each_example():
    params, state, x = made(NET, IMAGE, np.float64)
    targets = np.arange(5) % 3
    each = derivatives.per_example_gradients(NET, losses.softmax_cross_entropy, params, state, x, targets)
    for i in range(5):
        y, vjp, _ = NET.forward(params, x[i : i + 1], state, train=False)
        alone = vjp(losses.softmax_cross_entropy(y, targets[i : i + 1])[1](1.0))[0]
        assert all(np.allclose(a[i], b) for a, b in zip(tree.leaves(each), tree.leaves(alone), strict=True))


def calls_of(layer, calls, name):
    """The layer, noting for each call of its VJP whether dx was wanted."""

    def forward(params, x, state, *, train, key=None):
        y, layer_vjp, new_state = layer.forward(params, x, state, train=train, key=key)

        def vjp(dy, *, input_gradient=True):
            calls[name] = input_gradient
            return pull_back(layer, layer_vjp, dy, input_gradient=input_gradient)

        return y, vjp, new_state

    return wrap_forward(layer, forward)


def test_nodes_that_lead_to_no_parameters_are_left_out_of_the_backward_pass():
    calls = {}

    def noted(name, layer):
        return calls_of(layer, calls, name)

    model = graph(
        (noted("before", tanh()), -1),
        (noted("first", dense(4)), 0),
        (noted("beside", relu()), -1),
        (noted("join", concat()), 2, 1),
        (noted("aside", tanh()), 2),
        (noted("last", dense(4)), 3),
        (noted("end", concat()), 4, 5),
    )
    params, state, x = made(model, (4,))
    y, vjp, _ = model.forward(params, x, state, train=True)
    dparams, dx = vjp(y, input_gradient=False)
    assert calls == {"first": False, "join": True, "last": True, "end": True} and dx is None
    calls.clear()
    with_dx = vjp(y)
    assert set(calls.values()) == {True} and len(calls) == 7
    assert tree.paths(dparams) == tree.paths(with_dx[0]) == tree.paths(params)
    assert all(map(np.array_equal, tree.leaves(dparams), tree.leaves(with_dx[0])))


def test_ids_have_no_gradient():
    from funcnn.layers import embedding

    model = graph((embedding(5, 3), -1), (embedding(5, 3), -1), (add(), 0, 1))
    params, state, _ = model.init((0,), (4,))
    y, vjp, _ = model.forward(params, np.arange(8).reshape(2, 4) % 5, state, train=True)
    assert vjp(y)[1] is None


def segments_of(model, monkeypatch):
    """The names of the segments that a combinator computes when it is made anew."""
    found = []
    module = graph.__globals__
    split = module["segments"]

    def noting(*arguments):
        found.extend(split(*arguments))
        return split(*arguments)

    monkeypatch.setitem(module, "segments", noting)
    model.rebuild(*model.children)
    return [segment.names for segment in found]


def test_a_chain_with_a_single_reader_is_fused_wherever_its_nodes_stand(monkeypatch):
    model = graph(
        (conv2d(4, 3), -1),
        (conv2d(4, 3), -1),
        (relu(), 0),
        (relu(), 1),
        (max_pool(2), 2),
        (max_pool(2), 3),
        (add(), 4, 5),
    )
    fused = [("0_conv2d", "2_relu", "4_max_pool"), ("1_conv2d", "3_relu", "5_max_pool")]
    assert segments_of(model, monkeypatch)[:2] == fused
    params, state, x = made(model, (32, 32, 3))
    unfused = map_layers(lambda path, layer: wrap_forward(layer, layer.forward), model)
    results = []
    for net in (model, unfused):
        y, vjp, new_state = net.forward(params, x, state, train=True)
        assert list(new_state) == list(params)
        results.append([y, output(net, params, x, state), *tree.leaves(vjp(y)[0]), vjp(y)[1]])
    assert all(np.allclose(a, b, atol=1e-4) for a, b in zip(*results, strict=True))


def test_what_is_read_twice_is_not_fused(monkeypatch):
    model = graph((conv2d(4, 3), -1), (relu(), 0), (max_pool(2), 1), (max_pool(2), 1), (add(), 2, 3))
    assert ("0_conv2d", "1_relu") in segments_of(model, monkeypatch)


def noting_references(alive, name):
    """A layer that returns a new array, and notes which of the arrays returned before are alive."""

    def forward(params, x, state, *, train, key=None):
        alive[name] = sorted(other for other, reference in alive["references"].items() if reference() is not None)
        y = (sum(x) if isinstance(x, tuple) else x) + 1.0
        alive["references"][name] = weakref.ref(y)
        return y, lambda dy, kept=y: ({}, dy), state

    return Layer(name, lambda key, in_shape: ({}, {}, in_shape), forward)


@pytest.mark.parametrize("nested", [False, True], ids=["alone", "inside others"])
def test_without_vjps_an_output_lives_until_its_last_reader(nested):
    alive = {"references": {}}

    def node(name):
        return noting_references(alive, name)

    model = graph(
        (node("a"), -1),
        (node("b"), 0),
        (node("c"), 1),
        (joining("add", ops.add), 0, 2),
        (node("d"), 3),
        (node("e"), 4),
        (add(), 4, 5),
        (node("f"), 6),
    )
    inside = combinators.serial(combinators.residual(model)) if nested else model
    params, state, _ = inside.init((0,), (3,))
    alive["references"].clear()
    training.predict(inside, params, state, np.zeros((2, 3)))
    gc.collect()
    assert [alive[name] for name in "abcdef"] == [[], ["a"], ["a", "b"], [], ["d"], []]


def test_prediction_takes_the_memory_of_the_live_outputs_and_training_that_of_all():
    blocks = []
    for i in range(0, 24, 3):
        blocks += [(tanh(), i - 1), (tanh(), i), (add(), i - 1, i + 1)]
    model = serial(graph(*blocks), serial(*(tanh() for _ in range(8))))
    params, state, _ = model.init((0,), (32, 32))
    x = normal(64, 32, 32)
    peaks = []
    for compute in (
        lambda: training.predict(model, params, state, x, threads=1),
        lambda: model.forward(params, x, state, train=True),
    ):
        compute()
        tracemalloc.start()
        compute()
        peaks.append(tracemalloc.get_traced_memory()[1] / x.nbytes)
        tracemalloc.stop()
    assert peaks[0] < 6 and peaks[1] > 20


@pytest.mark.parametrize(
    ("nodes", "error", "message"),
    [
        ((), ValueError, "graph: needs at least one layer"),
        ((relu(),), TypeError, r"graph: node 0 must be a tuple of a layer and its sources, .* not Layer"),
        (((relu(), -1), (relu(),)), TypeError, r"graph: node 1 must be .* such as \(relu\(\), -1\), not \(Layer\)"),
        (((relu(), -1), (relu(), "0")), TypeError, r"node 1 must be .* not \(Layer, str\)"),
        (((relu(), -1), (relu(), 0.0)), TypeError, r"node 1 must be .* not \(Layer, float\)"),
        (((relu(), -1), (relu(), [0])), TypeError, r"node 1 must be .* not \(Layer, list\)"),
        (((relu, -1),), TypeError, r"node 0 must be .* not \(function, int\)"),
        (((relu(), 0),), ValueError, "graph: 0_relu cannot read node 0; its sources must be -1, the input$"),
        (
            ((relu(), -1), (tanh(), -2)),
            ValueError,
            "graph: 1_tanh cannot read node -2; its sources must be -1, the input, or .* an earlier node, up to 0",
        ),
        (((relu(), -1), (tanh(), 1)), ValueError, "1_tanh cannot read node 1"),
        (((relu(), -1), (tanh(), 2), (relu(), 1)), ValueError, "1_tanh cannot read node 2"),
        (
            ((relu(), -1), (tanh(), 0), (relu(), -1), (dense(3), 0)),
            ValueError,
            "graph: no node reads 1_tanh, 2_relu; only 3_dense, the last node, is the output of the graph",
        ),
        (((relu()._replace(name="a/b"), -1),), ValueError, "a layer's name is a str without '/'"),
    ],
)
def test_wrong_nodes_are_named(nodes, error, message):
    with pytest.raises(error, match=message):
        graph(*nodes)


@pytest.mark.parametrize("layer", [relu(), dense(3), conv2d(4, 3), batch_norm(), dropout(0.5)], ids=lambda m: m.name)
def test_a_layer_of_one_array_cannot_read_two(layer):
    with pytest.raises(TypeError, match=r"takes one array, not 2, of shapes \(8, 8, 3\), \(8, 8, 3\)") as error:
        graph((tanh(), -1), (layer, 0, -1)).init((0,), (8, 8, 3))
    assert error.value.__notes__ == [f"in layer 1_{layer.name}"]


def test_errors_in_a_node_have_its_path():
    model = serial(relu(), graph((conv2d(4, 3), -1), (add(), 0, -1)))
    path = ["in layer 1_graph / 1_add"]
    with pytest.raises(ValueError, match=r"shapes must be equal; got \(0, 6, 6, 4\), \(0, 8, 8, 3\)") as error:
        model.init((0,), IMAGE)
    assert error.value.__notes__ == path
    model = serial(relu(), graph((relu(), -1), (serial(dense(3)), 0), (add(), 1, -1)))
    params, state, x = made(model, IMAGE)
    for compute in (lambda z: model.forward(params, z, state, train=True), lambda z: output(model, params, z, state)):
        with pytest.raises(ValueError, match="takes") as error:
            compute(x[..., :2])
        assert error.value.__notes__ == ["in layer 1_graph / 1_serial / 0_dense"]
    vjp = model.forward(params, x, state, train=True)[1]
    with pytest.raises(ValueError, match="dy has shape") as error:
        vjp(np.ones((5, 8, 8, 2)))
    assert error.value.__notes__ == ["in layer 1_graph / 2_add"]


def test_a_layer_of_several_arrays_of_ones_own():
    def difference(a, b):
        return a - b, lambda dy: (dy, -dy)

    model = graph((tanh(), -1), (joining("difference", difference), 0, -1))
    params, state, x = made(model, (4,))
    y, vjp, _ = model.forward(params, x, state, train=True)
    assert np.array_equal(y, np.tanh(x) - x)
    assert np.allclose(vjp(np.ones_like(y))[1], -(np.tanh(x) ** 2), atol=1e-6)
