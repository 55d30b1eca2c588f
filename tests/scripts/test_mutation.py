"""The mutation run: which mutants it makes, and that the sources and tests that it names exist."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "mutation"

SOURCE = '''
@lru_cache(maxsize=64)
def f(x: int = 1) -> Array[2]:
    """Return x + 1."""
    if x < 0 or x == 7:
        raise ValueError(f"f: {x - 1} is wrong" + "!")
    x -= 0.5
    return -x * 3
'''


@pytest.fixture(scope="module")
def mutation():
    sys.path.insert(0, str(SCRIPT.parent))
    try:
        yield importlib.import_module("mutation.app")
    finally:
        sys.path.remove(str(SCRIPT.parent))


def test_every_kind_of_mutant_and_none_of_messages_hints_or_docstrings(mutation):
    found = list(mutation.mutants(Path("f.py"), SOURCE))
    assert sorted((mutant.before, mutant.after) for mutant in found) == sorted(
        [
            ("1", "2"),
            ("x < 0 or x == 7", "x < 0 and x == 7"),
            ("x < 0", "x <= 0"),
            ("0", "1"),
            ("x == 7", "x != 7"),
            ("7", "8"),
            ("x -= 0.5", "x += 0.5"),
            ("0.5", "1.0"),
            ("-x * 3", "-x / 3"),
            ("-x", "+x"),
            ("3", "4"),
        ]
    )
    assert {mutant.line for mutant in found if mutant.before == "3"} == {"return -x * 3"}


def test_each_mutant_is_the_whole_source_with_one_change(mutation):
    sources = [mutant.source for mutant in mutation.mutants(Path("f.py"), SOURCE)]
    assert len(set(sources)) == len(sources)
    assert all("Return x + 1" in source and "lru_cache(maxsize=64)" in source for source in sources)
    whole = mutation.ast.unparse(mutation.ast.parse(SOURCE)).splitlines()
    for source in sources:
        assert sum(a != b for a, b in zip(source.splitlines(), whole, strict=True)) == 1


def test_every_module_has_files_and_tests_that_exist(mutation):
    assert mutation.MORE_TESTS.keys() <= set(mutation.MODULES)
    for module in mutation.MODULES:
        source, *tests = mutation.tests_for(module)
        assert (ROOT / source).exists()
        assert tests and all((ROOT / test).exists() for test in tests)
        files = mutation.sources(module)
        assert files and {mutation.module_of(path) for path in files} == {module}


def test_modules_in_folders_below_are_mutated_too(mutation):
    assert Path("funcnn/kernels/conv/winograd.py") in mutation.sources("kernels")


def test_a_mutant_is_detected_by_failing_tests_and_the_file_is_as_before(mutation, tmp_path, monkeypatch):
    path = Path("funcnn/metrics.py")
    (tmp_path / "funcnn").mkdir()
    (tmp_path / path).write_text("ONE = 1\n")
    monkeypatch.setattr(mutation, "passes", lambda copy, tests: (copy / path).read_text() != "ONE = 2\n")
    detected, missed = (mutation.Mutant(path, 1, "", "", "", f"ONE = {n}\n") for n in (2, 3))
    assert mutation.is_detected(tmp_path, detected) and not mutation.is_detected(tmp_path, missed)
    assert (tmp_path / path).read_text() == "ONE = 1\n"


def test_no_such_file():
    run = subprocess.run([sys.executable, SCRIPT, "--only", "nowhere"], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == "mutation: no file to mutate has 'nowhere' in its path (see mutation --help)\n"
