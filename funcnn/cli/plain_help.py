"""Help without frames and columns, for terminals that are too narrow for them and encodings that lack their characters.

Each option, argument or sub-command has a line of its own; its description is indented below.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterator
from functools import partial
from typing import Any

from funcnn.characters import encodable

# Columns. In a narrower terminal typer's help cuts off the names of options.
FRAMED_WIDTH = 80
INDENT = "  "


def adapt_help(command: Any) -> None:
    """Let a command and its sub-commands print plain help where the terminal cannot show typer's.

    Parameters
    ----------
    command : the command that `typer.main.get_command` makes of an app
    """
    if _width() >= FRAMED_WIDTH and encodable("╭─…", sys.stdout.encoding):
        return
    _print_plain_help(command)


def _print_plain_help(command: Any) -> None:
    command.format_help = partial(_print_help, command)
    for sub_command in getattr(command, "commands", {}).values():
        _print_plain_help(sub_command)


def _print_help(command: Any, context: Any, formatter: Any) -> None:
    # Printed here and not written to the formatter, as by typer's own help: the text of the formatter becomes the
    # message of an error where a command is missing.
    print("\n".join(help_lines(command, context, _width())))


def _width() -> int:
    return shutil.get_terminal_size().columns


def help_lines(command: Any, context: Any, width: int) -> Iterator[str]:
    """Yield the lines of a command's help: usage, description, parameters in their groups.

    Parameters
    ----------
    command, context
        Typer's.
    width : int
        Characters of a line. Longer words are not broken.
    """
    yield from _wrapped(command.get_usage(context), width, "", 2 * INDENT)
    yield ""
    yield from _wrapped(command.help or "", width)
    for title, entries in groups(command, context).items():
        yield ""
        yield f"{title}:"
        for name, description in entries:
            yield from _wrapped(name, width, INDENT, 2 * INDENT)
            yield from _wrapped(description, width, 3 * INDENT, 3 * INDENT)


def groups(command: Any, context: Any) -> dict[str, list[tuple[str, str]]]:
    """Return names and descriptions of parameters and sub-commands, by the title of their group."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            title = getattr(parameter, "rich_help_panel", None) or f"{parameter.param_type_name}s".capitalize()
            groups.setdefault(title, []).append(record)
    for name, sub_command in getattr(command, "commands", {}).items():
        groups.setdefault("Commands", []).append((name, sub_command.help or ""))
    return groups


def _wrapped(text: str, width: int, first: str = "", others: str = "") -> list[str]:
    """Return the text in lines that break between words alone: a hyphen may belong to a name."""
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=others, break_long_words=False, break_on_hyphens=False
    )
