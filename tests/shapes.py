"""Make a folder of small images of three classes, noisy drawings of shapes: python tests/shapes.py FOLDER [EACH]"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

CLASSES = ("circle", "square", "triangle")


def draw(name, rng, size=24):
    """Return an image of a shape somewhere, in some colour on some other, with noise on it."""
    background, colour = rng.integers(0, 256, (2, 3))
    while abs(int(background.sum()) - int(colour.sum())) < 200:
        background, colour = rng.integers(0, 256, (2, 3))
    image = Image.new("RGB", (size, size), tuple(map(int, background)))
    pen, r = ImageDraw.Draw(image), rng.uniform(0.22, 0.36) * size
    x, y = rng.uniform(r + 1, size - r - 1, 2)
    if name == "circle":
        pen.ellipse((x - r, y - r, x + r, y + r), tuple(map(int, colour)))
    elif name == "square":
        pen.rectangle((x - r, y - r, x + r, y + r), tuple(map(int, colour)))
    else:
        pen.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], tuple(map(int, colour)))
    noisy = np.asarray(image) + rng.normal(0, 12, (size, size, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def make(folder, each=120, seed=0):
    """Write ``each`` images of every class into its own sub-folder."""
    rng = np.random.default_rng(seed)
    for name in CLASSES:
        (Path(folder) / name).mkdir(parents=True)
        for i in range(each):
            draw(name, rng).save(Path(folder) / name / f"{i:03}.png")


if __name__ == "__main__":
    make(sys.argv[1], *map(int, sys.argv[2:]))
