"""A command run as a user runs it: in a pipe, and on a terminal."""

import io
import os
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

import systems

ENVIRONMENT = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TTY_COMPATIBLE")}
ROOT = Path(__file__).parents[1]
# What follows `python` on the command line: a module or a file.
FUNCNN = ("-m", "funcnn")
CONTROL = re.compile(r"\x1b|\r")


def run(*options, program=FUNCNN, **changes):
    """Run a program, ``funcnn`` by default, with its output in pipes or files."""
    changes = {"env": ENVIRONMENT | {"PYTHONIOENCODING": "utf-8"}, **changes}
    if changes.keys() <= {"cwd", "env"} and can_be_forked(program, changes["env"]):
        return run_forked(program, options, **changes)
    return subprocess.run(
        [sys.executable, *map(str, (*program, *options))], capture_output=True, text=True, timeout=120, **changes
    )


def can_be_forked(program, env):
    """Whether a copy of this process can run a program as a new one would; what imports it may change cannot."""
    return hasattr(os, "fork") and program[0] != "-c" and env.get("PYTHONPATH") == os.environ.get("PYTHONPATH")


def run_forked(program, options, *, env, cwd=None):
    """Run a program in a copy of this process; return what it printed and the exit code."""
    with (
        tempfile.TemporaryFile() as output,
        tempfile.TemporaryFile() as errors,
        open(os.devnull, "rb") as nothing,
    ):
        streams = nothing.fileno(), output.fileno(), errors.fileno()
        child = fork(program, options, streams, env=env, cwd=cwd)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        texts = []
        for file in (output, errors):
            file.seek(0)
            encoding = env.get("PYTHONIOENCODING", "utf-8")
            texts.append(io.TextIOWrapper(io.BytesIO(file.read()), encoding=encoding).read())
    return subprocess.CompletedProcess([*program, *options], code, *texts)


def fork(program, options, streams, *, env, cwd=None):
    """Start a Python program in a copy of this process, which need not import again what takes a second; return its id.

    ``streams`` are the files for stdin, stdout and stderr.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of copies of processes with threads
        child = os.fork()
    if not child:
        code = 1
        try:
            code = run_in_this_process(list(map(str, program)), list(map(str, options)), streams, env, cwd)
        finally:
            os._exit(code)
    return child


def run_in_this_process(program, options, streams, env, cwd):
    """Run ``python`` with a module or a file, as a new process would; return the exit code."""
    for number, file in enumerate(streams):
        os.dup2(file, number)
    os.environ.clear()
    os.environ.update(env)
    if cwd is not None:
        os.chdir(cwd)
    warnings.resetwarnings()
    for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", category)
    encoding = env.get("PYTHONIOENCODING", "utf-8")
    sys.stdin = os.fdopen(0)
    sys.stdout = os.fdopen(1, "w", encoding=encoding)
    sys.stderr = os.fdopen(2, "w", buffering=1, encoding=encoding, errors="backslashreplace")
    try:
        if program[0] == "-m":
            sys.argv = [str(ROOT / program[1] / "__main__.py"), *options]
            runpy.run_module(program[1], run_name="__main__")
        else:
            sys.argv = [program[0], *options]
            runpy.run_path(program[0], run_name="__main__")
        code = 0
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def on_a_terminal(*options, program=FUNCNN, encoding="utf-8", **changes):
    """Run a program, ``funcnn`` by default, on a terminal; return what it showed and the exit code."""
    return start_on_a_terminal((sys.executable, *program, *options), encoding=encoding, **changes)


def start_on_a_terminal(command, *, encoding="utf-8", **options):
    """Run a command with a terminal for stdin, stdout and stderr; return what it showed and the exit code."""
    output, code = bytes_on_a_terminal(command, **options)
    return output.decode(encoding), code


def bytes_on_a_terminal(command, *, columns=100, interrupt_at=None, cwd=None, stdout=None, **environment):
    """Run a command with a terminal for stdin, stderr and, by default, stdout; return its bytes and the exit code."""
    control, terminal = systems.terminal()
    env = ENVIRONMENT | {"TERM": "xterm-256color", "COLUMNS": str(columns), **environment}
    words, process = list(map(str, command)), None
    at = 3 if words[1] == "-m" else 2
    if words[0] == sys.executable and can_be_forked(words[1:at], env) and not (interrupt_at or stdout):
        child = fork(words[1:at], words[at:], [terminal] * 3, env=env, cwd=cwd)
    else:
        process = subprocess.Popen(words, stdin=terminal, stdout=stdout or terminal, stderr=terminal, env=env, cwd=cwd)
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
    if process:
        return output, process.wait(timeout=30)
    if time.monotonic() >= deadline:
        os.kill(child, signal.SIGKILL)
    return output, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
