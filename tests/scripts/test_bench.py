"""The benchmarks: what they print where, that frameworks are compared on equal terms, and how they fail."""

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
import systems
from commands import CONTROL, ENVIRONMENT
from mpi import needs_mpi

from funcnn import data, gradients, losses, models, training, tree
from funcnn.cli.console import results_console
from funcnn.cli.recipes import RECIPES, ModelName
from funcnn.summary import summary

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench"
pytestmark = systems.needs("killpg")  # the benchmark starts and ends groups of processes
SHORT = ("--rounds", 2, "--processes", 1, "--seconds-per-round", 0.005)
FUNCNN_ONLY = ("--framework", "funcnn", *SHORT)
run = partial(commands.run, program=(SCRIPT,))
on_a_terminal = partial(commands.on_a_terminal, program=(SCRIPT,))


@pytest.fixture(scope="module")
def scripts():
    """Return the function that imports a module of scripts/."""
    sys.path.insert(0, str(SCRIPT.parent))
    try:
        yield importlib.import_module
    finally:
        sys.path.remove(str(SCRIPT.parent))


@pytest.fixture(scope="module")
def jobs(scripts):
    return scripts("bench.jobs")


@pytest.fixture(scope="module", autouse=True)
def app(scripts):
    """Return the module of the command, here already before it is run in copies of this process."""
    return scripts("bench.app")


@pytest.fixture(scope="module")
def measuring(scripts):
    return scripts("bench.measuring")


@pytest.fixture(scope="module")
def with_funcnn(scripts):
    return scripts("bench.frameworks.with_funcnn")


def fake(folder, name, source):
    """Put a package of that name before the one that may be installed; return the environment to run with."""
    package = folder / name
    package.mkdir()
    (package / "__init__.py").write_text(source)
    path = os.pathsep.join(filter(None, [str(folder), ENVIRONMENT.get("PYTHONPATH")]))
    return ENVIRONMENT | {"PYTHONPATH": path}


def test_piped_it_prints_a_table_for_each_job_and_progress_apart():
    result = run("--job", "seed", "--job", "cold-start", *FUNCNN_ONLY)
    assert result.returncode == 0, result.stderr
    assert result.stderr == "measuring seed\nmeasuring cold start\n"
    assert not CONTROL.search(result.stdout)
    assert re.search(r"^seed, a step of 64: median and best round\n.*\n.*\nfuncnn +[\d,]+ +[\d,]+ +\d+", result.stdout)
    assert re.search(r"cold start, a process.*\n.*\n.*\nfuncnn +\d+\.\d\d +\d+\.\d\d +\d+\n", result.stdout)


def test_json_only_on_stdout_or_in_a_file_beside_the_tables(tmp_path):
    path = tmp_path / "figures.json"
    only = run("--job", "seed", "--json", "-", *FUNCNN_ONLY)
    both = run("--job", "seed", "--json", path, *FUNCNN_ONLY)
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


def test_prediction_is_four_measurements(app):
    names = app.measurements([app.JobName.predict])
    assert names == ["predict lenet 1", "predict lenet 256", "predict vgg 1", "predict vgg 256"]
    assert len(app.measurements([])) == 7 + 4 + 1


def test_a_framework_that_is_not_installed_is_named_and_the_others_are_measured(app, monkeypatch, capsys):
    monkeypatch.setattr(app, "is_installed", lambda framework: framework is app.Framework.funcnn)
    app.main(job=[app.JobName.seed], rounds=1, processes=1, seconds_per_round=0.005)
    rows = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[3:9]]
    assert rows[0][0] == "funcnn" and rows[0][1][0].isdigit()
    assert [(name, status.strip()) for name, status in rows[1:]] == [
        (name, "not installed") for name in ("funcnn-fast", "torch", "torch-channels-last", "torch-compile", "jax")
    ]


def test_a_framework_that_fails_is_named_and_the_others_are_measured(tmp_path):
    env = fake(tmp_path, "torch", "raise ImportError('libtorch.so: no such file\\nand more')")
    result = run("--job", "seed", "--job", "cold-start", "--framework", "torch", *FUNCNN_ONLY, env=env)
    assert result.returncode == 1
    assert re.search(r"^torch +failed", result.stdout, re.MULTILINE)
    assert re.search(r"^funcnn +\d", result.stdout, re.MULTILINE)
    assert "torch: ImportError: libtorch.so: no such file\n" in result.stdout
    assert result.stderr.splitlines()[-1] == "bench: failed: torch (seed), torch (cold start)"
    assert "Traceback" not in result.stderr


def test_a_framework_that_crashes_is_named(tmp_path):
    env = fake(tmp_path, "jax", "import os; os.write(2, b'out of luck\\n'); os.abort()")
    result = run("--job", "seed", "--framework", "jax", *SHORT, env=env)
    assert result.returncode == 1 and "jax: out of luck" in result.stdout


def test_a_framework_that_does_other_work_is_refused(measuring, jobs):
    task = jobs.make_task(jobs.JOBS["seed"], 1)
    funcnn, torch = measuring.Framework.funcnn, measuring.Framework.torch
    measuring.check_loss({funcnn: 2.3, torch: 2.3005}, torch, task)
    with pytest.raises(measuring.FailedError, match=r"does other work: it gets 2.31 where funcnn gets 2.3"):
        measuring.check_loss({funcnn: 2.3, torch: 2.31}, torch, task)
    with pytest.raises(measuring.FailedError, match="does other work: it gets nan"):
        measuring.check_loss({funcnn: 2.3, torch: float("nan")}, torch, task)


def test_ratios_are_of_medians(measuring):
    outcome = partial(measuring.Outcome, "ok", "")
    outcomes = {
        measuring.Framework.funcnn: outcome([[1.0, 2.0], [9.0]]),
        measuring.Framework.torch: outcome([[4.0, 3.0], [90.0]]),
        measuring.Framework.jax: measuring.Outcome("not installed"),
    }
    assert measuring.times_funcnn(outcomes) == {measuring.Framework.torch: 2.0}
    assert outcomes[measuring.Framework.torch].best() == 3.0
    assert measuring.times_funcnn({measuring.Framework.torch: outcomes[measuring.Framework.torch]}) == {}


def test_turns_rotate(measuring):
    assert [measuring._rotated(["a", "b", "c"], i) for i in range(4)] == [
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
        ["a", "b", "c"],
    ]


def test_initial_weights_are_those_of_funcnns_networks(jobs, with_funcnn):
    for name, network in jobs.NETWORKS.items():
        params, _, out_shape = with_funcnn.make_model(jobs.Job(name)).init((0,), network.in_shape)
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


def test_the_large_networks_are_those_of_the_catalogue_and_measured_if_asked_for(app, jobs, with_funcnn):
    for name in jobs.LARGE_NETWORKS:
        described = summary(with_funcnn._serial(jobs.NETWORKS[name].layers), jobs.NETWORKS[name].in_shape)
        model = summary(with_funcnn.make_model(jobs.Job(name)), jobs.NETWORKS[name].in_shape)
        assert [row[1:] for row in described] == [row[1:] for row in model]
    names = app.measurements([app.JobName.resnet18, app.JobName.mobilenet])
    assert names == [
        *("resnet18", "resnet18 predict 1", "resnet18 predict 16"),
        *("mobilenet predict 1", "mobilenet predict 16"),
    ]


def test_onnxruntime_is_measured_where_it_can_take_part(app, jobs, scripts, measuring, with_funcnn):
    possible = [name for name in app.measurements([]) if measuring.does(measuring.Framework.onnxruntime, name)]
    assert possible == list(jobs.PREDICTION)
    task = jobs.make_task(jobs.Job("lenet", 2, False), 1)
    run_once = scripts("bench.frameworks.with_onnxruntime").make_run(task)
    assert run_once(3) == pytest.approx(with_funcnn.make_run(task)(3), abs=1e-6)
    result = run("--job", "seed", "--framework", "onnxruntime")
    assert (result.returncode, result.stdout) == (2, "") and "onnxruntime cannot do seed" in result.stderr


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


def test_the_recipe_is_the_training_commands(jobs):
    recipe = RECIPES[ModelName.convnet]
    assert (recipe.optimizer, recipe.schedule, recipe.standardize) == ("adamw", "one-cycle", False)
    assert (recipe.learning_rate, recipe.weight_decay) == (jobs.PEAK_RATE, jobs.WEIGHT_DECAY)
    assert (recipe.epochs, recipe.batch_size) == (jobs.EPOCHS, jobs.BATCH_SIZE)
    x, labels, held_x, held_labels = jobs.split_digits()
    assert len(x) == len(labels) == 1440 and len(x) % jobs.BATCH_SIZE == 0
    assert len(held_x) == len(held_labels) == 357


def test_a_worker_imports_nothing_that_its_framework_does_not_need():
    probe = "import sys; from bench import worker; worker.load_function('funcnn', 'make_run'); print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", probe], cwd=SCRIPT.parent, capture_output=True, text=True, check=True, env=ENVIRONMENT
    )
    assert not {"torch", "jax", "typer", "rich", "sklearn"} & set(result.stdout.split())


def test_rounds_take_as_long_as_asked(scripts, wait):
    worker, taken = scripts("bench.worker"), []
    steps = worker.steps_for(lambda n: (taken.append(n), wait(0.0005 * n)), 0.02)
    assert 10 <= steps <= 45 and sum(taken) >= steps / 2


@systems.needs("sched_setaffinity")
def test_threads_bind_the_worker_to_so_many_cores(tmp_path):
    env = fake(tmp_path, "torch", "import os; raise ImportError(f'cores: {len(os.sched_getaffinity(0))}')")
    result = run("--job", "seed", "--framework", "torch", "--threads", 1, *SHORT, env=env)
    assert "ImportError: cores: 1" in result.stdout


def test_on_a_terminal_progress_is_live():
    output, code = on_a_terminal("--job", "seed", *FUNCNN_ONLY)
    assert code == 0 and "\x1b[" in output and "━" in output and "seed, a step of 64" in output
    assert "measuring" not in output


def test_a_narrow_terminal_without_colour_loses_no_figure():
    output, code = on_a_terminal("--job", "seed", *FUNCNN_ONLY, columns=30, NO_COLOR="1")
    assert code == 0
    assert not re.search(r"\x1b\[(\d+;)*[349]\d(;\d+)*m", output)
    # a table that does not fit is printed row by row: its name, and below it each figure after its column's name
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", output).splitlines()
    at = next(i for i, line in enumerate(lines) if line.split() == ["funcnn"])
    words = " ".join(line for line in lines[at + 1 :] if line.startswith("  ")).split()
    assert words[0::2] == ["us", "best", "MB"] and "…" not in output
    assert all(float(figure.replace(",", "")) > 0 for figure in words[1::2])


def test_ctrl_c_ends_the_workers(tmp_path):
    marker = tmp_path / "pid"
    env = fake(
        tmp_path, "torch", f"import os, time; open({str(marker)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, SCRIPT, "--job", "seed", "--framework", "torch"],
        env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while not (marker.exists() and marker.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=30)
    assert (process.returncode, out, errors) == (130, "", "measuring seed\nbench: interrupted\n")
    with pytest.raises(ProcessLookupError):
        os.kill(int(marker.read_text()), 0)


@pytest.fixture
def wait(monkeypatch):
    """Let nothing take time but ``wait(seconds)``, which moves the clock and does not wait."""
    now = [0.0]
    for clock in ("perf_counter", "thread_time"):
        monkeypatch.setattr(time, clock, lambda: now[0])

    def forward(seconds):
        now[0] += seconds

    return forward


def test_the_sweep_tells_cost_per_unit_and_what_a_larger_job_does_faster(scripts, monkeypatch, capsys, wait):
    sweep = scripts("bench.sweep")

    def sleeping(size):
        return lambda times: wait({2: 0.002, 4: 0.02, 8: 0.004}[size] * times)

    monkeypatch.setattr(sweep, "series", lambda: [sweep.Series("naps", "unit", (2, 4, 8), int, sleeping)])
    found = sweep.measure_sweep(results_console(), 3, 0.005)
    out, errors = capsys.readouterr()
    assert errors == "measuring naps\n" and "us / unit" in out
    assert re.findall(r"(\d+) takes longer than (\d+)", out) == [("4", "8")]
    assert [row["size"] for row in found["naps"]] == [2, 4, 8]
    assert all(row["us_per_unit"] == pytest.approx(row["us"] / row["size"]) for row in found["naps"])


def test_every_series_of_the_sweep_runs_at_its_ends(scripts):
    for one in scripts("bench.sweep").series():
        assert list(one.sizes) == sorted(one.sizes)
        one.make(one.sizes[0])(1)
        assert one.count(one.sizes[0]) < one.count(one.sizes[-1])


def test_the_methods_grid_tells_where_the_choice_is_worst(scripts, monkeypatch, capsys, wait):
    methods = scripts("bench.methods")
    slow = methods.Shape(3, 1, 8, 8, 8, 1)
    grid = [slow, methods.Shape(1, 2, 4, 4, 8, 4)]
    delays = {"auto": 0.002, "im2col": 0.0005, "row_blocks": 0.001, "depthwise": 0.1}

    def conv_run(batch, side, in_channels, out_channels, *, kernel, stride, groups, method):
        def run(times):
            if method not in delays:
                raise ValueError("cannot")
            wait(times * (delays[method] if kernel == 3 else 0.001))

        return run

    monkeypatch.setattr(methods, "shapes", lambda: iter(grid))
    monkeypatch.setattr(methods, "conv_run", conv_run)
    found = methods.compare_methods(results_console(), 3, 0.002)
    out, errors = capsys.readouterr()
    parts = ("kernel 3, stride 1: shapes 1 to 1 of 2", "kernel 1, stride 2: shapes 2 to 2 of 2")
    assert errors == "".join(f"measuring {part}\n" for part in parts)
    assert "or within 10% of it, for 1 of 2 shapes" in out
    assert out.splitlines()[3].split()[:2] == ["3x3", "1"] and "im2col" in out.splitlines()[3]
    assert found[0]["us"].keys() == {"auto", "im2col", "row_blocks"}  # without what is too slow or impossible
    assert found[0]["auto_over_best"] == pytest.approx(4) and found[0]["batch"] == 64


def test_the_methods_grid_covers_small_and_large_and_every_method(scripts):
    methods = scripts("bench.methods")
    grid = list(methods.shapes())
    for field, ends in [("kernel", (1, 7)), ("stride", (1, 2)), ("side", (8, 224)), ("in_channels", (1, 512))]:
        values = {getattr(shape, field) for shape in grid}
        assert (min(values), max(values)) == ends
    small = methods.Shape(3, 1, 2, 2, 4, 1)
    assert small.multiply_adds() == 9 * 16 * 4 and small.toeplitz_entries() == 256 * 4 and small.out_side() == 4
    assert methods.Shape(3, 2, 2, 2, 5, 1).out_side() == 3
    assert max(shape.batch() * shape.side**2 * shape.in_channels for shape in grid if shape.batch() > 1) <= 2**21
    assert methods.compare(small, 1, 0.0005).seconds.keys() <= {"auto", *methods.METHODS}
    assert methods.compare(small._replace(groups=2), 1, 0.0005).best() in ("im2col", "depthwise")


@pytest.fixture(scope="module")
def page(scripts):
    return scripts("bench.page").page


CIRCUMSTANCES = {
    "machine": {"processor": "A | B", "cores": 2, "python": "3.11.7", "numpy": "2.4"},
    "date": "2026-11-27",
    "command": ".venv/bin/python scripts/bench --job seed --rounds 4",
}
JOBS = CIRCUMSTANCES | {
    "effort": {"rounds": 4, "processes": 2, "seconds_per_round": 0.2, "cores": ""},
    "jobs": {
        "seed": {
            "funcnn": {
                "status": "ok", "median_us": 1250.0, "best_us": 1000.0, "times_funcnn": None,
                "rounds_us": [[1000.0, 1100.0, 1200.0, 1300.0], [1200.0, 1300.0, 1400.0, 1500.0]],
                "peak_bytes": [41_000_000, 42_000_000],
            },
            "torch": {
                "status": "ok", "median_us": 2500.0, "best_us": 2000.0, "times_funcnn": 2.0,
                "rounds_us": [[2000.0, 2500.0], [2500.0, 3000.0]], "peak_bytes": [400_000_000],
            },
            "jax": {"status": "failed", "reason": "ImportError: no | such"},
        },
        "cold start": {
            "funcnn": {
                "status": "ok", "median_us": 1.5e6, "best_us": 1e6, "times_funcnn": None,
                "rounds_us": [[1e6], [2e6]], "epochs": [3, 5],
            },
        },
    },
}  # fmt: skip


def rows_of(text):
    """The cells of every row of a page's tables."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_a_page_shows_each_jobs_median_and_spread_and_how_to_measure_again(page):
    text = page([JOBS])
    rows = rows_of(text)
    seed = ["funcnn", "1,250", "1,175 to 1,325", "1,150 to 1,350", "1,000", "", "42"]
    assert seed in rows
    assert ["torch", "2,500", "2,375 to 2,625", "2,250 to 2,750", "2,000", "2.00", "400"] in rows
    assert ["jax", "failed", "", "", "", "", ""] in rows and "\n- jax: ImportError: no | such\n" in text
    assert ["funcnn", "1.50", "1.25 to 1.75", "1.00 to 2.00", "1.00", "", "4"] in rows
    assert ["seed", "µs", "1,250", "torch", "2,500", "2.00"] in rows
    assert ["processor", r"A \| B"] in rows and ["date", "2026-11-27"] in rows and ["NumPy", "2.4"] in rows
    assert f"```sh\n{JOBS['command']}\n```\n" in text
    assert "training step" in text and "64 images of 8x8x1" in text


FAST = {
    "status": "ok", "median_us": 625.0, "best_us": 600.0, "times_funcnn": 0.5, "rounds_us": [[600.0, 650.0]],
    "peak_bytes": [300_000_000],
}  # fmt: skip


def test_a_page_compares_others_with_compiled_kernels_as_well(page):
    seed = JOBS["jobs"]["seed"] | {"funcnn-fast": FAST}
    rows = rows_of(page([JOBS | {"jobs": JOBS["jobs"] | {"seed": seed}}]))
    assert ["seed", "µs", "1,250", "625", "torch", "2,500", "2.00", "4.00"] in rows
    assert ["funcnn-fast", "625", "612 to 638", "625 to 625", "600", "0.50", "300"] in rows


def test_the_summary_compares_others_with_compiled_kernels_as_well(measuring, scripts, capsys):
    report, frameworks = scripts("bench.report"), measuring.Framework
    outcomes = {
        frameworks.funcnn: measuring.Outcome("ok", "", [[4.0]]),
        frameworks.funcnn_fast: measuring.Outcome("ok", "", [[2.0]]),
        frameworks.torch: measuring.Outcome("ok", "", [[6.0]]),
    }
    report.show_summary(results_console(), {"cold start": outcomes})
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.split() == ["cold", "start", "4.00", "2.00", "torch", "6.00", "1.50", "3.00"]


def test_each_name_of_funcnn_has_its_kernels(measuring):
    frameworks = measuring.Framework
    assert measuring.worker_environment(frameworks.funcnn)["FUNCNN_KERNELS"] == "numpy"
    assert measuring.worker_environment(frameworks.funcnn_fast)["FUNCNN_KERNELS"] == "auto"


def test_all_tables_of_a_page_are_rectangular_and_sections_are_in_the_order_of_the_files(page):
    sweep = {"naps": [{"size": 2, "us": 5.0, "us_per_unit": 2.5, "unit": "image"}]}
    shape = {"kernel": 3, "stride": 1, "in_channels": 8, "out_channels": 4, "side": 8, "groups": 1, "batch": 64}
    methods = [
        shape | {"us": {"auto": 30.0, "im2col": 20.0, "winograd": 40.0}, "auto_over_best": 1.5},
        shape | {"us": {"auto": 30.0, "im2col": 30.0}, "auto_over_best": 1.0},
    ]
    overhead = [{"way": "training alone", "seconds": [1.0, 2.0, 4.0], "more": 0.0}]
    ranks = [{"job": "vgg", "on": "2 processes", "ms": 5.0, "communicating_ms": 1.5}]
    kinds = {"sweep": sweep, "methods": methods, "overhead": overhead, "ranks": ranks}
    text = page([*(CIRCUMSTANCES | {kind: found} for kind, found in kinds.items()), JOBS])
    assert ["2", "5", "2.50"] in rows_of(text)
    assert ["3x3", "1", "8 to 4", "1", "8", "64", "30", "20", "im2col", "1.50"] in rows_of(text)
    assert "within 10% of it, for 1 of 2 shapes" in text
    assert ["training alone", "2.000", "1.000", "+0.0%"] in rows_of(text)
    assert ["vgg", "2 processes", "5.00", "3.50", "1.50"] in rows_of(text)
    titles = [line for line in text.splitlines() if line.startswith("## ")]
    assert len(titles) == 5 and titles[-1] == "## Frameworks side by side"
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        widths = {len(row) for row in rows_of(block)}
        assert len(widths) == 1 and rows_of(block)[1][0] == "---"


def test_measuring_writes_the_page_that_its_figures_give(tmp_path):
    measured = run("--job", "seed", "--json", "a.json", "--page", "a.md", *FUNCNN_ONLY, cwd=tmp_path)
    written = run("--from", "a.json", "--page", "b.md", cwd=tmp_path)
    assert (measured.returncode, written.returncode) == (0, 0), measured.stderr + written.stderr
    assert (written.stdout, written.stderr) == ("", "")
    text = (tmp_path / "a.md").read_text()
    assert text == (tmp_path / "b.md").read_text()
    figures = json.loads((tmp_path / "a.json").read_text())
    assert f"{figures['jobs']['seed']['funcnn']['median_us']:,.0f}" in text and figures["date"] in text
    assert figures["command"] == (
        ".venv/bin/python scripts/bench --job seed --framework funcnn --rounds 2 --processes 1 "
        "--seconds-per-round 0.005"
    )


@pytest.mark.parametrize("content", ["{", "[]", '{"machine": {}, "date": "", "command": ""}'])
def test_a_page_of_other_files_is_refused(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    result = run("--from", "x.json", "--page", "x.md", cwd=tmp_path)
    assert result.returncode == 1 and re.match(r"bench: x\.json (is not JSON|does not hold figures)", result.stderr)
    assert len(result.stderr.splitlines()) == 1 and not (tmp_path / "x.md").exists()


def test_the_overhead_of_each_way_is_relative_to_training_alone(scripts, monkeypatch, capsys):
    overhead = scripts("bench.overhead")
    delays = iter([9.0, 9.0, 9.0, 9.0, 1.0, 1.1, 1.2, 1.3, 2.0, 2.4, 2.8, 2.0])
    monkeypatch.setattr(overhead, "_seconds", lambda arguments: next(delays))
    rows = overhead.measure_overhead(results_console(), 2, 1)
    assert [row["more"] for row in rows] == pytest.approx([0, 0.15, 0.3, 0.15])
    assert [row["seconds"][1] for row in rows] == [2.0, 2.4, 2.8, 2.0]
    assert re.search(r"a checkpoint per epoch +1\.750 +1\.100 +\+15\.0%", capsys.readouterr().out)


def test_the_overhead_is_that_of_the_command_with_options_that_it_has(scripts, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    rows = scripts("bench.overhead").measure_overhead(results_console(), 1, 1, epochs=1)
    assert len(rows) == 4 and all(len(row["seconds"]) == 1 for row in rows)
    assert not list(tmp_path.iterdir()) and capsys.readouterr().err == ""


@needs_mpi
def test_a_step_on_ranks_is_split_into_computing_and_communicating(scripts, capsys):
    rows = scripts("bench.ranks").measure_ranks(results_console(), [2], 1, 0.001, ["seed"])
    assert [row["on"] for row in rows] == ["2 threads", "2 processes"]
    assert rows[0]["communicating_ms"] == 0 and 0 < rows[1]["communicating_ms"] < rows[1]["ms"]
    assert "2 processes" in capsys.readouterr().out


FAILURES = {
    "no number of ranks": (("--ranks", "1,two"), 2, "--ranks must be numbers from 1, such as 1,2, not 1,two"),
    "two tables": (("--sweep", "--methods"), 2, "--overhead can each be combined only with"),
    "a sweep of a job": (("--sweep", "--job", "seed"), 2, "--overhead can each be combined only with"),
    "unknown job": (("--job", "alexnet"), 2, "'alexnet' is not one of"),
    "unknown framework": (("--framework", "numpy"), 2, "'numpy' is not one of"),
    "a page from figures while measuring": (
        ("--from", "x.json", "--job", "seed", "--page", "x.md"),
        2,
        "--from measures",
    ),
    "figures without a page": (
        ("--from", "x.json"),
        2,
        "--from measures nothing: it can only be combined with --page FILE",
    ),
    "a page in the place of its figures": (
        ("--from", "x.json", "--page", "./x.json"),
        2,
        "--page x.json would replace --from 1 x.json",
    ),
    "no figures": (("--from", "x.json", "--page", "x.md"), 1, "No such file or directory: 'x.json'"),
    "a page in a missing folder": (
        ("--page", "missing/x.md"),
        1,
        "cannot write missing/x.md: No such file or directory",
    ),
    "no rounds": (("--rounds", 0), 2, "Invalid value for '--rounds'"),
    "too many threads": (("--threads", 10_000), 2, "--threads 10000: there are"),
    "a directory": (("--json", "."), 1, "cannot write .: it is a directory"),
    "a missing folder": (("--json", "missing/x.json"), 1, "cannot write missing/x.json: No such file or directory"),
}


@pytest.mark.parametrize(("options", "code", "message"), FAILURES.values(), ids=FAILURES.keys())
def test_failures_are_one_line_on_stderr(options, code, message, tmp_path):
    result = run(*options, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (code, "")
    assert message in result.stderr and result.stderr.startswith("bench: ")
    assert len(result.stderr.splitlines()) == 1


def test_help_names_every_option():
    result = run("--help")
    assert result.returncode == 0
    for option in (
        "job",
        "framework",
        "rounds",
        "processes",
        "seconds-per-round",
        "sweep",
        "methods",
        "overhead",
        "ranks",
        "threads",
        "json",
        "page",
        "from",
    ):
        assert f"--{option}" in result.stdout
