"""What only POSIX systems have. Tests that need it are skipped elsewhere, and say why."""

import importlib.util
import os
import shutil
import signal
import sys

import pytest


def needs(name):
    """Return the mark of a test that needs a function of `os`."""
    return pytest.mark.skipif(not hasattr(os, name), reason=f"os.{name} is missing on {sys.platform}")


def needs_module(name):
    """Return the mark of a test that needs a module of the standard library."""
    return pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"{name} is missing on {sys.platform}")


def needs_signal(name):
    """Return the mark of a test that needs a signal."""
    return pytest.mark.skipif(not hasattr(signal, name), reason=f"{name} is missing on {sys.platform}")


def needs_shell(*devices):
    """Return the mark of a test that needs bash, and devices such as /dev/full."""
    missing = [*([] if shutil.which("bash") else ["bash"]), *(path for path in devices if not os.path.exists(path))]
    return pytest.mark.skipif(bool(missing), reason=f"{' and '.join(missing)} missing on {sys.platform}")


def terminal():
    """Open a pseudo-terminal, or skip the test: return the controlling end and the program's end."""
    return pytest.importorskip("pty", reason=f"pseudo-terminals are missing on {sys.platform}").openpty()
