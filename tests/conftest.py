"""What tests have counted, said once more at the end of the run, and what the processes that they start share."""

import os
import sys

import pytest

# Whatever the environment says, Python keeps what it compiled: else each process that a test starts compiles all of it.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Which kernels compute must not depend on what this machine has compiled before.
os.environ.setdefault("FUNCNN_KERNELS", "numpy")

LINES = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def closing_lines(pytestconfig):
    """A list of lines to print after the run."""
    return pytestconfig.stash.setdefault(LINES, [])


def pytest_terminal_summary(terminalreporter, config):
    for line in config.stash.get(LINES, []):
        terminalreporter.write_line(line)


def pytest_sessionfinish(session):
    """Hand the lines of one of several processes (pytest-xdist) over to the one that prints."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["closing_lines"] = session.config.stash.get(LINES, [])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    lines = getattr(node, "workeroutput", {}).get("closing_lines", [])
    node.config.stash.setdefault(LINES, []).extend(lines)
