"""Matrix products with weights that serve many times: in panels, some columns each, so that all products are small.

OpenBLAS copies both factors of a product before it multiplies them, unless the product is small. Of few rows, that
takes as long as the product, and a small product of weights whose rows are far apart is slow, too. In a panel they are
neighbours.
"""

from __future__ import annotations

import numpy as np

from funcnn.kernels.compiled.blas import gemm
from funcnn.kernels.compiled.routines import helper
from funcnn.tree import Array

# The most rows, terms of a sum and columns of a product: together under the million multiply-adds that are small.
_ROWS, _DEPTH, COLUMNS = 112, 128, 64


def in_panels(w: Array) -> Array:
    """Return w (..., I, O) as (..., panels, I, columns); a single panel if its columns cannot be divided."""
    *leading, depth, columns = w.shape
    if columns % COLUMNS:
        return w.reshape(*leading, 1, depth, columns)
    return np.ascontiguousarray(w.reshape(*leading, depth, columns // COLUMNS, COLUMNS).swapaxes(-3, -2))


@helper
def multiply(address, a, w, left, right, c):  # type: ignore[no-untyped-def]
    """Write to c the columns from left to right of a w, where w is in panels: multiples of a panel, if it is several.

    Sums are taken of blocks of terms, then over the blocks.
    """
    panels, depth, width = w.shape
    if panels == 1:
        gemm(address, a, False, w[0, :, left:right], False, 0, c)
        return
    parts, blocks = (len(a) + _ROWS - 1) // _ROWS, (depth + _DEPTH - 1) // _DEPTH
    rows, terms = (len(a) + parts - 1) // parts, (depth + blocks - 1) // blocks
    for k in range(0, depth, terms):  # outermost: these terms of all rows stay in the first cache
        beta = c.dtype.type(0 if k == 0 else 1)
        for p in range(left // width, right // width):
            column = p * width - left
            for r in range(0, len(a), rows):
                outputs = c[r : r + rows, column : column + width]
                gemm(address, a[r : r + rows, k : k + terms], False, w[p, k : k + terms], False, beta, outputs)
