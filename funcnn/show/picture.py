"""A picture: what rich prints, as an object that a notebook displays and that saves itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console, Group, RenderableType

from funcnn import extras, files
from funcnn.pictures import rendering

__all__ = ["ArgumentError", "Picture"]

SUFFIXES = (".svg", ".png")


class ArgumentError(ValueError):
    """An argument that does not fit the model or the data.

    Attributes
    ----------
    argument, value : str
    problem : str
        What is wrong with the value, and what there is instead.

    Examples
    --------
    >>> str(ArgumentError("layer", "9_relu", "no such layer"))
    'layer 9_relu: no such layer'
    """

    def __init__(self, argument: str, value: object, problem: str) -> None:
        super().__init__(f"{argument} {value}: {problem}")
        self.argument, self.value, self.problem = argument, str(value), problem


class Picture(NamedTuple):
    """A picture. A notebook displays it as SVG; `print` writes it in characters.

    Attributes
    ----------
    content : sequence
        What `rich` can print.
    columns : int
        The width in characters; ``picture._replace(columns=60)`` is a narrower one.
    light : bool
        Dark on white instead of light on black.

    Examples
    --------
    >>> print(Picture(["loss 0.5"]))
    loss 0.5
    >>> Picture(["loss 0.5"])
    <Picture of 1 part: print, save or display it>
    """

    content: Sequence[RenderableType]
    columns: int = 100
    light: bool = False

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture to a file: completely, or not at all.

        Parameters
        ----------
        path : path
            Its name ends in .svg or .png. PNG needs Pillow.

        Raises
        ------
        ValueError
            If the name ends in anything else.
        ImportError
            If Pillow is needed and missing.
        OSError
            If the file cannot be written, naming it.

        Examples
        --------
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Picture(["loss 0.5"]).save(f"{folder}/loss.svg")
        ...     os.listdir(folder)
        ['loss.svg']
        """
        suffix = Path(path).suffix.lower()
        if suffix not in SUFFIXES:
            raise ValueError(f"{path}: the name of a picture ends in {' or '.join(SUFFIXES)}")
        files.write_atomic(Path(path), self._repr_svg_().encode() if suffix == ".svg" else self._png())

    def plot(self, ax: Any = None) -> Any:
        """Draw the picture with Matplotlib, as an image.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            By default the current ones.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ImportError
            If Matplotlib or Pillow is missing.

        Examples
        --------
        >>> class Axes:  # stands for Matplotlib's
        ...     def imshow(self, pixels):
        ...         print(pixels.ndim, pixels.shape[2])
        ...
        ...     def set_axis_off(self):
        ...         pass
        >>> axes = Picture(["loss 0.5"]).plot(Axes())
        3 3
        """
        axes = extras.axes("Picture.plot", ax)
        axes.imshow(rendering.pixels(self._drawn()))
        axes.set_axis_off()
        return axes

    def _repr_svg_(self) -> str:
        return rendering.svg(self._drawn()).decode()

    def _png(self) -> bytes:
        return rendering.png(self._drawn())

    def _drawn(self) -> rendering.Canvas:
        theme = rendering.LIGHT if self.light else rendering.DARK
        return rendering.draw(Group(*self.content), self.columns, theme)

    def __str__(self) -> str:
        file = StringIO()
        console = Console(
            file=file, width=self.columns, color_system=None, highlight=False, markup=False, emoji=False, _environ={}
        )
        console.print(Group(*self.content))
        return "\n".join(line.rstrip() for line in file.getvalue().splitlines())

    def __repr__(self) -> str:
        parts = len(self.content)
        return f"<Picture of {parts} part{'s' * (parts != 1)}: print, save or display it>"
