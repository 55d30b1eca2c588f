"""The Toeplitz matrix holds a copy of w for each output, where the output reads the image."""

from __future__ import annotations

import numpy as np
import pytest

from funcnn.kernels.conv import im2col, toeplitz
from funcnn.kernels.geometry import Geometry

GEOMETRIES = [
    Geometry((6,), (3,), (1,), ((0, 0),), (1,), (4,)),
    Geometry((5, 6), (3, 2), (2, 1), ((1, 2), (0, 1)), (1, 2), (3, 5)),
    Geometry((6, 5), (2, 3), (1, 1), ((-1, -2), (-1, 1)), (1, 1), (2, 3)),  # crops positions that no output reads
    Geometry((3, 4, 4), (2, 1, 2), (1, 2, 2), ((0, 1), (0, 0), (1, 1)), (1, 1, 1), (3, 2, 3)),
]


@pytest.mark.parametrize("g", GEOMETRIES, ids=str)
@pytest.mark.parametrize("channels", [(1, 1), (2, 3), (0, 2)], ids=str)
def test_its_product_with_an_image_is_the_correlation(g: Geometry, channels: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, *g.size, channels[0])), rng.standard_normal((*g.window, *channels))

    matrix = toeplitz.matrix(w, g)

    expected = im2col.correlate(x, w, g, 1).reshape(2, -1)
    np.testing.assert_allclose(x.reshape(2, len(matrix)) @ matrix, expected, rtol=0, atol=1e-13)


def test_even_outputs_of_a_row_come_first() -> None:
    g = Geometry((2, 8), (1, 3), (1, 1), ((0, 0), (0, 0)), (1, 1), (2, 6))
    w = np.random.default_rng(0).standard_normal((1, 3, 2, 3))

    of_rows = toeplitz.matrix(w, g).reshape(-1, 2, 6, 3)

    np.testing.assert_array_equal(
        toeplitz.matrix(w, g, even_first=True), of_rows[:, :, [0, 2, 4, 1, 3, 5]].reshape(len(of_rows), -1)
    )
