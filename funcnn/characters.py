"""Characters that an output cannot show: controls, invisible ones, and those that its encoding lacks."""

from __future__ import annotations

import unicodedata
from typing import Literal

__all__ = ["encodable", "printable", "visible"]

# Letters and marks that look like nothing: joiners, and fillers of syllables.
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")


def visible(text: str) -> str:
    r"""Return a text with escapes for the characters that do something else than to be seen.

    Those are control characters, line breaks and escape sequences, which move the cursor; the ones that change the
    direction of writing; and those that are invisible. A byte of a file's name that is not UTF-8 is shown as
    ``\xe9``. A backslash stays one.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
        In one line.

    Examples
    --------
    >>> print(visible("cat\n\x1b[31m"), visible("gnp.\u202egod"), visible("caf\udce9"), visible("C:\\naïve [old]"))
    cat\n\x1b[31m gnp.\u202egod caf\xe9 C:\naïve [old]
    """
    return "".join(character if _is_seen(character) else _escape(character) for character in text)


def _is_seen(character: str) -> bool:
    if character in _BLANK:
        return False
    return character.isprintable() or unicodedata.category(character) == "Zs"  # spaces of any width


def _escape(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # how Python decodes such a byte
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


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
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def printable(text: str, encoding: str, errors: Literal["backslashreplace", "replace"] = "backslashreplace") -> str:
    r"""Return a text in characters that an encoding has and that can be seen.

    Parameters
    ----------
    text : str
    encoding : str
    errors : {"backslashreplace", "replace"}
        What stands for each character that the encoding lacks: its escape, or a question mark, which is as wide.
        What `visible` escapes is escaped in any case.

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
    return visible(text).encode(encoding, errors).decode(encoding)
