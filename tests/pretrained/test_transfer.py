"""What features of a trained network are for: few photographs of each class."""

import numpy as np
import onnxruntime
import pytest
from PIL import Image
from pretrained.crops import TEST, TRAINING, crops, lite0_onnx, photographs
from pretrained.packages import files_of
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from funcnn import data
from funcnn.estimators import ConvNetClassifier, Features


@pytest.fixture(scope="module")
def lite0(tmp_path_factory):
    path = tmp_path_factory.mktemp("net") / "lite0.onnx"
    path.write_bytes(lite0_onnx().SerializeToString())
    return path


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
