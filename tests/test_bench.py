"""The bench: what it prints where, that contestants are compared on equal terms, and how it fails."""

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import commands
import numpy as np
import pytest
from commands import CONTROL, ENVIRONMENT

from funcnn import data, gradients, losses, models, training, tree

SCRIPT = Path(__file__).parents[1] / "scripts" / "bench.py"
SHORT = ("--rounds", 2, "--processes", 1, "--seconds-per-round", 0.005)
ALONE = ("--contestant", "funcnn", *SHORT)
run = partial(commands.run, SCRIPT)
on_a_terminal = partial(commands.on_a_terminal, SCRIPT)


@pytest.fixture(scope="module")
def scripts():
    """Import modules of the scripts' folder."""
    sys.path.insert(0, str(SCRIPT.parent))
    try:
        yield importlib.import_module
    finally:
        sys.path.remove(str(SCRIPT.parent))


@pytest.fixture(scope="module")
def jobs(scripts):
    return scripts("contestants.jobs")


@pytest.fixture(scope="module")
def bench(scripts):
    return scripts("bench")


@pytest.fixture(scope="module")
def with_funcnn(scripts):
    return scripts("contestants.with_funcnn")


def fake(folder, name, source):
    """Put a package of that name before the one that may be installed; return the environment to run with."""
    package = folder / name
    package.mkdir()
    (package / "__init__.py").write_text(source)
    path = os.pathsep.join(filter(None, [str(folder), ENVIRONMENT.get("PYTHONPATH")]))
    return ENVIRONMENT | {"PYTHONPATH": path}


def test_piped_it_prints_a_table_for_each_job_and_progress_apart():
    result = run("--job", "seed", "--job", "cold-start", *ALONE)
    assert result.returncode == 0, result.stderr
    assert result.stderr == "measuring seed\nmeasuring cold start\n"
    assert not CONTROL.search(result.stdout)
    assert re.search(r"^seed, a step of 64: median and best round\n.*\n.*\nfuncnn +[\d,]+ +[\d,]+ +\d+", result.stdout)
    assert re.search(r"cold start, a process.*\n.*\n.*\nfuncnn +\d+\.\d\d +\d+\.\d\d +\d+\n", result.stdout)


def test_json_alone_on_stdout_or_in_a_file_beside_the_tables(tmp_path):
    path = tmp_path / "figures.json"
    only = run("--job", "seed", "--json", "-", *ALONE)
    both = run("--job", "seed", "--json", path, *ALONE)
    assert only.returncode == both.returncode == 0
    assert both.stdout.startswith("seed, a step")
    for text in (only.stdout, path.read_text()):
        figures = json.loads(text)
        assert figures["machine"]["cores"] and figures["machine"]["numpy"] == np.__version__
        seed = figures["jobs"]["seed"]["funcnn"]
        rounds = seed["rounds_us"]
        assert len(rounds) == 1 and len(rounds[0]) == 2
        assert seed["best_us"] == min(rounds[0]) > 0 and seed["median_us"] == pytest.approx(sum(rounds[0]) / 2)
        assert 1e7 < seed["peak_bytes"][0] < 1e9
        assert seed["status"] == "ok" and seed["times_funcnn"] is None


def test_prediction_is_four_measurements(bench):
    names = bench.measurements([bench.JobName.predict])
    assert names == ["predict lenet 1", "predict lenet 256", "predict vgg 1", "predict vgg 256"]
    assert len(bench.measurements([])) == 7 + 4 + 1


def test_what_is_not_installed_is_said_and_the_others_are_measured(bench, monkeypatch, capsys):
    monkeypatch.setattr(bench, "is_installed", lambda contestant: contestant is bench.Contestant.funcnn)
    bench.main(job=[bench.JobName.seed], rounds=1, processes=1, seconds_per_round=0.005)
    rows = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[3:8]]
    assert rows[0][0] == "funcnn" and rows[0][1][0].isdigit()
    assert [(name, status.strip()) for name, status in rows[1:]] == [
        (name, "not installed") for name in ("torch", "torch-channels-last", "torch-compile", "jax")
    ]


def test_a_contestant_that_fails_is_said_and_the_others_are_measured(tmp_path):
    env = fake(tmp_path, "torch", "raise ImportError('libtorch.so: no such file\\nand more')")
    result = run("--job", "seed", "--job", "cold-start", "--contestant", "torch", *ALONE, env=env)
    assert result.returncode == 1
    assert re.search(r"^torch +failed", result.stdout, re.MULTILINE)
    assert re.search(r"^funcnn +\d", result.stdout, re.MULTILINE)
    assert "torch: ImportError: libtorch.so: no such file\n" in result.stdout
    assert result.stderr.splitlines()[-1] == "bench.py: failed: torch (seed), torch (cold start)"
    assert "Traceback" not in result.stderr


def test_a_contestant_that_dies_is_said(tmp_path):
    env = fake(tmp_path, "jax", "import os; os.write(2, b'out of luck\\n'); os.abort()")
    result = run("--job", "seed", "--contestant", "jax", *SHORT, env=env)
    assert result.returncode == 1 and "jax: out of luck" in result.stdout


def test_a_contestant_that_does_other_work_is_refused(bench, jobs):
    task = jobs.make_task(jobs.JOBS["seed"], 1)
    funcnn, torch = bench.Contestant.funcnn, bench.Contestant.torch
    bench.check_loss({funcnn: 2.3, torch: 2.3005}, torch, task)
    with pytest.raises(bench.FailedError, match=r"does other work: it gets 2.31 where funcnn gets 2.3"):
        bench.check_loss({funcnn: 2.3, torch: 2.31}, torch, task)
    with pytest.raises(bench.FailedError, match="does other work: it gets nan"):
        bench.check_loss({funcnn: 2.3, torch: float("nan")}, torch, task)


def test_ratios_are_of_medians(bench):
    outcome = partial(bench.Outcome, "ok", "")
    outcomes = {
        bench.Contestant.funcnn: outcome([[1.0, 2.0], [9.0]]),
        bench.Contestant.torch: outcome([[4.0, 3.0], [90.0]]),
        bench.Contestant.jax: bench.Outcome("not installed"),
    }
    assert bench.versus_funcnn(outcomes) == {bench.Contestant.torch: 2.0}
    assert outcomes[bench.Contestant.torch].best() == 3.0
    assert bench.versus_funcnn({bench.Contestant.torch: outcomes[bench.Contestant.torch]}) == {}


def test_turns_rotate(bench):
    assert [bench._rotated(["a", "b", "c"], i) for i in range(4)] == [
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
        ["a", "b", "c"],
    ]


def test_initial_weights_are_those_of_funcnns_networks(jobs, with_funcnn):
    for name, network in jobs.NETWORKS.items():
        params, _, out_shape = with_funcnn.make_model(jobs.JOBS[name]).init((0,), network.in_shape)
        shapes, starts = [], []
        tree.map(lambda leaf, s=shapes, t=starts: (s.append(leaf.shape), t.append(leaf.min())), params)
        weights = jobs.initial_weights(network)
        assert [w.shape for w in weights] == shapes and out_shape == (10,)
        assert [w.min() for w in weights if w.ndim == 1] == [
            t for t, s in zip(starts, shapes, strict=True) if len(s) == 1
        ]


def test_the_catalogues_networks_are_as_described(jobs, with_funcnn):
    def kinds(layer):
        return [layer.name, *(kinds(child) for child in layer.children)]

    for name, model in [("estimator", models.convnet(10)), ("resnet", models.resnet(10, blocks=(1, 1, 1)))]:
        described = with_funcnn._serial(jobs.NETWORKS[name].layers)
        assert kinds(described._replace(name=model.name)) == kinds(model)
        params, state, _ = model.init((0,), jobs.NETWORKS[name].in_shape)
        x = np.random.default_rng(0).random((4, *jobs.NETWORKS[name].in_shape), np.float32)
        ours, theirs = (m.forward(params, x, state, train=True, key=(0,))[0] for m in (described, model))
        assert np.array_equal(ours, theirs)


def test_a_step_is_a_users_step(jobs, with_funcnn):
    task = jobs.make_task(jobs.JOBS["seed"], 1)
    run_steps = with_funcnn.make_run(task)
    first = run_steps(1)
    model = models.seed_convnet()
    params, state, _ = model.init((0,), (8, 8, 1))
    rest = iter(task.weights)
    params = tree.map(lambda leaf: next(rest), params)
    x, labels = data.digits()
    value, grads, _ = gradients.value_and_grad(model, losses.softmax_cross_entropy)(params, state, x[:64], labels[:64])
    assert first == float(value)
    params = tree.map(lambda p, g: p - np.float32(jobs.LEARNING_RATE) * g, params, grads)
    outputs = training.predict(model, params, state, x[64:128])
    assert run_steps(1) == pytest.approx(float(losses.softmax_cross_entropy(outputs, labels[64:128])[0]), rel=1e-6)


def test_the_recipe_is_the_training_scripts(jobs, scripts):
    train = scripts("train")
    recipe = train.RECIPES[train.ModelName.convnet]
    assert (recipe.optimizer, recipe.schedule, recipe.standardise) == ("adamw", "one-cycle", False)
    assert (recipe.learning_rate, recipe.weight_decay) == (jobs.PEAK_RATE, jobs.WEIGHT_DECAY)
    assert (recipe.epochs, recipe.batch_size) == (jobs.EPOCHS, jobs.BATCH_SIZE)
    x, labels, held_x, held_labels = jobs.split_digits()
    assert len(x) == len(labels) == 1440 and len(x) % jobs.BATCH_SIZE == 0
    assert len(held_x) == len(held_labels) == 357


def test_a_worker_imports_nothing_that_its_contestant_does_not_need():
    probe = "import sys, bench_worker; bench_worker.bound('funcnn', 'make_run'); print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", probe], cwd=SCRIPT.parent, capture_output=True, text=True, check=True, env=ENVIRONMENT
    )
    assert not {"torch", "jax", "typer", "rich", "sklearn"} & set(result.stdout.split())


def test_rounds_take_as_long_as_asked(scripts):
    worker, taken = scripts("bench_worker"), []
    steps = worker.steps_taking(lambda n: (taken.append(n), time.sleep(0.0005 * n)), 0.02)
    assert 10 <= steps <= 45 and sum(taken) >= steps / 2


def test_threads_bind_the_worker_to_so_many_cores(tmp_path):
    env = fake(tmp_path, "torch", "import os; raise ImportError(f'cores: {len(os.sched_getaffinity(0))}')")
    result = run("--job", "seed", "--contestant", "torch", "--threads", 1, *SHORT, env=env)
    assert "ImportError: cores: 1" in result.stdout


def test_on_a_terminal_progress_is_live():
    shown, code = on_a_terminal("--job", "seed", *ALONE)
    assert code == 0 and "\x1b[" in shown and "━" in shown and "seed, a step of 64" in shown
    assert "measuring" not in shown


def test_a_narrow_terminal_without_colour_loses_no_figure():
    shown, code = on_a_terminal("--job", "seed", *ALONE, columns=30, NO_COLOR="1")
    assert code == 0
    assert not re.search(r"\x1b\[(\d+;)*[349]\d(;\d+)*m", shown)
    row = next(line for line in reversed(shown.splitlines()) if line.startswith("funcnn"))
    assert len(row.split()) == 4 and "…" not in shown


def test_ctrl_c_ends_the_workers(tmp_path):
    marker = tmp_path / "pid"
    env = fake(
        tmp_path, "torch", f"import os, time; open({str(marker)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, SCRIPT, "--job", "seed", "--contestant", "torch"],
        env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while not (marker.exists() and marker.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=30)
    assert (process.returncode, out, errors) == (130, "", "measuring seed\nbench.py: interrupted\n")
    with pytest.raises(ProcessLookupError):
        os.kill(int(marker.read_text()), 0)


def test_the_sweep_tells_cost_per_unit_and_what_a_larger_job_does_faster(scripts, monkeypatch, capsys):
    sweep = scripts("sweep")

    def sleeping(size):
        return lambda times: time.sleep({2: 0.002, 4: 0.02, 8: 0.004}[size] * times)

    monkeypatch.setattr(sweep, "series", lambda: [sweep.Series("naps", "unit", (2, 4, 8), int, sleeping)])
    found = sweep.sweep(scripts("terminal").results(), 3, 0.005)
    out, errors = capsys.readouterr()
    assert errors == "measuring naps\n" and "us / unit" in out
    assert re.findall(r"(\d+) takes longer than (\d+)", out) == [("4", "8")]
    assert [row["size"] for row in found["naps"]] == [2, 4, 8]
    assert all(row["us_per_unit"] == pytest.approx(row["us"] / row["size"]) for row in found["naps"])


def test_every_series_of_the_sweep_runs_at_its_ends(scripts):
    for one in scripts("sweep").series():
        assert list(one.sizes) == sorted(one.sizes)
        one.make(one.sizes[0])(1)
        assert one.count(one.sizes[0]) < one.count(one.sizes[-1])


def test_the_methods_grid_tells_where_the_choice_is_worst(scripts, monkeypatch, capsys):
    methods = scripts("methods")
    slow = methods.Shape(3, 1, 8, 8, 8, 1)
    grid = [slow, methods.Shape(1, 2, 4, 4, 8, 4)]
    delays = {"auto": 0.002, "im2col": 0.0005, "row_blocks": 0.001, "depthwise": 0.1}

    def conv_run(batch, side, inner, outer, *, kernel, stride, groups, method):
        def run(times):
            if method not in delays:
                raise ValueError("cannot")
            time.sleep(times * (delays[method] if kernel == 3 else 0.001))

        return run

    monkeypatch.setattr(methods, "shapes", lambda: iter(grid))
    monkeypatch.setattr(methods, "conv_run", conv_run)
    found = methods.methods(scripts("terminal").results(), 3, 0.002)
    out, errors = capsys.readouterr()
    assert errors == "measuring kernel 3, stride 1\nmeasuring kernel 1, stride 2\n"
    assert "or within 10% of it, for 1 of 2 shapes" in out
    assert out.splitlines()[3].split()[:2] == ["3x3", "1"] and "im2col" in out.splitlines()[3]
    assert found[0]["us"].keys() == {"auto", "im2col", "row_blocks"}  # without what is hopeless or cannot
    assert found[0]["auto_over_best"] == pytest.approx(4, rel=0.5) and found[0]["batch"] == 64


def test_the_methods_grid_covers_small_and_large_and_every_method(scripts):
    methods = scripts("methods")
    grid = list(methods.shapes())
    for field, ends in [("kernel", (1, 7)), ("stride", (1, 2)), ("side", (8, 64)), ("inner", (1, 256))]:
        values = {getattr(shape, field) for shape in grid}
        assert (min(values), max(values)) == ends
    small = methods.Shape(3, 1, 2, 2, 4, 1)
    assert small.products() == 9 * 16 * 4 and small.unrolled() == 256 * 4 and small.out() == 4
    assert methods.Shape(3, 2, 2, 2, 5, 1).out() == 3
    assert methods.compare(small, 1, 0.0005).seconds.keys() <= {"auto", *methods.METHODS}
    assert methods.compare(small._replace(groups=2), 1, 0.0005).best() in ("im2col", "depthwise")


FAILURES = {
    "two tables at once": (("--sweep", "--methods"), 2, "--overhead each go with"),
    "a sweep of a job": (("--sweep", "--job", "seed"), 2, "--overhead each go with"),
    "unknown job": (("--job", "alexnet"), 2, "'alexnet' is not one of"),
    "unknown contestant": (("--contestant", "numpy"), 2, "'numpy' is not one of"),
    "no rounds": (("--rounds", 0), 2, "Invalid value for '--rounds'"),
    "too many threads": (("--threads", 10_000), 2, "--threads 10000: there are"),
    "a directory": (("--json", "."), 1, "cannot write .: it is a directory"),
    "a missing folder": (("--json", "missing/x.json"), 1, "cannot write missing/x.json: No such file or directory"),
}


@pytest.mark.parametrize(("options", "code", "message"), FAILURES.values(), ids=FAILURES.keys())
def test_failures_are_one_line_on_stderr(options, code, message, tmp_path):
    result = run(*options, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (code, "")
    assert message in result.stderr and result.stderr.startswith("bench.py: ")
    assert len(result.stderr.splitlines()) == 1


def test_help_names_every_option():
    result = run("--help")
    assert result.returncode == 0
    for option in (
        "job",
        "contestant",
        "rounds",
        "processes",
        "seconds-per-round",
        "sweep",
        "methods",
        "threads",
        "json",
    ):
        assert f"--{option}" in result.stdout
