"""Writing files: the whole content or nothing, errors that name the file, and nothing left behind."""

import errno
import os
import subprocess
import sys

import pytest
import systems

from funcnn import files


@pytest.fixture
def path(tmp_path):
    return tmp_path / "notes.txt"


def test_text_and_bytes_replace_what_was_there(path):
    for content, written in (("größer\n", "größer\n".encode()), (b"\x00\xff", b"\x00\xff"), ("", b"")):
        files.write_atomic(path, content)
        assert path.read_bytes() == written and os.listdir(path.parent) == [path.name]
    files.write_atomic(str(path), "a str for a path")
    assert path.read_text() == "a str for a path"


def test_a_browser_which_has_no_fcntl_writes_as_well(path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "emscripten")
    monkeypatch.setitem(sys.modules, "fcntl", None)
    files.write_atomic(path, "all of it")
    assert path.read_text() == "all of it"


def test_file_permissions_follow_the_umask(path):
    before = os.umask(0o027)
    try:
        files.write_atomic(path, "all of it")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640


def test_content_is_on_the_disk_before_it_has_the_name(path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, name=name, real=real: (calls.append(name), real(*args))[1])
    files.write_atomic(path, "all of it")
    assert calls == ["fsync", "replace", "fsync"]  # the file, its name, the folder


@pytest.mark.parametrize("name", ["fsync", "replace"])
@pytest.mark.parametrize("older", [True, False])
def test_a_full_disk_leaves_what_was_there(path, monkeypatch, name, older):
    def fails(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if older:
        path.write_text("older")
    monkeypatch.setattr(os, name, fails)
    with pytest.raises(OSError, match=r"^cannot write .*notes\.txt: No space left on device$"):
        files.write_atomic(path, "newer")
    assert os.listdir(path.parent) == ([path.name] if older else [])
    assert not older or path.read_text() == "older"


def test_an_interrupt_leaves_nothing_behind(path, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        files.write_atomic(path, "newer")
    assert os.listdir(path.parent) == []


@systems.needs("mkfifo")
@pytest.mark.parametrize("check", [files.check_writable, lambda path: files.write_atomic(path, "x")])
def test_paths_that_cannot_be_written(tmp_path, check):
    (tmp_path / "file").write_text("x")
    os.mkfifo(tmp_path / "pipe")
    for path, error, reason in (
        (tmp_path, IsADirectoryError, "it is a directory"),
        (tmp_path / "pipe", OSError, "it is not a file"),
        (tmp_path / "missing" / "file", FileNotFoundError, "No such file or directory"),
        (tmp_path / "file" / "below", NotADirectoryError, "Not a directory"),
        (tmp_path / ("x" * 300), OSError, "File name too long"),
    ):
        with pytest.raises(error) as raised:
            check(path)
        assert str(raised.value) == f"cannot write {path}: {reason}"
    assert sorted(os.listdir(tmp_path)) == ["file", "pipe"]


def test_checking_changes_nothing(path):
    files.check_writable(path)
    assert os.listdir(path.parent) == []
    path.write_text("older")
    files.check_writable(path)
    assert path.read_text() == "older" and os.listdir(path.parent) == [path.name]


def test_folders(tmp_path):
    for _ in range(2):
        with files.locked(tmp_path / "new" / "run"):
            pass
        assert os.listdir(tmp_path / "new" / "run") == []
    (tmp_path / "file").write_text("x")
    for call in (files.make_folder, lambda path: files.locked(path).__enter__()):
        with pytest.raises(OSError, match=r"^cannot make the folder .*file: File exists$"):
            call(tmp_path / "file")
        with pytest.raises(OSError, match=r"^cannot make the folder /proc/run: "):  # where even root may not
            call("/proc/run")


def test_a_symbolic_link_stays_and_leads_to_what_was_written(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "real").write_text("older")
    for name, target in (("link", "folder/real"), ("new", "folder/not yet")):
        os.symlink(target, tmp_path / name)
        files.check_writable(tmp_path / name)
        files.write_atomic(tmp_path / name, "newer")
        assert os.readlink(tmp_path / name) == target and (tmp_path / target).read_text() == "newer"
    assert sorted(os.listdir(tmp_path / "folder")) == ["not yet", "real"]
    os.symlink("gone/file", tmp_path / "nowhere")
    os.symlink("circle", tmp_path / "circle")
    for call in (files.check_writable, lambda path: files.write_atomic(path, "x")):
        with pytest.raises(FileNotFoundError, match=r"^cannot write .*nowhere: No such file or directory$"):
            call(tmp_path / "nowhere")
        with pytest.raises(OSError, match=r"^cannot write .*circle: Too many levels of symbolic links$"):
            call(tmp_path / "circle")


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127])
def test_the_longest_names(tmp_path, name):
    files.check_writable(tmp_path / name)
    files.write_atomic(tmp_path / name, "all of it")
    assert os.listdir(tmp_path) == [name]


def test_a_folder_that_may_be_written_but_not_read(path, monkeypatch):
    def may_not_read(*args):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "open", may_not_read)
    files.write_atomic(path, "all of it")
    assert path.read_text() == "all of it"


HOLDER = """
import sys
from funcnn import files
with files.locked(sys.argv[1]):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_a_folder_is_locked_against_other_processes_until_the_holder_ends_however_it_ends(tmp_path):
    folder = tmp_path / "run"
    for end in ("return", "kill"):
        with subprocess.Popen(
            [sys.executable, "-c", HOLDER, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as holder:
            assert holder.stdout.readline() == "locked\n"
            with pytest.raises(BlockingIOError, match=r"^.*run is in use: another run writes its checkpoints there$"):
                files.locked(folder).__enter__()
            if end == "kill":
                holder.kill()
        with files.locked(folder):
            pass
        assert os.listdir(folder) == []


def test_a_lock_whose_file_its_holder_has_just_removed_is_taken_anew(tmp_path, monkeypatch):
    real, removed = os.open, []

    def removed_after_it_was_opened(path, *args):
        handle = real(path, *args)
        if not removed:
            removed.append(os.unlink(path))
        return handle

    monkeypatch.setattr(os, "open", removed_after_it_was_opened)
    with files.locked(tmp_path), pytest.raises(BlockingIOError):
        files.locked(tmp_path).__enter__()


def test_a_file_that_another_is_writing_is_no_leftover(tmp_path, monkeypatch):
    part = []

    def flushed(handle):
        part.extend(tmp_path.glob(".notes.txt.*.part"))
        files.remove_unfinished(part[0])
        assert part[0].exists()

    monkeypatch.setattr(os, "fsync", lambda handle: part or flushed(handle))
    files.write_atomic(tmp_path / "notes.txt", "all of it")
    part[0].write_text("half of it")
    files.remove_unfinished(part[0])
    (tmp_path / ".notes.txt.00000000.part").touch()  # it may be on the point of being locked
    files.remove_unfinished(tmp_path / ".notes.txt.00000000.part")
    files.remove_unfinished(tmp_path / "missing")
    assert sorted(os.listdir(tmp_path)) == [".notes.txt.00000000.part", "notes.txt"]


def test_new_folders_have_the_next_free_number(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "1").write_text("x")
    os.symlink("/mnt/gone", tmp_path / "runs" / "2")
    assert [files.new_folder(tmp_path / "runs").name for _ in range(2)] == ["3", "4"]


@pytest.mark.parametrize("target", ["/mnt/gone/for ever", "runs", "file"])
def test_a_link_that_leads_to_no_folder_is_named(tmp_path, target):
    (tmp_path / "file").write_text("x")
    os.symlink(target, tmp_path / "runs")
    reason = "File exists" if target == "file" else f".*runs is a link to {target}, which cannot be reached"
    for path in ("runs", "runs/below"):
        with pytest.raises(OSError, match=f"^cannot make the folder .*{path}: ({reason}|Not a directory)$"):
            files.new_folder(tmp_path / path)


def test_paths_that_lead_to_the_same_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").write_text("x")
    os.link("a", "hard")
    os.symlink("a", "soft")
    os.symlink("new", "dangling")
    for path in ("a", "./a", tmp_path / "a", "hard", "soft"):
        assert files.same_file("a", path) and not files.same_file("new", path)
    assert files.same_file("new", "dangling") and files.same_file("new", tmp_path / "new")
