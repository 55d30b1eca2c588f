"""Systems without make and without POSIX: Windows."""

import subprocess
import sys

# A system that lacks what Windows lacks; what it would find in other packages' modules stays.
WITHOUT_POSIX = """
import os, signal, sys
import numpy, onnx, rich.console, scipy, sklearn.base, typer  # others' modules have branches of their own for Windows
for name in ("fcntl", "grp", "pty", "pwd", "resource", "termios", "tty"):
    sys.modules[name] = None
for name in ("fork", "forkpty", "killpg", "mkfifo", "openpty", "sched_getaffinity", "sched_setaffinity", "setsid"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGHUP", "SIGKILL", "SIGUSR1", "SIGWINCH", "SIGXFSZ"):
    if hasattr(signal, name):
        delattr(signal, name)
"""
IMPORT_ALL = """
import importlib, pkgutil
import funcnn
for info in pkgutil.walk_packages(funcnn.__path__, "funcnn."):
    if info.name != "funcnn.__main__":
        importlib.import_module(info.name)
from funcnn import cli, data_parallel
assert data_parallel.cores() >= 1
del sys.modules["fcntl"]  # the lock of a file asks for the platform, which is still this one
sys.argv = ["funcnn", "train", "--model", "seed", "--epochs", "1", "--quiet", "--output", "net.safetensors"]
cli.main()
"""


def test_everything_is_imported_and_trains_without_posix(tmp_path):
    program = WITHOUT_POSIX + IMPORT_ALL
    run = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert "test accuracy" in run.stdout and (tmp_path / "net.safetensors").exists()
