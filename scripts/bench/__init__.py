"""The benchmarks: funcnn beside PyTorch and JAX, run as ``python scripts/bench`` or ``make bench``."""
