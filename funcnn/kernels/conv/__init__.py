"""Convolution: one file per method, and `dispatch`, which chooses a method and calls it."""
