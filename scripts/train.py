"""Train a network from a clone of the repository: the same as ``funcnn train``."""

import sys

from funcnn.cli import main

main(["train", *sys.argv[1:]])
