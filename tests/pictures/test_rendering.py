"""Pictures in files: SVG and PNG have the pixels of the terminal."""

import base64
import io
from xml.etree import ElementTree

import numpy as np
from PIL import Image
from rich.console import Group

from funcnn.pictures import rendering, tables, tiles


def test_a_picture_in_a_file_is_the_one_on_the_terminal():
    tile = tiles.heat(np.linspace(0, 1, 16).reshape(4, 4), 1.0)
    for theme in (rendering.DARK, rendering.LIGHT):
        drawn = rendering.draw(tiles.Gallery([tile]), 40, theme)
        half = rendering.CELL_HEIGHT // 2
        np.testing.assert_array_equal(drawn.pixels[: 16 * half : 4 * half, :: 4 * rendering.CELL_WIDTH], tile.pixels)
        picture = ElementTree.fromstring(rendering.svg(drawn))
        (image,) = picture.iter("{http://www.w3.org/2000/svg}image")
        embedded = Image.open(io.BytesIO(base64.b64decode(image.get("href").partition("base64,")[2])))
        np.testing.assert_array_equal(np.asarray(embedded), drawn.pixels)
        enlarged = np.asarray(Image.open(io.BytesIO(rendering.png(drawn, enlarge=2))))
        margin = 2 * rendering.MARGIN
        np.testing.assert_array_equal(enlarged[margin:-margin:2, margin:-margin:2], drawn.pixels)
        assert tuple(enlarged[0, 0]) == tuple(theme.background_color)


def test_names_of_any_characters_are_the_text_of_a_picture():
    names = ["b [/x]", ":cat: <&>\"'", "\x1b[31m\n\u202e\udce9", "猫 e\u0301x"]
    table = tables.table(("true", "n"), [(name, "1") for name in names])
    matrix = tiles.HeatMap(np.eye(4, dtype=int), names)
    for renderable in (table, matrix):
        drawn = rendering.draw(Group(renderable), 200)
        rendering.png(drawn)
        texts = ElementTree.fromstring(rendering.svg(drawn)).iter("{http://www.w3.org/2000/svg}text")
        words = [(text.text, int(text.get("x")), int(text.get("textLength"))) for text in texts]
        joined = " ".join(word for word, _, _ in words)
        assert all(name in joined for name in ("b [/x]", ":cat: <&>\"'", r"\x1b[31m\n\u202e\xe9", "猫 e\u0301 x"))
        cat = next(x for word, x, _ in words if word == "猫")
        accented, width = next((x, width) for word, x, width in words if word == "e\u0301")
        assert (accented - cat, width) == (3 * rendering.CELL_WIDTH, rendering.CELL_WIDTH)
