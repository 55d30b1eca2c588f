"""Caches of arrays: all of them together stay within a limit in bytes, and never change a result."""

import gc
import os
import threading
import tracemalloc

import numpy as np
import pytest
import systems
from arrays import normal

from funcnn import ops
from funcnn.kernels import caching
from funcnn.kernels.conv import im2col
from funcnn.kernels.geometry import geometry
from funcnn.kernels.windows import pad, windows


@pytest.fixture
def limit(monkeypatch):
    """A record of its own, for 100 kB."""
    monkeypatch.setattr(caching, "_CACHE", caching._Cache())
    monkeypatch.setattr(caching, "LIMIT", 100_000)
    return 100_000


def test_the_oldest_entries_go_where_the_limit_is_reached(limit):
    computed = []

    @caching.cached_arrays
    def array(count):
        computed.append(count)
        return np.zeros(count, np.uint8)

    for count in (30_000, 30_001, 30_002, 30_001):
        array(count)
    assert computed == [30_000, 30_001, 30_002]
    array(30_003)
    assert caching.cached_bytes() <= limit
    array(30_001)
    array(30_000)
    assert computed == [30_000, 30_001, 30_002, 30_003, 30_000]


def test_an_entry_of_more_than_half_of_the_limit_is_computed_each_time(limit):
    array = caching.cached_arrays(np.zeros)
    array(10)
    before = caching.cached_bytes()
    assert array(limit) is not array(limit) and array(10) is array(10)
    assert caching.cached_bytes() == before


def test_lists_and_views_count_with_all_their_memory(limit):
    caching.cached_arrays(lambda: (np.zeros(20_000, np.uint8)[:1], [slice(None)] * 100))()
    assert caching.cached_bytes() > 20_000 + 100 * 64


def test_images_of_ever_new_sizes_keep_no_memory(limit):
    """Each size would keep its indices: 150 kB for the convolution alone, 4 MB for all of them."""
    w = {"w": normal(3, 3, 1, 2), "b": normal(2)}

    def compute(size):
        x = normal(2, size, size + 1, 1)
        for op in (
            lambda x: ops.conv(w, x),
            lambda x: ops.max_pool(x, 3, stride=1),
            lambda x: ops.avg_pool(x, 3, stride=1, padding=1),
        ):
            y, vjp = op(x)
            vjp(y)

    compute(39)
    gc.collect()
    tracemalloc.start()
    for size in range(40, 70):
        compute(size)
        assert caching.cached_bytes() <= limit
    gc.collect()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 1_000_000


@pytest.mark.parametrize(
    ("size", "window", "options"),
    [
        ((23, 9), (3, 2), {}),
        ((23, 9), (3, 2), {"stride": (2, 3), "padding": ((1, 2), (0, 3))}),
        ((23, 9), (3, 1), {"stride": (4, 1), "dilation": (3, 1)}),
        ((50,), (5,), {"stride": 3, "padding": 4}),
        ((9, 5, 4), (2, 3, 3), {"padding": "same"}),
    ],
)
@pytest.mark.parametrize("index_bytes", [1, 1000, 1 << 20])
def test_windows_taken_in_blocks_of_lines_are_the_windows(size, window, options, index_bytes, limit, monkeypatch):
    monkeypatch.setattr(im2col, "_INDEX_BYTES", index_bytes)
    x, g = normal(3, *size, 2), geometry("conv", size, window, **options)
    padded = pad(x, g.padding)
    expected = windows(padded, g).reshape(3, -1)
    np.testing.assert_array_equal(im2col._take_windows(padded, g).reshape(3, -1), expected)


def test_threads_that_compute_the_same_entry_count_it_once(limit):
    barrier = threading.Barrier(4)

    @caching.cached_arrays
    def array(count):
        barrier.wait(10)
        return np.zeros(count, np.uint8)

    threads = [threading.Thread(target=array, args=(1000,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1000 < caching.cached_bytes() < 4000


@systems.needs("fork")
def test_a_forked_process_does_not_wait_for_a_lock_of_its_parent():
    with caching._CACHE.lock:
        child = os.fork()
        if child == 0:
            caching.cached_arrays(np.zeros)(10)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
