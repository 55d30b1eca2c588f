"""The ``funcnn`` command and its sub-commands."""

from __future__ import annotations

from typing import Annotated

import typer

import funcnn
from funcnn.cli import compile, evaluate, export, inspect, predict, show, train

app = typer.Typer(pretty_exceptions_enable=False, no_args_is_help=True)


def _print_version(requested: bool) -> None:
    if requested:
        print(f"funcnn {funcnn.__version__}")
        raise typer.Exit


@app.callback()
def main(
    *,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Train convolutional networks, evaluate and use them, and look inside."""


for name, module in (
    ("train", train),
    ("evaluate", evaluate),
    ("predict", predict),
    ("inspect", inspect),
    ("export", export),
    ("compile", compile),
):
    app.command(name, help=module.__doc__)(module.main)
app.add_typer(show.app, name="show")
