"""The share of rows whose outcome is known by a given age, when many rows are too young to tell."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def known_by(ages: ArrayLike, known: ArrayLike) -> tuple[Floats, Floats]:
    """Kaplan-Meier estimate of F(age) = P(outcome known by age).

    Args:
        ages: seconds, shape (n,): delay of a known outcome, else how long we have waited so far.
        known: bool, shape (n,).

    Returns:
        (ages, F) at the distinct delays, both rising; empty when nothing is known.

    References:
        Kaplan and Meier (1958), Nonparametric estimation from incomplete observations.

    >>> ages, share = known_by([1.0, 2.0, 2.0, 3.0], [True, True, False, True])
    >>> share.round(3).tolist()
    [0.25, 0.5, 1.0]
    """
    age = np.asarray(ages, dtype=float)
    event = np.asarray(known, dtype=bool)
    order = np.sort(age)
    delays, events = np.unique(age[event], return_counts=True)
    at_risk = len(age) - np.searchsorted(order, delays, side="left")
    return delays, np.asarray(1.0 - np.cumprod(1.0 - events / at_risk))
