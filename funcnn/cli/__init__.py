"""The ``funcnn`` command (needs the extra ``cli``)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec

from funcnn import extras
from funcnn.cli import jobs

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
        names = " and ".join(filter(None, (", ".join(missing[:-1]), missing[-1])))
        sys.exit(f"funcnn: the command needs {names}: {extras.install('cli')}")
    try:
        from funcnn.cli import app, console
    except KeyboardInterrupt:  # importing takes a moment
        if jobs.rank_and_size().rank == 0:  # one of several processes says so
            print("funcnn: interrupted", file=sys.stderr)
        sys.exit(130)
    console.run(app.app, "funcnn", arguments)
