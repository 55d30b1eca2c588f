"""Products of matrices, as a dense layer takes them."""

from __future__ import annotations

from funcnn.kernels.selection import compilable
from funcnn.tree import Array

# Entries of a product's result: below this, `dot` is faster than `@`, since it has less overhead; above, `@` is faster.
# ``scripts/bench --job digits32`` measures it again.
_LARGE_RESULT = 1 << 16


@compilable
def product(x: Array, w: Array) -> Array:
    """Return x w, of x (rows, I) and w (I, O)."""
    return x.dot(w)


@compilable
def product_adjoint_w(x: Array, dy: Array) -> Array:
    """Return x^T dy, the sum over rows of the outer products of x[n] and dy[n]."""
    if len(x) == 1:
        return x.T * dy  # faster than a matrix product
    return x.T.dot(dy) if x.shape[1] * dy.shape[1] < _LARGE_RESULT else x.T @ dy


@compilable
def product_adjoint_x(w: Array, dy: Array) -> Array:
    """Return dy w^T."""
    return dy.dot(w.T)
