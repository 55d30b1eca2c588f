"""Curves: in dots, in ASCII marks, and as lines."""

import io
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import screens
from PIL import Image

from funcnn.pictures import curves, rendering

SVG = "{http://www.w3.org/2000/svg}"


def test_curves_go_through_their_points():
    x, y = np.arange(1.0, 6.0), np.array([5.0, 3.0, np.nan, 1.0, 2.0])
    plot = curves.Plot("loss", [curves.Curve("run", x, y)], (1.0, 5.0), (1.0, 5.0), rows=4)
    rows = screens.printed([plot], 3 + 20)[1:5]
    dots = np.zeros((16, 40), bool)
    for i, row in enumerate(rows):
        for j, (character, _, _) in enumerate(row[3:]):
            bits = ord(character) - 0x2800 if character != " " else 0
            for bit, (column, k) in enumerate(curves.DOTS):
                dots[4 * i + k, 2 * j + column] = bits >> bit & 1
    columns = (x[[0, 1, 3, 4]] - 1) / 4 * 39
    for at, value in zip(columns, y[[0, 1, 3, 4]], strict=True):
        near = np.flatnonzero(dots[:, round(at)])
        assert np.abs(near - (5 - value) / 4 * 15).min() <= 1.0
    assert dots.any(axis=0).all()  # without a gap
    flat = curves.Curve("", x, np.ones(5))
    assert curves.limits([flat]) == (0.5, 1.5) and curves.limits([flat], log=True) == (0.5, 2.0)


def run(name="run", marker=None, dashed=True, colour=curves.LINES[0]):
    x = np.arange(1.0, 31.0)
    training = curves.Curve(name, x, 2 / x, colour, "training", dashed, marker)
    return [training, training._replace(y=2 / x + 0.1, part="validation", dashed=False)]


def text_of(plot, width, **options):
    lines = ["".join(c for c, _, _ in row) for row in screens.printed([plot], width, **options)]
    return [line.rstrip() for line in lines]


@pytest.mark.parametrize(
    ("low", "high", "options", "expected"),
    [
        (0.0114, 2.21, {}, ["0.5", "1.0", "1.5", "2.0"]),
        (-3, 4, {}, ["-2", "0", "2", "4"]),
        (0.98, 1.0, {"percent": True}, ["98.0%", "98.5%", "99.0%", "99.5%", "100.0%"]),
        (0.1, 1.0, {"percent": True}, ["20%", "40%", "60%", "80%", "100%"]),
        (1, 3, {"whole": True}, ["1", "2", "3"]),
        (1, 1, {"whole": True}, ["1"]),
        (1, 30, {"whole": True}, ["10", "20", "30"]),
        (0.01, 5, {"log": True}, ["0.01", "0.1", "1"]),
        (0.1, 0.9, {"log": True}, ["0.1", "0.2", "0.5"]),
        (1e-12, 1e9, {"log": True}, ["1e-12", "1e-07", "0.01", "1000", "1e+08"]),
        (3e-7, 9e-7, {}, ["4e-07", "6e-07", "8e-07"]),
        (0, 4e7, {}, ["0", "1e+07", "2e+07", "3e+07", "4e+07"]),
    ],
)
def test_ticks_are_round(low, high, options, expected):
    values, labels = curves.ticks(low, high, 5, **options)
    assert labels == expected
    assert all(low * (1 - 1e-6) <= value <= high * (1 + 1e-6) or low < 0 for value in values)


def test_many_limits_have_between_two_and_five_ticks_inside_them():
    rng = np.random.default_rng(0)
    for _ in range(300):
        low = rng.normal() * 10.0 ** rng.integers(-6, 7)
        high = low + rng.uniform(0.01, 1) * 10.0 ** rng.integers(-3, 7)
        values, labels = curves.ticks(low, high, 5)
        assert len(set(labels)) == len(values)
        np.testing.assert_allclose([float(label) for label in labels], values, rtol=1e-6, atol=1e-9 * abs(high - low))
        margin = 1e-6 * (high - low)
        assert 2 <= len(values) <= 5 and low - margin <= values[0] and values[-1] <= high + margin
        steps = np.diff(values)
        np.testing.assert_allclose(steps, steps[0], rtol=1e-6, atol=1e-15 * abs(low))
        leading = steps[0] / 10 ** np.floor(np.log10(steps[0] * (1 + 1e-5)))
        assert np.isclose(leading, [1, 2, 5], rtol=1e-4).any()


def test_axes_are_labelled_at_any_encoding():
    plot = curves.Plot("loss", run(), (0.0, 2.1), (1.0, 30.0))
    for options in ({}, {"color_system": None}, {"file": screens.encoded("ascii")}):
        lines = text_of(plot, 50, **options)
        assert lines[0] == "loss" and [line for line in lines if line.strip() == "epoch"]
        labels = [line.split()[0] for line in lines[1:13] if line[0] != " "]
        assert labels == ["2.0", "1.5", "1.0", "0.5", "0.0"]
        (below,) = [line.split() for line in lines if line.split()[-1:] == ["30"]]
        assert below == ["10", "20", "30"]
        assert "training" in lines[-2] and "validation" in lines[-2]


def test_training_and_validation_differ_without_colour():
    plot = curves.Plot("loss", run(), (0.0, 2.1), (1.0, 30.0))
    marks = "".join(text_of(plot, 50, file=screens.encoded("ascii"), color_system=None))
    marks.encode("ascii")
    assert marks.count("*") > 30 and marks.count(".") > 10
    for curve, most in zip(plot.curves, (0.6, 1.0), strict=True):  # in braille, half of the columns have dots
        rows = text_of(plot._replace(curves=[curve]), 54, color_system=None)[1:13]
        halves = [any(ord(row[j]) - 0x2800 & mask for row in rows if j < len(row) and row[j] > "\u2800")
                  for j in range(5, 53) for mask in (0x47, 0xB8)]  # fmt: skip
        assert 0.4 < np.mean(halves) <= most and (curve.dashed or np.mean(halves) > 0.9)


def test_several_runs_share_axes_only_where_they_can_be_distinguished():
    runs = [run("first"), run("second", colour=curves.LINES[1])]
    plot = curves.Plot("loss", [*runs[0], *runs[1]], (0.0, 2.1), (1.0, 30.0))
    single = [plot._replace(title=f"loss, {of_run[0].name}", curves=of_run) for of_run in runs]
    panels = curves.Panels([plot], single)
    shared = text_of(panels, 60)
    assert "loss" in shared and any("first" in line and "second" in line for line in shared)
    assert any("training" in line and "validation" in line for line in shared)
    for options in ({"no_color": True}, {"file": screens.encoded("cp1252")}):
        separate = text_of(panels, 60, **options)
        assert "loss, first" in separate and "loss, second" in separate and "loss" not in separate


def test_lines_in_a_file_go_through_their_points():
    both = [*run("first", 0), *run("second", 1, colour=curves.LINES[1])]
    plot = curves.Plot("loss", both, (0.0, 2.1), (1.0, 30.0))
    drawn = rendering.draw(plot, 60)
    picture = ElementTree.fromstring(rendering.svg(drawn))
    lines = [e for e in picture.iter(SVG + "polyline") if len(e.get("points").split()) == 30]
    assert len(lines) == 4 and [bool(e.get("stroke-dasharray")) for e in lines] == [True, False, True, False]
    assert len({e.get("stroke") for e in lines}) == 2
    for line, curve in zip(lines, both, strict=True):
        x, y = np.array([point.split(",") for point in line.get("points").split()], float).T
        for positions, values in ((x, curve.x), (y, curve.y)):  # both axes are linear
            slope, offset = np.polyfit(values, positions, 1)
            np.testing.assert_allclose(slope * values + offset, positions, atol=0.05)
        assert x.min() >= 0 and x.max() <= 60 * rendering.CELL_WIDTH and np.polyfit(curve.y, y, 1)[0] < 0
    texts = list(picture.itertext())
    for text in ("loss", "epoch", "0.5", "1.0", "first", "second", "training", "validation"):
        assert text in texts
    markers = {len(e.get("points").split()) for e in picture.iter(SVG + "polygon")}
    assert markers == {curves.MARKERS[0][0], curves.MARKERS[1][0]}
    # no line is of pixels: the page itself is blank
    assert (drawn.pixels == drawn.theme.background_color).all() and not drawn.words
    height = drawn.pixels.shape[0]
    assert max(float(e.get("y")) for e in picture.iter(SVG + "text")) < height


def test_a_png_has_the_same_lines():
    x = np.array([1.0, 30.0])
    flat = curves.Curve("run", x, np.ones(2), part="validation")
    for dashed, least, most in ((False, 0.99, 1.0), (True, 0.5, 0.75)):
        plot = curves.Plot("loss", [flat._replace(dashed=dashed)], (0.3, 1.6), (1.0, 30.0))
        image = np.asarray(Image.open(io.BytesIO(rendering.png(rendering.draw(plot, 60))))).astype(int)
        blue = np.abs(image - curves.LINES[0]).sum(axis=-1) < 100
        rows = np.flatnonzero(blue[: 14 * 32].any(axis=1))  # the legend is below
        columns = np.flatnonzero(blue[rows].any(axis=0))
        drawn = blue[rows][:, columns[0] : columns[-1] + 1].any(axis=0)
        assert len(rows) <= 6 and len(drawn) > 40 * 16 and least <= drawn.mean() <= most


def test_a_single_epoch_is_a_point():
    point = curves.Curve("run", np.ones(1), np.ones(1), part="training")
    plot = curves.Plot("loss", [point], curves.limits([point]), (1.0, 1.0))
    assert any(ord(c) > 0x2800 for line in text_of(plot, 50)[1:13] for c in line)
    picture = ElementTree.fromstring(rendering.svg(rendering.draw(plot, 50)))
    assert len(list(picture.iter(SVG + "polygon"))) == 1
