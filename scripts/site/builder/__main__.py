"""Build the site: ``python scripts/site/builder`` writes it into build/site/html."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from builder import commands, pages, playground, reference  # noqa: E402

ROOT = HERE.parents[2]
OUTPUT = ROOT / "build" / "site"


def write_sources(folder: Path) -> None:
    """Write all that Sphinx reads, except the gallery, which it makes: pages, reference, help, changes."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, text in {**pages.sources(), **reference.pages(), **commands.pages()}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    for picture in HERE.parent.rglob("*.svg"):
        target = folder / picture.relative_to(HERE.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, target)


def main() -> int:
    """Build the site strictly, every warning is an error; the page of the playground is a folder of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder (default: build/site)")
    output = parser.parse_args().output
    from sphinx.cmd.build import build_main

    begin = time.perf_counter()
    source, html = output / "source", output / "html"
    write_sources(source)
    arguments = ["-W", "-n", "--keep-going", "-q", "-j", "2", "-b", "html", "-d", str(output / "doctrees")]
    code = build_main([*arguments, "-c", str(HERE), str(source), str(html)])
    if code == 0:
        playground.build(html / "playground")
        print(f"{html / 'index.html'} ({time.perf_counter() - begin:.0f} s)")
    return code


if __name__ == "__main__":
    sys.exit(main())
