"""Weighted means over the rows of two samples that know their error: sums and products of them know theirs too."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import chi2, norm

from afterfit.stats.binning import Floats

_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Mean:
    """`value` (k,), and the influence of each row on it (n_rows, k): their squares add up to its variance.

    Rows are taken as independent, weights as known.

    References:
        Hampel (1974), The influence curve and its role in robust estimation.

    >>> x = np.array([1.0, 2.0, 3.0, 4.0])
    >>> gap = weighted(x, [0, 0, 1, 1]) - weighted(x, [1, 1, 0, 0])
    >>> gap.value.tolist(), round(gap.error, 3)
    ([2.0], 0.5)
    """

    value: Floats
    influence: Floats

    def __add__(self, other: Mean) -> Mean:
        return Mean(self.value + other.value, self.influence + other.influence)

    def __sub__(self, other: Mean) -> Mean:
        return Mean(less(self.value, other.value), less(self.influence, other.influence))

    def __mul__(self, other: Mean) -> Mean:
        return Mean(self.value * other.value, self.value * other.influence + other.value * self.influence)

    @property
    def error(self) -> float:
        """Standard error of the first number."""
        return float(np.sqrt((self.influence[:, 0] ** 2).sum()))

    def interval(self, level: float) -> tuple[float, float]:
        """Bounds of the first number at that nominal coverage."""
        half = float(norm.isf((1.0 - level) / 2.0)) * self.error
        return float(self.value[0]) - half, float(self.value[0]) + half

    def p_value(self) -> float:
        """Of all numbers being 0 (Wald); numbers that follow from the others count once."""
        return float(chi2.sf(*self.wald()))

    def wald(self) -> tuple[float, int]:
        """Wald's statistic of all numbers being 0, and its degrees of freedom (one at least)."""
        scale = np.sqrt((self.influence**2).sum(axis=0))
        moving = scale > 0.0
        if not moving.any():
            return 0.0, 1
        unit = self.influence[:, moving] / scale[moving]
        z = self.value[moving] / scale[moving]
        roots, axes = np.linalg.eigh(unit.T @ unit)
        kept = roots > 1e-6
        return float(((axes.T @ z)[kept] ** 2 / roots[kept]).sum()), int(kept.sum())


def weighted(values: ArrayLike, weights: ArrayLike) -> Mean:
    """Mean of values, shape (n_rows,) or (n_rows, k), under weights (n_rows,), not all 0; rows of weight 0 don't count."""
    x, w = np.asarray(values, dtype=float), np.asarray(weights, dtype=float)
    x = x[:, None] if x.ndim == 1 else x
    total = w.sum()
    value = w @ x / total
    return Mean(value, w[:, None] * less(x, value) / total)


def less(a: Floats, b: Floats) -> Floats:
    """a - b, and 0 where that is rounding: a difference of nothing else would pass for a sure one."""
    gap = a - b
    return np.where(np.abs(gap) <= _ROUNDING * (np.abs(a) + np.abs(b)), 0.0, gap)


def nothing(like: Mean) -> Mean:
    """0, surely."""
    return Mean(np.zeros_like(like.value), np.zeros_like(like.influence))
