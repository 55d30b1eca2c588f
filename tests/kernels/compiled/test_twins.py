"""Each kernel that may be compiled has a twin, which is called as the kernel is."""

import importlib
import inspect
import pkgutil

import pytest

import funcnn.kernels
from funcnn.kernels.selection import compilable

pytest.importorskip("numba", reason="the extra fast is not installed")

DECORATED = compilable(len).__code__


def kernels():
    """Yield the functions of `funcnn.kernels` that `compilable` decorates."""
    for info in pkgutil.walk_packages(funcnn.kernels.__path__, "funcnn.kernels."):
        if not info.name.startswith("funcnn.kernels.compiled"):
            for function in vars(importlib.import_module(info.name)).values():
                decorated = inspect.isfunction(function) and function.__code__ is DECORATED
                if decorated and function.__module__ == info.name:
                    yield function


def calls(function):
    """Return what matters to a caller: names, kinds and defaults of the parameters."""
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize("kernel", [pytest.param(k, id=f"{k.__module__[15:]}.{k.__name__}") for k in kernels()])
def test_a_kernel_has_a_twin_of_the_same_arguments(kernel):
    twins = importlib.import_module(kernel.__module__.replace("funcnn.kernels", "funcnn.kernels.compiled"))
    assert calls(getattr(twins, kernel.__name__)) == calls(kernel)
    # a kernel is called by position: `compilable` takes no keywords
    assert all(p.kind is p.POSITIONAL_OR_KEYWORD for p in inspect.signature(kernel).parameters.values())
