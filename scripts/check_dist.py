"""Check the wheel and the source distribution that `make dist` has built, and exit with 1 if something is wrong.

    python scripts/check_dist.py dist

The source distribution has all files of the repository and no others, the wheel all of the package. Both are built
again from the unpacked source distribution, in another folder and at another time, and must be the same bytes. There
the tests are collected, too, as long as pytest is installed: each finds what it imports.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def compare(what: str, found: set[str], wanted: set[str]) -> list[str]:
    """Return a line for each name that is missing, and for each that is there and should not be.

    Examples
    --------
    >>> compare("net.whl", {"a.py", "b.pyc"}, {"a.py", "py.typed"})
    ['net.whl lacks py.typed', 'net.whl should not have b.pyc']
    """
    lacks = [f"{what} lacks {name}" for name in sorted(wanted - found)]
    return lacks + [f"{what} should not have {name}" for name in sorted(found - wanted)]


def check_names(sdist: Path, wheel: Path) -> list[str]:
    """Compare the names in both archives with the files that git knows of, where there is a repository."""
    release = sdist.name.removesuffix(".tar.gz")
    with tarfile.open(sdist) as archive:
        sources = {name.removeprefix(f"{release}/") for name in archive.getnames()}
    problems = []
    if (ROOT / ".git").exists():
        listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        problems = compare(sdist.name, sources, {*listed.splitlines(), "PKG-INFO"})
    metadata = {f"{release}.dist-info/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt")}
    wanted = {name for name in sources if name.startswith("funcnn/")} | metadata
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    return problems + compare(wheel.name, names, wanted | {f"{release}.dist-info/licenses/LICENSE"})


def check_again(sdist: Path, wheel: Path) -> list[str]:
    """Build both from the unpacked source distribution, compare the bytes, and collect the tests."""
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(sdist) as archive:
            archive.extractall(folder, filter="data")
        unpacked = Path(folder, sdist.name.removesuffix(".tar.gz"))
        subprocess.run([sys.executable, "-m", "build", "--outdir", folder, unpacked], check=True, capture_output=True)
        for first in (sdist, wheel):
            digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (first, Path(folder, first.name))]
            if digests[0] != digests[1]:
                problems.append(f"{first.name} is not reproducible: {' and '.join(digests)}")
        if find_spec("pytest"):
            collect = [sys.executable, "-m", "pytest", "--collect-only", "--quiet"]
            run = subprocess.run(collect, cwd=unpacked, capture_output=True, text=True, check=False)
            if run.returncode:
                problems.append(f"the tests of {sdist.name} cannot be collected:\n{run.stdout}{run.stderr}")
    return problems


def main() -> int:
    """Check the folder that is named."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "dist")
    archives = sorted(folder.iterdir())
    if [path.suffix for path in archives] != [".whl", ".gz"]:
        print(f"{folder} must hold one wheel and one source distribution", file=sys.stderr)
        return 1
    wheel, sdist = archives
    problems = check_names(sdist, wheel) + check_again(sdist, wheel)
    print("\n".join(problems or [f"{wheel.name} and {sdist.name} are complete and reproducible"]))
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
