"""Ops that move positions: values against index by index definitions, VJPs, inverses, bad widths."""

import numpy as np
import pytest
from arrays import normal

from funcnn import ops
from funcnn.testing import check_vjp

SHAPES = {"1-D": (2, 5, 3), "2-D": (2, 4, 5, 3), "3-D": (2, 3, 4, 2, 1)}


def source(i, size, mode):
    """The position that is ``i`` positions after the first one, for an image continued in that mode."""
    if mode == "edge":
        return min(max(i, 0), size - 1)
    if mode == "wrap":
        return i % size
    while size > 1 and not 0 <= i < size:  # mirrored about the outermost positions, as often as it takes
        i = -i if i < 0 else 2 * (size - 1) - i
    return i if size > 1 else 0


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
@pytest.mark.parametrize("pair", [(0, 0), (1, 1), (2, 0), (0, 3), (7, 6)])
def test_pad(shape, mode, pair):
    x, rank = normal(*shape), len(shape) - 2
    y, _ = ops.pad(x, (pair,) * rank, mode=mode, value=-1.5)
    assert y.shape == (shape[0], *(s + sum(pair) for s in shape[1:-1]), shape[-1])
    for position in np.ndindex(*y.shape[1:-1]):
        origin = [i - pair[0] for i in position]
        if mode == "constant" and not all(0 <= i < s for i, s in zip(origin, shape[1:-1], strict=True)):
            assert (y[:, *position] == -1.5).all()
        else:
            assert np.array_equal(
                y[:, *position], x[:, *(source(i, s, mode) for i, s in zip(origin, shape[1:-1], strict=True))]
            )
    check_vjp(lambda x: ops.pad(x, (pair,) * rank, mode=mode, value=-1.5), x, strict=True)


def test_widths_as_an_int_and_per_axis():
    x = normal(1, 4, 5, 2)
    assert np.array_equal(ops.pad(x, 2)[0], ops.pad(x, ((2, 2), (2, 2)))[0])
    assert np.array_equal(ops.pad(x, (1, 0))[0], ops.pad(x, ((1, 1), (0, 0)))[0])


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("factor", [1, 2, 3])
def test_upsample(shape, factor):
    x = normal(*shape)
    y, _ = ops.upsample(x, factor)
    for position in np.ndindex(*y.shape[1:-1]):
        assert np.array_equal(y[:, *position], x[:, *(i // factor for i in position)])
    check_vjp(lambda x: ops.upsample(x, factor), x, strict=True)


@pytest.mark.parametrize("blocks", [(2,), (2, 3), (1, 2, 3), 2])
def test_depth_to_space_and_back(blocks):
    rank = len(blocks) if isinstance(blocks, tuple) else 2
    each = blocks if isinstance(blocks, tuple) else (blocks,) * rank
    x = normal(2, *range(2, 2 + rank), 5 * int(np.prod(each)))
    y, vjp = ops.depth_to_space(x, blocks)
    for position in np.ndindex(*y.shape[1:-1]):
        block_position = tuple(i // k for i, k in zip(position, each, strict=True))
        number = int(np.ravel_multi_index([i % k for i, k in zip(position, each, strict=True)], each))
        assert np.array_equal(y[:, *position], x[:, *block_position, 5 * number : 5 * number + 5])
    back, back_vjp = ops.space_to_depth(y, blocks)
    assert np.array_equal(back, x) and np.array_equal(vjp(y), x) and np.array_equal(back_vjp(x), y)
    check_vjp(lambda x: ops.depth_to_space(x, blocks), x, strict=True)
    check_vjp(lambda x: ops.space_to_depth(x, blocks), y, strict=True)


@pytest.mark.parametrize("shape", [(60,), (12, 5), (5, -1), (-1,), (2, 3, 2, 5), (1, 60, -1)])
def test_reshape(shape):
    x = normal(2, 3, 4, 5)
    y, vjp = ops.reshape(x, shape)
    for example, flat in zip(y, x, strict=True):  # in row-major order
        assert example.ravel().tolist() == flat.ravel().tolist()
    assert all(s in (-1, got) for s, got in zip(shape, y.shape[1:], strict=True))
    assert np.array_equal(vjp(y), x)
    check_vjp(lambda x: ops.reshape(x, shape), x, strict=True)


def test_reshape_of_nothing():
    assert ops.reshape(np.zeros((2, 0, 3)), (3, -1))[0].shape == (2, 3, 0)
    assert ops.reshape(np.zeros((0, 2, 3)), (3, -1))[0].shape == (0, 3, 2)
    assert ops.reshape(np.zeros((2, 1)), ())[0].shape == (2,)


@pytest.mark.parametrize("axes", [(0, 1, 2, 3), (0, 3, 1, 2), (0, 2, 3, 1), (0, 3, 2, 1)])
def test_transpose(axes):
    x = normal(2, 3, 4, 5)
    y, vjp = ops.transpose(x, axes)
    for index in np.ndindex(*x.shape):
        assert y[tuple(index[a] for a in axes)] == x[index]
    assert np.array_equal(vjp(y), x)
    back = [axes.index(a) for a in range(4)]
    assert np.array_equal(ops.transpose(y, back)[0], x)
    check_vjp(lambda x: ops.transpose(x, axes), x, strict=True)


@pytest.mark.parametrize(("before", "after"), [((1, 4), (3, 4)), ((3, 1, 1), (3, 2, 5)), ((1,), (1,)), ((), ())])
def test_broadcast_to(before, after):
    x = normal(2, *before)
    y, vjp = ops.broadcast_to(x, after)
    assert y.shape == (2, *after)
    for n, *index in np.ndindex(*y.shape):
        assert y[n, *index] == x[n, *(0 if s == 1 else i for i, s in zip(index, before, strict=True))]
    assert np.array_equal(vjp(np.ones(y.shape)), np.full(x.shape, y.size / x.size))
    check_vjp(lambda x: ops.broadcast_to(x, after), x, strict=True)


@pytest.mark.parametrize(
    "bounds",
    [
        ((0, 4, 1), (0, 5, 1)),
        ((1, 3, 1), (2, 5, 1)),
        ((0, 4, 2), (1, 5, 3)),
        ((3, 4, 9), (5, 5, 1)),
        ((3, -1, -1), (4, 1, -2)),
        ((2, 2, -1), (0, -1, -3)),
    ],
)
def test_crop(bounds):
    x = normal(2, 4, 5)
    y, vjp = ops.crop(x, bounds)
    kept = [list(range(*bound)) for bound in bounds]
    assert y.shape == (2, *map(len, kept))
    for n, i, j in np.ndindex(*y.shape):
        assert y[n, i, j] == x[n, kept[0][i], kept[1][j]]
    inside = np.isin(np.arange(4), kept[0])[:, None] & np.isin(np.arange(5), kept[1])
    assert np.array_equal(vjp(y), np.where(inside, x, 0))
    check_vjp(lambda x: ops.crop(x, bounds), x, strict=True)


def test_what_padding_adds_is_cropped():
    x = normal(2, 3, 4, 5)
    back, vjp = ops.crop(ops.pad(x, ((2, 1), (0, 3)))[0], ((2, 5, 1), (0, 4, 1), (0, 5, 1)))
    assert np.array_equal(back, x)
    assert np.array_equal(vjp(x), ops.pad(x, ((2, 1), (0, 3)))[0])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: ops.reshape(x, (7, -1)), ValueError, r"x \(2, 4, 5, 3\) has 60 entries .* shape \(7, -1\)"),
        (lambda x: ops.reshape(x, (-1, -1)), ValueError, "reshape: .* has 60 entries"),
        (lambda x: ops.reshape(x, (30, -2)), ValueError, "reshape: .* has 60 entries"),
        (lambda x: ops.reshape(x, (59,)), ValueError, "reshape: .* has 60 entries"),
        (
            lambda x: ops.transpose(x, (1, 0, 2, 3)),
            ValueError,
            r"axes \(1, 0, 2, 3\) must be 0 and then the other axes",
        ),
        (lambda x: ops.transpose(x, (0, 1, 2)), ValueError, r"axes \(0, 1, 2\) must be .* of x \(2, 4, 5, 3\)"),
        (lambda x: ops.transpose(x, (0, 1, 2, -1)), ValueError, "must be 0 and then the other axes"),
        (lambda x: ops.transpose(x[0, 0, 0, 0], ()), ValueError, "must be 0 and then the other axes"),
        (lambda x: ops.broadcast_to(x, (4, 5, 6)), ValueError, r"shape \(4, 5, 3\) cannot be repeated to \(4, 5, 6\)"),
        (lambda x: ops.broadcast_to(x, (2, 4, 5, 3)), ValueError, "cannot be repeated to"),
        (lambda x: ops.crop(x, [(0, 4, 1)]), ValueError, r"crop: examples of shape \(4, 5, 3\) do not have the bounds"),
        (lambda x: ops.crop(x, [(0, 4, 1), (0, 6, 1), (0, 3, 1)]), ValueError, "do not have the bounds"),
        (lambda x: ops.crop(x, [(-1, 4, 1), (0, 5, 1), (0, 3, 1)]), ValueError, "do not have the bounds"),
        (lambda x: ops.crop(x, [(3, 2, 1), (0, 5, 1), (0, 3, 1)]), ValueError, "do not have the bounds"),
        (lambda x: ops.crop(x, [(4, -1, -1), (0, 5, 1), (0, 3, 1)]), ValueError, "do not have the bounds"),
        (lambda x: ops.crop(x, [(-1, -1, -1), (0, 5, 1), (0, 3, 1)]), ValueError, "do not have the bounds"),
        (lambda x: ops.crop(x, [(3, -2, -1), (0, 5, 1), (0, 3, 1)]), ValueError, "do not have the bounds"),
        (lambda x: ops.crop(x, [(1, 2, -1), (0, 5, 1), (0, 3, 1)]), ValueError, "do not have the bounds"),
        (lambda x: ops.crop(x, [(0, 4, 0), (0, 5, 1), (0, 3, 1)]), ValueError, "do not have the bounds"),
        (lambda x: ops.pad(x, -1), ValueError, "padding must be at least 0, got -1"),
        (lambda x: ops.pad(x, (1, 1, 1)), ValueError, "has 3 entries, the input has 2"),
        (lambda x: ops.pad(x, "same"), TypeError, "widths must be numbers of positions, not 'same'"),
        (lambda x: ops.pad(x, 1, mode="mirror"), ValueError, "mode must be 'constant', .* not 'mirror'"),
        (lambda x: ops.pad(x[:, :0], 1, mode="edge"), ValueError, "has no positions to repeat"),
        (lambda x: ops.upsample(x, 0), ValueError, "factor must be at least 1, got 0"),
        (lambda x: ops.upsample(x, 1.5), TypeError, "factor must be an int or a tuple of 2 ints, not 1.5"),
        (
            lambda x: ops.depth_to_space(x, 2),
            ValueError,
            r"block \(2, 2\) needs channels divisible by 4, x is \(2, 4, 5, 3\)",
        ),
        (lambda x: ops.space_to_depth(x, 2), ValueError, r"block \(2, 2\) does not divide the spatial axes of x"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call(normal(2, 4, 5, 3))
