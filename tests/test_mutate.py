"""The script that breaks the mathematics: which breaks it makes, and that it asks for sources that exist."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "mutate.py"

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
def mutate():
    sys.path.insert(0, str(SCRIPT.parent))
    try:
        spec = importlib.util.spec_from_file_location("mutate", SCRIPT)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(SCRIPT.parent))
    return module


def test_every_kind_of_break_and_no_message_hint_or_docstring(mutate):
    found = list(mutate.breaks(Path("f.py"), SOURCE))
    assert sorted((change.before, change.after) for change in found) == sorted(
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
    assert {change.line for change in found if change.before == "3"} == {"return -x * 3"}


def test_each_break_is_the_whole_source_with_one_change(mutate):
    sources = [change.source for change in mutate.breaks(Path("f.py"), SOURCE)]
    assert len(set(sources)) == len(sources)
    assert all("Return x + 1" in source and "lru_cache(maxsize=64)" in source for source in sources)
    whole = mutate.ast.unparse(mutate.ast.parse(SOURCE)).splitlines()
    for source in sources:
        assert sum(a != b for a, b in zip(source.splitlines(), whole, strict=True)) == 1


def test_every_file_has_tests_that_exist(mutate):
    for place, tests in mutate.TESTS.items():
        assert (ROOT / place).exists()
        assert all((ROOT / test).exists() for test in tests)
        assert mutate._sources(place)


def test_no_such_file():
    run = subprocess.run([sys.executable, SCRIPT, "--only", "nowhere"], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == "mutate.py: no file to break has 'nowhere' in its path (see mutate.py --help)\n"
