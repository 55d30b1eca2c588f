"""Documents whose Python blocks are pasted into a Python shell, as a reader would."""

import code
import contextlib
import io
import re


def blocks(path, language):
    """The fenced blocks of a Markdown file in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def paste(block, variables):
    """Paste a block into a shell with these variables; return what it printed."""
    console = code.InteractiveConsole(variables)
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        for line in block.splitlines():
            console.push(line)
        incomplete = console.push("")
    assert not errors.getvalue() and not incomplete, f"{errors.getvalue()}\nin\n{block}"
    return out.getvalue()
