"""Compiled twins of the kernels: plain loops that numba compiles, around products by the BLAS (extra ``fast``).

Each module mirrors the one of the same name in `funcnn.kernels`. Its public functions are the twins. They check what
they are given - dtypes, shapes, contiguity - and return NotImplemented for what they do not compute. Then they call a
routine: a function of loops, compiled by `funcnn.kernels.compiled.routines.routine`, which needs no interpreter lock.
"""
