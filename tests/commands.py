"""Scripts run as a user runs them: in a pipe, and on a terminal."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

ENVIRONMENT = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TTY_COMPATIBLE")}
CONTROL = re.compile(r"\x1b|\r")


def run(script, *options, **changes):
    """Run a script with its output in pipes."""
    return subprocess.run(
        [sys.executable, script, *map(str, options)],
        capture_output=True,
        text=True,
        timeout=120,
        **{"env": ENVIRONMENT | {"PYTHONIOENCODING": "utf-8"}, **changes},
    )


def on_a_terminal(script, *options, columns=100, interrupt_at=None, cwd=None, **environment):
    """Run with a terminal for stdin, stdout and stderr; return what it showed and the exit code."""
    control, terminal = pty.openpty()
    env = ENVIRONMENT | {"TERM": "xterm-256color", "COLUMNS": str(columns), **environment}
    process = subprocess.Popen(
        [sys.executable, script, *map(str, options)],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=env,
        cwd=cwd,
    )
    os.close(terminal)
    shown, deadline = b"", time.monotonic() + 60
    while time.monotonic() < deadline:
        if select.select([control], [], [], 0.1)[0]:
            try:
                part = os.read(control, 65536)
            except OSError:  # the other end is closed
                break
            shown += part
            if not part:
                break
        if interrupt_at and interrupt_at in shown:
            process.send_signal(signal.SIGINT)
            interrupt_at = None
    os.close(control)
    return shown.decode(), process.wait(timeout=30)
