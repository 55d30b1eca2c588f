"""Pictures as objects: displayed, printed, saved, drawn on Matplotlib's axes; and their curve in a notebook."""

import io
import sys
import types
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from funcnn import data, models, predictor, show
from funcnn.show import ArgumentError

NETWORK = {"name": "convnet", "arguments": {"outputs": 3, "channels": [2], "hidden": [4]}}
CLASSES = ["cat", "dog", "cow"]
RUN = [{"epoch": 1, "loss": 0.7, "validation_loss": 0.9}, {"epoch": 2, "loss": 0.5, "validation_loss": 0.8}]


@pytest.fixture(scope="module")
def trained():
    model = models.convnet(**NETWORK["arguments"])
    description = predictor.describe(NETWORK, (6, 6, 1), CLASSES, full_scale=1)
    return predictor.from_description(description, *model.init((0,), (6, 6, 1))[:2])


@pytest.fixture(scope="module")
def dataset():
    x = np.random.default_rng(0).uniform(0, 1, (9, 6, 6, 1)).astype(np.float32)
    return data.Dataset(x, np.arange(9) % 3, CLASSES)


def pictures(trained, dataset):
    return [
        show.kernels(trained),
        show.features(trained, dataset),
        show.attribution(trained, dataset),
        show.confusion(trained, dataset),
        show.mistakes(trained, dataset),
        show.curves({"first": RUN, "second": RUN}),
        show.statistics(trained, dataset),
    ]


def test_every_picture_displays_as_svg_and_prints_in_characters(trained, dataset):
    for picture in pictures(trained, dataset):
        document = ElementTree.fromstring(picture._repr_svg_())
        assert document.tag == "{http://www.w3.org/2000/svg}svg"
        lines = str(picture).splitlines()
        assert "\x1b" not in str(picture) and max(map(len, lines)) <= 100
        assert len(repr(picture)) < 100


def test_curves_are_lines_in_a_file_and_marks_in_print():
    picture = show.curves(RUN)
    assert picture._repr_svg_().count("<polyline") >= 2
    assert "epoch" in str(picture) and "<polyline" not in str(picture)


def test_a_picture_saves_itself_as_what_its_name_says(trained, tmp_path):
    picture = show.kernels(trained)
    picture.save(tmp_path / "kernels.svg")
    assert (tmp_path / "kernels.svg").read_text() == picture._repr_svg_()
    picture._replace(light=True, columns=40).save(tmp_path / "kernels.PNG")
    with Image.open(tmp_path / "kernels.PNG") as image:
        assert image.format == "PNG" and image.getpixel((0, 0)) == (255, 255, 255)
    with pytest.raises(ValueError, match=r"kernels.gif: the name of a picture ends in .svg or .png"):
        picture.save(tmp_path / "kernels.gif")


def test_labels_are_matched_by_the_names_of_classes(trained, dataset):
    turned = dataset._replace(labels=(dataset.labels + 1) % 3, classes=["cow", "cat", "dog"])
    assert str(show.confusion(trained, turned)) == str(show.confusion(trained, dataset))


def test_arguments_that_do_not_fit_are_named(trained, dataset):
    for call, message in [
        (lambda: show.kernels(trained, "1_relu"), "^layer 1_relu: no kernels there, but at 0_conv2d"),
        (lambda: show.features(trained, dataset, 9), "^example 9: the data has 9, from 0 to 8"),
        (lambda: show.features(trained, dataset, layers=["x"]), "^layer x: no such layer; the model has 0_conv2d"),
        (lambda: show.attribution(trained, dataset, target="cod"), "^target cod: the model's are cat, dog, cow"),
        (lambda: show.attribution(trained, dataset, methods=["shap"]), "^method shap: there are gradient, "),
    ]:
        with pytest.raises(ArgumentError, match=message):
            call()
    with pytest.raises(ValueError, match=r"^slow has no history of loss or accuracy"):
        show.curves({"slow": [{"epoch": 1}]})


def test_a_picture_is_drawn_on_axes_as_an_image():
    class Axes:
        def imshow(self, pixels):
            self.pixels = pixels

        def set_axis_off(self):
            self.off = True

    picture = show.curves(RUN)
    axes = picture.plot(Axes())
    with Image.open(io.BytesIO(picture._png())) as image:
        np.testing.assert_array_equal(axes.pixels, np.asarray(image))
    assert axes.off


def test_without_matplotlib_plot_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"^Picture.plot needs Matplotlib: pip install 'funcnn\[notebook\]'"):
        show.curves(RUN).plot()


def test_in_a_kernel_one_curve_is_updated_after_each_epoch(monkeypatch):
    """Without IPython: modules in its place, which record what is displayed."""
    shown = []

    class Handle:
        def update(self, picture):
            shown.append(("update", picture))

    def display(picture, display_id):
        shown.append(("display", picture))
        return Handle()

    shell = types.SimpleNamespace(kernel=None)
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", types.SimpleNamespace(display=display))
    assert list(show.live(RUN, 2)) == RUN
    assert [how for how, _ in shown] == ["display", "update"]
    assert str(shown[-1][1]) == str(show.curves(RUN)) and str(shown[0][1]) == str(show.curves(RUN[:1]))
