"""The frameworks that scripts/bench.py compares, each as its users write it; and what they have to do."""
