"""The BLAS within compiled routines: NumPy's if it is found, and on one thread while routines compute."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import funcnn.kernels

pytest.importorskip("numba", reason="the extra fast is not installed")
COMPILED = Path(funcnn.kernels.__file__).with_name("compiled")

PROBE = """
import threadpoolctl
from funcnn import blas
with blas.one_thread:
    from funcnn.kernels.compiled.blas import GEMM
    import scipy.linalg
    blas.one_thread.find_libraries()
    inside = {pool["filepath"]: pool["num_threads"] for pool in threadpoolctl.threadpool_info()}
after = {pool["filepath"]: pool["num_threads"] for pool in threadpoolctl.threadpool_info()}
print(len(inside), set(inside.values()), set(after.values()), after.keys() == inside.keys())
"""


def test_scipys_library_is_seen_and_limited_when_it_is_loaded_within_a_block():
    environment = {"OPENBLAS_NUM_THREADS": "2"}
    run = subprocess.run(
        [sys.executable, "-c", PROBE], env={**os.environ, **environment}, capture_output=True, text=True
    )
    number, *rest = run.stdout.split(maxsplit=1)
    assert int(number) >= 1 and rest == ["{1} {2} True\n"], run.stderr


def functions():
    """The functions of all modules of twins, with the names of their files."""
    for path in sorted(COMPILED.rglob("*.py")):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef):
                yield path.name, function


def is_product(node):
    """Whether a function hands the address of a product to a routine here."""
    return isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "GEMM"


def test_twins_that_multiply_matrices_do_so_on_one_thread():
    for file, function in functions():
        blocks = [node for node in ast.walk(function) if isinstance(node, ast.With)]
        limited = [node for with_ in blocks if "one_thread" in ast.unparse(with_.items[0]) for node in ast.walk(with_)]
        assert any(map(is_product, limited)) or not any(map(is_product, ast.walk(function))), (file, function.name)
