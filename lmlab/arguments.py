"""Checks of arguments: each says what was expected and what came, or returns the value.

NumPy's numbers pass as Python's; a bool is no number.
"""

import math
from numbers import Real

import numpy as np

__all__ = ["number", "one_of", "require", "whole", "whole_array"]


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


def whole_array(name, values, end):
    """The values as an int64 array (N,), one or more whole numbers in 0 … end − 1.

    Raises ValueError for another shape or dtype, and for one out of bounds.
    """
    values = np.asarray(values)
    if values.ndim != 1 or values.size == 0 or values.dtype.kind not in "iu":
        raise ValueError(
            f"{name} must be whole numbers (N,), not {values.dtype} of shape "
            f"{values.shape}"
        )
    low, high = values.min(), values.max()
    if low < 0 or high >= end:
        raise ValueError(f"{name} must lie in 0 … {end - 1}; got {low} … {high}")
    return values.astype(np.int64)


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


def require(condition, name, needed, got):
    """Raise ValueError, which says what was needed and what came, unless it holds."""
    if not condition:
        raise ValueError(f"{name}: {needed} needed, got {got!r}")
