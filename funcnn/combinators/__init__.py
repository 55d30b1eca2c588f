"""Combinators: layers made of other layers: in sequence, in parallel branches, with a shortcut, as a graph, or frozen.

A combinator uses its children only through the protocol of `funcnn.layer.Layer`. Child ``i`` is called ``{i}_{name}``
and draws random numbers from the key ``fold_in(key, i)``. Without children, and for a child's name with a ``/``, a
combinator raises a ValueError; for a child that is not a Layer, a TypeError. Errors inside a child gain the note ``in
layer {i}_{name}``.
"""

from funcnn.combinators.frozen import frozen
from funcnn.combinators.graph import graph
from funcnn.combinators.mapping import map_layers
from funcnn.combinators.parallel import parallel, residual
from funcnn.combinators.serial import serial
from funcnn.combinators.splitting import split, split_points

__all__ = ["frozen", "graph", "map_layers", "parallel", "residual", "serial", "split", "split_points"]
