"""Pictures of trained networks and of runs, as objects: a notebook displays them as SVG, and they save themselves.

They are those of the command ``funcnn show``. ``trained`` is what `funcnn.predictor.load` returns, and ``dataset`` what
`funcnn.data.open` returns.
"""

from funcnn import extras

try:
    import rich  # noqa: F401
except ImportError as error:
    raise extras.missing("funcnn.show needs rich", "cli", error) from None

from funcnn.show.explanations import attribution
from funcnn.show.histories import curves
from funcnn.show.layers import statistics
from funcnn.show.live import live
from funcnn.show.maps import features
from funcnn.show.picture import ArgumentError, Picture
from funcnn.show.predictions import confusion, mistakes
from funcnn.show.weights import kernels

__all__ = [
    "ArgumentError",
    "Picture",
    "attribution",
    "confusion",
    "curves",
    "features",
    "kernels",
    "live",
    "mistakes",
    "statistics",
]
