"""The page on which a network trains in the browser: its folder, which any server of files can serve.

``python scripts/site/builder/playground.py`` writes it into the site's folder build/site/html; ``--serve`` serves that
folder until it is interrupted, so that the page's link to the site works where ``make site`` has built it.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from funcnn.data import digits

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "scripts" / "site" / "playground"
SITE = ROOT / "build" / "site" / "html"
LINK = '<a href="../index.html">funcnn</a>'


def build(folder: Path) -> None:
    """Write the page: its files, the digits, and a wheel of this clone, which ``page.json`` names.

    The page links to the site in the folder above, if there is one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for file in PAGE.iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    if not (folder.parent / "index.html").exists():
        page = folder / "index.html"
        page.write_text(page.read_text("utf-8").replace(LINK, "funcnn"), "utf-8")
    x, labels = digits()
    np.savez_compressed(folder / "digits.npz", images=(x[..., 0] * 16).astype(np.uint8), labels=labels.astype(np.uint8))
    for old in folder.glob("*.whl"):
        old.unlink()
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder.resolve())]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if made.returncode:
        raise SystemExit(f"the wheel could not be built:\n{made.stderr}")
    (wheel,) = folder.glob("*.whl")
    (folder / "page.json").write_text(json.dumps({"wheel": wheel.name}), "utf-8")


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files, to this machine alone; a browser asks again for each, so that it never shows an older one."""

    extensions_map = {  # noqa: RUF012 as the base class has it
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def end_headers(self) -> None:
        """Add to the headers what a browser is to do with its copy."""
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing of requests."""


def server(folder: Path, port: int = 0) -> http.server.ThreadingHTTPServer:
    """Return a server of a folder, by default at any free port."""
    handler = functools.partial(Handler, directory=str(folder))
    return http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)


def main() -> None:
    """Build the page, and serve it if wished."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--site", type=Path, default=SITE, help="the folder above its own (default: build/site/html)")
    parser.add_argument("--serve", action="store_true", help="serve it until Ctrl-C")
    parser.add_argument("--port", type=int, default=8000, help="of the server (default: 8000)")
    options = parser.parse_args()
    build(options.site / "playground")
    if not options.serve:
        print(options.site / "playground" / "index.html")
        return
    with server(options.site, options.port) as serving:
        print(f"http://127.0.0.1:{serving.server_port}/playground/ (Ctrl-C ends it)", flush=True)
        try:
            serving.serve_forever()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    main()
