"""Weights with torchvision's names: the same outputs as torchvision's networks, which are built here in ONNX."""

import pickle

import numpy as np
import onnxruntime
import pytest
import safetensors.numpy
from onnx import TensorProto, helper, numpy_helper

from funcnn import models, torchvision
from funcnn.combinators import frozen, serial
from funcnn.estimators import ConvNetClassifier, Features
from funcnn.layers import dense
from funcnn.torchvision import from_torchvision

RNG = np.random.default_rng(0)


class Torchvision:
    """A network as torchvision defines it: random tensors under its names, and a graph in NCHW that uses them."""

    def __init__(self):
        self.tensors, self.nodes = {}, []

    def tensor(self, name, *shape, around=0.0, scale=1.0):
        self.tensors[name] = (around + scale * RNG.standard_normal(shape)).astype(np.float32)
        return name

    def node(self, kind, *inputs, **options):
        self.nodes.append(helper.make_node(kind, list(inputs), [f"v{len(self.nodes)}"], **options))
        return self.nodes[-1].output[0]

    def conv(self, x, name, inputs, outputs, size, stride=1, bias=False):
        w = self.tensor(f"{name}.weight", outputs, inputs, size, size, scale=(2 / (inputs * size**2)) ** 0.5)
        biases = [self.tensor(f"{name}.bias", outputs)] if bias else []
        return self.node("Conv", x, w, *biases, strides=[stride] * 2, pads=[size // 2] * 4)

    def norm(self, x, name, channels):
        self.tensors[f"{name}.num_batches_tracked"] = np.array(7)
        names = [self.tensor(f"{name}.weight", channels, around=1, scale=0.2), self.tensor(f"{name}.bias", channels)]
        names.append(self.tensor(f"{name}.running_mean", channels, scale=0.5))
        names.append(self.tensor(f"{name}.running_var", channels))
        self.tensors[names[-1]] = np.abs(self.tensors[names[-1]]) + np.float32(0.5)
        return self.node("BatchNormalization", x, *names, epsilon=1e-5)

    def linear(self, x, name, inputs, outputs):
        w = self.tensor(f"{name}.weight", outputs, inputs, scale=inputs**-0.5)
        return self.node("Gemm", x, w, self.tensor(f"{name}.bias", outputs), transB=1)

    def block(self, x, name, inputs, features, stride, bottleneck):
        sizes = [(inputs, features, 1), (features, features, 3), (features, 4 * features, 1)]
        sizes = sizes if bottleneck else [(inputs, features, 3), (features, features, 3)]
        y, strided = x, 2 if bottleneck else 1
        for i, (width, outputs, size) in enumerate(sizes, 1):
            y = self.conv(y, f"{name}.conv{i}", width, outputs, size, stride if i == strided else 1)
            y = self.norm(y, f"{name}.bn{i}", outputs)
            y = self.node("Relu", y) if i < len(sizes) else y
        if stride != 1 or inputs != outputs:
            x = self.conv(x, f"{name}.downsample.0", inputs, outputs, 1, stride)
            x = self.norm(x, f"{name}.downsample.1", outputs)
        return self.node("Relu", self.node("Add", y, x))

    def resnet(self, blocks, bottleneck, classes):
        x = self.node("Relu", self.norm(self.conv("x", "conv1", 3, 64, 7, 2), "bn1", 64))
        x = self.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
        width = 64
        for stage, count in enumerate(blocks):
            for i in range(count):
                stride = 2 if stage and not i else 1
                x = self.block(x, f"layer{stage + 1}.{i}", width, 64 * 2**stage, stride, bottleneck)
                width = 64 * 2**stage * (4 if bottleneck else 1)
        self.features = self.node("Flatten", self.node("GlobalAveragePool", x))
        return self.linear(self.features, "fc", width, classes)

    def vgg(self, blocks, size, hidden, classes, normalize):
        x, width, i = "x", 3, 0
        for block in blocks:
            for features in block:
                x = self.conv(x, f"features.{i}", width, features, 3, bias=True)
                x = self.node("Relu", self.norm(x, f"features.{i + 1}", features) if normalize else x)
                i, width = i + (3 if normalize else 2), features
            x, i = self.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]), i + 1
        x, inputs = self.node("Flatten", x), width * size**2
        for j in (0, 3):
            x, inputs = self.node("Relu", self.linear(x, f"classifier.{j}", inputs, hidden)), hidden
        self.features = x
        return self.linear(x, "classifier.6", hidden, classes)

    def run(self, y, x):
        initializers = [numpy_helper.from_array(t, name) for name, t in self.tensors.items() if t.ndim]
        kind = TensorProto.FLOAT
        graph = helper.make_graph(
            self.nodes, "g", [helper.make_tensor_value_info("x", kind, ["N", 3, *x.shape[1:3]])],
            [helper.make_tensor_value_info(name, kind, None) for name in (y, self.features)], initializers,
        )  # fmt: skip
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        session = onnxruntime.InferenceSession(proto.SerializeToString())
        return session.run(None, {"x": x.transpose(0, 3, 1, 2)})

    def save(self, path):
        safetensors.numpy.save_file(self.tensors, path)
        return path


def outputs_of(model, x):
    params, state, out_shape = model.init((0,), x.shape[1:])
    y = model.forward(params, x, state, train=False)[0]
    assert y.shape[1:] == out_shape and y.dtype == np.float32
    return y


def close(ours, theirs):
    assert np.abs(ours - theirs).max() < 1e-5 * np.abs(theirs).max()


@pytest.fixture(scope="module")
def resnet18(tmp_path_factory):
    net = Torchvision()
    return net, net.resnet((2, 2, 2, 2), False, 7), net.save(tmp_path_factory.mktemp("net") / "resnet18.safetensors")


X = RNG.standard_normal((2, 64, 96, 3)).astype(np.float32)


def test_resnet18_is_torchvisions(resnet18):
    net, y, file = resnet18
    logits, features = net.run(y, X)
    close(outputs_of(from_torchvision("resnet18", file), X), logits)
    close(outputs_of(from_torchvision("resnet18", str(file), output="features"), X), features)


def test_resnet50_is_torchvisions(tmp_path):
    net = Torchvision()
    y, x = net.resnet((3, 4, 6, 3), True, 1000), X[:1, :40, :40]
    close(outputs_of(from_torchvision("resnet50", net.save(tmp_path / "net.safetensors")), x), net.run(y, x)[0])


@pytest.mark.parametrize("normalize", [False, True])
def test_vgg_is_torchvisions(normalize):
    blocks, net, in_shape = ((6,), (8, 10)), Torchvision(), (12, 12, 3)
    y = net.vgg(blocks, 3, 5, 4, normalize)
    modules = list(torchvision._vgg_modules((1, 2), normalize))
    model = models.vgg(4, blocks=blocks, hidden=(5, 5), normalize=normalize)
    model = torchvision._with_weights("vgg", model, modules, net.tensors, in_shape)
    x = RNG.standard_normal((3, *in_shape)).astype(np.float32)
    close(outputs_of(model, x), net.run(y, x)[0])
    with pytest.raises(ValueError, match=r"in layer|shape"):
        model.init((0,), (16, 16, 3))


def test_vggs_have_torchvisions_names():
    plain = list(torchvision._vgg_modules((1, 1, 2, 2, 2), False))
    assert plain[:8] == [f"features.{i}" for i in (0, 3, 6, 8, 11, 13, 16, 18)]
    names = list(torchvision._vgg_modules((2, 2, 3, 3, 3), True))
    assert names[-5:] == ["features.40", "features.41", "classifier.0", "classifier.3", "classifier.6"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.pop("layer1.1.conv2.weight"),
            "a tensor 'layer1.1.conv2.weight', and the file has none",
        ),
        (lambda t: t.update(extra=np.ones(2, np.float32)), "has no tensors extra, which are 1 too many"),
        (
            lambda t: t.update({"bn1.running_mean": np.ones(3, np.float32)}),
            r"a tensor 'bn1.running_mean' of shape \(64,\), and the file's has \(3,\)",
        ),
        (lambda t: t.update({"fc.weight": np.ones((7, 9), np.float32)}), r"'fc.weight' of shape \(7, 512\).*\(7, 9\)"),
        (lambda t: t.pop("fc.bias"), "'fc.weight' of shape|'fc.bias', and the file has none"),
    ],
)
def test_a_missing_an_extra_and_a_misshapen_tensor_are_named(resnet18, tmp_path, change, message):
    tensors = dict(resnet18[0].tensors)
    change(tensors)
    safetensors.numpy.save_file(tensors, tmp_path / "net.safetensors")
    with pytest.raises(ValueError, match=message) as raised:
        from_torchvision("resnet18", tmp_path / "net.safetensors")
    assert "net.safetensors: resnet18" in str(raised.value)


def test_what_is_no_such_file_or_network(tmp_path):
    (tmp_path / "net.safetensors").write_bytes(b"12345678901234")
    with pytest.raises(ValueError, match=r"cannot read .*net\.safetensors"):
        from_torchvision("resnet18", tmp_path / "net.safetensors")
    with pytest.raises(OSError, match=r"missing\.safetensors|No such file"):
        from_torchvision("resnet18", "missing.safetensors")
    with pytest.raises(ValueError, match=r"'mobilenet_v2' is none of the networks.*funcnn\.onnx\.from_onnx"):
        from_torchvision("mobilenet_v2", "missing.safetensors")
    with pytest.raises(ValueError, match="output must be 'features' or None"):
        from_torchvision("resnet18", "missing.safetensors", output="layer4")


def test_half_precision_comes_in_as_float32(resnet18, tmp_path):
    halves = {name: t.astype(np.float16) if t.ndim else t for name, t in resnet18[0].tensors.items()}
    safetensors.numpy.save_file(halves, tmp_path / "net.safetensors")
    params = from_torchvision("resnet18", tmp_path / "net.safetensors").init((0,), (64, 64, 3))[0]
    assert params["0_conv2d"]["w"].dtype == np.float32


def test_a_body_makes_features_and_gets_a_head(resnet18):
    body = from_torchvision("resnet18", resnet18[2], output="features")
    images = RNG.integers(0, 256, (6, 33, 33, 3), dtype=np.uint8)
    features = Features(body, scaling="imagenet", threads=1)
    made = features.fit_transform(images)
    assert made.shape == (6, 512) and np.array_equal(pickle.loads(pickle.dumps(features)).transform(images), made)
    model = serial(frozen(body), dense(3))
    net = ConvNetClassifier(model=model, max_iter=1, threads=1).fit(images, np.arange(6) % 3)
    assert np.array_equal(
        net.state_["0_frozen"]["params"]["0_conv2d"]["w"], body.init((0,), (33, 33, 3))[0]["0_conv2d"]["w"]
    )
