"""How a feature and the target move together: co-moments that merge, and a test of whether the sign has flipped."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

FEW = 30  # pairs below which a correlation says nothing


@dataclass(frozen=True, slots=True)
class Relation:
    """Co-moments of the rows in which both are finite. `a + b` has the rows of both."""

    n: int = 0
    mean_x: float = 0.0
    mean_y: float = 0.0
    xx: float = 0.0  # sums of squared deviations and of their products
    yy: float = 0.0
    xy: float = 0.0

    @classmethod
    def of(cls, x: ArrayLike, y: ArrayLike) -> Relation:
        """From arrays of shape (n,); a row with a null or infinite value is left out.

        >>> round(Relation.of([1.0, 2.0, 3.0], [3.0, 2.0, 1.0]).correlation, 6)
        -1.0
        """
        a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
        both = np.isfinite(a) & np.isfinite(b)
        a, b = a[both], b[both]
        if not a.size:
            return cls()
        with np.errstate(over="ignore", invalid="ignore"):
            da, db = a - a.mean(), b - b.mean()
            return cls(int(a.size), float(a.mean()), float(b.mean()), float(da @ da), float(db @ db), float(da @ db))

    @property
    def correlation(self) -> float:
        """Pearson's, in [-1, 1]; 0 when one of the two does not vary."""
        size = float(np.sqrt(self.xx) * np.sqrt(self.yy))
        return float(np.clip(self.xy / size, -1.0, 1.0)) if size > 0.0 and np.isfinite(size) else 0.0

    def __add__(self, other: Relation) -> Relation:
        n = self.n + other.n
        if not n:
            return self
        dx, dy = other.mean_x - self.mean_x, other.mean_y - self.mean_y
        share, weight = other.n / n, self.n * (other.n / n)
        return Relation(
            n,
            self.mean_x + dx * share,
            self.mean_y + dy * share,
            self.xx + other.xx + dx * dx * weight,
            self.yy + other.yy + dy * dy * weight,
            self.xy + other.xy + dx * dy * weight,
        )


def flip(reference: Relation, window: Relation) -> float:
    """Chance of correlations with signs so opposite if in truth they were not; 1 when the signs agree.

    Fisher's z of each must be significant by itself (an intersection-union test: the larger p counts), so a correlation
    that is about zero in one of the two never flips. For independent rows.

    References:
        Fisher (1921), On the probable error of a coefficient of correlation; Berger (1982) for the test of both.

    >>> up, down = Relation.of(range(100), range(100)), Relation.of(range(100), range(100, 0, -1))
    >>> flip(up, down) < 1e-6, flip(up, up)
    (True, 1.0)
    """
    if min(reference.n, window.n) < FEW or reference.correlation * window.correlation >= 0.0:
        return 1.0
    return float(max(_tail(reference), _tail(window)))


def _tail(relation: Relation) -> float:
    z = np.arctanh(min(abs(relation.correlation), 1.0 - 1e-12)) * np.sqrt(relation.n - 3)
    return float(ndtr(-z))
