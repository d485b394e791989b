"""Is the newest of a row of numbers like those before it? Recursive residuals, which are independent as long as it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr

FEWEST = 10  # numbers from which the next one is judged
MOST_MEMORY = 0.9


@dataclass(frozen=True, slots=True)
class Residual:
    """How far the newest number lies from what those before it let expect, in standard errors, and the chance of that."""

    size: float
    up: float  # chance of one that is at least so large
    down: float  # at most so large

    @property
    def both(self) -> float:
        """Two-sided."""
        return min(1.0, 2.0 * min(self.up, self.down))


def residual(numbers: ArrayLike) -> Residual:
    """The newest number beside its forecast from all before it, in units of the forecast's standard error.

    For independent normal numbers of one mean and one variance it has Student's distribution, and residuals of different
    moments are independent: that is what lets evidence be multiplied over days, though each is judged by a history that
    is short. Numbers with a memory are forecast by their first autocorrelation, corrected for its bias (Kendall).

    Args:
        numbers: in time order, shape (n,), finite.

    Returns:
        Size 0 and chances of 1 while fewer than ten numbers came before, or none of them differed.

    References:
        Brown, Durbin, Evans (1975), Techniques for testing the constancy of regression relationships over time.
        Kendall (1954), Note on bias in the estimation of autocorrelation.

    >>> residual([0.0, 1.0] * 10 + [0.5]).both > 0.2, residual([0.0, 1.0] * 10 + [9.0]).up < 1e-6
    (True, True)
    """
    x = np.asarray(numbers, dtype=float)
    n = x.size - 1
    if n < FEWEST:
        return Residual(0.0, 1.0, 1.0)
    centred = x[:-1] - x[:-1].mean()
    total = float(centred @ centred)
    if total <= 1e-12 * float(x[:-1] @ x[:-1]):
        return Residual(0.0, 1.0, 1.0)
    memory = float(centred[1:] @ centred[:-1]) / total
    memory = float(np.clip(memory + (1.0 + 3.0 * max(memory, 0.0)) / n, 0.0, MOST_MEMORY))
    left = centred[1:] - memory * centred[:-1]
    error = np.sqrt(float(left @ left) / (n - 2) * (1.0 + 1.0 / n))
    size = float((x[-1] - x[:-1].mean() - memory * centred[-1]) / error) if error > 0.0 else 0.0
    return Residual(size, float(stdtr(n - 2, -size)), float(stdtr(n - 2, size)))
