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


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
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
