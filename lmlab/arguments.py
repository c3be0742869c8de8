"""Checks of arguments: the value, or an error that says what was expected and came.

NumPy's numbers pass as Python's; a bool is no number.
"""

import math
from numbers import Real

import numpy as np

__all__ = ["ids_below", "need", "number", "one_of", "whole"]


def whole(name, value, low=1, high=None):
    """The value as an int of at least `low` and at most `high` (None: no end).

    Raises TypeError for what is no whole number, ValueError for one out of bounds.
    """
    bounds = f"from {low}" + ("" if high is None else f" to {high}")
    said = f"{name} must be a whole number {bounds}, got {value!r}"
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise TypeError(said)
    if value < low or (high is not None and value > high):
        raise ValueError(said)
    return int(value)


def number(name, value, interval="(-inf, inf)"):
    """The value as a finite float in the interval: "[0, 1)", "(0, inf)" …

    Raises TypeError for what is no number, ValueError for nan or one out of bounds.
    """
    low, high = (float(end) for end in interval[1:-1].split(","))
    shown = "" if interval == "(-inf, inf)" else f" in {interval}"
    said = f"{name} must be a number{shown}, got {value!r}"
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        raise TypeError(said)
    above = value >= low if interval[0] == "[" else value > low
    below = value <= high if interval[-1] == "]" else value < high
    if not (math.isfinite(value) and above and below):
        raise ValueError(said)
    return float(value)


def one_of(name, value, choices):
    """The value, if it is one of the choices; raises ValueError, which lists them."""
    if value not in choices:
        listed = ", ".join(map(str, choices))
        raise ValueError(f"{name} must be one of {listed}; got {value!r}")
    return value


def ids_below(vocab_size, ids):
    """The ids (N,), one or more, as int64; raises ValueError unless all lie below."""
    ids = np.asarray(ids)
    if ids.ndim != 1 or ids.size == 0 or ids.dtype.kind not in "iu":
        raise ValueError(
            f"ids must be whole numbers (N,), not {ids.dtype} of shape {ids.shape}"
        )
    if ids.min() < 0 or ids.max() >= vocab_size:
        raise ValueError(
            f"ids must lie in 0 … {vocab_size - 1}; got {ids.min()} … {ids.max()}"
        )
    return ids.astype(np.int64)


def need(condition, name, needed, got):
    """Raise ValueError, which says what is needed and what came, unless it holds."""
    if not condition:
        raise ValueError(f"{name}: {needed} needed, got {got!r}")
