"""How a routine is compiled, and what becomes of errors and of Ctrl-C meanwhile."""

import signal

import pytest

numba = pytest.importorskip("numba", reason="the extra fast is not installed")

from funcnn.kernels.compiled.routines import routine  # noqa: E402
from funcnn.kernels.interrupts import postponed  # noqa: E402


def no_routine(x):
    return x.there_is_none


def test_an_error_of_numba_is_raised_as_it_is():
    with pytest.raises(numba.core.errors.TypingError, match="there_is_none"):
        routine("void(T[::1])")(no_routine)


def test_an_interrupt_before_a_routine_is_raised_instead_of_compiling_it():
    with pytest.raises(KeyboardInterrupt), postponed():
        signal.raise_signal(signal.SIGINT)
        routine("void(T[::1])")(no_routine)
