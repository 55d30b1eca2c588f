"""The folder scripts/ as a whole: a script that puts it on the path hides no module of the standard library."""

import sys
from pathlib import Path

SCRIPTS = Path(__file__).parents[2] / "scripts"


def test_no_module_is_named_like_one_of_the_standard_library():
    names = {path.stem for path in SCRIPTS.glob("*.py")} | {path.parent.name for path in SCRIPTS.glob("*/__init__.py")}
    assert {"train", "bench", "mutation"} <= names
    assert not names & sys.stdlib_module_names
