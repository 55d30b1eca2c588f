"""The ``funcnn`` command (``pip install 'funcnn[cli]'``)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default ``sys.argv[1:]``.
    """
    missing = [package for package in ("typer", "rich", "safetensors") if find_spec(package) is None]
    if missing:
        sys.exit(f"funcnn: the command needs {' and '.join(missing)}: pip install 'funcnn[cli]'")
    from funcnn.cli import app, console

    console.run(app.app, "funcnn", arguments)
