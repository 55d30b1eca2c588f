"""The extras of the package: what to install where a part needs more than NumPy."""

from __future__ import annotations

from typing import Any

__all__ = ["axes", "install", "missing"]


def install(extra: str) -> str:
    """Return how to install an extra.

    Examples
    --------
    >>> install("images")
    "pip install 'funcnn[images]', or '.[images]' in a clone"
    """
    return f"pip install 'funcnn[{extra}]', or '.[{extra}]' in a clone"


def missing(need: str, extra: str, error: ImportError) -> ImportError:
    """Return the error for a package that is not installed, in one line.

    Parameters
    ----------
    need : str
        What needs which package.
    extra : str
        The extra that installs it.
    error : ImportError
        The failed import.

    Examples
    --------
    >>> missing("images need Pillow", "images", ImportError("No module named 'PIL'"))
    ImportError("images need Pillow: pip install 'funcnn[images]', or '.[images]' in a clone (No module named 'PIL')")
    """
    return ImportError(f"{need}: {install(extra)} ({error})")


def axes(where: str, ax: Any = None) -> Any:
    """Return Matplotlib's axes to draw on: the given ones, else the current ones.

    Parameters
    ----------
    where : str
        What draws, for the error.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        If they are not given and Matplotlib is missing.

    Examples
    --------
    >>> axes("History.plot", "the axes of a figure")
    'the axes of a figure'
    """
    if ax is not None:
        return ax
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise missing(f"{where} needs Matplotlib", "notebook", error) from None
    return pyplot.gca()
