"""Characters that the encoding of an output may lack."""

from __future__ import annotations

from typing import Literal

__all__ = ["encodable", "printable"]


def encodable(text: str, encoding: str) -> bool:
    """Return whether an encoding has all characters of a text.

    Parameters
    ----------
    text : str
    encoding : str
        Such as ``"cp1252"``.

    Returns
    -------
    bool

    Examples
    --------
    >>> encodable("±", "cp1252"), encodable("█", "cp1252")
    (True, False)
    """
    return printable(text, encoding) == text


def printable(text: str, encoding: str, errors: Literal["backslashreplace", "replace"] = "backslashreplace") -> str:
    r"""Return a text in characters that an encoding has.

    Parameters
    ----------
    text : str
    encoding : str
    errors : {"backslashreplace", "replace"}
        What stands for each character that it lacks: its escape, or a question mark, which is as wide.

    Returns
    -------
    str

    Examples
    --------
    >>> print(printable("± █", "cp1252"))
    ± \u2588
    >>> printable("± █", "ascii", "replace")
    '? ?'
    """
    return text.encode(encoding, errors).decode(encoding)
