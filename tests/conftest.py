"""What tests have counted, said once more at the end of the run."""

import pytest

LINES = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def closing_lines(pytestconfig):
    """A list of lines to print after the run."""
    return pytestconfig.stash.setdefault(LINES, [])


def pytest_terminal_summary(terminalreporter, config):
    for line in config.stash.get(LINES, []):
        terminalreporter.write_line(line)
