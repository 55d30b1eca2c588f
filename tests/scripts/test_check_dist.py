"""`make dist` refuses archives that lack something or have something astray."""

import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import check_dist

SOURCES = ("LICENSE", "funcnn/__init__.py", "funcnn/py.typed", "tests/test_ops.py", "PKG-INFO")
METADATA = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
WHEEL = ("funcnn/__init__.py", "funcnn/py.typed", *(f"net-1.dist-info/{name}" for name in METADATA))


def archives(folder, sources, wheel):
    with tarfile.open(folder / "net-1.tar.gz", "w:gz") as archive:
        for name in sources:
            archive.addfile(tarfile.TarInfo(f"net-1/{name}"), io.BytesIO())
    with zipfile.ZipFile(folder / "net-1-py3-none-any.whl", "w") as archive:
        for name in wheel:
            archive.writestr(name, "")
    return folder / "net-1.tar.gz", folder / "net-1-py3-none-any.whl"


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.setattr(check_dist, "ROOT", tmp_path)
    (tmp_path / ".git").mkdir()
    listed = "\n".join(name for name in SOURCES if name != "PKG-INFO")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, stdout=listed))
    return tmp_path


def test_complete_archives_are_accepted(repository):
    assert check_dist.check_names(*archives(repository, SOURCES, WHEEL)) == []


def test_what_is_missing_and_what_is_astray_is_named(repository):
    sources = (*SOURCES[1:], "notes.txt")
    wheel = (*(name for name in WHEEL if name != "funcnn/py.typed"), "funcnn/old.pyc")
    assert check_dist.check_names(*archives(repository, sources, wheel)) == [
        "net-1.tar.gz lacks LICENSE",
        "net-1.tar.gz should not have notes.txt",
        "net-1-py3-none-any.whl lacks funcnn/py.typed",
        "net-1-py3-none-any.whl should not have funcnn/old.pyc",
    ]


def test_a_folder_without_archives_is_an_error_in_one_line(tmp_path):
    run = subprocess.run([sys.executable, check_dist.__file__, tmp_path], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr.count("\n")) == (1, 1) and "must hold one wheel" in run.stderr
