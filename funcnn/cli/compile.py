"""Compile the kernels ahead: then large arrays are computed faster (needs the extra fast: numba and SciPy).

What is compiled is kept for all later runs of this version. A training run of minutes compiles them by itself; a
shorter one takes them if they are compiled, but for one of a few seconds. They are compiled for float32, which nearly
all networks are of.
"""

from __future__ import annotations

from typing import Annotated

import typer

from funcnn.cli import console
from funcnn.cli.options import AsJson, Quiet
from funcnn.history import json_line
from funcnn.kernels import compilation

Float64 = Annotated[
    bool, typer.Option("--float64", help="Compile them for float64, too, which takes as much time again.")
]


def main(*, float64: Float64 = False, as_json: AsJson = False, quiet: Quiet = False) -> None:
    log = console.logger(quiet)

    def show(module: str, done: int, modules: int) -> None:
        log(f"compiling {module} ({done + 1} of {modules})")

    done = compilation.compile_all(show, float64)
    if as_json:
        print(json_line({"folder": str(done.folder), "modules": done.modules, "seconds": round(done.seconds, 2)}))
    else:
        when = f"compiled in {done.seconds:.1f} s" if done.seconds else "compiled before"
        print(f"{done.modules} modules of kernels, {when}, are in {done.folder}")
