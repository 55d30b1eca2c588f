"""Pictures on a terminal: colours that can be read back as the numbers they stand for, on any width."""

import io
import re

import numpy as np
import screens
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from funcnn.pictures import tiles


def test_colours_read_back_are_the_array():
    rng = np.random.default_rng(0)
    for shape in ((8, 8), (5, 3), (20, 24)):  # an odd number of rows ends in the background
        height, width = shape
        scale = max(min(24 // width, 4), 1)
        for make, anchors, low in ((tiles.signed, tiles.COOL_WARM, -2.0), (tiles.heat, tiles.VIRIDIS, 0.0)):
            array = rng.uniform(low, 2.0, shape)
            (rows,) = [screens.printed([tiles.Gallery([make(array, 2.0)])], 80)[:-1]]
            shown = screens.values(screens.pixels(rows)[: height * scale : scale, ::scale], anchors) * (2.0 - low) + low
            np.testing.assert_allclose(shown, array, atol=0.02)
            if height * scale % 2:
                assert rows[-1][0][1] and not rows[-1][0][2]

    image = rng.uniform(0, 1, (8, 9, 3))
    rows = screens.printed([tiles.Gallery([tiles.photograph(image, 0.0, 1.0)])], 80)[:-1]
    np.testing.assert_array_equal(screens.pixels(rows)[::2, ::2], np.rint(255 * image))
    # too wide, it is shrunk by the mean
    rows = screens.printed([tiles.Gallery([tiles.heat(np.kron(np.eye(16), np.ones((4, 4))), 1.0)])], 16)[:-1]
    np.testing.assert_allclose(screens.values(screens.pixels(rows), tiles.VIRIDIS), np.eye(16), atol=0.01)


def test_viridis_gets_lighter_all_the_way_and_both_scales_differ_from_black_and_white():
    lightness = tiles.colours(np.linspace(0, 1, 100), tiles.VIRIDIS) @ [0.299, 0.587, 0.114]
    assert (np.diff(lightness) > 0).all() and lightness[0] > 25 and lightness[-1] < 230
    middle = tiles.colours(np.array(0.5), tiles.COOL_WARM)
    assert len(set(middle.tolist())) == 1 and 128 < middle[0] < 230


def test_without_colour_density_and_sign_are_the_array():
    array = np.array([[0.0, 0.25, 0.5, 0.75, 1.0], [0.1, -0.25, -0.5, -0.75, -1.0]])
    rows = screens.printed([tiles.Gallery([tiles.signed(array, 1.0, "both")])], 40, color_system=None)
    assert ["".join(c for c, _, _ in row) for row in rows[:3]] == ["  +░+▒+▓+█", "  -░-▒-▓-█", "both"]
    rows = screens.printed([tiles.Gallery([tiles.heat(array[:1], 1.0)])], 40, no_color=True)
    assert "".join(c for c, _, _ in rows[0]) == "  ░░▒▒▓▓██"


def test_many_classes_are_pixels():
    confusion = np.diag(np.arange(1, 61))
    rows = screens.printed([tiles.HeatMap(confusion, [f"class {i}" for i in range(60)])], 80)
    np.testing.assert_allclose(screens.values(screens.pixels(rows[:30]), tiles.VIRIDIS), np.eye(60), atol=0.01)


def test_names_that_the_encoding_lacks_stay_in_their_columns():
    names = ["\u72d0", "caf\u00e9", "dog"]
    heat_map = tiles.HeatMap(np.array([[5, 1, 0], [0, 6, 0], [0, 0, 7]]), names)
    where = {"file": screens.encoded("ascii"), "color_system": None}
    lines = ["".join(c for c, _, _ in row) for row in screens.printed([heat_map], 60, **where)]
    assert lines[0].split() == ["\\u72d0", "caf\\xe9", "dog"] and "".join(lines).isascii()
    assert len({len(line) for line in lines}) == 1
    ends = [[found.end() for found in re.finditer(r"\d+|\.", line[8:])] for line in lines[1:]]
    assert ends[0] == ends[1] == ends[2]
    squares = [tiles.heat(np.eye(8), 1.0, name) for name in names]
    lines = ["".join(c for c, _, _ in row) for row in screens.printed([tiles.Gallery(squares)], 60, **where)]
    assert [lines[8].index(name) for name in ("\\u72d0", "caf\\xe9", "dog")] == [0, 17, 34]


def test_names_in_a_table_are_as_wide_as_what_stands_for_them():
    grid = Table.grid(padding=(0, 1, 0, 0))
    for name in ("猫", "a\x1b", "dog"):
        grid.add_row(tiles.Name(name), "1")
    for encoding, shown in (("utf-8", "猫"), ("ascii", r"\u732b")):
        file = io.TextIOWrapper(io.BytesIO(), encoding)
        Console(file=file, width=40, _environ={}).print(grid)
        file.flush()
        rows = file.buffer.getvalue().decode(encoding).splitlines()
        assert [row.split()[0] for row in rows] == [shown, r"a\x1b", "dog"]
        assert len({cell_len(row.rstrip()) for row in rows}) == 1


def test_captions_of_wide_characters_are_broken_and_not_cut():
    tile = tiles.heat(np.ones((4, 8)), 1.0, "猫" * 30)
    shown = screens.printed([tiles.Gallery([tile, tile])], 40)
    assert sum(character == "猫" for row in shown for character, *_ in row) == 60
