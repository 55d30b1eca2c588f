"""Warnings of estimators, which point at the line that called one."""

from __future__ import annotations

import sys
import warnings

__all__ = ["warn_caller"]

# scikit-learn's pipelines and searches call estimators, and its callbacks wrap their methods.
_INSIDE = ("funcnn", "sklearn", "joblib")


def warn_caller(message: str) -> None:
    """Warn at the nearest line of a caller that is outside of funcnn and scikit-learn, however deep that called.

    Parameters
    ----------
    message : str

    Examples
    --------
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     warn_caller("12 columns are a guess")
    >>> [str(warning.message) for warning in caught]
    ['12 columns are a guess']
    """
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _INSIDE:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)
