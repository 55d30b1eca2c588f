"""Compile the kernels ahead, which computes large arrays faster (needs the extra fast: numba and SciPy).

What is compiled is kept for all later runs of this version. A long training run compiles them by itself, a short one
only takes them if they are compiled.
"""

from __future__ import annotations

from funcnn.cli import console
from funcnn.cli.options import AsJson, Quiet
from funcnn.history import json_line
from funcnn.kernels import compilation


def main(*, as_json: AsJson = False, quiet: Quiet = False) -> None:
    log = console.logger(quiet)

    def show(module: str, done: int, modules: int) -> None:
        log(f"compiling {module} ({done + 1} of {modules})")

    done = compilation.compile_all(show)
    if as_json:
        print(json_line({"folder": str(done.folder), "modules": done.modules, "seconds": round(done.seconds, 2)}))
    else:
        when = f"compiled in {done.seconds:.1f} s" if done.seconds else "compiled before"
        print(f"{done.modules} modules of kernels, {when}, are in {done.folder}")
