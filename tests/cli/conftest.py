"""What the tests of several sub-commands share."""

import re

import commands
import pytest
import shapes


@pytest.fixture(scope="session")
def trained_folder(tmp_path_factory):
    """A folder with images, and a model trained on them."""
    trained_folder = tmp_path_factory.mktemp("trained")
    shapes.make(trained_folder / "shapes", each=100)
    shapes.make(trained_folder / "more", each=5, seed=1)
    options = ("--data", "shapes", "--epochs", 20, "--output", "net.safetensors")
    result = commands.run("train", *options, cwd=trained_folder)
    assert result.returncode == 0, result.stderr
    assert "shapes: 300 images of 24x24, 3 channels; 3 classes, circle, square, triangle" in result.stderr
    assert float(re.match(r"test accuracy ([\d.]+)%", result.stdout)[1]) > 80
    return trained_folder
