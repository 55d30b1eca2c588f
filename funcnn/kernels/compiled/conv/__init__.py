"""Compiled convolution: one file per method, as in `funcnn.kernels.conv`."""
