"""Compiled cross-entropy of labels against NumPy's."""

import numpy as np
import pytest

from funcnn.kernels.cross_entropy import label_losses
from funcnn.kernels.selection import use_kernels

pytest.importorskip("numba", reason="the extra fast is not installed")


def check_twin(logits, labels):
    logits.flags.writeable = labels.flags.writeable = False
    with use_kernels("compiled"):
        results = label_losses(logits, labels)
    with np.errstate(invalid="ignore"):
        expected = label_losses.__wrapped__(logits, labels)
    for compiled, by_numpy in zip(results, expected, strict=True):
        assert (compiled.shape, compiled.dtype) == (by_numpy.shape, by_numpy.dtype)
        np.testing.assert_allclose(compiled, by_numpy, rtol=0, atol=16 * np.finfo(by_numpy.dtype).eps)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 1), (5, 2), (64, 10), (3, 4, 7), (2, 3, 2, 33), (0, 3)])
@pytest.mark.parametrize("of_labels", [np.int64, np.uint8])
def test_losses_and_derivatives(shape, dtype, of_labels):
    rng = np.random.default_rng(0)
    logits = 3 * np.asarray(rng.standard_normal(shape), dtype)
    check_twin(logits, rng.integers(0, shape[-1], shape[:-1]).astype(of_labels))


def test_arrays_that_are_not_contiguous():
    logits, labels = np.random.default_rng(0).standard_normal((6, 5, 4)), np.arange(30).reshape(6, 5) % 4
    check_twin(np.asfortranarray(logits), np.asfortranarray(labels))
    check_twin(logits[::2, :, ::-1], labels[::-2])


def test_nan_and_infinite_logits_are_as_with_numpy():
    logits = np.random.default_rng(0).standard_normal((7, 3))
    logits[0, 1], logits[1, 0], logits[2, 2], logits[3, 0] = np.nan, np.nan, np.inf, -np.inf
    logits[4], logits[5], logits[6] = -np.inf, np.inf, np.nan
    check_twin(logits, np.array([0, 1, 2, 0, 1, 2, 0]))


def test_other_dtypes_are_left_to_numpy():
    for dtype in (np.float16, np.complex64):
        check_twin(np.ones((2, 3), dtype), np.array([0, 1]))
