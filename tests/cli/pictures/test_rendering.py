"""Pictures in files: SVG and PNG have the pixels of the terminal."""

import base64
import io
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from funcnn.cli.pictures import rendering, tiles


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
