"""Where compiled kernels are kept, and when they are compiled anew."""

import gc
import os
import signal
import sys
import threading

import pytest

from funcnn import extras, files
from funcnn.kernels import compilation

pytest.importorskip("numba", reason="the extra fast is not installed")
MODULES = compilation._names()


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    """A folder of caches of its own, and two modules that take no time to compile."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "caches"))
    monkeypatch.delenv("NUMBA_BOUNDSCHECK", raising=False)
    monkeypatch.setattr(compilation, "_names", lambda: ["colorsys", "stringprep"])
    compilation.folder.cache_clear()
    yield tmp_path / "caches" / "funcnn"
    compilation.folder.cache_clear()


def test_they_are_compiled_once(caches):
    assert not compilation.is_compiled()
    steps = []
    first = compilation.compile_all(lambda *step: steps.append(step))
    assert steps == [("colorsys", 0, 2), ("stringprep", 1, 2)]
    assert first.folder.parent == caches and first.modules == 2 and first.seconds > 0
    assert compilation.is_compiled()
    again = compilation.compile_all(lambda *step: steps.append(step))
    assert again == first._replace(seconds=0) and len(steps) == 2
    assert list(compilation.load()) == ["colorsys", "stringprep"]


def test_they_are_compiled_for_float64_where_that_is_asked_for(caches):
    compilation.compile_all()
    assert compilation.is_compiled() and not compilation.is_compiled(float64=True)
    steps = []
    done = compilation.compile_all(lambda *step: steps.append(step), float64=True)
    assert steps == [("colorsys", 0, 2), ("stringprep", 1, 2)] and done.seconds > 0  # not for float32 again
    assert compilation.is_compiled(float64=True)
    assert {path.name for path in done.folder.iterdir()} >= {"complete-float32", "complete-float64"}


def test_a_second_process_compiles_some_of_them(monkeypatch, tmp_path):
    (tmp_path / "beside.py").write_text("import os, pathlib\npathlib.Path(__file__ + str(os.getpid())).touch()")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(compilation, "_names", lambda: ["beside", "colorsys"])
    monkeypatch.setattr(compilation, "_BESIDE", ("beside",))
    steps = []
    compilation.compile_all(lambda *step: steps.append(step))
    assert steps == [("colorsys", 0, 2), ("beside", 1, 2)]
    assert len(list(tmp_path.glob("beside.py?*"))) == 2  # it and this one, which then loads what it has compiled


def test_the_modules_that_are_divided_among_processes_exist():
    assert {*compilation._BESIDE, *compilation._AFTERWARDS} <= {*MODULES}


def test_modules_that_import_both_halves_are_compiled_last(monkeypatch):
    monkeypatch.setattr(compilation, "_names", lambda: ["bisect", "colorsys", "stringprep"])
    monkeypatch.setattr(compilation, "_AFTERWARDS", ("bisect",))
    monkeypatch.setattr(compilation, "_BESIDE", ("colorsys",))
    steps = []
    compilation.compile_all(lambda module, done, modules: steps.append(module))
    assert steps == ["stringprep", "colorsys", "bisect"]
    assert gc.isenabled()  # as before


@pytest.mark.parametrize("executable", ["false", "/missing/python", ""])
def test_where_the_second_process_fails_this_one_compiles_all(monkeypatch, executable):
    monkeypatch.setattr(compilation, "_BESIDE", ("colorsys",))
    monkeypatch.setattr(sys, "executable", executable)
    assert compilation.compile_all().modules == 2


def test_an_interrupted_compilation_is_not_taken_for_a_whole_one(monkeypatch):
    def interrupt(module, done, modules):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compilation.compile_all(interrupt)
    assert not compilation.is_compiled()
    assert compilation.compile_all().seconds > 0


def test_an_interrupt_comes_between_two_routines_as_numba_would_lose_it_within_one(monkeypatch):
    events = []

    def import_module(name):
        if name == "colorsys":
            signal.raise_signal(signal.SIGINT)  # an exception here might end in compiled code
        events.append(name)

    monkeypatch.setattr(compilation.importlib, "import_module", import_module)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        compilation.compile_all()
    assert events[-1] == "colorsys" and "stringprep" not in events
    assert signal.getsignal(signal.SIGINT) is handler and not compilation.is_compiled()


def test_an_interrupt_ends_the_wait_for_another_process(monkeypatch):
    monkeypatch.setattr(compilation.time, "sleep", lambda seconds: signal.raise_signal(signal.SIGINT))
    with files.locked(compilation.folder()), pytest.raises(KeyboardInterrupt):
        compilation.compile_all()


def test_while_another_process_compiles_them_they_are_waited_for():
    with files.locked(compilation.folder()):
        waiting = threading.Thread(target=compilation.compile_all)
        waiting.start()
        files.write_atomic(compilation.folder() / "complete-float32", "")  # what the other one ends with
    waiting.join(10)
    assert not waiting.is_alive()


@pytest.mark.parametrize(("variable", "value"), [("NUMBA_BOUNDSCHECK", "1"), ("NUMBA_CPU_NAME", "generic")])
def test_what_changes_the_code_changes_the_folder(monkeypatch, variable, value):
    before = compilation.folder()
    monkeypatch.setenv(variable, value)
    compilation.folder.cache_clear()
    assert compilation.folder() != before


def test_a_worker_of_joblib_which_limits_numbas_threads_has_the_same_folder(monkeypatch):
    before = compilation.folder()
    monkeypatch.setenv("NUMBA_NUM_THREADS", "1")
    compilation.folder.cache_clear()
    assert compilation.folder() == before


def test_another_version_of_numpy_has_another_folder(monkeypatch):
    before = compilation.folder()
    monkeypatch.setattr(compilation.np, "__version__", "9.9")
    compilation.folder.cache_clear()
    assert compilation.folder() != before


def test_folders_of_old_versions_are_removed(caches):
    for number in range(20):
        (caches / f"old{number}").mkdir(parents=True)
        os.utime(caches / f"old{number}", (number, number))
    compilation.compile_all()
    assert {path.name for path in caches.iterdir()} == {compilation.folder().name} | {f"old{n}" for n in range(5, 20)}


def test_a_file_in_the_place_of_the_folder_is_an_error_that_names_it(caches):
    caches.parent.mkdir()
    caches.touch()
    with pytest.raises(OSError, match=str(caches)):
        compilation.compile_all()


def test_without_numba_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    assert not compilation.is_installed() and not compilation.is_compiled()
    with pytest.raises(ImportError, match=r"^compiled kernels need numba and SciPy: ") as raised:
        compilation.compile_all()
    assert extras.install("fast") in str(raised.value)


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Make a module importable, and return how."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(name, source):
        monkeypatch.delitem(sys.modules, name, raising=False)
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")

    return make


@pytest.mark.parametrize(("name", "message"), [("numba", "numba fails"), ("twins", "numba fails to compile")])
@pytest.mark.parametrize("compute", [compilation.compile_all, compilation.load])
def test_whatever_a_broken_numba_raises_is_one_line(module, monkeypatch, name, message, compute):
    compilation.folder()
    module(name, "raise TypeError('no such type\\nmore about it')")
    monkeypatch.setattr(compilation, "_names", lambda: ["twins"])
    with pytest.raises(ImportError, match=f"^{message}: no such type$"):
        compute()
    assert not compilation.is_compiled()


def test_damaged_files_are_an_error_that_says_what_to_delete(module, monkeypatch):
    compilation.compile_all()
    compilation.folder().joinpath("routine.nbi").touch()
    module("twins", "raise EOFError('Ran out of input')")  # as numba does when it loads an empty file
    monkeypatch.setattr(compilation, "_names", lambda: ["twins"])
    message = f"Ran out of input; what it kept may be damaged: delete {compilation.folder()}$"
    with pytest.raises(ImportError, match=message):
        compilation.load()


def test_files_damaged_before_all_were_compiled_are_said_to_be(module, monkeypatch):
    compilation.folder().joinpath("part").mkdir(parents=True)
    compilation.folder().joinpath("part", "routine.nbi").touch()  # a crash of the system left it empty
    module("twins", "assert False")  # as numba does then
    monkeypatch.setattr(compilation, "_names", lambda: ["twins"])
    with pytest.raises(ImportError, match=f"; what it kept may be damaged: delete {compilation.folder()}$"):
        compilation.compile_all()


@pytest.mark.parametrize("rest", ["assert False", "pass"])  # as numba, and as LLVM when it calls Python
def test_an_interrupt_while_compiling_is_no_other_error(module, monkeypatch, rest):
    before = signal.getsignal(signal.SIGINT)
    source = "import signal\ntry:\n    signal.raise_signal(signal.SIGINT)\nexcept KeyboardInterrupt:\n    "
    module("twins", source + rest)
    monkeypatch.setattr(compilation, "_names", lambda: ["twins"])
    with pytest.raises(KeyboardInterrupt):
        compilation.compile_all()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_full_disk_is_an_error_that_names_the_folder(caches, module, monkeypatch):
    module("twins", "raise OSError(28, 'No space left on device')")
    monkeypatch.setattr(compilation, "_names", lambda: ["twins"])
    with pytest.raises(OSError, match=f"^cannot keep compiled kernels in {caches}.*: No space left on device$"):
        compilation.compile_all()
