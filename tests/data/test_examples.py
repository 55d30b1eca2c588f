"""The scale of pixels: the same images are the same examples, whatever their dtype."""

import numpy as np
import pytest
from PIL import Image

from funcnn import data, predictor

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 5, 4))
DTYPES = (np.uint8, np.int64, np.float32, np.float64, ">u2")


def opened(tmp_path, x, **options):
    np.savez(tmp_path / "data.npz", x=x, y=np.arange(len(x)) % 2)
    return data.open(tmp_path / "data.npz", **options)


@pytest.mark.parametrize(
    ("pixels", "full_scale"),
    [(PIXELS > 9, 1), (PIXELS, 255), (PIXELS / 255, 1), (PIXELS + 600, 65535), (PIXELS - 7, 1), (PIXELS * 1000, 1)],
)
def test_the_full_scale_is_the_smallest_that_holds_all_pixels(tmp_path, pixels, full_scale):
    found = opened(tmp_path, pixels)
    assert found.full_scale == full_scale and found.x.dtype == np.float32
    np.testing.assert_array_equal(found.x[..., 0], pixels.astype(np.float32) / np.float32(full_scale))


def test_the_dtype_does_not_matter(tmp_path):
    first = opened(tmp_path, PIXELS.astype(np.uint8))
    for dtype in DTYPES:
        found = opened(tmp_path, PIXELS.astype(dtype))
        assert found.full_scale == first.full_scale == 255 and np.array_equal(found.x, first.x)
    Image.fromarray(PIXELS[0].astype(np.uint8)).save(tmp_path / "0.png")
    np.testing.assert_array_equal(data.open_images([tmp_path / "0.png"])[0], first.x[0])


def test_later_arrays_are_divided_by_the_scale_that_is_given(tmp_path):
    found = opened(tmp_path, PIXELS // 200, full_scale=255)
    np.testing.assert_array_equal(found.x[..., 0], (PIXELS // 200).astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(data.open_array(tmp_path / "data.npz", full_scale=255), found.x)
    for wrong in (0, -1, np.nan, np.inf):
        with pytest.raises(ValueError, match="full_scale must be a positive number"):
            data.to_examples(PIXELS, full_scale=wrong)


def test_pixels_too_close_together_for_float32_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"the pixels of x go from 1700000000.0 to .* steps of 1.3e\+02"):
        opened(tmp_path, 1.7e9 + PIXELS)


def model(full_scale, pixel_range):
    return predictor.preprocessing_for((5, 4, 1), None, full_scale=full_scale, pixel_range=pixel_range)


@pytest.mark.parametrize(
    ("full_scale", "trained_on", "given", "says"),
    [
        (255, (0, 255), PIXELS / 255, "go from 0 to 1, and those of the training from 0 to 255"),
        (255, (0, 250), PIXELS * 257, "go from 0 to 65535, and those of the training from 0 to 250"),
        (255, (0, 255), PIXELS - 9, "go from -9 to 246, and those of the training from 0 to 255"),
        (1, (0, 0.9), PIXELS, "go from 0 to 255, and those of the training from 0 to 0.9"),
        (65535, (0, 65000), PIXELS, "go from 0 to 255, and those of the training from 0 to 65000"),
        (1, (1e5, 1e6), PIXELS / 255, "go from 0 to 1, and those of the training from 100000 to 1e\\+06"),
        (16, (0, 16), PIXELS, "go from 0 to 255, and those of the training from 0 to 16"),
        (1, (-100, 100), PIXELS * 10, "go from 0 to 2550, and those of the training from -100 to 100"),
        (255, (0, 15), PIXELS, "go from 0 to 255, and those of the training from 0 to 15"),
        (255, (0, 93), PIXELS, "go from 0 to 255, and those of the training from 0 to 93"),
        (65535, (0, 4095), PIXELS, "go from 0 to 255, and those of the training from 0 to 4095"),
        (65535, (0, 4095), PIXELS * 257, "go from 0 to 65535, and those of the training from 0 to 4095"),
        (65535, (660, 849), PIXELS, "go from 0 to 255, and those of the training from 660 to 849"),
        (1, (-1, 1), PIXELS / 255, "go from 0 to 1, and none is negative; those of the training go from -1 to 1"),
        (1, (-128, 127), PIXELS, "go from 0 to 255, and none is negative; those of the training go from -128 to 127"),
        (1, (-128, 127), PIXELS / 255 - 0.5, "go from -0.5 to 0.5, and those of the training from -128 to 127"),
    ],
)  # fmt: skip
def test_a_range_that_contradicts_the_training_is_a_warning(full_scale, trained_on, given, says):
    with pytest.warns(UserWarning, match=says):
        predictor.preprocess(given, model(full_scale, trained_on))


@pytest.mark.parametrize(
    ("full_scale", "trained_on", "given"),
    [
        (255, (0, 200), PIXELS), (255, (0, 255), 0 * PIXELS), (255, (0, 255), PIXELS // 50),
        (1, (0, 0.9), PIXELS / 255), (65535, (0, 300), PIXELS), (1, (-100, 100), PIXELS - 100),
        (255, (0, 255), np.full((1, 5, 4), 3)), (1, (-1, 1), np.ones((1, 5, 4))), (1, (-0.1, 3), PIXELS / 255),
    ],
)  # fmt: skip
def test_a_range_that_does_not_contradict_it_is_none(full_scale, trained_on, given):
    predictor.preprocess(given, model(full_scale, trained_on))  # warnings are errors here


def test_what_is_predicted_for_a_row_does_not_depend_on_its_batch():
    dark = PIXELS // 100
    together = predictor.preprocess(np.concatenate([PIXELS, dark]), model(255, (0, 255)))
    np.testing.assert_array_equal(together[6:], predictor.preprocess(dark, model(255, (0, 255))))


def test_rows_keep_their_digits_until_they_are_standardised():
    times = 1.7e9 + np.arange(60.0)[:, None]
    mean, std = (a[0] for a in data.mean_and_std(data.to_examples(times)))
    x = predictor.preprocess(times, predictor.preprocessing_for((1,), {"mean": mean.tolist(), "std": std.tolist()}))
    assert x.dtype == np.float32 and len(np.unique(x)) == 60 and abs(x.std() - 1) < 1e-6
    with pytest.raises(
        ValueError, match="in float32: x must be finite; 1 of 2 examples are not, the first is number 1"
    ):
        predictor.preprocess(np.array([[1.0], [1e300]]), predictor.preprocessing_for((1,), None))
