"""A command run as a user runs it: in a pipe, and on a terminal."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

ENVIRONMENT = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TTY_COMPATIBLE")}
# What follows `python` on the command line: a module or a file.
FUNCNN = ("-m", "funcnn")
CONTROL = re.compile(r"\x1b|\r")


def run(*options, program=FUNCNN, **changes):
    """Run a program, ``funcnn`` by default, with its output in pipes."""
    return subprocess.run(
        [sys.executable, *map(str, (*program, *options))],
        capture_output=True,
        text=True,
        timeout=120,
        **{"env": ENVIRONMENT | {"PYTHONIOENCODING": "utf-8"}, **changes},
    )


def on_a_terminal(*options, program=FUNCNN, columns=100, interrupt_at=None, cwd=None, encoding="utf-8", **environment):
    """Run a program, ``funcnn`` by default, on a terminal; return what it showed and the exit code."""
    command = (sys.executable, *program, *options)
    return start_on_a_terminal(
        command, columns=columns, interrupt_at=interrupt_at, cwd=cwd, encoding=encoding, **environment
    )


def start_on_a_terminal(command, *, encoding="utf-8", **options):
    """Run a command with a terminal for stdin, stdout and stderr; return what it showed and the exit code."""
    output, code = bytes_on_a_terminal(command, **options)
    return output.decode(encoding), code


def bytes_on_a_terminal(command, *, columns=100, interrupt_at=None, cwd=None, stdout=None, **environment):
    """Run a command with a terminal for stdin, stderr and, by default, stdout; return its bytes and the exit code."""
    control, terminal = pty.openpty()
    env = ENVIRONMENT | {"TERM": "xterm-256color", "COLUMNS": str(columns), **environment}
    process = subprocess.Popen(
        list(map(str, command)),
        stdin=terminal,
        stdout=stdout or terminal,
        stderr=terminal,
        env=env,
        cwd=cwd,
    )
    os.close(terminal)
    output, deadline = b"", time.monotonic() + 60
    while time.monotonic() < deadline:
        if select.select([control], [], [], 0.1)[0]:
            try:
                part = os.read(control, 65536)
            except OSError:  # the other end is closed
                break
            output += part
            if not part:
                break
        if interrupt_at and interrupt_at in output:
            process.send_signal(signal.SIGINT)
            interrupt_at = None
    os.close(control)
    return output, process.wait(timeout=30)
