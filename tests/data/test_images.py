"""Images: files and arrays become the same examples, and sizes change as Pillow changes them."""

import warnings

import numpy as np
import pytest
from PIL import Image

from funcnn import data
from funcnn.data import images

RNG = np.random.default_rng(0)


def by_pillow(x, size):
    """Resize by Pillow's BILINEAR, each channel as an image of floats."""
    planes = np.moveaxis(x, 3, 1).reshape(-1, *x.shape[1:3])
    resized = [np.asarray(Image.fromarray(p).resize(size[::-1], Image.Resampling.BILINEAR)) for p in planes]
    return np.moveaxis(np.reshape(resized, (len(x), x.shape[3], *size)), 1, 3)


def test_resizing():
    x = RNG.random((2, 4, 6, 3)).astype(np.float32)
    assert data.resize(x, (4, 6)) is x
    assert np.array_equal(data.resize(x, (8, 18))[:, ::2, ::3], x)
    smaller = data.resize(x, (2, 3))
    assert smaller.shape == (2, 2, 3, 3) and smaller.dtype == np.float32
    np.testing.assert_allclose(smaller.mean(), x.mean(), rtol=0.05)


def test_photographs_are_rotated_by_their_exif_orientation(tmp_path):
    image = Image.fromarray(np.array([[0, 255], [0, 255], [0, 255]], np.uint8))
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned a quarter
    image.save(tmp_path / "1.png", exif=exif)
    assert (data.open_images([tmp_path / "1.png"])[0, ..., 0] == [[0, 0, 0], [1, 1, 1]]).all()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((20, 30), (7, 11)),  # smaller
        ((7, 11), (20, 30)),  # larger
        ((13, 9), (5, 21)),  # one axis smaller, the other larger
        ((13, 9), (13, 4)),  # one axis only
        ((13, 9), (27, 9)),
        ((13, 9), (26, 5)),  # a whole multiple on one axis
        ((1, 1), (3, 1)),
        ((2, 3), (1, 1)),
        ((1, 5), (4, 3)),
        ((100, 150), (32, 64)),
        ((640, 1), (3, 1)),
        ((8, 8), (4, 4)),
        ((8, 8), (7, 9)),
    ],
)
def test_resizing_is_that_of_pillow(old, new):
    x = RNG.random((2, *old, 3)).astype(np.float32)
    resized = data.resize(x, new)
    assert resized.shape == (2, *new, 3) and resized.dtype == np.float32
    if all(n % o == 0 for n, o in zip(new, old, strict=True)):
        np.testing.assert_array_equal(resized, x.repeat(new[0] // old[0], 1).repeat(new[1] // old[1], 2))
    else:
        np.testing.assert_allclose(resized, by_pillow(x, new), atol=1e-5)
    double = data.resize(x.astype(np.float64), new)
    assert double.dtype == np.float64
    np.testing.assert_allclose(double, resized, atol=1e-6)


def test_resizing_many_sizes():
    for _ in range(60):
        old, new = (tuple(map(int, RNG.integers(1, 40, 2))) for _ in range(2))
        if any(n % o for n, o in zip(new, old, strict=True)):
            x = RNG.random((1, *old, 1)).astype(np.float32)
            np.testing.assert_allclose(data.resize(x, new), by_pillow(x, new), atol=1e-5, err_msg=f"{old} {new}")


def test_resizing_is_pure_and_independent_for_each_image():
    x = RNG.random((5, 9, 7, 2)).astype(np.float32)
    x.flags.writeable = False
    whole = data.resize(x, (4, 5))
    np.testing.assert_allclose(np.concatenate([data.resize(x[i : i + 1], (4, 5)) for i in range(5)]), whole, rtol=1e-6)
    np.testing.assert_allclose(data.resize(np.asfortranarray(x), (4, 5)), whole, rtol=1e-6)
    np.testing.assert_allclose(data.resize(0 * x + 1, (4, 13)), 1, rtol=1e-6)  # a constant stays one
    assert data.resize(x[:0], (4, 5)).shape == (0, 4, 5, 2)
    assert data.resize(x, [np.int64(9), np.int64(7)]) is x


@pytest.mark.parametrize(
    ("x", "size", "error", "message"),
    [
        (np.ones((2, 4, 4, 1), np.uint8), (2, 2), TypeError, "resize: x has dtype uint8"),
        (np.ones((4, 4, 1)), (2, 2), ValueError, r"resize: x \(4, 4, 1\) must be images"),
        (np.ones((2, 0, 4, 1)), (2, 2), ValueError, r"resize: x \(2, 0, 4, 1\) must be images"),
        (np.ones((2, 4, 4, 1)), (2, 0), ValueError, r"two ints >= 1, not \(2, 0\)"),
        (np.ones((2, 4, 4, 1)), (2, 2.5), ValueError, r"two ints >= 1, not \(2, 2.5\)"),
        (np.ones((2, 4, 4, 1)), (2, 2, 2), ValueError, r"two ints >= 1, not \(2, 2, 2\)"),
    ],
)
def test_what_cannot_be_resized(x, size, error, message):
    with pytest.raises(error, match=message):
        data.resize(x, size)


@pytest.mark.parametrize("kind", ["grey", "colour"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(10, 14), (5, 6), (17, 28)])
def test_files_and_arrays_become_the_same_examples(tmp_path, kind, channels, size):
    pixels = RNG.integers(0, 256, (2, 10, 14) if kind == "grey" else (2, 10, 14, 3), dtype=np.uint8)
    paths = [tmp_path / f"{i}.png" for i in range(2)]
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image).save(path)
    from_files = data.open_images(paths, size, channels, fit="crop")
    from_arrays = data.resize(data.to_channels(data.to_examples(pixels), channels), size, fit="crop")
    assert from_files.shape == (2, *size, channels) and from_files.dtype == np.float32
    np.testing.assert_allclose(from_files, from_arrays, atol=1e-6)


def test_grey_of_colours_is_that_of_pillow():
    pixels = RNG.integers(0, 256, (1, 6, 5, 3), dtype=np.uint8)
    grey = data.to_channels(data.to_examples(pixels), 1)[0, ..., 0]
    np.testing.assert_allclose(grey * 255, np.asarray(Image.fromarray(pixels[0]).convert("L")), atol=0.51)
    assert (data.to_channels(grey[None, ..., None], 3) == grey[None, ..., None]).all()
    with pytest.raises(ValueError, match=r"images \(1, 2, 2, 4\) of 4 channels cannot be made images of 3"):
        data.to_channels(np.ones((1, 2, 2, 4)), 3)


def test_raw_arrays_become_examples():
    pixels = RNG.integers(0, 256, (3, 4, 5), dtype=np.uint8)
    x = data.to_examples(pixels)
    assert x.shape == (3, 4, 5, 1) and x.dtype == np.float32
    np.testing.assert_array_equal(x[..., 0], pixels.astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(data.to_examples(pixels, full_scale=1)[..., 0], pixels)
    np.testing.assert_array_equal(data.to_examples(pixels[0]), pixels[0])  # rows of features stay as they are
    for dtype in (np.int64, np.uint16, np.float32, np.float64):
        np.testing.assert_array_equal(data.to_examples(pixels.astype(dtype)), x)
    assert data.to_examples(x) is x
    with pytest.raises(ValueError, match=r"to_examples: x \(3,\) must be"):
        data.to_examples(np.ones(3))
    with pytest.raises(ValueError, match=r"here: x must be finite; 1 of 2 examples are not, the first is number 1"):
        data.to_examples([[1.0, 2.0], [np.inf, 2.0]], where="here")


def test_no_images_and_channels_that_files_do_not_have(tmp_path):
    with pytest.raises(ValueError, match="paths must have at least one image"):
        data.open_images([])
    with pytest.raises(ValueError, match="channels must be 1 or 3, as images have, got 2"):
        data.open_images([tmp_path / "1.png"], (4, 4), 2)


def test_image_files_are_those_of_all_folders_below(tmp_path):
    for name in ("b.PNG", "a.jpg", "notes.txt", ".hidden.png", "below/deeper/c.tiff"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [str(path.relative_to(tmp_path)) for path in data.image_files(tmp_path)] == [
        "a.jpg",
        "b.PNG",
        "below/deeper/c.tiff",
    ]


@pytest.mark.parametrize("size", [3, (3,), (3, 0), (2.0, 3), "8x8", (3, 3, 3)])
def test_a_size_is_two_ints(size):
    for call in (lambda: data.resize(np.ones((1, 4, 4, 1)), size), lambda: data.open_images(["image.png"], size)):
        with pytest.raises(ValueError, match=r"size must be \(height, width\), two ints >= 1, not"):
            call()


RAMP = np.linspace(0, 255, 48).round().astype(np.uint8).reshape(6, 8)


def saved(path, image, **options):
    image.save(path, **options)
    return path


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        *((mode, "tif") for mode in ("L", "P", "RGB", "RGBA", "LA", "PA", "CMYK", "YCbCr", "RGBX")),
        *((mode, "png") for mode in ("L", "LA", "P", "RGB", "RGBA")),
        ("L", "gif"),
        ("L", "jp2"),
    ],
)
def test_every_mode_of_8_bits_keeps_its_values(tmp_path, mode, suffix):
    path = saved(tmp_path / f"a.{suffix}", Image.fromarray(RAMP).convert(mode))
    found = images.read_images([path])
    assert found.full_scale == 255 and found.x.dtype == np.float32
    np.testing.assert_allclose(found.x[0], np.broadcast_to(RAMP[..., None] / 255, found.x[0].shape), atol=1e-6)


def test_lab_is_converted_to_colours(tmp_path):
    from PIL import ImageCms

    lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    image = ImageCms.profileToProfile(Image.fromarray(RAMP).convert("RGB"), rgb, lab, outputMode="LAB")
    x = data.open_images([saved(tmp_path / "a.tif", image)])
    np.testing.assert_allclose(x[0], np.broadcast_to(RAMP[..., None] / 255, (6, 8, 3)), atol=0.01)


@pytest.mark.parametrize("suffix", ["png", "tif", "jp2", "pgm"])
def test_images_of_16_bits_are_parts_of_65535(tmp_path, suffix):
    depth = np.arange(660, 660 + 48, dtype=np.uint16).reshape(6, 8)
    found = images.read_images([saved(tmp_path / f"a.{suffix}", Image.fromarray(depth))])
    assert found.full_scale == 65535
    np.testing.assert_array_equal(np.rint(found.x[0, ..., 0] * 65535), depth)  # all levels stay
    smaller = data.open_images([tmp_path / f"a.{suffix}"], (3, 4))
    np.testing.assert_allclose(smaller, data.resize(found.x, (3, 4)), rtol=1e-6)
    assert len(np.unique(smaller)) == 12


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_floats_and_ints_of_32_bits_stay_as_they_are(tmp_path, dtype):
    heat = np.linspace(-20, 70_000, 48).reshape(6, 8).astype(dtype)
    found = images.read_images([saved(tmp_path / "a.tif", Image.fromarray(heat))])
    assert found.full_scale == 1
    np.testing.assert_array_equal(found.x[0, ..., 0], heat.astype(np.float32))
    saved(tmp_path / "b.png", Image.fromarray(RAMP))
    with pytest.raises(ValueError, match=r"a\.tif has floats or ints of 32 bits, .*b\.png has one, 255"):
        data.open_images([tmp_path / "a.tif", tmp_path / "b.png"])


def test_floats_that_are_not_finite_are_broken(tmp_path):
    path = saved(tmp_path / "a.tif", Image.fromarray(np.array([[0, np.nan]], np.float32)))
    with pytest.raises(OSError, match=r"cannot read the image .*a\.tif: it has pixels that are not finite"):
        data.open_images([path])


def test_colours_of_16_bits_of_which_pillow_reads_8_are_said(tmp_path):
    (tmp_path / "a.ppm").write_bytes(b"P6 2 1 65535\n" + np.arange(6, dtype=">u2").tobytes())
    with pytest.warns(
        UserWarning, match=r"1 of 1 images have 16 bits for each colour, of which Pillow reads the upper"
    ):
        data.open_images([tmp_path / "a.ppm"])


@pytest.mark.parametrize("suffix", ["gif", "png", "tiff"])
def test_of_several_frames_or_pages_the_first_is_used_and_said(tmp_path, suffix):
    first = np.repeat(np.array([[0, 255]], np.uint8), 4, axis=0)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(first).save(path, save_all=True, append_images=[Image.fromarray(255 - first)])
    with pytest.warns(UserWarning, match=rf"1 of 1 images have several frames or pages, .* the first is {path}"):
        x = data.open_images([path])
    np.testing.assert_array_equal(x[0, ..., 0], first / 255)


def test_a_warning_of_pillow_is_one_line_that_names_the_file(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    Image.new("L", (4, 4)).save(path)
    monkeypatch.setattr(images, "_is_reduced", lambda image: warnings.warn("odd\n tag", stacklevel=1))
    with pytest.warns(UserWarning, match=rf"1 of 1 images make Pillow say: odd tag; the first is {path}"):
        data.open_images([path])


def test_large_images_are_read_without_a_warning(tmp_path, monkeypatch, recwarn):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)  # above which Pillow warns, and from twice as many on refuses
    Image.new("L", (6, 5)).save(tmp_path / "large.png")
    assert data.open_images([tmp_path / "large.png"]).shape == (1, 5, 6, 1) and not recwarn
    Image.new("L", (9, 9)).save(tmp_path / "bomb.png")
    with pytest.raises(OSError, match=r"cannot read the image .*bomb\.png: Image size \(81 pixels\) exceeds"):
        data.open_images([tmp_path / "bomb.png"])


def test_what_is_transparent_is_white(tmp_path):
    alpha = np.array([[0, 255, 51]], np.uint8)
    black = np.zeros((1, 3, 4), np.uint8)
    black[..., 3] = alpha
    expected = 1 - alpha / 255
    for name, image in {
        "a.png": Image.fromarray(black),
        "b.png": Image.fromarray(black[..., 2:]),
        "c.tif": Image.fromarray(black),
    }.items():
        x = data.open_images([saved(tmp_path / name, image)])
        np.testing.assert_allclose(x[0], np.broadcast_to(expected[..., None], x[0].shape), atol=1e-6)
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    palette.putpalette([0, 0, 0, 255, 0, 0])
    for name, transparent, options in (
        ("d.png", palette, {"transparency": 0}),
        ("e.gif", palette, {"transparency": 0}),
        ("f.png", palette, {"transparency": bytes([0, 255])}),
    ):
        x = data.open_images([saved(tmp_path / name, transparent, **options)])
        np.testing.assert_allclose(x[0, 0], [[1, 1, 1], [1, 0, 0]])
    for name, image in {"g.png": RAMP[:1, :2], "h.png": np.array([[0, 700]], np.uint16)}.items():
        x = data.open_images([saved(tmp_path / name, Image.fromarray(image), transparency=0)])
        assert x[0, 0, 0, 0] == 1 and 0 < x[0, 0, 1, 0] < 0.1


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg", "webp"])
def test_the_most_common_size_is_that_of_upright_photographs(tmp_path, suffix):
    image = Image.new("RGB", (8, 6))
    exif = image.getexif()
    exif[0x0112] = 6
    assert data.open_images([saved(tmp_path / f"a.{suffix}", image, exif=exif)]).shape == (1, 8, 6, 3)


def test_no_file_is_decoded_twice(tmp_path, monkeypatch):
    from PIL import ImageFile

    paths = [saved(tmp_path / f"{i}.png", Image.fromarray(RAMP)) for i in range(3)]
    loads, load_prepare = [], ImageFile.ImageFile.load_prepare
    monkeypatch.setattr(
        ImageFile.ImageFile, "load_prepare", lambda image: (loads.append(image.filename), load_prepare(image))[1]
    )
    data.open_images(paths)
    assert loads == [str(path) for path in paths]


def test_images_of_another_aspect_are_padded_cropped_or_stretched():
    x = np.arange(8.0).reshape(1, 2, 4, 1)
    padded = data.resize(x, (4, 4), fit="pad")[0, ..., 0]
    np.testing.assert_array_equal(padded, [[0, 1, 2, 3], [0, 1, 2, 3], [4, 5, 6, 7], [4, 5, 6, 7]])
    np.testing.assert_array_equal(data.resize(x, (2, 2), fit="crop")[0, ..., 0], [[1, 2], [5, 6]])
    np.testing.assert_array_equal(data.resize(x, (4, 4), fit="stretch"), x.repeat(2, axis=1))
    with pytest.raises(ValueError, match="fit must be one of pad, crop, stretch, not 'squeeze'"):
        data.resize(x, (4, 4), fit="squeeze")


@pytest.mark.parametrize("old", [(480, 640), (427, 640), (48, 80), (80, 48), (6, 8), (7, 9), (100, 133)])
@pytest.mark.parametrize("fit", ["pad", "crop"])
def test_images_of_the_aspect_are_resized_as_ever(old, fit):
    x = RNG.random((1, *old, 1)).astype(np.float32)
    scale = 64 / max(old)
    size = (round(old[0] * scale), round(old[1] * scale))
    np.testing.assert_array_equal(data.resize(x, size, fit=fit), data.resize(x, size))


@pytest.mark.parametrize("old", [(1, 500), (500, 1), (3, 1000), (999, 7)])
@pytest.mark.parametrize("fit", ["pad", "crop"])
def test_extreme_aspects(old, fit):
    x = RNG.random((1, *old, 1)).astype(np.float32)
    fitted = data.resize(x, (32, 24), fit=fit)
    assert fitted.shape == (1, 32, 24, 1) and x.min() <= fitted.min() and fitted.max() <= x.max()


def test_mixed_shapes_are_padded_with_a_warning_that_says_the_order(tmp_path):
    paths = [saved(tmp_path / f"{i}.png", Image.new("L", (80, 48) if i < 2 else (48, 80), 9 * i)) for i in range(3)]
    with pytest.warns(
        UserWarning, match=r"1 of 3 images have another aspect than 38x64 \(height x width\), first .*2\.p"
    ):
        x = data.open_images(paths)
    np.testing.assert_array_equal(x, data.open_images(paths, fit="pad"))
    for i, path in enumerate(paths):
        pixels = np.asarray(Image.open(path), np.float32)[None, ..., None] / np.float32(255)
        for fit in ("pad", "crop", "stretch"):
            found = data.open_images([path], (38, 64), fit=fit)
            np.testing.assert_allclose(found, data.resize(pixels, (38, 64), fit=fit), atol=1e-6, err_msg=str(i))


@pytest.mark.parametrize("size", [(9, 9), (40, 30), (6, 20)])
def test_an_image_is_resized_alike_in_every_batch(size):
    x = RNG.random((7, 24, 17, 3), dtype=np.float32)
    whole = data.resize(x, size)
    for n in (1, 2, 5):
        parts = [data.resize(x[i : i + n], size) for i in range(0, 7, n)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
