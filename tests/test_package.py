"""The package as a whole: what its import brings along, and which way imports inside it go."""

import ast
import importlib
import inspect
import pkgutil
import platform
import re
import subprocess
import sys
from pathlib import Path

import systems

import funcnn

PROBE = """
import sys
import funcnn
roots = {name.partition('.')[0] for name in sys.modules}
print(sorted(r for r in roots - set(sys.stdlib_module_names) if not r.startswith('_')))
"""


def test_import_brings_numpy_and_no_other_third_party_module():
    # -I -S would hide an editable installation, so only what the interpreter itself loads is subtracted
    bare = subprocess.run(
        [sys.executable, "-c", PROBE.replace("import funcnn", "")], capture_output=True, text=True, check=True
    )
    with_funcnn = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    before, after = (set(eval(run.stdout)) for run in (bare, with_funcnn))
    assert after - before == {"funcnn", "numpy"}


def test_the_version_is_that_of_the_changelog_and_of_the_citation():
    root = Path(__file__).parent.parent
    changelog, citation = ((root / name).read_text(encoding="utf-8") for name in ("CHANGELOG.md", "CITATION.cff"))
    newest = re.findall(r"^## \[(\d.*)\] - (\d{4}-\d\d-\d\d)$", changelog, re.MULTILINE)[0]
    cited = [re.findall(rf"^{name}: (.*)$", citation, re.MULTILINE) for name in ("version", "date-released")]
    assert newest[0] == funcnn.__version__ and cited == [[newest[0]], [newest[1]]]


# each floor may import from its own and those before it
FLOORS = [
    {"tree", "keys", "initializers", "sharding", "blas", "checks", "files", "extras", "characters", "streams", "html"},
    {"kernels"},
    {"ops", "losses", "optim", "metrics"},
    {"layer", "layers", "combinators", "folding", "fusion", "inference", "descriptions", "models", "torchvision"},
    {"data"},
    {"pictures"},
    {"attribution", "intermediates", "derivatives", "profiling", "summary", "testing"},
    {
        "gradients",
        "process_groups",
        "data_parallel",
        "training",
        "divergence",
        "stopping",
        "checkpoint",
        "progress",
        "history",
    },
    {"onnx"},
    {"fitted", "predictor", "serving"},
    {"estimators", "show"},
    {"cli", "__main__"},
]


def imports(path):
    """The modules of the package that a file imports, by their first name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "funcnn":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("funcnn."):
            yield node.module.split(".")[1]


def test_imports_only_go_down():
    package = Path(__file__).parents[1] / "funcnn"
    seen = set()
    for floor, modules in enumerate(FLOORS):
        below = set().union(*FLOORS[: floor + 1])
        for module in modules:
            folder = package / module
            for path in sorted(folder.rglob("*.py")) if folder.is_dir() else [package / f"{module}.py"]:
                seen.add(path)
                assert set(imports(path)) <= below, path
    assert seen | {package / "__init__.py"} == set(package.rglob("*.py"))


FAULTS = """
import resource, sys
import numpy as np
if sys.argv[1] != "numpy":
    import funcnn
if sys.argv[1] == "training":
    funcnn.value_and_grad(funcnn.layers.dense(1), funcnn.losses.mse)
def step():
    arrays = [np.ones(1 << 20) for _ in range(5)]
for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@systems.needs_module("resource")
def test_memory_freed_is_kept_for_the_next_step_by_what_trains_and_not_by_the_import():
    numpy_alone, imported, training = (
        int(subprocess.run([sys.executable, "-c", FAULTS, name], capture_output=True, text=True, check=True).stdout)
        for name in ("numpy", "import", "training")
    )
    assert imported >= numpy_alone / 2  # counts of page faults vary
    if platform.libc_ver()[0] == "glibc":
        assert training < numpy_alone / 10
    else:
        assert training <= numpy_alone * 1.1 + 100


def public_names():
    """What the modules export, and the public methods of it, with names."""
    for info in pkgutil.walk_packages(funcnn.__path__, "funcnn."):
        if info.name.startswith(("funcnn.cli", "funcnn.pictures", "funcnn.__main__")):
            continue
        module = importlib.import_module(info.name)
        for name in getattr(module, "__all__", ()):
            exported = getattr(module, name)
            if not (inspect.isfunction(exported) or inspect.isclass(exported)):
                continue
            yield f"{info.name}.{name}", module, exported
            for method, function in vars(exported).items() if inspect.isclass(exported) else ():
                if inspect.isfunction(function) and not method.startswith("_"):
                    yield f"{info.name}.{name}.{method}", module, function


def test_tests_that_are_run_apart_import_what_there_is():
    tests = Path(__file__).parent
    for path in [*(tests / "parity").rglob("*.py"), *(tests / "pretrained").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "funcnn":
                module = importlib.import_module(node.module)
                there = {*dir(module), *(found.name for found in pkgutil.iter_modules(getattr(module, "__path__", [])))}
                assert {alias.name for alias in node.names} <= there, path


def test_every_public_name_has_an_executed_example():
    without = []
    for name, module, documented in public_names():
        documentation = inspect.getdoc(documented) or ""
        if reference := re.search(
            r"Examples\n-+\nSee `(\w+)`", documentation
        ):  # where the function that returns it has it
            documentation = inspect.getdoc(getattr(module, reference[1])) or ""
        if "\n>>> " not in documentation:
            without.append(name)
    assert not without
