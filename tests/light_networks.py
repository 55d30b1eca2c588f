"""The nine networks that the onnx wheel carries without their weights, with random ones."""

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
# The side of smaller images that a network can take, and how many features they have before its dense layers, where
# that depends on the side
SMALLER = {
    "bvlc_alexnet": (96, 1024),
    "densenet121": (32, None),
    "inception_v1": (64, None),
    "inception_v2": (64, None),
    "resnet50": (64, None),
    "shufflenet": (224, None),  # its shapes are written into its channel shuffles
    "squeezenet": (64, None),
    "vgg19": (64, 2048),
    "zfnet512": (96, 2048),
}
HIDDEN = 256


def light_network(name, *, smaller=False):
    """Return the network without a last softmax, whose outputs of random weights are all the same, and an image.

    The file makes constants of all weights, which leaves each output at 0.001. ``smaller`` is the same network for
    smaller images, with at most 256 features in its dense layers.
    """
    model = onnx.load(LIGHT / f"light_{name}.onnx")
    graph = model.graph
    del graph.value_info[:]
    shapes = {tensor.name: numpy_helper.to_array(tensor).tolist() for tensor in graph.initializer}
    made = {node.output[0]: shapes[node.input[0]] for node in graph.node if node.op_type == "ConstantOfShape"}
    side = 224
    if smaller:
        side, features = SMALLER[name]
        shrink(graph, made, side, features)
    rng = np.random.default_rng(0)
    nodes = [node for node in graph.node if node.op_type != "ConstantOfShape"]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(numpy_helper.from_array(random_weights(rng, shape), key) for key, shape in made.items())
    last = nodes[-1]
    del graph.output[:]
    graph.output.append(onnx.ValueInfoProto(name=last.input[0] if last.op_type == "Softmax" else last.output[0]))
    return model, rng.standard_normal((1, 3, side, side), np.float32)


def random_weights(rng, shape):
    """Convolutions and matrices keep the spread of what they are given; variances are positive."""
    w = rng.random(shape, np.float32)
    if len(shape) == 1:
        return w / 2 + np.float32(0.5)
    fan_in = w.size // max(shape[:2]) if 1 in shape[:2] else w.size // shape[0]
    return (w - np.float32(0.5)) * np.float32(np.sqrt(24 / fan_in))


def shrink(graph, shapes, side, features):
    """Let a network take images of this side: change the sizes that depend on it, among them those of weights."""
    (x,) = [
        value for value in graph.input if [d.dim_value for d in value.type.tensor_type.shape.dim] == [1, 3, 224, 224]
    ]
    for dim in x.type.tensor_type.shape.dim[2:]:
        dim.dim_value = side
    for node in graph.node:
        if node.op_type == "AveragePool":  # over the whole of the last map
            for attribute in node.attribute:
                if attribute.name == "kernel_shape" and list(attribute.ints) == [7, 7]:
                    attribute.ints[:] = [side // 32] * 2
        elif node.op_type == "Gemm" and features:
            w, b = node.input[1:]
            shapes[w] = [min(shapes[w][0], HIDDEN), features]
            shapes[b] = shapes[w][:1]
            features = shapes[w][0]
    for tensor in graph.initializer if features else ():
        if tensor.name in {node.input[1] for node in graph.node if node.op_type == "Reshape"}:
            tensor.CopyFrom(numpy_helper.from_array(np.array([1, -1]), tensor.name))
