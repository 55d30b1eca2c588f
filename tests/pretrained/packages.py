"""Where the packages of PyPI that carry networks and photographs have their files."""

from importlib.util import find_spec
from pathlib import Path


def files_of(package: str) -> Path:
    """The folder of an installed package, which is not imported."""
    return Path(find_spec(package).origin).parent
