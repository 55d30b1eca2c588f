"""``python scripts/bench``: make this folder the package ``bench``, and run its command line."""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> None:
    """Run the command line and exit."""
    # Python puts the folder that it runs first on the path; the package is found from the folder above.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from bench.app import app
    from funcnn.cli import console

    console.run(app)


if __name__ == "__main__":
    main()
