"""The pages of the command's help, one for each sub-command, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import typer

from funcnn.cli import app
from funcnn.cli.plain_help import groups


def pages() -> dict[str, str]:
    """Return the text of each page by its file's name."""
    command: Any = typer.main.get_command(app.app)
    context = command.context_class(command, info_name="funcnn")
    names = [f"funcnn-{name}" for name in command.commands]
    toctree = ["", "```{toctree}", ":hidden:", "", *names, "```"]
    texts = {"reference/command.md": _page([*_help(command, context, "#"), *toctree])}
    for name, sub_command in command.commands.items():
        inner = command.context_class(sub_command, info_name=name, parent=context)
        texts[f"reference/funcnn-{name}.md"] = _page(_help(sub_command, inner, "#"))
    return texts


def _page(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"


def _help(command: Any, context: Any, heading: str) -> Iterator[str]:
    yield from (f"{heading} {context.command_path}", "", "```text", command.get_usage(context), "```", "")
    yield from ("\n".join(line.strip() for line in (command.help or "").splitlines()), "")
    for title, entries in groups(command, context).items():
        commands = title == "Commands"
        yield from (f"**{title}**", "")
        for name, description in entries:
            term = (
                f"[`{name}`](funcnn-{name}.md)" if commands and heading == "#" and not context.parent else f"`{name}`"
            )
            yield from (term, f": {' '.join(description.split()) or '(no description)'}", "")
    if context.parent:
        for name, sub_command in getattr(command, "commands", {}).items():
            inner = type(context)(sub_command, info_name=name, parent=context)
            yield from _help(sub_command, inner, heading + "#")
