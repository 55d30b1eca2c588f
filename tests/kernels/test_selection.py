"""Which kernels compute: by choice, by size, and by what has been compiled."""

import os
import subprocess
import sys
import threading
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

import funcnn
from funcnn import losses, models, optim, training
from funcnn.data_parallel import over_ranks, prepare_kernels
from funcnn.kernels import compilation, selection
from funcnn.kernels.selection import agree, compilable, current, is_open, prepare, use_kernels

ERRORS = [ImportError("numba needs NumPy 2.5"), OSError("cannot write in /x")]
SMALL, LARGE = np.ones(8), np.ones(selection.LOAD_SIZE)


@compilable
def double(x, options=""):
    return "numpy"


def twin(x, options=""):
    return NotImplemented if x.dtype.kind == "c" else "compiled"


@pytest.fixture
def state(monkeypatch):
    """What is compiled, as the tests say; modules of twins take no time to load."""
    state = SimpleNamespace(compiled=False, float64=True, loads=0, compilations=0, error=None, installed=True, asked=[])

    def load(progress, float64):
        state.loads += 1
        state.asked.append(float64)
        if state.error:
            raise state.error
        if not state.compiled:
            state.compilations += 1
            for done in range(3):
                progress("module", done, 3)
        state.compiled = True
        return {__name__: SimpleNamespace(double=twin)}

    monkeypatch.setattr(compilation, "load", load)
    monkeypatch.setattr(compilation, "is_compiled", lambda float64=False: state.compiled and state.float64 >= float64)
    monkeypatch.setattr(compilation, "is_installed", lambda: state.installed)
    monkeypatch.setattr(selection, "_TWINS", selection._Twins())
    with use_kernels("auto"):
        yield state


def test_auto_takes_compiled_kernels_for_large_arrays_where_they_are_compiled(state):
    state.compiled = True
    assert double(SMALL) == "numpy" and state.loads == 0
    assert current() == "compiled" and state.loads == 0
    assert double(LARGE) == "compiled" and double(LARGE, "x") == "compiled"
    assert state.loads == 1


def test_smaller_arrays_are_compiled_once_a_run_has_been_prepared(state):
    middle, state.compiled = np.ones(selection.MIN_SIZE), True
    assert double(LARGE) == "compiled" and double(middle) == "numpy"  # whatever another thread has loaded meanwhile
    assert is_open()
    prepare(1)  # a short run takes what is loaded
    assert double(middle) == "compiled" and double(middle[1:]) == "numpy" and not is_open()
    assert selection.active(len(middle)) and not selection.active(len(middle) - 1)


def test_auto_computes_with_numpy_where_nothing_is_compiled(state):
    assert double(LARGE) == current() == "numpy" and state.loads == 0
    state.compiled = True  # by another process: the results of this one go on as they began
    assert double(LARGE) == current() == "numpy" and state.loads == 0


def test_what_a_twin_does_not_compute_numpy_does(state):
    with use_kernels("compiled"):
        assert double(SMALL) == "compiled" and double(SMALL * 1j) == "numpy"


def test_numpy_is_taken_where_it_is_chosen(state):
    state.compiled = True
    with use_kernels("numpy"):
        assert double(LARGE) == current() == "numpy" and not is_open()
        prepare(1e20)
    assert state.loads == 0 and double(LARGE) == "compiled"


def test_a_block_that_asks_for_compiled_kernels_leaves_auto_as_it_was(state):
    assert double(LARGE) == "numpy"
    with use_kernels("compiled"):
        assert double(LARGE) == current() == "compiled"
    assert double(LARGE) == current() == "numpy"


def test_compiling_before_a_run_says_so_in_one_line(state, capsys):
    assert double(LARGE) == "numpy" and is_open()
    prepare(0.9 * selection.COMPILE_WORK)
    assert double(LARGE) == "numpy"
    prepare(selection.COMPILE_WORK)
    assert double(LARGE) == current() == "compiled" and state.compilations == 1 and not is_open()
    assert capsys.readouterr().err == "funcnn: compiling the kernels, once: some 30 s (funcnn compile does it ahead)\n"


def test_after_an_interrupted_compilation_numpy_computes(state):
    state.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        prepare(selection.COMPILE_WORK)
    assert double(LARGE) == current() == "numpy" and state.loads == 1 and is_open()


def test_a_process_that_finds_them_compiled_meanwhile_says_nothing(state, capsys):
    assert double(LARGE) == "numpy"
    state.compiled = True
    prepare(selection.COMPILE_WORK)
    assert double(LARGE) == "compiled" and capsys.readouterr().err == ""


def test_without_numba_auto_says_nothing(state, capsys):
    state.installed = False
    prepare(1e20)
    assert double(LARGE) == "numpy" and not is_open()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("error", ERRORS)
def test_what_cannot_be_loaded_is_one_warning_and_numpy_computes(state, error):
    state.compiled, state.error = True, error
    with pytest.warns(UserWarning, match="NumPy's kernels compute, without the compiled ones: ") as warned:
        assert double(LARGE) == double(LARGE) == current() == "numpy"
    assert len(warned) == 1 and "\n" not in str(warned[0].message) and state.loads == 1
    prepare(1e20)
    assert double(LARGE) == "numpy"


@pytest.mark.parametrize("error", ERRORS)
def test_asking_for_compiled_kernels_that_there_are_not_is_an_error(state, error):
    state.error = error
    with pytest.raises((ImportError, OSError), match=str(error).splitlines()[0]), use_kernels("compiled"):
        pass


def test_an_unknown_choice_is_an_error():
    with pytest.raises(ValueError, match="use_kernels: kernels must be one of auto, numpy, compiled, not 'fast'"):
        use_kernels("fast").__enter__()


def test_an_unknown_choice_of_the_process_is_an_error_when_a_kernel_is_asked_for(monkeypatch):
    monkeypatch.setenv("FUNCNN_KERNELS", "fast")
    selection._choice_of_process.cache_clear()
    try:
        with pytest.raises(ValueError, match=r"FUNCNN_KERNELS: kernels must be one of .*, not 'fast'"):
            double(SMALL)
    finally:
        selection._choice_of_process.cache_clear()


def test_threads_that_need_them_first_load_them_once(state, monkeypatch):
    state.compiled, load, inside = True, compilation.load, threading.Event()

    def slow(progress, float64):
        inside.wait(0.05)
        return load(progress, float64)

    monkeypatch.setattr(compilation, "load", slow)
    results = []

    def compute():
        with use_kernels("auto"):
            results.append(double(LARGE))

    threads = [threading.Thread(target=compute) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == ["compiled"] * 4 and state.loads == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_child_of_a_process_that_is_loading_them_loads_them_itself(state):
    state.compiled = True
    holding, release = threading.Event(), threading.Event()

    def hold():
        with selection._TWINS.lock:
            holding.set()
            release.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    holding.wait()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
        child = os.fork()
    if child == 0:
        os._exit(0 if double(LARGE) == "compiled" else 1)
    release.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_processes_agree_on_numpy_unless_all_have_compiled_kernels(state):
    state.compiled = True
    agree(lambda value: [value, "compiled"])
    assert double(LARGE) == "compiled"
    agree(lambda value: [value, "numpy"])
    assert double(LARGE) == current() == "numpy"
    prepare(1e20)
    assert double(LARGE) == "numpy"


def test_a_process_that_insists_on_compiled_kernels_beside_others_is_an_error(state):
    with use_kernels("compiled"), pytest.raises(ValueError, match="chosen, but rank 1 computes with NumPy's"):
        agree(lambda value: [value, "numpy"])


def test_ranks_agree_before_they_compute(state):
    state.compiled, gathered = True, []

    def allgather(value):
        gathered.append(value)
        return [value, "numpy"]

    comm = SimpleNamespace(Get_rank=lambda: 0, Get_size=lambda: 2, Allgatherv=None, allgather=allgather)
    over_ranks(funcnn.value_and_grad(models.mlp(2), losses.mse), comm)
    assert gathered == ["compiled"] and current() == "numpy"


def test_a_short_run_does_not_load_what_is_compiled_and_a_longer_one_does(state):
    state.compiled = True
    prepare(0.9 * selection.LOAD_WORK)
    assert double(LARGE) == current() == "numpy" and state.loads == 0
    prepare(selection.LOAD_WORK)
    assert double(LARGE) == current() == "compiled"
    prepare(1)  # they are loaded
    assert double(LARGE) == current() == "compiled"


def fit(epochs, channels=8, resume=None):
    x, labels = np.ones((64, 16, 16, channels), np.float32), np.arange(64) % 2
    model = funcnn.serial(funcnn.layers.relu(), funcnn.layers.global_avg_pool(), funcnn.layers.dense(2))
    return training.fit(
        model, losses.softmax_cross_entropy, optim.sgd(0.1), x, labels, epochs=epochs, key=(0,), resume=resume
    )


def test_a_run_compiles_them_if_its_work_is_worth_it(state, monkeypatch):
    monkeypatch.setattr(selection, "COMPILE_WORK", 3 * 5 * 64 * 100 * 16 * 16 * 8)
    next(fit(epochs=4))
    assert state.loads == 0
    epochs = fit(epochs=5)
    assert state.loads == 0
    next(epochs)
    assert state.compilations == 1 and current() == "compiled"


def test_a_run_that_is_resumed_for_its_last_epoch_goes_on_with_the_same_kernels(state, monkeypatch):
    monkeypatch.setattr(selection, "LOAD_WORK", 3 * 5 * 64 * 100 * 16 * 16 * 8)
    state.compiled = True
    fourth = [epoch for epoch, _ in zip(fit(epochs=5), range(4), strict=False)][-1]
    assert current() == "compiled" and fourth.train_state.epoch == 4
    monkeypatch.setattr(selection, "_TWINS", selection._Twins())  # as in another process
    assert len([*fit(epochs=4, resume=fourth.train_state)]) == state.loads - 1 == 0  # nothing is left to compute
    next(fit(epochs=5, resume=fourth.train_state))
    assert current() == "compiled" and state.loads == 2


def test_work_on_small_arrays_does_not_count(state, monkeypatch):
    monkeypatch.setattr(selection, "COMPILE_WORK", 1)
    next(fit(epochs=1, channels=2))
    assert state.loads == 0
    next(fit(epochs=1, channels=4))
    assert state.loads == 1


PROBE = """
import sys
import numpy as np
import funcnn
from funcnn.kernels import selection
x = np.ones((64, 32, 32, 16), np.float32)
y, vjp = funcnn.ops.relu(x)
vjp(x)
print(selection.current(), *sorted({"numba", "scipy"} & set(sys.modules)))
"""


def test_nothing_is_imported_where_nothing_is_compiled(tmp_path):
    environment = os.environ | {"FUNCNN_KERNELS": "auto", "NUMBA_CACHE_DIR": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", PROBE], env=environment, capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("numpy\n", "")


def test_float64_is_numpys_unless_the_kernels_are_compiled_for_it(state):
    state.compiled, state.float64 = True, False
    assert current() == "compiled" and selection.active(LARGE.size, np.float32)
    assert not selection.active(LARGE.size, np.float64)
    prepare(selection.LOAD_WORK, float64=True)  # not enough work to compile them
    assert state.asked == [] and current() == "numpy"
    prepare(selection.LOAD_WORK)
    assert state.asked == [False] and is_open(float64=True) and not is_open()
    prepare(selection.COMPILE_WORK, float64=True)
    assert state.asked == [False, True] and selection.active(LARGE.size, np.float64) and not is_open(float64=True)


def test_whoever_asks_for_compiled_kernels_gets_those_of_float64_too(state):
    with use_kernels("compiled"):
        assert state.asked == [True] and double(SMALL) == "compiled"
    assert state.asked == [True]


def test_auto_says_that_it_takes_kernels_of_float64_once_others_asked_for_them(state):
    state.compiled, state.float64 = True, False
    assert not selection.active(LARGE.size, np.float64)
    before = selection.deciding()
    with use_kernels("compiled"):
        pass
    assert double(LARGE) == "compiled"  # a twin computes all that is loaded
    assert selection.active(LARGE.size, np.float64) and selection.deciding() != before


def test_processes_that_differ_in_float64_agree_on_numpy(state):
    state.compiled, gathered = True, []
    state.float64 = False
    agree(lambda value: gathered.append(value) or [value, "compiled"])
    assert gathered == ["compiled for float32"] and current() == "numpy"


def test_a_run_with_parameters_of_float64_is_prepared_as_one(state, monkeypatch):
    runs = []
    monkeypatch.setattr(selection, "prepare", lambda work, float64: runs.append(float64))
    x, model = np.ones((4, 256, 256, 1)), funcnn.serial(funcnn.layers.flatten(), funcnn.layers.dense(2))
    params, model_state, _ = model.init((0,), x.shape[1:])
    prepare_kernels(model, params, model_state, x, 4, 1)
    prepare_kernels(model, funcnn.tree.map(np.float64, params), model_state, x, 4, 1)
    assert runs == [False, True]
