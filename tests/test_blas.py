"""The BLAS has one thread while this library computes, and as many as before afterwards."""

import functools
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import systems
import threadpoolctl

from funcnn import blas, data_parallel, gradients, losses, metrics, optim, profiling, serial, training
from funcnn.layer import Layer
from funcnn.layers import dense, flatten

X, LABELS = np.ones((6, 2, 2, 1), np.float32), np.arange(6) % 3


def blas_threads():
    return {pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def three_threads():
    with threadpoolctl.threadpool_limits(3, user_api="blas"):
        assert blas_threads() == {3}
        yield
        assert blas_threads() == {3}


@pytest.fixture
def without_threadpoolctl(monkeypatch):
    monkeypatch.setattr(blas, "_libraries", tuple)


def model_that_notes(seen):
    def forward(params, x, state, *, train, key=None):
        seen.append(blas_threads())

        def vjp(dy):
            seen.append(blas_threads())
            return {}, dy

        return x, vjp, {}

    return serial(Layer("noting", lambda key, in_shape: ({}, {}, in_shape), forward), flatten(), dense(3))


def run_fit(model):
    for _ in training.fit(
        model, losses.softmax_cross_entropy, optim.sgd(0.1), X, LABELS, epochs=2, key=(0,), validation=(X, LABELS),
        metrics={"accuracy": metrics.accuracy},
    ):  # fmt: skip
        assert blas_threads() == {3}  # in the caller's loop


def run_steps(model):
    loss, optimizer = losses.softmax_cross_entropy, optim.sgd(0.1)
    for _ in training.fit(model, loss, optimizer, X, LABELS, epochs=1, batch_size=2, key=(0,)).steps():
        assert blas_threads() == {3}


def run_update(model):
    optimizer = optim.sgd(0.1)
    train_state = training.start(model, optimizer, X.shape[1:], key=(0,))
    training.update(gradients.value_and_grad(model, losses.softmax_cross_entropy), optimizer, train_state, X, LABELS)


def run_over_threads(model):
    params, state, _ = model.init((0,), X.shape[1:])
    for n, min_work in ((1, 0), (2, 1e9), (2, 0)):
        grad_fn = gradients.value_and_grad(model, losses.softmax_cross_entropy)
        data_parallel.over_threads(grad_fn, n, min_work=min_work)(params, state, X, LABELS)


def run_predict(model):
    params, state, _ = model.init((0,), X.shape[1:])
    for threads in (1, 2):
        training.predict(model, params, state, X, threads=threads)


def run_layer_times(model):
    params, state, _ = model.init((0,), X.shape[1:])
    profiling.layer_times(model, params, state, X, rounds=1)


@pytest.mark.parametrize("run", [run_fit, run_steps, run_update, run_over_threads, run_predict, run_layer_times])
def test_one_blas_thread_within_and_as_many_as_before_afterwards(run):
    seen = []
    run(model_that_notes(seen))
    assert seen and all(threads == {1} for threads in seen)


def test_an_error_restores_the_number():
    with pytest.raises(ZeroDivisionError), blas.one_thread, blas.one_thread:
        assert blas_threads() == {1}
        raise ZeroDivisionError


class InterruptedLock:
    """Raises a KeyboardInterrupt once a thread has released it, where Python looks for Ctrl-C; then no more."""

    def __init__(self, releases):
        self.left = releases

    def __enter__(self):
        pass

    def __exit__(self, *_):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("releases", [1, 2])
def test_an_interrupt_while_a_block_begins_or_ends_restores_the_number(monkeypatch, releases):
    monkeypatch.setattr(blas.one_thread, "_lock", InterruptedLock(releases))
    with pytest.raises(KeyboardInterrupt), blas.one_thread:
        pass
    assert blas_threads() == {3}
    with blas.one_thread:
        assert blas_threads() == {1}
    assert blas_threads() == {3}


def test_an_interrupt_within_another_block_leaves_its_limit(monkeypatch):
    with blas.one_thread:
        for releases in (1, 2):
            with monkeypatch.context() as patch:
                patch.setattr(blas.one_thread, "_lock", InterruptedLock(releases))
                with pytest.raises(KeyboardInterrupt), blas.one_thread:
                    pass
            assert blas_threads() == {1}


def test_only_the_outermost_block_restores_the_number():
    with blas.one_thread:
        with blas.one_thread:
            pass
        assert blas_threads() == {1}


def in_a_thread(function):
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(function).result()


def test_each_thread_limits_it():
    def limited():
        with blas.one_thread:
            return blas_threads()

    assert limited() == in_a_thread(limited) == in_a_thread(limited) == limited() == {1}
    assert blas_threads() == {3}


def test_the_thread_that_leaves_last_restores_the_number():
    with ThreadPoolExecutor(1) as executor:  # a thread that stays alive
        executor.submit(blas.one_thread.__enter__).result()
        with blas.one_thread:
            executor.submit(blas.one_thread.__exit__, None, None, None).result()
            assert blas_threads() == {1}
        assert blas_threads() == {3}
        with blas.one_thread:
            executor.submit(blas.one_thread.__enter__).result()
        executor.submit(blas.one_thread.__exit__, None, None, None).result()
        assert blas_threads() == {3}


def test_others_may_limit_it_in_a_thread_afterwards():
    def limited():
        with threadpoolctl.threadpool_limits(2, user_api="blas"):
            return blas_threads()

    for controller in threadpoolctl.ThreadpoolController().lib_controllers:
        getattr(controller, "clear_controlling_thread", lambda **_: None)(force=True)  # frees it for others
    with blas.one_thread:
        pass
    assert in_a_thread(limited) == {2}


@pytest.mark.parametrize("api", [{"internal_api": "mkl"}, {"internal_api": "openblas", "threading_layer": "openmp"}])
def test_other_libraries_are_limited_by_threadpoolctl(monkeypatch, api):
    numbers = [4]
    controller = SimpleNamespace(
        **api,
        filepath="f",
        version="1",
        dynlib=None,
        get_num_threads=lambda: numbers[-1],
        set_num_threads=numbers.append,
    )
    monkeypatch.setattr(blas, "_libraries", lambda: (blas._library(controller),))
    with blas.one_thread:
        assert numbers == [4, 1]
    assert numbers == [4, 1, 4]
    assert blas.description()["blas"] == f"{api['internal_api']} 1"


@systems.needs("fork")
def test_a_process_forked_within_a_block_begins_outside_of_it():
    with blas.one_thread:
        child = os.fork()
        if child == 0:
            right = blas_threads() == {3}
            with blas.one_thread:
                right &= blas_threads() == {1}
            os._exit(0 if right and blas_threads() == {3} else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert blas_threads() == {1}


@pytest.mark.parametrize(
    "name, variables, limited",
    [
        ("scipy-openblas", {}, False),
        ("scipy-openblas", {"OPENBLAS_NUM_THREADS": "1"}, True),
        ("scipy-openblas", {"OMP_NUM_THREADS": "1"}, True),
        ("scipy-openblas", {"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "1"}, False),
        ("scipy-openblas", {"VECLIB_MAXIMUM_THREADS": "1"}, False),
        ("accelerate", {"OPENBLAS_NUM_THREADS": "1"}, False),
        ("accelerate", {"VECLIB_MAXIMUM_THREADS": "1"}, True),
        ("mkl-sdl", {"MKL_NUM_THREADS": "1"}, True),
        ("unheard-of", {"OMP_NUM_THREADS": "1"}, False),
    ],
)
def test_what_threadpoolctl_cannot_limit_is_limited_by_the_environment(
    without_threadpoolctl, monkeypatch, name, variables, limited
):
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr(np, "show_config", lambda mode: {"Build Dependencies": {"blas": {"name": name}}})
    assert blas.can_limit() == limited
    assert ("blas_threads" in blas.description()) == limited
    with blas.one_thread:
        pass


def test_the_description_names_the_library_and_its_kernels():
    described = blas.description()
    assert described["blas_threads"] == 1
    [numpys] = [pool for pool in threadpoolctl.threadpool_info() if "numpy" in pool["filepath"]]
    assert described["blas"] == f"{numpys['internal_api']} {numpys['version']} {numpys['architecture']}"


def test_accelerates_version_is_that_of_macos(without_threadpoolctl, monkeypatch):
    config = {"Build Dependencies": {"blas": {"name": "accelerate", "version": "unknown"}}}
    monkeypatch.setattr(np, "show_config", lambda mode: config)
    monkeypatch.setattr("platform.mac_ver", lambda: ("15.2", ("", "", ""), "arm64"))
    assert blas.description()["blas"] == "accelerate 15.2"


def test_a_second_library_beside_accelerate_is_not_taken_for_numpys(monkeypatch):
    config = {"Build Dependencies": {"blas": {"name": "accelerate", "version": "unknown"}}}
    monkeypatch.setattr(np, "show_config", lambda mode: config)
    monkeypatch.setattr("platform.mac_ver", lambda: ("15.2", ("", "", ""), "arm64"))
    for variable in ("OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
        monkeypatch.delenv(variable, raising=False)
    assert blas_threads() and not blas.can_limit()
    assert blas.description() == {"blas": "accelerate 15.2"}


def test_without_threadpoolctl_nothing_is_imported_or_limited():
    script = """
import sys
sys.modules["threadpoolctl"] = None
from funcnn import blas
with blas.one_thread:
    print(blas._libraries())
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == "()\n"


def test_a_library_that_is_loaded_within_a_block_is_limited_and_restored(monkeypatch):
    found = blas._libraries()
    monkeypatch.setattr(blas, "_libraries", functools.cache(lambda: tuple(libraries)))
    libraries = [*found[:1]]
    late = SimpleNamespace(filepath="late", threads=4, get_num_threads=lambda: late.threads)
    late.set_num_threads = lambda n: setattr(late, "threads", n)
    with blas.one_thread:
        libraries.append(late)
        blas.one_thread.find_libraries()
        assert late.threads == 1
    assert late.threads == 4
    with blas.one_thread:
        assert late.threads == 1
    assert late.threads == 4
