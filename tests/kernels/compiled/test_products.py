"""Compiled products of matrices against NumPy's, for sizes around those of tiles and of the blocks of threads."""

import numpy as np
import pytest

from funcnn.kernels import products, threads
from funcnn.kernels.selection import use_kernels

pytest.importorskip("numba", reason="the extra fast is not installed")
DTYPES = {np.float32: 1e-4, np.float64: 1e-11}
# Rows, sums and columns: whole tiles; tiles that overlap; sums of several panels; and too few for a tile.
SHAPES = [(8, 16, 32), (9, 13, 33), (13, 257, 70), (23, 600, 95), (7, 40, 64), (16, 5, 31), (40, 1, 64), (16, 0, 40)]


@pytest.fixture(scope="module", autouse=True)
def compiled():
    """Compile the twins, also for float64."""
    with use_kernels("compiled"):
        yield


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_product_of_parts_of_larger_arrays_writes_only_to_its_part(shape, dtype, rng):
    from funcnn.kernels.compiled.blas import GEMM
    from funcnn.kernels.compiled.tiles import multiply

    rows, depth, columns = shape

    def part_of_a_larger_one(rows, columns):
        return rng.standard_normal((rows + 3, columns + 5)).astype(dtype)[1 : rows + 1, 2 : columns + 2]

    for transpose_a in (False, True):
        for transpose_b in (False, True):
            for adding in (False, True):
                a = part_of_a_larger_one(*((depth, rows) if transpose_a else (rows, depth)))
                b = part_of_a_larger_one(*((columns, depth) if transpose_b else (depth, columns)))
                c = part_of_a_larger_one(rows, columns)
                expected = c.base.copy()
                product = (a.T if transpose_a else a) @ (b.T if transpose_b else b)
                expected[1:-2, 2:-3] = product + c if adding else product
                multiply(GEMM[c.dtype], a, transpose_a, b, transpose_b, adding, c)
                np.testing.assert_allclose(c.base, expected, rtol=DTYPES[dtype], atol=DTYPES[dtype])


def test_a_tile_passes_on_numbers_that_are_not_finite(rng):
    from funcnn.kernels.compiled.blas import GEMM
    from funcnn.kernels.compiled.tiles import multiply

    a, b, c = np.ones((9, 20)), rng.standard_normal((20, 33)), np.empty((9, 33))
    a[3, 5], b[7, 30] = np.nan, np.inf
    multiply(GEMM[c.dtype], a, False, b, False, False, c)
    np.testing.assert_array_equal(np.isfinite(c), np.isfinite(a @ b))
    np.testing.assert_array_equal(np.isnan(c), np.isnan(a @ b))


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("dtype", DTYPES)
# The longest axis, which threads divide, is the sum of y, its columns, and its rows.
@pytest.mark.parametrize("shape", [(64, 150, 80), (12, 70, 300), (200, 40, 33), (64, 33, 64)])
def test_products_of_a_layer_on_several_threads(shape, dtype, n, monkeypatch, rng):
    from funcnn.kernels.compiled import products as twins
    from funcnn.kernels.compiled import tiles

    monkeypatch.setattr(threads, "_MIN_WORK", 1)
    monkeypatch.setattr(tiles, "_MIN_WORK", 1)
    rows, inputs, outputs = shape
    x, w, dy = (
        rng.standard_normal(size).astype(dtype) for size in ((rows, inputs), (inputs, outputs), (rows, outputs))
    )
    for name, first, second in (("product", x, w), ("product_adjoint_w", x, dy), ("product_adjoint_x", w, dy)):
        expected = getattr(products, name).__wrapped__(first, second)
        with threads.Limit(n):
            computed, again = (getattr(twins, name)(first, second) for _ in range(2))
        if computed is NotImplemented:  # a BLAS is as fast on one thread
            assert n == 1
            continue
        assert computed.dtype == dtype
        np.testing.assert_allclose(computed, expected, rtol=DTYPES[dtype], atol=DTYPES[dtype])
        np.testing.assert_array_equal(computed, again)


@pytest.mark.parametrize("dtypes", [(np.complex128, np.complex128), (np.float16, np.float16), (np.float32, np.float64)])
def test_numpy_multiplies_what_is_not_of_one_compiled_dtype(dtypes):
    x, w = np.ones((64, 200), dtypes[0]), np.ones((200, 100), dtypes[1])
    assert products.product(x, w).dtype == np.result_type(x, w)
    assert products.product_adjoint_w(x, np.ones((64, 100), dtypes[1])).shape == w.shape
    assert products.product_adjoint_x(w, np.ones((64, 100), dtypes[0])).shape == x.shape
