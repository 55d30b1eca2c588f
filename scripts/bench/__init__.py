"""The benchmarks: funcnn beside PyTorch, JAX and onnxruntime, run as ``python scripts/bench`` or ``make bench``."""
