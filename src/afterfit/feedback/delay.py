"""How long outcomes take, learned from those that came and those still awaited; says when a window is mature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from afterfit.stats.kaplan_meier import known_by

ENOUGH = 100  # outcomes from which the learned curve replaces the hint


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

        >>> DelayCurve.learn([3600.0] * 200, [True] * 200, hint=60.0).maturity()
        3600.0
        """
        if np.asarray(known, dtype=bool).sum() < ENOUGH:
            return cls((), (), 0.0, hint)
        delays, share = known_by(ages, known)
        return cls(tuple(delays.tolist()), tuple((share / share[-1]).tolist()), float(share[-1]), hint)

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
