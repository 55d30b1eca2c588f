"""Geometry that would allocate more than input and output explain is refused by its numbers, before anything is."""

import tracemalloc

import numpy as np
import pytest

from funcnn import data, layers, ops

B = 10**9
ROW, IMAGE = np.ones((1, 8, 2), np.float32), np.ones((1, 8, 8, 2), np.float32)
W = {"w": np.ones((3, 3, 2, 2), np.float32), "b": np.zeros(2, np.float32)}


@pytest.mark.parametrize(
    ("compute", "numbers"),
    [
        (lambda: ops.max_pool(IMAGE, B, padding=B), "max_pool: padding .*1000000000.*, more than 1024 times"),
        (lambda: ops.max_pool(ROW, B, padding=B - 1), "max_pool: padding .*999999999.* 2,000,000,006 positions"),
        (lambda: ops.max_pool(ROW, 10**7, stride=10**7, padding=5 * 10**6), "for windows .10000000,. makes 10,000,008"),
        (lambda: ops.avg_pool(ROW, B, padding=B, count_include_pad=True), "avg_pool: padding .*1000000000"),
        (lambda: ops.max_pool(IMAGE, 3, dilation=B, padding="same"), "max_pool: padding .*1000000000"),
        (lambda: ops.max_pool(IMAGE, 3, dilation=B), "window spans 2000000001 positions on spatial axis 0, the padded"),
        (lambda: ops.avg_pool(IMAGE, B), "avg_pool: the window spans 1000000000 positions"),
        (lambda: ops.conv(W, IMAGE, padding=B), "conv: padding .*1000000000"),
        (lambda: ops.conv(W, IMAGE, dilation=B, padding="same"), "conv: padding .*1000000000"),
        (lambda: ops.conv_transpose(W, IMAGE, stride=B), "conv_transpose: stride .1000000000"),
        (lambda: ops.conv_transpose(W, IMAGE, stride=B, padding="same"), "conv_transpose: stride .1000000000"),
        (lambda: ops.conv_transpose(W, IMAGE, dilation=B), "conv_transpose: .* dilation .1000000000"),
        (lambda: ops.upsample(IMAGE, B), "upsample: factor 1000000000 makes .* of an image .8, 8."),
        (lambda: ops.pad(ROW, B), "pad: padding .*1000000000"),
        (lambda: ops.pad(ROW, B, mode="wrap"), "pad: padding .*1000000000"),
        (lambda: ops.adaptive_avg_pool(IMAGE, B), "adaptive_avg_pool: size .1000000000"),
        (lambda: ops.adaptive_max_pool(ROW, B), "adaptive_max_pool: size .1000000000"),
        (lambda: data.random_crop((0,), IMAGE, 8, padding=B), "random_crop: padding .*1000000000"),
        (lambda: layers.upsample(B).init((0,), (8, 8, 2)), "upsample: factor 1000000000"),
    ],
)
def test_impossible_sizes_are_refused_before_they_are_allocated(compute, numbers):
    tracemalloc.start()
    with pytest.raises(ValueError, match=numbers):
        compute()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


@pytest.mark.parametrize(
    ("compute", "shape"),
    [
        (lambda: ops.max_pool(IMAGE, 3, stride=B), (1, 1, 1, 2)),
        (lambda: ops.avg_pool(IMAGE, 3, stride=B, ceil_mode=True), (1, 1, 1, 2)),
        (lambda: ops.conv(W, IMAGE, stride=B), (1, 1, 1, 2)),
        (lambda: ops.conv(W, IMAGE, dilation=36, padding="same"), (1, 8, 8, 2)),
        (lambda: ops.max_pool(IMAGE, 101, stride=1, padding=50), (1, 8, 8, 2)),
        (lambda: ops.conv(W, IMAGE, padding=50), (1, 106, 106, 2)),
        (lambda: ops.upsample(IMAGE[:, :1, :1], 512), (1, 512, 512, 2)),
        (lambda: ops.pad(IMAGE, 200, mode="edge"), (1, 408, 408, 2)),
    ],
)
def test_odd_but_possible_sizes_are_computed(compute, shape):
    assert compute()[0].shape == shape
