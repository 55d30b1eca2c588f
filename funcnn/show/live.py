"""Curves that grow while a network is trained."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterable
from typing import Any

from funcnn.history import History
from funcnn.progress import with_progress
from funcnn.show.histories import curves
from funcnn.training import Epoch

__all__ = ["live"]


def live(epochs: Iterable[Epoch], total_epochs: int, *, log: bool = False) -> Generator[Epoch, None, None]:
    """Yield the epochs unchanged, and in a notebook show their curves, updated in place after each epoch.

    Elsewhere the progress is shown on stderr, as `funcnn.progress.with_progress` does.

    Parameters
    ----------
    epochs : iterable of Epoch
        `funcnn.training.fit(...)`.
    total_epochs : int
        The maximum number of epochs.
    log : bool
        Logarithmic axis for losses.

    Yields
    ------
    Epoch

    Examples
    --------
    >>> import numpy as np
    >>> from funcnn import losses, models, optim, training
    >>> x, labels = np.eye(4, dtype=np.float32), np.arange(4) % 2
    >>> model, loss, optimizer = models.mlp(2), losses.softmax_cross_entropy, optim.sgd(0.1)
    >>> epochs = training.fit(model, loss, optimizer, x, labels, epochs=2, key=(0,))
    >>> [epoch.epoch for epoch in live(epochs, 2)]
    [1, 2]
    """
    display = _notebook()
    if display is None:
        yield from with_progress(epochs, total_epochs)
        return
    history, shown = History(), None
    for epoch in epochs:
        history += History.of([epoch])
        picture = curves(history, log=log)
        if shown is None:
            shown = display(picture, display_id=True)
        else:
            shown.update(picture)
        yield epoch


def _notebook() -> Any:
    """Return IPython's ``display`` in a notebook, None elsewhere: only a kernel can update what it has displayed."""
    if "IPython" not in sys.modules:
        return None
    from IPython import get_ipython
    from IPython.display import display

    return display if hasattr(get_ipython(), "kernel") else None
