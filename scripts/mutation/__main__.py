"""``python scripts/mutation``: make this folder the package ``mutation``, and run its command line."""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> None:
    """Run the command line and exit."""
    # Python puts the folder that it runs first on the path; the package is found from the folder above.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from funcnn.cli import console
    from mutation.app import app

    console.run(app)


if __name__ == "__main__":
    main()
