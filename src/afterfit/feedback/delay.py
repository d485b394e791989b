"""How long outcomes take, learned from those that came and those still awaited; says when a window is mature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from afterfit.stats.kaplan_meier import known_by

ENOUGH = 100  # outcomes from which the learned curve replaces the hint
SETTLED = 0.8  # a curve that still rises at this share of the oldest age has not shown its plateau


@dataclass(frozen=True, slots=True)
class DelayCurve:
    """Share of rows known by age, relative to the share that ever becomes known.

    Rows whose outcome never comes (a cancelled flight) lower the plateau, and do not make a window immature for ever.
    """

    ages: tuple[float, ...]  # seconds, rising
    shares: tuple[float, ...]  # of the plateau, rising to 1
    plateau: float  # share of rows whose outcome ever comes, as far as we can see
    hint: float  # seconds; used while `ages` is empty

    @classmethod
    def learn(cls, ages: ArrayLike, known: ArrayLike, *, hint: float) -> Self:
        """From ages in seconds and whether the outcome is known, shapes (n,).

        Where few rows are left that old, one late correction would stand for many rows and move the plateau; the curve
        ends before. While the stream is younger than its delays the end of the curve is no plateau: outcomes are then
        expected until the hint.

        >>> DelayCurve.learn([3600.0] * 200, [True] * 200, hint=60.0).maturity()
        3600.0
        """
        if np.asarray(known, dtype=bool).sum() < ENOUGH:
            return cls((), (), 0.0, hint)
        delays, share = known_by(ages, known)
        trusted = _trusted(ages, known, share)
        delays, share = delays[:trusted], share[:trusted]
        plateau = float(share[-1])
        curve = cls(tuple(delays.tolist()), tuple((share / plateau).tolist()), plateau, hint)
        if curve.maturity() <= SETTLED * float(np.max(ages)) or hint <= curve.ages[-1]:
            return curve
        return cls((*curve.ages, hint), (*(0.98 * s for s in curve.shares), 1.0), plateau, hint)

    def completeness(self, age: float) -> float:
        """Share of the outcomes that ever come which are known by `age` seconds; in [0, 1]."""
        if not self.ages:
            return float(age >= self.hint)
        at = int(np.searchsorted(self.ages, age, side="right"))
        return self.shares[at - 1] if at else 0.0

    def maturity(self, share: float = 0.99) -> float:
        """Seconds until `share` of the outcomes that ever come are known."""
        if not self.ages:
            return self.hint
        return self.ages[min(int(np.searchsorted(self.shares, share)), len(self.ages) - 1)]


def _trusted(ages: ArrayLike, known: ArrayLike, share: NDArray[np.float64]) -> int:
    """How many points of the curve come before one at which a single outcome stands for too many rows."""
    age = np.asarray(ages, dtype=float)
    _, outcomes = np.unique(age[np.asarray(known, dtype=bool)], return_counts=True)
    each = np.diff(share, prepend=0.0) / outcomes
    heavy = each > max(3.0 / len(age), 0.002)
    return max(int(np.argmax(heavy)), 1) if heavy.any() else len(share)
