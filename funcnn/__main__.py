"""``python -m funcnn``: the ``funcnn`` command."""

from funcnn.cli import main

if __name__ == "__main__":
    main()
