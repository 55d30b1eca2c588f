"""Compiled updates of optimizers against NumPy's, for sizes around those of vectors."""

import numpy as np
import pytest

from funcnn.kernels import updates
from funcnn.kernels.selection import use_kernels

pytest.importorskip("numba", reason="the extra fast is not installed")
SHAPES = [(), (0,), (1,), (5,), (3, 7), (17, 19), (4, 4, 8)]
# The first number is l2, and Adam's last is its decay.
ADAM = [(l2, 0.9, 0.1, 0.999, 0.001, 1e-8, -0.01, decay) for l2 in (0.0, 0.1) for decay in (0.0, -1e-3)]
MOMENTUM = [(0.0, 0.9, -0.01), (0.1, 0.9, -0.01)]


def given(shape, dtype, count, numbers):
    rng = np.random.default_rng(0)
    arrays = [np.asarray(rng.standard_normal(shape), dtype) for _ in range(count)]
    return arrays, [np.asarray(number, dtype) for number in numbers]


def check_twin(kernel, *arguments):
    """Check that the twin gives the results of NumPy's kernel bit for bit and writes to no argument."""
    before = [np.array(a) for a in arguments]
    with use_kernels("compiled"):
        compiled = kernel(*arguments)
    for a, b in zip(arguments, before, strict=True):
        np.testing.assert_array_equal(a, b)
    expected = kernel.__wrapped__(*arguments)
    for a, b in zip(*((r if isinstance(r, tuple) else (r,)) for r in (expected, compiled)), strict=True):
        assert (b.shape, b.dtype) == (a.shape, a.dtype)
        np.testing.assert_array_equal(b, a)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("applied", [False, True])
def test_every_update_and_step_bit_for_bit(shape, dtype, applied):
    for numbers in ADAM:
        (g, m, v, p), numbers = given(shape, dtype, 4, numbers)
        check_twin(updates.adam_update, g, m, v * v, p, *numbers, applied)
    for numbers in MOMENTUM:
        (g, m, p), numbers = given(shape, dtype, 3, numbers)
        for nesterov in (False, True):
            check_twin(updates.momentum_update, g, m, p, *numbers, nesterov, applied)
    (g, p), (scale,) = given(shape, dtype, 2, [-0.01])
    check_twin(updates.descend, g, p, scale)


def test_threads_that_have_just_computed_share_updates(monkeypatch):
    from funcnn.kernels.compiled import parallel
    from funcnn.kernels.compiled import updates as twins

    monkeypatch.setattr(twins, "awake_team", lambda: (parallel.team(3), 3))
    shape = (twins._MIN_SHARED // 8 + 3, 8)
    (g, m, v, p), numbers = given(shape, np.float32, 4, ADAM[0])
    check_twin(updates.adam_update, g, m, v * v, p, *numbers, True)
    check_twin(updates.momentum_update, g, m, p, *numbers[:3], False, True)
    check_twin(updates.descend, g, p, numbers[6])


def test_only_a_team_that_waits_for_work_is_awake(monkeypatch):
    from funcnn.kernels.compiled import parallel

    monkeypatch.setattr(parallel, "_TEAMS", {})
    assert parallel.awake_team() == (parallel.ALONE, 1)
    found = parallel.team(2)
    if len(found):
        team, members = parallel.awake_team()
        assert team is found
        assert members == 2
        found[parallel._SKIP] = 1
        assert parallel.awake_team()[1] == 1


def test_arrays_that_are_not_contiguous_and_numbers_that_are_not_finite():
    (g, m, v, p), numbers = given((6, 8), np.float32, 4, ADAM[-1])
    g = g.T.copy().T
    g[0, :3] = np.nan, np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        check_twin(updates.adam_update, g, m[::-1], v * v, p[:, ::-1], *numbers, True)


def test_without_weight_decay_infinite_parameters_leave_the_update_finite():
    (g, m, v, p), numbers = given((9,), np.float32, 4, ADAM[0])
    p[:] = np.inf
    check_twin(updates.adam_update, g, m, v * v, p, *numbers, False)
    with use_kernels("compiled"):
        assert np.isfinite(updates.adam_update(g, m, v * v, p, *numbers, False)[0]).all()


@pytest.mark.parametrize("dtype", [np.complex128, np.float16])
def test_what_is_not_compiled_numpy_computes(dtype):
    (g, m, p), numbers = given((4,), dtype, 3, MOMENTUM[0])
    check_twin(updates.momentum_update, g, m, p, *numbers, True, True)
