"""A command run as a user runs it: in a pipe, and on a terminal."""

import io
import os
import pty
import re
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

ENVIRONMENT = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TTY_COMPATIBLE")}
ROOT = Path(__file__).parents[1]
# What follows `python` on the command line: a module or a file.
FUNCNN = ("-m", "funcnn")
CONTROL = re.compile(r"\x1b|\r")


def run(*options, program=FUNCNN, **changes):
    """Run a program, ``funcnn`` by default, with its output in pipes or files."""
    changes = {"env": ENVIRONMENT | {"PYTHONIOENCODING": "utf-8"}, **changes}
    if program == FUNCNN and hasattr(os, "fork") and changes.keys() <= {"cwd", "env"}:
        return forked(*options, **changes)
    return subprocess.run(
        [sys.executable, *map(str, (*program, *options))], capture_output=True, text=True, timeout=120, **changes
    )


def forked(*options, env, cwd=None):
    """Run ``python -m funcnn`` in a copy of this process, which need not import it again: that takes a second."""
    arguments = [str(ROOT / "funcnn" / "__main__.py"), *map(str, options)]
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of copies of processes with threads
        child = os.fork()
        if not child:
            code = 1
            try:
                code = in_this_process(arguments, env, cwd, output, errors)
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        texts = []
        for file in (output, errors):
            file.seek(0)
            texts.append(io.TextIOWrapper(io.BytesIO(file.read()), encoding="utf-8").read())
    return subprocess.CompletedProcess(arguments, code, *texts)


def in_this_process(arguments, env, cwd, output, errors):
    """Run ``python -m funcnn`` with these files for stdout and stderr; return the exit code."""
    for number, file in enumerate((os.open(os.devnull, os.O_RDONLY), output.fileno(), errors.fileno())):
        os.dup2(file, number)
    os.environ.clear()
    os.environ.update(env)
    if cwd is not None:
        os.chdir(cwd)
    warnings.resetwarnings()
    for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", category)
    encoding = env.get("PYTHONIOENCODING", "utf-8")
    sys.argv, sys.stdin = arguments, os.fdopen(0)
    sys.stdout = os.fdopen(1, "w", encoding=encoding)
    sys.stderr = os.fdopen(2, "w", encoding=encoding, errors="backslashreplace")
    try:
        runpy.run_module("funcnn", run_name="__main__")
        code = 0
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


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
