"""The checks check: each of them catches a gradient, a closure or a layer that is wrong in one way only."""

import numpy as np
import pytest
from arrays import normal

from funcnn import derivatives, ops, tree
from funcnn.combinators import serial
from funcnn.layer import Layer, parametric
from funcnn.layers import batch_norm, conv2d, dense, dropout, tanh
from funcnn.testing import check_layer, check_vjp

PARAMS = {"w": normal(3, 3, 2, 4), "b": normal(4)}
X = normal(2, 5, 6, 2)
RNG = np.random.default_rng(0)


def spoiled(op, spoil):
    """The op with its cotangents changed by ``spoil(*cotangents) -> cotangents``."""

    def wrong(*args):
        y, vjp = op(*args)

        def wrong_vjp(dy):
            cotangents = vjp(dy)
            return spoil(*cotangents) if isinstance(cotangents, tuple) else spoil(cotangents)

        return y, wrong_vjp

    return wrong


def changed(array, index, by):
    array = array.copy()
    array[index] += by
    return array


WRONG = {
    "a dropped factor": (spoiled(ops.tanh, lambda dx: 2 * dx), (normal(3, 4),), "argument 0"),
    "a factor barely wrong": (spoiled(ops.tanh, lambda dx: dx * (1 + 1e-8)), (normal(3, 4),), "argument 0"),
    "a wrong sign": (spoiled(ops.conv, lambda dp, dx: (dp, -dx)), (PARAMS, X), "argument 1"),
    "a transposed weight": (
        spoiled(ops.dense, lambda dp, dx: ({**dp, "w": dp["w"].T}, dx)),
        ({"w": normal(5, 5), "b": normal(5)}, normal(3, 5)),
        "argument 0, leaf 'w'",
    ),
    "a kernel not flipped": (
        spoiled(ops.conv, lambda dp, dx: (dp, dx[:, ::-1])),
        (PARAMS, X),
        "argument 1",
    ),
    "a forgotten bias": (
        spoiled(ops.conv, lambda dp, dx: ({**dp, "b": np.zeros_like(dp["b"])}, dx)),
        (PARAMS, X),
        "argument 0, leaf 'b'",
    ),
    "one wrong element among thousands": (
        spoiled(ops.dense, lambda dp, dx: ({**dp, "w": changed(dp["w"], (70, 31), 1e-6)}, dx)),
        ({"w": normal(100, 60), "b": normal(60)}, normal(3, 100)),
        "argument 0, leaf 'w'",
    ),
    "two elements swapped": (
        spoiled(ops.relu, lambda dx: dx[:, [1, 0, 2, 3]]),
        (abs(normal(3, 4)),),
        "argument 0",
    ),
    "a mean for a sum": (
        spoiled(ops.dense, lambda dp, dx: (tree.map(lambda g: g / 3, dp), dx)),
        ({"w": normal(5, 4), "b": normal(4)}, normal(3, 5)),
        "argument 0, leaf",
    ),
}


def softmax_without_its_second_term(x):
    y, _ = ops.softmax(x)

    def vjp(dy):
        if np.shape(dy) != y.shape:
            raise ValueError("wrong shape")
        return y * dy

    return y, vjp


WRONG["a missing term"] = (softmax_without_its_second_term, (normal(3, 4),), "argument 0")


@pytest.mark.parametrize(("f", "args", "where"), WRONG.values(), ids=WRONG.keys())
def test_wrong_gradients_are_caught(f, args, where):
    with pytest.raises(AssertionError, match=rf"{where}.*: <dy, J v> = .*, but <vjp\(dy\), v> = "):
        check_vjp(f, *args)


@pytest.mark.parametrize(
    "name", [name for name in WRONG if name not in ("a factor barely wrong", "one wrong element among thousands")]
)
def test_central_differences_catch_them_too(name):
    f, args, where = WRONG[name]
    with pytest.raises(AssertionError, match=where):
        check_vjp(f, *args, method="central")


def test_exact_differences_catch_one_wrong_element():
    f, args, where = WRONG["one wrong element among thousands"]
    with pytest.raises(AssertionError, match=where):
        check_vjp(f, *args, method="central", step=1.0, rtol=1e-12)


def square(x, vjp_of):
    x = np.asarray(x)
    return x * x, vjp_of(x)


def checked(dy, x):
    dy = np.asarray(dy)
    if dy.shape != x.shape:
        raise ValueError("wrong shape")
    return dy.astype(x.dtype) if dy.dtype.kind != "c" else dy


def overwrites_x(x):
    y = np.exp(x)
    x += 1
    return y, lambda dy: checked(dy, y) * y


def overwrites_dy(x):
    def vjp(dy):
        dy *= 2 * x
        return dy

    return x * x, vjp


def forgets_after_one_call(x):
    saved = [2 * x]

    def vjp(dy):
        return checked(dy, x) * (saved.pop() if saved else 1)

    return x * x, vjp


def accumulates(x):
    total = np.zeros_like(x)

    def vjp(dy):
        nonlocal total
        total = total + checked(dy, x) * 2 * x
        return total

    return x * x, vjp


BROKEN = {
    "writes to its argument": (overwrites_x, (ValueError, AssertionError), "read-only|written"),
    "writes to the cotangent": (overwrites_dy, (ValueError, AssertionError), "read-only"),
    "cannot be called again": (
        forgets_after_one_call,
        AssertionError,
        "called twice with the same dy gave different results",
    ),
    "adds up over calls": (accumulates, AssertionError, "called twice with the same dy gave different results"),
    "is not linear": (
        lambda x: square(x, lambda x: lambda dy: 2 * x * checked(dy, x) * (1 + 1e-3 * (np.sum(dy) - DY_SUM))),
        AssertionError,
        "not linear|but <vjp",
    ),
    "takes any dy": (
        lambda x: square(x, lambda x: lambda dy: 2 * x * dy),
        (AssertionError, ValueError),
        "accepted a dy",
    ),
    "promotes float32": (
        lambda x: (x * np.float64(2), lambda dy: checked(dy, x) * 2),
        AssertionError,
        "float32 arguments gave an output of float64",
    ),
    "promotes the cotangent": (
        lambda x: square(x, lambda x: lambda dy: np.float64(2) * x * checked(dy, x)),
        AssertionError,
        "argument 0 in float32: the cotangent '' has dtype float64",
    ),
    "returns another shape": (
        lambda x: square(x, lambda x: lambda dy: (2 * x * checked(dy, x)).ravel()),
        AssertionError,
        "its leaves have shapes",
    ),
    "draws random numbers": (
        lambda x: square(x + RNG.random(), lambda x: lambda dy: 2 * x * checked(dy, x)),
        AssertionError,
        "<dy, J v>|two outputs",
    ),
}
DY_SUM = 0.0


@pytest.mark.parametrize(("f", "error", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_rules_are_caught(f, error, message):
    with pytest.raises(error, match=message):
        check_vjp(f, normal(3, 4), strict=True)


@pytest.mark.parametrize("name", ["takes any dy", "promotes float32", "promotes the cotangent"])
def test_a_right_gradient_will_do_unless_strictness_is_asked_for(name):
    check_vjp(BROKEN[name][0], normal(3, 4))


def test_a_function_that_is_not_analytic_is_pointed_out():
    def absolute(x):
        return np.abs(x), lambda dy: dy * np.sign(x.real)

    with pytest.raises(AssertionError) as error:
        check_vjp(absolute, normal(3, 4))
    assert "f is not analytic (then use method='central')" in error.value.__notes__[0]
    check_vjp(absolute, normal(3, 4), method="central")


def test_wrong_number_and_structure_of_cotangents():
    with pytest.raises(AssertionError, match="the vjp of 2 arguments must return 2 cotangents"):
        check_vjp(spoiled(ops.conv, lambda dp, dx: (dp, dx, dx)), PARAMS, X)
    with pytest.raises(AssertionError, match="argument 0: its leaves have shapes"):
        check_vjp(spoiled(ops.conv, lambda dp, dx: ({"w": dp["w"]}, dx)), PARAMS, X)


def test_by_products_are_allowed():
    def with_statistics(x):
        return *ops.tanh(x), {"mean": x.mean()}

    check_vjp(with_statistics, normal(3, 4))


def forward_changed(layer, change):
    def forward(params, x, state, *, train, key=None):
        return change(*layer.forward(params, x, state, train=train, key=key), train)

    return layer._replace(forward=forward)


LAYERS = {
    "promises another shape": (
        dense(4)._replace(init=lambda key, in_shape: (*dense(4).init(key, in_shape)[:2], (5,))),
        r"init returned out_shape \(5,\), forward gave \(4,\)",
    ),
    "has a wrong gradient in training only": (
        forward_changed(dense(4), lambda y, vjp, s, train: (2 * y if train else y, vjp, s)),
        "<dy, J v>",
    ),
    "grows state": (
        forward_changed(dense(4), lambda y, vjp, s, train: (y, vjp, {"n": np.zeros(())})),
        "the leaves of the state changed",
    ),
    "ignores unexpected parameters": (
        Layer(
            "lax",
            dense(4).init,
            lambda params, x, state, *, train, key=None: (*ops.dense({n: params[n] for n in "wb"}, x), {}),
        ),
        "unexpected leaf were accepted",
    ),
    "draws initial values afresh": (
        dense(4)._replace(init=lambda key, s: dense(4).init((int(RNG.integers(100)),), s)),
        "init called twice with the same key gave different results",
    ),
}


@pytest.mark.parametrize(("layer", "message"), LAYERS.values(), ids=LAYERS.keys())
def test_broken_layers_are_caught(layer, message):
    with pytest.raises(AssertionError, match=message):
        check_layer(layer, (6,), strict=True)


def test_gradients_of_each_example_that_are_wrong_are_caught(monkeypatch):
    right = derivatives._EXAMPLE_RULES[ops.dense]

    def check(wrong):
        rules = {**derivatives._EXAMPLE_RULES, ops.dense: lambda *arguments: wrong(right(*arguments))}
        monkeypatch.setattr(derivatives, "_EXAMPLE_RULES", rules)
        check_layer(dense(4), (6,))

    check(lambda dparams: dparams)
    for wrong, message in (
        (lambda dparams: {**dparams, "b": dparams["b"][::-1]}, "per-example gradients, leaf 'b': differ by"),
        (lambda dparams: {**dparams, "w": dparams["w"] / 3}, "per-example gradients, leaf 'w': differ by"),
        (lambda dparams: {**dparams, "w": dparams["w"].sum(0)}, "per-example gradients: its leaves have shapes"),
    ):
        with pytest.raises(AssertionError, match=message) as error:
            check(wrong)
        assert error.value.__notes__ == ["in evaluation"]


def test_examples_that_see_each_other_in_evaluation_are_caught():
    def mixing(params, x):
        centred = x - x.sum(axis=0) / 3

        def vjp(dy):
            return {"s": (dy * centred).sum(axis=0)}, params["s"] * (dy - dy.sum(axis=0) / 3)

        return params["s"] * centred, vjp

    layer = parametric("mixing", lambda key, in_shape: {"s": np.ones(in_shape, np.float32)}, mixing)
    with pytest.raises(AssertionError, match="per-example gradients, leaf 's': differ by"):
        check_layer(layer, (6,))


def test_a_layer_whose_examples_depend_on_each_other_in_evaluation_is_caught():
    def mirrored(params, x):
        def vjp(dy):
            return {"s": ((x + x[::-1]) * dy).sum(axis=0)}, params["s"] * (dy + dy[::-1])

        return params["s"] * (x + x[::-1]), vjp

    layer = parametric("mirrored", lambda key, in_shape: {"s": np.ones(in_shape, np.float32)}, mirrored)
    with pytest.raises(AssertionError, match=r"leaf 's': differ by .* from the gradients of batches of one"):
        check_layer(layer, (6,))


def test_a_layer_whose_state_moves_in_evaluation_is_caught():
    def init(key, in_shape):
        return {}, {"n": np.zeros(())}, in_shape

    def forward(params, x, state, *, train, key=None):
        if params:
            raise ValueError("no params")
        y, vjp = ops.relu(x)
        return y, lambda dy: ({}, vjp(dy)), {"n": state["n"] + 1}

    with pytest.raises(AssertionError, match="evaluation changed the state") as error:
        check_layer(Layer("counter", init, forward), (3,))
    assert error.value.__notes__ == ["in evaluation"]


def test_good_layers_pass():
    check_layer(conv2d(3, 3), (5, 5, 2))
    check_layer(dropout(0.5), (7,))


@pytest.mark.parametrize("method", ["complex", "central"])
def test_a_gradient_of_zero_through_cancellation_is_no_error(method):
    # the normalisation cancels the bias, so its gradient is only rounding error
    for seed in range(5):
        check_layer(serial(conv2d(2, 3), batch_norm(), tanh()), (5, 6, 2), method=method, key=(seed,))


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_a_cotangent_that_is_not_finite(value):
    # infinity is within any fraction of infinity
    with pytest.raises(AssertionError, match="a cotangent is not finite"):
        check_vjp(spoiled(ops.tanh, lambda dx: changed(dx, (0, 0), value)), normal(3, 4))
