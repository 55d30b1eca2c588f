"""Models: their shapes, sizes and gradients, and that they can be rebuilt from plain arguments."""

import inspect

import numpy as np
import pytest
from arrays import normal

from funcnn import layers, models, tree
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
    "convnet, of a row": (
        models.convnet(2, channels=(3, 2), hidden=(4,), activation="gelu", image_shape=(1, 5, 2)),
        (1, 5, 2),
        (3 * 2 * 3 + 3) + (2 * 3 * 2 + 2) + (2 * 4 + 4) + (4 * 2 + 2),
    ),
    "convnet, pools and kernels of two sizes": (
        models.convnet(2, channels=(3,), hidden=(4,), kernel_size=[3, 1], pool=[1, 3], dropout_rate=[None, 0.5]),
        (4, 7, 1),
        (3 * 3 + 3) + (24 * 4 + 4) + (4 * 2 + 2),
    ),
    "network": (
        models.network(
            [
                {"layer": "conv2d", "arguments": {"features": 2, "kernel_size": [3, 3], "padding": 1}},
                {"layer": "relu"},
                {"layer": "concat", "sources": [0, 1]},
                {"layer": "flatten"},
                {"layer": "dense", "arguments": {"features": 3}},
            ]
        ),
        (4, 4, 1),
        (18 + 2) + (64 * 3 + 3),
    ),
    "described": (
        models.described(
            {"layer": "serial", "layers": [{"layer": "flatten"}, {"layer": "dense", "arguments": {"features": 3}}]}
        ),
        (4, 4, 1),
        16 * 3 + 3,
    ),
    "fine_tuned": (
        models.fine_tuned({"name": "mlp", "arguments": {"outputs": 3, "hidden": [6]}}, frozen_layers=3),
        (5,),
        6 * 3 + 3,
    ),
    "mlp": (models.mlp(1, hidden=(6, 4)), (5,), 36 + 28 + 5),
    "mlp on images": (models.mlp(3, hidden=()), (2, 3, 1), 21),
    "vgg": (
        models.vgg(3, blocks=((2, 3), (4,)), hidden=(5,)),
        (4, 4, 1),
        (18 + 4) + (54 + 6) + (108 + 8) + (4 * 5 + 5) + (5 * 3 + 3),
    ),
    "vgg, without norms": (
        models.vgg(3, blocks=((2,),), hidden=(), normalize=False),
        (4, 4, 1),
        (18 + 2) + (8 * 3 + 3),
    ),
    "resnet": (
        models.resnet(3, blocks=(1, 2), channels=(2, 4)),
        (5, 6, 1),
        (18 + 4) + (36 + 4 + 36 + 4) + (72 + 8 + 144 + 8 + 8 + 8) + (144 + 8 + 144 + 8) + (12 + 3),
    ),
    "resnet, bottlenecks for large images": (
        models.resnet(3, blocks=(1, 1), channels=(2, 3), bottleneck=True, large_images=True),
        (17, 16, 1),
        (98 + 4) + (4 + 4 + 36 + 4 + 16 + 16 + 16 + 16) + (24 + 6 + 81 + 6 + 36 + 24 + 96 + 24) + (36 + 3),
    ),
    "mobilenet": (
        models.mobilenet(3, stem=(2, 1), blocks=((4, 1), (6, 2))),
        (5, 6, 1),
        (18 + 4) + (18 + 4 + 8 + 8) + (36 + 8 + 24 + 12) + (18 + 3),
    ),
    "fcn": (
        models.fcn(3, channels=(2, 4), kernel_sizes=(4, 3)),
        (7, 2),
        (4 * 2 * 2 + 4) + (3 * 2 * 4 + 8) + (4 * 3 + 3),
    ),
    "fcn, masked": (
        models.fcn(3, channels=(2, 4), kernel_sizes=(4, 3), masked=True),
        (7, 3),
        (4 * 2 * 2 + 4) + (3 * 2 * 4 + 8) + (4 * 3 + 3),
    ),
    "resnet1d": (
        models.resnet1d(3, channels=(2, 2), kernel_sizes=(4, 3)),
        (7, 1),
        (4 * 2 + 4 + 3 * 4 + 4) + (2 + 4) + (4 * 4 + 4 + 3 * 4 + 4) + 4 + (2 * 3 + 3),
    ),
    "resnet1d, masked": (
        models.resnet1d(3, channels=(2, 3), kernel_sizes=(3,), masked=True),
        (7, 2),
        (3 * 2 + 4) + (2 + 4) + (3 * 6 + 6) + (6 + 6) + (3 * 3 + 3),
    ),
    "inception_time": (
        models.inception_time(3, depth=4, channels=2, kernel_sizes=(4, 2), bottleneck=3),
        (7, 1),
        (4 * 2 + 2 * 2 + 2 + 12) + 3 * (6 * 3 + 4 * 6 + 2 * 6 + 6 * 2 + 12) + (6 + 12) + (6 * 3 + 3),
    ),
    "inception_time, masked and multivariate": (
        models.inception_time(3, depth=3, channels=1, kernel_sizes=(3,), bottleneck=2, multivariate=True, masked=True),
        (7, 4),
        (3 * 2 + 3 * 2 + 3 + 4) + 2 * (2 * 2 + 3 * 2 + 2 + 4) + (3 * 2 + 4) + (2 * 3 + 3),
    ),
    "ensemble": (
        models.ensemble({"name": "mlp", "arguments": {"outputs": 3, "hidden": [4]}}, members=2),
        (5,),
        2 * ((5 * 4 + 4) + (4 * 3 + 3)),
    ),
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


VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
IMAGENET = {"channels": (64, 128, 256, 512), "large_images": True}


@pytest.mark.parametrize(
    ("model", "in_shape", "parameters"),
    [
        # the sizes that the papers' and everybody's implementations have
        (models.resnet(10), (32, 32, 3), 272_474),
        (models.resnet(10, blocks=(9, 9, 9)), (32, 32, 3), 855_770),
        (models.resnet(1000, blocks=(2, 2, 2, 2), **IMAGENET), (64, 64, 3), 11_689_512),
        (models.resnet(1000, blocks=(3, 4, 6, 3), bottleneck=True, **IMAGENET), (64, 64, 3), 25_557_032),
        (models.mobilenet(1000), (64, 64, 3), 4_231_976),
        (models.fcn(2), (20, 1), 264_450),
        (models.resnet1d(2), (20, 1), 503_106),
        (models.inception_time(2), (20, 1), 420_450),
        (models.vgg(10, blocks=VGG16, hidden=(), normalize=False), (32, 32, 3), 14_714_688 + 5130),
    ],
)
def test_published_sizes(model, in_shape, parameters):
    params, _, _ = model.init((0,), in_shape)
    assert tree.size(params) == parameters


def test_a_deep_residual_network_keeps_the_size_of_its_activations():
    model = models.resnet(10, blocks=(9, 9, 9))
    params, state, _ = model.init((0,), (16, 16, 3))
    y, vjp, _ = model.forward(params, normal(8, 16, 16, 3).astype(np.float32), state, train=True)
    dparams, _ = vjp(normal(*y.shape))
    assert 0.1 < y.std() < 10
    assert all(tree.norm(child) > 1e-6 for child in dparams.values() if tree.leaves(child))


@pytest.mark.parametrize("activation", models.ACTIVATIONS)
def test_convnets_activation(activation):
    model = models.convnet(2, channels=(3,), hidden=(4,), activation=activation, dropout_rate=0.0)
    layer = getattr(layers, activation)()
    assert [child.name for child in model.children if child.name == layer.name] == [layer.name] * 2
    params, state, _ = model.init((0,), (4, 4, 1))
    y, _, _ = model.forward(params, normal(2, 4, 4, 1), state, train=False)
    assert np.isfinite(y).all()


def test_a_dropout_layer_stands_before_a_dense_layer_that_has_a_rate():
    def names(**options):
        model = models.convnet(2, channels=(), hidden=(4, 3), **options)
        return " ".join(child.name for child in model.children)

    assert names() == "flatten dropout dense relu dropout dense relu dropout dense"
    assert names(dropout_rate=0) == names()
    assert names(dropout_rate=(None, 0.5, None)) == "flatten dense relu dropout dense relu dense"
    assert names(dropout_rate=[None] * 3) == "flatten dense relu dense relu dense"


@pytest.mark.parametrize(("in_shape", "pools"), [((8, 8, 1), 2), ((3, 3, 1), 1), ((1, 1, 1), 0), ((1, 4, 1), 2)])
def test_with_an_image_shape_any_image_has_a_convnet(in_shape, pools):
    model = models.convnet(2, channels=(3, 4), kernel_size=5, hidden=(), image_shape=in_shape)
    assert [child.name for child in model.children].count("max_pool") == pools
    assert model.init((0,), in_shape)[2] == (2,)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"activation": "step"}, "activation must be one of celu, .*, tanh, got 'step'"),
        ({"kernel_size": (3, 3, 3)}, r"kernel_size must be an int >= 1 or a pair of them, got \(3, 3, 3\)"),
        ({"pool": 0}, "pool must be an int >= 1 or a pair of them, got 0"),
        ({"pool": 1.5}, "pool must be an int >= 1 or a pair of them, got 1.5"),
        ({"image_shape": (8,)}, r"image_shape must be an int >= 1 or a pair of them, got \(8,\)"),
        ({"dropout_rate": (0.1, 0.1, 0.1)}, "dropout_rate must be one number, or 2, one for each dense layer"),
        ({"dropout_rate": 1.0}, "rate"),
    ],
)
def test_convnets_arguments_out_of_range(arguments, words):
    with pytest.raises(ValueError, match=words):
        models.convnet(**arguments)


def test_stages_that_do_not_pair():
    with pytest.raises(ValueError, match=r"for each stage, got \(3, 3\) and \(16,\)"):
        models.resnet(blocks=(3, 3), channels=(16,))


# The others have no defaults.
@pytest.mark.parametrize("name", sorted({*models.__all__} - {"described", "ensemble", "fine_tuned", "network"}))
def test_arguments_are_plain(name):
    for parameter in inspect.signature(getattr(models, name)).parameters.values():
        assert isinstance(parameter.default, (int, float, str, tuple)), parameter
    assert getattr(models, name)().name == name


def test_an_image_too_small_is_named():
    with pytest.raises(ValueError, match="window spans 3 positions") as error:
        models.seed_convnet().init((0,), (2, 8, 1))
    assert error.value.__notes__ == ["in layer 0_conv2d"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: models.convnet(channels=4), "convnet: channels must be a sequence such as .16, 32., not 4"),
        (lambda: models.convnet(hidden=None), "convnet: hidden must be a sequence"),
        (lambda: models.mlp(hidden="12"), "mlp: hidden must be a sequence .*, not '12'"),
        (lambda: models.vgg(blocks=3), "vgg: blocks must be a sequence"),
        (lambda: models.vgg(blocks=((8,), 16)), r"vgg: blocks\[1\] must be a sequence .*, not 16"),
        (lambda: models.resnet(blocks=3), "resnet: blocks must be a sequence"),
        (lambda: models.mobilenet(stem=8), "mobilenet: stem must be a sequence"),
        (lambda: models.fcn(channels=8), "fcn: channels must be a sequence"),
        (lambda: models.resnet1d(kernel_sizes=8), "resnet1d: kernel_sizes must be a sequence"),
        (lambda: models.inception_time(kernel_sizes=8), "inception_time: kernel_sizes must be a sequence"),
        (lambda: models.mobilenet(blocks=(8, 1)), r"mobilenet: blocks\[0\] must be a sequence"),
    ],
)
def test_options_that_are_no_sequences_are_named(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_fine_tuned_freezes_the_first_layers_of_another_model():
    body = {"name": "mlp", "arguments": {"outputs": 3, "hidden": [5]}}
    params, state, _ = models.fine_tuned(body, frozen_layers=2).init((0,), (4,))
    assert tree.paths(params) == ["1_serial/2_dense/b", "1_serial/2_dense/w"]
    assert tree.paths(state) == ["0_frozen/params/1_dense/b", "0_frozen/params/1_dense/w"]
    for other in (
        {"name": "fine_tuned", "arguments": {"body": body, "frozen_layers": 1}},
        {"name": "mlp"},
        "mlp",
        None,
    ):
        with pytest.raises(ValueError, match="fine_tuned: body must be a dict of the name of another model"):
            models.fine_tuned(other, frozen_layers=1)
    for frozen_layers in (0, 5, "2", True, None):
        with pytest.raises(ValueError, match="cannot be split after"):
            models.fine_tuned(body, frozen_layers=frozen_layers)


def test_a_description_of_a_fine_tuned_model_is_as_large_as_its_body():
    body = {"name": "mlp", "arguments": {"hidden": [1] * 100}}
    with pytest.raises(ValueError, match="would have more layers than the parameters have arrays"):
        models.build({"name": "fine_tuned", "arguments": {"body": body, "frozen_layers": 1}}, arrays=20)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: models.fcn(channels=(8, 8)), r"fcn: .* an entry for each convolution, got \(8, 8\) and \(8, 5, 3\)"),
        (lambda: models.resnet1d(channels=()), "resnet1d: channels and kernel_sizes must not be empty"),
        (lambda: models.inception_time(kernel_sizes=()), "inception_time: kernel_sizes must not be empty"),
        (lambda: models.inception_time(depth=0), "inception_time: depth must be at least 1, got 0"),
        (lambda: models.ensemble("mlp"), "ensemble: member must be a dict of the name of another model"),
        (lambda: models.ensemble({"name": "mlp", "arguments": {}}, members=0), "members must be at least 1, got 0"),
    ],
)
def test_networks_of_series_that_are_none(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("inception_time", {"depth": 10**9}),
        ("ensemble", {"member": {"name": "mlp", "arguments": {}}, "members": 10**9}),
        ("ensemble", {"member": {"name": "resnet", "arguments": {"blocks": [10**9]}}, "members": 2}),
    ],
)
def test_a_description_of_more_layers_than_arrays_is_refused_before_any_is_made(name, arguments):
    with pytest.raises(ValueError, match="more layers than the parameters have arrays, 50"):
        models.build({"name": name, "arguments": arguments}, arrays=50)


SERIES = {
    "fcn": {"channels": (4, 6), "kernel_sizes": (4, 3)},
    "resnet1d": {"channels": (4, 4), "kernel_sizes": (4, 3)},
    "inception_time": {"depth": 3, "channels": 2, "kernel_sizes": (8, 5), "bottleneck": 2},
}


def padded(x, length):
    """Series (N, time, C) with their mask as channel 0, padded to a length."""
    masked = np.concatenate([np.ones((*x.shape[:2], 1)), x], axis=-1)
    return np.pad(masked, ((0, 0), (0, length - x.shape[1]), (0, 0)))


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name", SERIES)
def test_padding_has_no_influence(name, train):
    model = getattr(models, name)(2, **SERIES[name], masked=True)
    params, state, _ = model.init((0,), (12, 4))
    params = tree.map(lambda leaf: leaf + normal(*leaf.shape, seed=3) / 5, params)  # biases that are not 0
    short, long = normal(3, 9, 3), normal(2, 12, 3, seed=1)
    results = []
    for length in (12, 13, 40):
        x = np.concatenate([padded(short, length), padded(long, length)])
        y, vjp, new_state = model.forward(params, x, state, train=train)
        results.append((y, vjp(normal(*y.shape, seed=2))[0], new_state))
    for y, dparams, new_state in results[1:]:
        np.testing.assert_allclose(y, results[0][0], rtol=1e-9)
        tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9), dparams, results[0][1])
        tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), new_state, results[0][2])
