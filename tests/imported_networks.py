"""Networks of random weights as other frameworks export them, written by onnx.helper."""

import itertools
import math
from functools import cache

import numpy as np
from imported import model_of
from onnx import helper


class Writer:
    """Writes a network of nodes with random weights, each method returning the name of its output."""

    def __init__(self, seed=0):
        self.nodes, self.constants, self.rng, self.count = [], {}, np.random.default_rng(seed), itertools.count()

    def constant(self, array):
        name = f"c{next(self.count)}"
        self.constants[name] = np.asarray(array)
        return name

    def random(self, *shape, scale=1.0, shift=0.0):
        return self.constant((self.rng.standard_normal(shape) * scale + shift).astype(np.float32))

    def node(self, operator, *inputs, outputs=1, **attributes):
        names = [f"v{next(self.count)}" for _ in range(outputs)]
        inputs = [i if isinstance(i, str) else self.constant(i) for i in inputs]
        self.nodes.append(helper.make_node(operator, inputs, names, **attributes))
        return names[0] if outputs == 1 else names

    def conv(self, x, channels, features, size=3, stride=1, groups=1, bias=True):
        weights = self.random(
            features, channels // groups, size, size, scale=1 / math.sqrt(channels / groups * size**2)
        )
        more = [self.random(features)] if bias else []
        pads = [size // 2] * 4
        return self.node(
            "Conv", x, weights, *more, pads=pads, strides=[stride] * 2, group=groups, kernel_shape=[size] * 2
        )

    def norm(self, x, channels):
        mean, bias = self.random(channels), self.random(channels)
        scale, var = (self.constant(self.rng.uniform(0.5, 2, channels).astype(np.float32)) for _ in range(2))
        return self.node("BatchNormalization", x, scale, bias, mean, var, epsilon=1e-3)

    def conv_norm_relu(self, x, channels, features, **options):
        return self.node("Relu", self.norm(self.conv(x, channels, features, bias=False, **options), features))

    def linear(self, x, inputs, outputs):
        return self.node("Gemm", x, self.random(outputs, inputs, scale=inputs**-0.5), self.random(outputs), transB=1)

    def model(self, output, shape, **options):
        return model_of(self.nodes, {"x": ["N", *shape]}, [output], self.constants, **options)


def resnet_block(w):
    x = w.conv_norm_relu("x", 3, 8)
    body = w.norm(w.conv(w.conv_norm_relu(x, 8, 12, stride=2), 12, 12), 12)
    shortcut = w.norm(w.conv(x, 8, 12, size=1, stride=2), 12)
    x = w.node("Relu", w.node("Add", body, shortcut))
    x = w.node("Relu", w.node("Add", w.norm(w.conv(x, 12, 12), 12), x))
    return w.linear(w.node("Flatten", w.node("GlobalAveragePool", x)), 12, 4)


def squeeze_and_excitation(w):
    """As MobileNetV3 has it, with a mean that is reduced, and HardSwish written out."""
    x = w.conv("x", 3, 8)
    x = w.node(
        "Mul",
        x,
        w.node("Div", w.node("Clip", w.node("Add", x, np.float32(3)), np.float32(0), np.float32(6)), np.float32(6)),
    )
    s = w.node("ReduceMean", x, axes=[2, 3], keepdims=1)
    s = w.conv(w.node("Relu", w.conv(s, 8, 4, size=1)), 4, 8, size=1)
    return w.node("Mul", w.node("HardSigmoid", s, alpha=1 / 6, beta=0.5), x)


def feature_pyramid(w):
    fine = w.conv_norm_relu("x", 3, 6)
    coarse = w.conv_norm_relu(fine, 6, 8, stride=2)
    sizes = w.node("Shape", fine)
    size = w.node(
        "Concat", w.node("Slice", w.node("Shape", coarse), [0], [2], [0]), w.node("Slice", sizes, [2], [4], [0]), axis=0
    )
    lateral = w.conv(fine, 6, 8, size=1)
    up = w.node("Resize", coarse, "", "", size, mode="linear", coordinate_transformation_mode="half_pixel")
    merged = w.node("Add", lateral, up)
    nearest = w.node(
        "Resize",
        coarse,
        "",
        np.float32([1, 1, 2, 2]),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    return w.conv(w.node("Concat", merged, nearest, axis=1), 16, 5)


def depthwise(w):
    x = w.node("Clip", w.conv("x", 3, 6), np.float32(0), np.float32(6))
    x = w.conv_norm_relu(x, 6, 6, groups=6, stride=2)
    x = w.conv(x, 6, 12, groups=3)
    return w.conv(w.node("LeakyRelu", x, alpha=0.1), 12, 4, size=1)


def dense_block(w):
    x, channels = w.conv("x", 3, 6), 6
    for _ in range(3):
        y = w.conv(w.node("Relu", w.norm(x, channels)), channels, 4, bias=False)
        x, channels = w.node("Concat", x, y, axis=1), channels + 4
    x = w.node("AveragePool", w.conv_norm_relu(x, channels, 8, size=1), kernel_shape=[2, 2], strides=[2, 2])
    return w.linear(w.node("Reshape", w.node("ReduceMean", x, axes=[2, 3], keepdims=0), [-1, 8]), 8, 5)


def inception(w):
    branches = [
        w.conv_norm_relu("x", 3, 4, size=1),
        w.conv_norm_relu(w.conv_norm_relu("x", 3, 3, size=1), 3, 5),
        w.conv_norm_relu("x", 3, 2, size=5),
        w.node("MaxPool", "x", kernel_shape=[3, 3], pads=[1] * 4, strides=[1, 1]),
        w.node("AveragePool", "x", kernel_shape=[3, 3], pads=[1] * 4, strides=[1, 1], count_include_pad=1),
    ]
    x = w.node("Concat", *branches, axis=1)
    x = w.node("LRN", x, size=5, alpha=0.1, beta=0.75, bias=1.0)
    return w.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)


def channel_shuffle(w):
    x = w.conv("x", 3, 12)
    first, second = w.node("Split", x, [6, 6], axis=1, outputs=2)
    x = w.node("Concat", first, w.conv_norm_relu(second, 6, 6), axis=1)
    batch = w.node("Gather", w.node("Shape", x), np.int64(0), axis=0)
    split = w.node("Concat", w.node("Unsqueeze", batch, [0]), np.array([2, 6, 6, 8]), axis=0)
    x = w.node("Transpose", w.node("Reshape", x, split), perm=[0, 2, 1, 3, 4])
    joined = w.node("Concat", w.node("Unsqueeze", batch, [0]), np.array([12, 6, 8]), axis=0)
    return w.conv(w.node("Reshape", x, joined), 12, 4, groups=2)


def flattened_map(w):
    """A map that is not square, flattened before two dense layers, with arithmetic on the flat row."""
    x = w.node("Flatten", w.conv_norm_relu("x", 3, 5, stride=2))
    x = w.node("Mul", w.node("Add", x, w.random(60)), w.random(60))
    x = w.node("Relu", w.linear(x, 60, 7))
    return w.node("MatMul", w.node("Dropout", x), w.random(7, 3))


def unet(w):
    """Transposed convolution, padding to the size of what is joined, PyTorch's Pad and crop by Slice."""
    fine = w.conv("x", 3, 4)
    coarse = w.node("MaxPool", w.node("Elu", fine), kernel_shape=[2, 2], strides=[2, 2])
    up = w.node("ConvTranspose", coarse, w.random(4, 3, 3, 3, scale=0.3), w.random(3), strides=[2, 2], pads=[1] * 4)
    up = w.node("Pad", up, [0, 0, 1, 0, 0, 0, 0, 1], mode="reflect")
    x = w.node("Concat", fine, up, axis=1)
    x = w.node("PRelu", x, w.random(7, 1, 1))
    return w.node("Slice", w.conv(x, 7, 4), [1, 0], [-1, 2**31 - 1], [2, 3], [1, 2])


def decomposed_norms(w):
    """Batch normalisation that an exporter wrote as arithmetic, and a scale and shift behind a convolution."""
    x = w.node("Sub", w.conv("x", 3, 6), w.random(6, 1, 1))
    x = w.node("Mul", w.node("Div", x, w.random(1, 6, 1, 1, scale=0.1, shift=2)), w.random(6, 1, 1))
    x = w.node("Add", x, w.random(6, 1, 1))
    x = w.node("InstanceNormalization", x, w.random(6), w.random(6))
    mean = w.node("ReduceMean", x, axes=[1], keepdims=1)
    centred = w.node("Sub", x, mean)
    var = w.node("ReduceMean", w.node("Pow", centred, np.float32(2)), axes=[1], keepdims=1)
    x = w.node("Div", centred, w.node("Sqrt", w.node("Add", var, np.float32(1e-3))))
    return w.node("Add", w.node("Mul", x, w.random(6, 1, 1)), w.random(6, 1, 1))


def attention(w):
    """One head over the positions of a map, as a transformer reads an image."""
    x = w.conv("x", 3, 8, size=1)
    x = w.node("Transpose", w.node("Reshape", x, [0, 8, -1]), perm=[0, 2, 1])
    y = w.node("LayerNormalization", x, w.random(8), w.random(8), axis=-1)
    q, k, v = (w.node("Add", w.node("MatMul", y, w.random(8, 8, scale=0.3)), w.random(8)) for _ in range(3))
    scores = w.node("Div", w.node("MatMul", q, w.node("Transpose", k, perm=[0, 2, 1])), np.float32(math.sqrt(8)))
    x = w.node("Add", x, w.node("MatMul", w.node("Softmax", scores, axis=-1), v))
    return w.linear(w.node("ReduceMean", x, axes=[1], keepdims=0), 8, 3)


NETWORKS = [
    resnet_block,
    squeeze_and_excitation,
    feature_pyramid,
    depthwise,
    dense_block,
    inception,
    channel_shuffle,
    flattened_map,
    unet,
    decomposed_norms,
    attention,
]
SHAPE = 3, 6, 8


@cache
def network(build):
    writer = Writer()
    return writer.model(build(writer), SHAPE)
