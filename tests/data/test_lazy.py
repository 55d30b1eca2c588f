"""Sources: data that are read in parts."""

import numpy as np
import pytest
from sources import Strict

from funcnn.data.lazy import Mapped, Selected, as_source, blocks, extent, take

ROWS = np.arange(60).reshape(20, 3)


@pytest.mark.parametrize("rows", [[3, 1, 2], [5], [7, 7, 0], [4, 5, 6], [], [19, 0, 19, 3], slice(2, 5), slice(None)])
def test_rows_come_in_the_order_asked_for_from_a_source_that_refuses_unsorted_indices(rows):
    rows = rows if isinstance(rows, slice) else np.array(rows, int)
    for source in (ROWS, Strict(ROWS), Mapped(Strict(ROWS), lambda x: x), Selected(Strict(ROWS), np.arange(20))):
        read = take(source, rows)
        assert type(read) is np.ndarray
        np.testing.assert_array_equal(read, ROWS[rows])


def test_neighbours_are_read_as_a_slice_and_no_row_twice():
    source = Strict(ROWS)
    take(source, np.array([5, 4, 4, 6]))
    assert source.reads == [3]


def test_what_is_mapped_is_computed_when_it_is_read_and_only_for_the_rows_read():
    source = Strict(ROWS.astype(np.uint8))
    x = Mapped(source, lambda rows: rows.astype(np.float32) / 255)
    assert (x.shape, x.dtype, len(x), source.reads) == ((20, 3), np.float32, 20, [1])
    chosen = Selected(x, np.array([8, 3, 15, 11]))
    np.testing.assert_array_equal(chosen[1:3], ROWS[[3, 15]].astype(np.float32) / 255)
    assert source.reads == [1, 2]
    np.testing.assert_array_equal(np.asarray(chosen), ROWS[[8, 3, 15, 11]].astype(np.float32) / 255)


def test_a_function_that_does_not_map_rows_is_named_with_both_shapes():
    x = Mapped(ROWS, lambda rows: rows[:1])
    with pytest.raises(ValueError, match=r"made \(1, 3\) of rows \(4, 3\), not \(4, 3\)"):
        x[:4]


@pytest.mark.parametrize("returned", [lambda rows: rows[:-1], lambda rows: rows[:, :2], lambda rows: rows[:, :, None]])
@pytest.mark.parametrize("rows", [slice(3, 7), np.array([9, 3, 4])])
def test_a_source_that_returns_other_rows_than_its_shape_says_is_named(returned, rows):
    class Lying(Strict):
        def __getitem__(self, rows):
            return returned(super().__getitem__(rows))

    with pytest.raises(ValueError, match=r"^Lying: [34] rows .* of shape \(20, 3\) and length 20, and it returned \("):
        take(Lying(ROWS), rows)


def test_blocks_are_all_rows_in_order():
    wide = np.arange(3 * 200_000).reshape(3, -1)
    for source in (wide, Strict(wide)):
        starts, parts = zip(*blocks(source), strict=True)
        assert starts == (0, 1, 2)
        np.testing.assert_array_equal(np.concatenate(parts), wide)
        assert extent(source) == (0, wide.size - 1)


def test_what_is_no_source_becomes_an_array():
    class Table:
        """As of pandas, whose own [] takes names of columns."""

        iloc = shape = (2, 1)

        def __array__(self, *_, **__):
            return np.ones((2, 1))

    for given in ([[1.0], [1.0]], Table(), np.ones((2, 1)).view(np.memmap)):
        assert type(as_source(given)) is np.ndarray
        np.testing.assert_array_equal(as_source(given), np.ones((2, 1)))
    assert isinstance(as_source(Strict(ROWS)), Strict)
