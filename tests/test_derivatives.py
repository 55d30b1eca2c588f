"""Further derivatives, against finite differences, explicit matrices, the VJPs and single examples."""

import functools

import numpy as np
import pytest
from arrays import distinct, normal

from funcnn import data, gradients, initializers, layers, losses, models, ops, tree
from funcnn.combinators import graph, parallel, residual, serial
from funcnn.derivatives import hessian_eigenvalues, hvp, jacobian, jvp, per_example_gradients, with_per_example_vjp
from funcnn.layer import Layer, parametric, pull_back
from funcnn.layers import conv1d, conv2d, conv3d, dense, dropout, flatten, max_pool, relu, tanh

SMOOTH = [
    layers.celu(), layers.elu(), layers.gelu(), layers.gelu(approximate=True), layers.log_sigmoid(), layers.mish(),
    layers.sigmoid(), layers.silu(), layers.softmax(), layers.log_softmax(), layers.softplus(), layers.softsign(),
    layers.batch_norm(), layers.layer_norm(), layers.rms_norm(), layers.group_norm(2), layers.instance_norm(),
]  # fmt: skip


def inner(a, b):
    return float(tree.ravel(a)[0] @ tree.ravel(b)[0])


def tangent(like, seed=0):
    vector, unravel = tree.ravel(like)
    return unravel(normal(vector.size, seed=seed))


def double(params):
    return tree.map(lambda leaf: leaf.astype(np.float64), params)


def problem(model, in_shape, loss, targets, *, n=5):
    """The gradient of a small model's loss as a function of its parameters, and parameters in double precision."""
    params, state, _ = model.init((0,), in_shape)
    grad_fn = gradients.value_and_grad(model, loss)
    x = normal(n, *in_shape).astype(np.float32)
    return lambda p: grad_fn(p, state, x, targets, (1,))[1], double(params)


def classifier(*body):
    return problem(serial(*body, flatten(), dense(3)), (4, 4, 1), losses.softmax_cross_entropy, np.arange(5) % 3)


def hessian(grad_fn, params):
    """The explicit matrix, by central differences of the gradient: good to some 9 digits."""
    vector, unravel = tree.ravel(params)
    steps = 1e-5 * np.eye(vector.size)
    differences = [
        tree.ravel(grad_fn(unravel(vector + e)))[0] - tree.ravel(grad_fn(unravel(vector - e)))[0] for e in steps
    ]
    return np.array(differences) / 2e-5


def quadratic(values):
    """The gradient of 1/2 <p, H p> for an H of these eigenvalues, and H."""
    basis, _ = np.linalg.qr(normal(len(values), len(values)))
    matrix = basis * values @ basis.T

    def gradient(p):
        vector, unravel = tree.ravel(p)
        return unravel(matrix @ vector)

    return gradient, matrix


def test_jvp_is_the_limit_of_differences():
    params, x = {"w": normal(3, 3, 2, 4), "b": normal(4)}, normal(2, 5, 6, 2)
    dparams, dx = tangent(params), normal(2, 5, 6, 2, seed=1)

    def f(params, x):
        return ops.tanh(ops.conv(params, x)[0])[0]

    y, dy = jvp(f, (params, x), (dparams, dx))
    np.testing.assert_allclose(y, f(params, x), rtol=1e-14)
    ahead, behind = (f(tree.map(lambda p, d: p + h * d, params, dparams), x + h * dx) for h in (1e-5, -1e-5))  # noqa: B023
    np.testing.assert_allclose(dy, (ahead - behind) / 2e-5, rtol=1e-7, atol=1e-8)


def test_jvp_is_the_adjoint_of_vjp():
    x, v = distinct(2, 6, 6, 2), normal(2, 6, 6, 2)
    model = serial(conv2d(3, 3), relu(), max_pool(2), flatten(), dense(4), layers.log_softmax())
    params, state, _ = model.init((0,), x.shape[1:])
    params = double(params)
    y, vjp, _ = model.forward(params, x, state, train=False)
    u, dparams = normal(*y.shape), tangent(params)
    _, dy = jvp(lambda p, x: model.forward(p, x, state, train=False)[0], (params, x), (dparams, v))
    cotangents = vjp(u)
    np.testing.assert_allclose((u * dy).sum(), inner(cotangents[0], dparams) + (cotangents[1] * v).sum(), rtol=1e-12)


def test_jvp_of_trees_and_scalars():
    y, dy = jvp(lambda p: {"square": p["a"] ** 2, "none": {}, "other": 3}, ({"a": np.array(3.0)},), ({"a": 2.0},))
    assert y == {"square": 9.0, "none": {}, "other": 3.0}
    np.testing.assert_allclose(dy["square"], 12.0, rtol=1e-15)
    assert dy["none"] == {} and dy["other"] == 0.0


@pytest.mark.parametrize("size", [1e-200, 1e-20, 1.0, 1e20, 1e200])
def test_tangents_of_any_size_give_exact_derivatives(size):
    x = normal(7)
    _, dy = jvp(lambda x: ops.sigmoid(x)[0], (x,), (size * np.ones(7),))
    np.testing.assert_allclose(dy / size, ops.sigmoid(x)[1](np.ones(7)), rtol=1e-14)


def test_a_tangent_of_zeros_gives_zeros():
    y, dy = jvp(np.exp, (np.ones(2),), (np.zeros(2),))
    np.testing.assert_allclose(y, np.e)
    assert not dy.any()


def test_single_precision_is_computed_in_double():
    x = normal(5).astype(np.float32)
    y, dy = jvp(lambda x: ops.softmax(x)[0], (x,), (np.ones(5),))
    assert y.dtype == dy.dtype == np.float32
    assert np.abs(dy).max() < 1e-15  # the sum stays 1: J 1 = 0, far below what single precision resolves
    assert jacobian(lambda x: x * x, x).dtype == np.float32


@pytest.mark.parametrize(
    ("args", "tangents", "error", "message"),
    [
        (({"w": np.ones(2)},), ({"w": np.ones(3)},), ValueError, r"args\[0\]/w has shape \(2,\), its tangent \(3,\)"),
        (
            ({"w": np.ones(2)},),
            ({"v": np.ones(2)},),
            ValueError,
            r"missing \['args\[0\]/w'\], unexpected \['args\[0\]/v",
        ),
        ((np.ones(2), np.ones(2)), (np.ones(2),), ValueError, "tangents must be as many as the 2 args, got 1"),
        (np.ones(2), np.ones(2), TypeError, "args and tangents must be tuples, not ndarray and ndarray"),
        ((np.arange(3),), (np.ones(3),), TypeError, r"args\[0\] has dtype int64"),
        ((np.ones(3) + 0j,), (np.ones(3),), TypeError, r"args\[0\] has dtype complex128; it must be real"),
        ((np.ones(3),), (np.ones(3) + 0j,), TypeError, r"the tangent of args\[0\] has dtype complex128"),
    ],
)
def test_bad_arguments_are_named(args, tangents, error, message):
    with pytest.raises(error, match=f"jvp: .*{message}"):
        jvp(lambda *args: np.ones(1), args, tangents)


def test_functions_that_return_more_than_their_value():
    with pytest.raises(TypeError, match=r"jvp: the function must return an array .* not tuple; drop all other results"):
        jvp(ops.tanh, (np.ones(2),), (np.ones(2),))
    with pytest.raises(TypeError, match="jacobian: f must return an array, not a tree"):
        jacobian(lambda x: {"y": x}, np.ones(2))
    with pytest.raises(TypeError, match="hvp: the function must return"):
        hvp(lambda p: (1.0, p), {"a": np.ones(2)}, {"a": np.ones(2)})
    with pytest.raises(ValueError, match=r"hvp: params/a has shape \(2,\), its tangent \(3,\)"):
        hvp(lambda p: p, {"a": np.ones(2)}, {"a": np.ones(3)})


def test_jacobian():
    x = normal(2, 3)
    j = jacobian(lambda x: ops.softmax(x)[0], x)
    y, vjp = ops.softmax(x)
    assert j.shape == (2, 3, 2, 3)
    for index in np.ndindex(y.shape):
        dy = np.zeros(y.shape)
        dy[index] = 1.0
        np.testing.assert_allclose(j[index], vjp(dy), rtol=1e-13, atol=1e-16)
    assert jacobian(lambda x: (x**3).sum(), np.array([1.0, 2.0])).tolist() == [3.0, 12.0]
    assert jacobian(lambda x: np.stack([x, x * x]), np.array(3.0)).tolist() == [1.0, 6.0]
    assert jacobian(lambda x: ops.flatten(x)[0], np.ones((2, 0))).shape == (2, 0, 2, 0)


def test_the_jacobian_of_a_gradient_is_the_hessian():
    grad_fn, params = classifier(flatten(), dense(2), tanh())
    vector, unravel = tree.ravel(params)
    h = jacobian(lambda v: tree.ravel(grad_fn(unravel(v)))[0], vector)
    np.testing.assert_allclose(h, h.T, atol=1e-15)
    np.testing.assert_allclose(h, hessian(grad_fn, params), rtol=1e-6, atol=1e-9)


def test_hvp_of_a_quadratic_is_its_matrix():
    gradient, matrix = quadratic(normal(6))
    params, v = {"a": normal(2, 2), "b": normal(2)}, {"a": normal(2, 2, seed=1), "b": normal(2, seed=1)}
    np.testing.assert_allclose(tree.ravel(hvp(gradient, params, v))[0], matrix @ tree.ravel(v)[0], rtol=1e-13)


@pytest.mark.parametrize(
    "body",
    [
        *[(conv2d(2, 3), layer) for layer in SMOOTH],
        (conv2d(4, 2, stride=2, padding="same"), tanh(), layers.conv_transpose2d(4, 2, groups=2), tanh()),
        (residual(serial(conv2d(1, 3, padding=1), tanh())), layers.avg_pool(2), dropout(0.3)),
        (parallel(conv2d(2, 1), conv2d(2, 3, padding=1), join=ops.multiply), layers.global_avg_pool()),
        (conv2d(2, 3), relu(), layers.prelu(), max_pool(2)),  # smooth around almost every point
    ],
    ids=lambda body: " ".join(layer.name for layer in body),
)
def test_hvp(body):
    grad_fn, params = classifier(*body)
    u, v = tangent(params, seed=1), tangent(params, seed=2)
    hu, hv = hvp(grad_fn, params, u), hvp(grad_fn, params, v)
    scale = tree.norm(u) * tree.norm(hv)
    assert abs(inner(u, hv) - inner(hu, v)) <= 1e-12 * scale
    ahead, behind = (grad_fn(tree.map(lambda p, d: p + h * d, params, v)) for h in (1e-6, -1e-6))  # noqa: B023
    differences = tree.map(lambda a, b: (a - b) / 2e-6, ahead, behind)
    assert tree.norm(tree.map(np.subtract, hv, differences)) <= 1e-6 * tree.norm(hv)
    both = hvp(grad_fn, params, tree.map(lambda a, b: 2 * a - 3 * b, u, v))
    linear = tree.map(lambda a, b: 2 * a - 3 * b, hu, hv)
    assert tree.norm(tree.map(np.subtract, both, linear)) <= 1e-13 * (tree.norm(hu) + tree.norm(hv))


CLASSES, PROBABILITIES = np.array([0, 1, 1, 0, 1]), np.linspace(0.1, 0.9, 5)[:, None] @ [[1, -1]] + [[0, 1]]
# the last layer before the loss, and its targets
LOSSES = {
    "cross_entropy": (layers.softmax(), CLASSES),
    "focal": (layers.identity(), CLASSES),
    "hinge": (layers.identity(), 2.0 * CLASSES[:, None] - [1, 1]),
    "huber": (layers.identity(), 3 * normal(5, 2)),
    "kl_divergence": (layers.log_softmax(), PROBABILITIES),
    "mae": (layers.identity(), normal(5, 2)),
    "mse": (layers.identity(), normal(5, 2)),
    "nll": (layers.log_softmax(), CLASSES),
    "sigmoid_binary_cross_entropy": (layers.identity(), PROBABILITIES),
    "softmax_cross_entropy": (layers.identity(), PROBABILITIES),
}


def test_every_loss_is_here():
    assert sorted(LOSSES) == sorted(losses.__all__)


@pytest.mark.parametrize(("name", "last", "targets"), [(name, *case) for name, case in LOSSES.items()])
def test_losses(name, last, targets):
    model, loss = serial(flatten(), dense(3), tanh(), dense(2), last), getattr(losses, name)
    grad_fn, params = problem(model, (4,), loss, targets)
    v = tangent(params)
    expected = hessian(grad_fn, params) @ tree.ravel(v)[0]
    np.testing.assert_allclose(tree.ravel(hvp(grad_fn, params, v))[0], expected, rtol=1e-6, atol=1e-8)
    _, state, _ = model.init((0,), (4,))
    got = per_example_gradients(model, loss, params, state, normal(5, 4), targets)
    each = gradients_in_a_loop(model, loss, params, state, normal(5, 4), targets)
    tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13), got, each)


def assert_eigenpairs(gradient, params, values, vectors, rtol=1e-7):
    for value, u in zip(values, vectors, strict=True):
        hu = hvp(gradient, params, u)
        assert tree.norm(tree.map(lambda a, b: a - value * b, hu, u)) <= rtol * abs(values).max()  # noqa: B023
    gram = [[inner(a, b) for b in vectors] for a in vectors]
    np.testing.assert_allclose(gram, np.eye(len(values)), atol=1e-10)


@pytest.mark.parametrize("k", [1, 3])
def test_the_largest_eigenvalues_of_a_network(k):
    grad_fn, params = classifier(flatten(), dense(3), tanh())
    values, vectors = hessian_eigenvalues(grad_fn, params, k, key=(0,))
    exact = np.linalg.eigvalsh(hessian(grad_fn, params))[::-1]
    np.testing.assert_allclose(values, exact[:k], rtol=1e-7)
    assert_eigenpairs(grad_fn, params, values, vectors)
    smallest, _ = hessian_eigenvalues(lambda p: tree.map(np.negative, grad_fn(p)), params, k, key=(0,))
    np.testing.assert_allclose(-smallest, exact[::-1][:k], rtol=1e-6)


@pytest.mark.parametrize(
    "values",
    [
        [5.0] * 3 + [4.0] * 9,
        [5.0, 5.0 - 1e-9, 5.0 - 2e-9] + [1.0] * 20,
        [7.0, 7.0, 1.0, *np.linspace(-9.0, 0.0, 20)],
        [-3.0, -3.0, -4.0, -5.0],
        [0.0] * 6,
        [1e-12, 1.0, 1e12, 3.0, 1e11],
    ],
    ids=["degenerate", "clustered", "below a larger magnitude", "negative", "zero", "of many sizes"],
)
def test_eigenvalues_as_often_as_they_occur(values):
    gradient, _ = quadratic(np.array(values))
    params = {"a": np.ones(len(values))}
    got, vectors = hessian_eigenvalues(gradient, params, 3, key=(1,))
    expected = np.sort(values)[::-1][:3]
    np.testing.assert_allclose(got, expected, rtol=1e-8, atol=1e-8 * np.abs(values).max())
    assert_eigenpairs(gradient, params, got, vectors)


def test_all_eigenvalues():
    gradient, matrix = quadratic(normal(9))
    values, _ = hessian_eigenvalues(gradient, {"a": np.ones((3, 3))}, 9, key=(0,))
    np.testing.assert_allclose(values, np.linalg.eigvalsh(matrix)[::-1], rtol=1e-12)


def test_eigenvalues_do_not_depend_on_the_key_and_vectors_are_like_params():
    grad_fn, params = classifier(flatten(), dense(3), tanh())
    single = tree.map(np.float32, params)
    values, vectors = hessian_eigenvalues(grad_fn, single, 2, key=(0,))
    again, _ = hessian_eigenvalues(grad_fn, single, 2, key=(5,))
    np.testing.assert_allclose(values, again, rtol=1e-10)
    assert values.dtype == np.float64 and {leaf.dtype for leaf in tree.leaves(vectors[0])} == {np.dtype(np.float32)}
    assert tree.paths(vectors[1]) == tree.paths(params)


def test_eigenvalues_that_cannot_be_found():
    gradient, _ = quadratic(np.linspace(0.9, 1.0, 50))
    params = {"a": np.ones(50)}
    with pytest.raises(np.linalg.LinAlgError, match=r"after 3 products the residual is .*, above tolerance 1e-12"):
        hessian_eigenvalues(gradient, params, key=(0,), tolerance=1e-12, iterations=3)
    with pytest.raises(np.linalg.LinAlgError, match="after 50 products the residual is"):
        hessian_eigenvalues(gradient, params, key=(0,), tolerance=0.0)
    for k in (0, 51, 1.0, True):
        with pytest.raises(ValueError, match=f"k must be an int from 1 to 50, the number of parameters, not {k}"):
            hessian_eigenvalues(gradient, params, k, key=(0,))


def gradients_in_a_loop(model, loss, params, state, x, targets):
    grads = []
    for i in range(len(x)):
        y, vjp, _ = model.forward(params, x[i : i + 1], state, train=False)
        grads.append(vjp(loss(y, targets[i : i + 1])[1](1.0))[0])
    return tree.map(lambda *own: np.array(own), *grads)


MODELS = {
    "dense": (dense(3), (4,)),
    "dense on rows": (serial(dense(2), flatten(), dense(3)), (5, 4)),
    "conv1d": (serial(conv1d(4, 3, stride=2, padding=1, groups=2), flatten(), dense(3)), (40, 2)),
    "conv2d": (serial(conv2d(4, 3, dilation=2), tanh(), conv2d(6, (2, 3), groups=2), flatten(), dense(3)), (16, 17, 2)),
    "conv2d of tiny images": (serial(conv2d(2, 3), flatten(), dense(3)), (4, 4, 1)),
    "conv3d": (serial(conv3d(4, 2, groups=2, padding="same"), flatten(), dense(3)), (3, 6, 5, 2)),
    "prelu": (serial(layers.prelu(), conv2d(2, 3), layers.prelu(), flatten(), dense(3)), (6, 6, 3)),
    "parameter": (
        graph(
            (layers.parameter((2, 1, 3), value_init=initializers.standard_normal), -1),
            (layers.concat(axis=1), 0, -1),
            (layers.prelu(slope_shape=(1,)), 1),
            (layers.prelu(slope_shape=(6, 1, 1)), 2),
            (flatten(), 3),
            (dense(3), 4),
        ),
        (4, 1, 3),
    ),
    "affine": (
        serial(
            layers.affine(),
            layers.affine(scale_shape=(5, 1, 2), bias_shape=()),
            layers.affine(scale_shape=False, bias_shape=(4, 1)),
            layers.affine(scale_shape=(5, 4, 2), bias_shape=False),
            flatten(),
            dense(3),
            layers.affine(scale_shape=(1,)),
        ),
        (5, 4, 2),
    ),
    "branches": (
        serial(residual(serial(conv2d(2, 3, padding=1), relu())), parallel(tanh(), conv2d(2, 1)), flatten(), dense(3)),
        (5, 5, 2),
    ),
}


@pytest.mark.parametrize(("model", "in_shape"), MODELS.values(), ids=MODELS.keys())
def test_per_example_gradients_are_those_of_examples_one_by_one(model, in_shape):
    params, state, _ = model.init((0,), in_shape)
    params, x, labels = double(params), normal(7, *in_shape), np.arange(7) % 3
    loss = losses.softmax_cross_entropy
    got = per_example_gradients(model, loss, params, state, x, labels)
    expected = gradients_in_a_loop(model, loss, params, state, x, labels)
    tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13), got, expected)
    batch = gradients.value_and_grad(model, loss)(params, state, x, labels)[1]
    tree.map(lambda a, b: np.testing.assert_allclose(a.mean(0), b, rtol=1e-11, atol=1e-13), got, batch)


def test_many_chunks_of_a_batch_are_concatenated():
    params, x = {"w": normal(3, 3, 8, 4), "b": normal(4)}, normal(20, 30, 30, 8)  # some 0.5 MB of windows an image
    y, _ = ops.conv(params, x)
    dy = normal(*y.shape)
    examples = with_per_example_vjp(conv2d(4, 3))
    got = pull_back(examples, examples.forward(params, x, {}, train=False)[1], dy, input_gradient=False)[0]
    for i in (0, 1, 2, 19):
        own, _ = ops.conv(params, x[i : i + 1])[1](dy[i : i + 1])
        np.testing.assert_allclose(got["w"][i], own["w"], rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(got["b"][i], own["b"], rtol=1e-10)


def test_the_mean_over_examples_is_the_gradient_of_the_batch():
    model = serial(flatten(), dense(5), dropout(0.4), relu(), dense(3))
    params, state, _ = model.init((0,), (4, 4, 1))
    x, labels, weights = normal(6, 4, 4, 1), np.arange(6) % 3, np.array([0.0, 1.0, 2.0, 0.5, 1.0, 3.0])
    loss = losses.softmax_cross_entropy
    options = {"key": (3,), "sample_weight": weights}
    got = per_example_gradients(model, loss, double(params), state, x, labels, train=True, **options)
    batch = gradients.value_and_grad(model, loss)(double(params), state, x, labels, **options)[1]
    tree.map(lambda a, b: np.testing.assert_allclose(a.mean(0), b, rtol=1e-12, atol=1e-15), got, batch)
    assert not got["1_dense"]["w"][0].any()  # no weight
    plain = per_example_gradients(model, loss, double(params), state, x, labels)
    weighted = per_example_gradients(model, loss, double(params), state, x, labels, sample_weight=weights)
    share = 6 * weights / weights.sum()
    np.testing.assert_allclose(weighted["4_dense"]["b"], share[:, None] * plain["4_dense"]["b"], rtol=1e-12)


def test_layers_without_a_rule_are_differentiated_one_example_at_a_time():
    def plain_scale(params, x):
        def vjp(dy):
            return {"s": (dy * x).sum(axis=(0, 1, 2))}, params["s"] * dy

        return params["s"] * x, vjp

    def init_params(key, in_shape):
        return {"s": np.ones(in_shape[-1:], np.float32)}

    scale = parametric("scale", init_params, plain_scale)
    silent = conv2d(2, 1)._replace(forward=without_keywords(conv2d(2, 1)))
    model = serial(scale, silent, conv2d(2, 3), residual(scale), flatten(), dense(3))
    params, state, _ = model.init((0,), (5, 5, 2))
    x, labels = normal(4, 5, 5, 2), np.arange(4) % 3
    got = per_example_gradients(model, losses.softmax_cross_entropy, double(params), state, x, labels)
    expected = gradients_in_a_loop(model, losses.softmax_cross_entropy, double(params), state, x, labels)
    tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13), got, expected)


def without_keywords(layer: Layer):
    def forward(params, x, state, *, train, key=None):
        y, vjp, new_state = layer.forward(params, x, state, train=train, key=key)
        return y, lambda dy: vjp(dy), new_state

    return forward


def wrapped_vjps(layer: Layer, wrap):
    """The layer with its VJPs wrapped, in the two ways in which people write wrappers."""

    def forward(params, x, state, *, train, key=None):
        y, vjp, new_state = layer.forward(params, x, state, train=train, key=key)
        return y, functools.wraps(vjp)(wrap(vjp)), new_state

    return layer._replace(forward=forward)


WRAPPERS = {
    "takes only dy": lambda vjp: lambda dy: vjp(dy),
    "of anything": lambda vjp: lambda *args, **options: vjp(*args, **options),
    "with another default": lambda vjp: lambda dy, *, input_gradient=True: vjp(dy),
}


@pytest.mark.parametrize("n", [3, 1, 0])
@pytest.mark.parametrize("input_gradient", [True, False])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_wrapped_vjp_behaves_as_the_unwrapped_one(n, input_gradient, wrapper):
    plain = dense(2)
    layer, params = wrapped_vjps(plain, WRAPPERS[wrapper]), {"w": normal(4, 2), "b": normal(2)}
    x, dy = normal(n, 4), normal(n, 2)
    expected, got = (
        pull_back(each, each.forward(params, x, {}, train=True)[1], dy, input_gradient=input_gradient)
        for each in (plain, layer)
    )
    assert (got[1] is None) == (expected[1] is None) == (not input_gradient)
    for path, leaf in tree.flatten(expected[0]).items():
        np.testing.assert_array_equal(got[0][path], leaf)
    model, params = (
        serial(layer, tanh(), layer),
        {"0_dense": params, "1_tanh": {}, "2_dense": {"w": normal(2, 2), "b": normal(2)}},
    )
    twin = serial(plain, tanh(), plain)
    state = {name: {} for name in params}
    expected, got = (
        pull_back(each, each.forward(params, x, state, train=True)[1], dy, input_gradient=input_gradient)
        for each in (twin, model)
    )
    for path, leaf in tree.flatten(expected[0]).items():
        np.testing.assert_array_equal(tree.flatten(got[0])[path], leaf)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_wrapped_vjp_has_the_same_gradients_of_each_example(wrapper):
    plain = serial(conv2d(2, 3), flatten(), dense(3))
    wrapped = serial(
        wrapped_vjps(conv2d(2, 3), WRAPPERS[wrapper]), flatten(), wrapped_vjps(dense(3), WRAPPERS[wrapper])
    )
    params, state, _ = plain.init((0,), (5, 5, 1))
    x, labels = normal(4, 5, 5, 1), np.arange(4) % 3
    expected, got = (
        per_example_gradients(model, losses.softmax_cross_entropy, double(params), state, x, labels)
        for model in (plain, wrapped)
    )
    tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13), got, expected)


@pytest.mark.parametrize("shape", [(4,), (2, 6), (2, 3, 4)])
def test_per_example_gradients_of_an_embedding(shape):
    ids, w = np.random.default_rng(0).integers(0, 5, shape), normal(5, 3)
    examples = with_per_example_vjp(layers.embedding(5, 3))
    y, vjp, _ = examples.forward({"w": w}, ids, {}, train=False)
    dy, n = normal(*y.shape), len(ids)
    one_hot, rows = np.eye(5)[ids].reshape(n, -1, 5), dy.reshape(n, -1, 3)
    each = np.einsum("npv,npd->nvd", one_hot, rows)
    np.testing.assert_allclose(vjp(dy)[0]["w"], each, rtol=1e-12, atol=1e-12)


def test_normalising_over_the_examples_leaves_none_of_their_own():
    layer = parametric("norm", lambda key, in_shape: {}, ops.layer_norm, {"axes": (0, 1)})
    params = {"scale": normal(5, 4), "bias": normal(5, 4)}
    _, vjp, _ = with_per_example_vjp(layer).forward(params, normal(5, 4), {}, train=False)
    with pytest.raises(ValueError, match="axis 0 is normalised over"):
        vjp(np.ones((5, 4)))


def test_layers_that_need_all_examples_refuse_in_training():
    model = serial(conv2d(2, 3), layers.batch_norm(), flatten(), dense(3))
    params, state, _ = model.init((0,), (5, 5, 1))
    x, labels = normal(4, 5, 5, 1), np.arange(4) % 3
    got = per_example_gradients(model, losses.softmax_cross_entropy, double(params), state, x, labels)
    assert got["1_batch_norm"]["scale"].shape == (4, 2)
    with pytest.raises(ValueError, match="examples share their statistics") as error:
        per_example_gradients(model, losses.softmax_cross_entropy, params, state, x, labels, train=True)
    assert error.value.__notes__ == ["in layer 1_batch_norm"]


def test_per_example_gradients_keep_their_dtype():
    x, labels = data.digits()
    for model in (models.convnet(channels=(2, 3), hidden=(4,)), models.seed_convnet()):
        params, state, _ = model.init((0,), (8, 8, 1))
        got = per_example_gradients(model, losses.softmax_cross_entropy, params, state, x[:5], labels[:5])
        assert {leaf.dtype for leaf in tree.leaves(got)} == {np.dtype(np.float32)}
        shapes = tree.map(lambda g, p: (g.shape, (5, *p.shape)), got, params)
        assert all(a == b for a, b in tree.leaves(shapes))
