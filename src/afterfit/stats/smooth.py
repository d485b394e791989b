"""How far a column moved in the two directions that columns mostly move in: up or down, and wider or narrower.

Both are means over rows, so they add up over windows, and what healthy blocks do is a plain spread around zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from afterfit.stats import tilt
from afterfit.stats.binning import Floats
from afterfit.stats.numeric import Numeric

NAMES = ("location", "spread")
FAR, MOVES = 3.0, 25  # how far a column is moved, in sd of a normal one, and in how many steps


@dataclass(frozen=True, slots=True, eq=False)
class Directions:
    """Neyman's first two smooth components, by the ranks u that values have in the reference: √3 (2u - 1) and
    √5 (6u² - 6u + 1), less their mean. Bounded, so that no single row decides; about 1 in variance, less with ties.

    A column that only moves up or down fills one end of the ranks, which looks like spreading: what a normal column does
    when it moves is taken off the second (the reference tilted by its normal scores).

    References:
        Neyman (1937), "Smooth test" for goodness of fit.
    """

    reference: Numeric
    values: Floats  # (2, k): of a row in each of the reference's bins
    shares: Floats  # (k,): of the reference's rows
    moved: Floats  # (2, MOVES): deviations of the reference when it moves, first of them rising

    @classmethod
    def of(cls, reference: Numeric) -> Directions:
        """Those of a column with at least one value."""
        shares = reference.counts / reference.values
        ranks = np.cumsum(shares) - shares / 2.0
        values = _polynomials(ranks)
        values -= (values @ shares)[:, None]
        tilted = shares * np.exp(np.linspace(-FAR, FAR, MOVES)[:, None] * ndtri(ranks))
        return cls(reference, values, shares, (tilted @ values.T).T / tilted.sum(axis=1))

    @property
    def variances(self) -> Floats:
        """Of one row, shape (2,)."""
        return np.asarray(self.values**2 @ self.shares)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the two."""
        return NAMES

    def rows(self, window: Numeric) -> int:
        """Rows of a window that count."""
        return window.values

    def deviations(self, window: Numeric) -> Floats:
        """Means over the window's rows, shape (2,); 0 where nothing moved, and when there is no value.

        >>> x = np.arange(1000.0)
        >>> Directions.of(Numeric.of(x)).deviations(Numeric.of(x + 100.0)).round(2).tolist()
        [0.33, -0.02]
        """
        if not window.values:
            return np.zeros(2)
        mine = self.reference.at_shift(window.shift)
        window = window.at_shift(mine.shift)
        known = np.concatenate([[0], np.cumsum(mine.counts)]) / mine.values
        below = known[np.searchsorted(mine.bins, window.bins, side="left")]
        upto = known[np.searchsorted(mine.bins, window.bins, side="right")]
        usual = _polynomials(known[1:] - np.diff(known) / 2.0) @ (mine.counts / mine.values)
        found = (_polynomials((below + upto) / 2.0) - usual[:, None]) @ (window.counts / window.values)
        found[1] -= np.interp(found[0], *self.moved)
        return np.asarray(found)

    def p_values(self, deviations: Floats, rows: float) -> Floats:
        """Two-sided chance of each for independent rows, shape (2,)."""
        return np.array(
            [tilt.p_value(float(d), rows, v, self.shares) for d, v in zip(deviations, self.values, strict=True)]
        )


def _polynomials(u: Floats) -> Floats:
    return np.stack([np.sqrt(3.0) * (2.0 * u - 1.0), np.sqrt(5.0) * (6.0 * u * u - 6.0 * u + 1.0)])
