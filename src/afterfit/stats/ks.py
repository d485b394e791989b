"""Kolmogorov-Smirnov distance between two numeric profiles, and its p-value for independent rows."""

from __future__ import annotations

import numpy as np
from scipy.special import kolmogorov

from afterfit.stats.profile import Numeric

NOISE = 0.8225  # pi²/12: n times the mean squared distance of n independent rows from their distribution
FREEDOM = 5.0  # degrees of freedom of the scaled chi-squared with the first two moments of the squared distance


def distance(a: Numeric, b: Numeric) -> float:
    """Largest difference of the two cumulative distributions, in [0, 1]; 0 when one is empty.

    Exact at the edges of the bins, of which a column has up to MOST_BINS; a column of few distinct values has one each.

    >>> distance(Numeric.of([1.0, 2.0]), Numeric.of([3.0, 4.0]))
    1.0
    """
    if not a.values or not b.values:
        return 0.0
    a, b = a.at_shift(b.shift), b.at_shift(a.shift)
    few, many = (a, b) if len(a.bins) <= len(b.bins) else (b, a)
    # Between two bins of one side its curve is flat while the other only rises: the gap is widest at, or just before, one.
    mine = np.concatenate([[0.0], np.cumsum(few.counts) / few.values])
    theirs = np.concatenate([[0.0], np.cumsum(many.counts) / many.values])
    at = theirs[np.searchsorted(many.bins, few.bins, side="right")]
    before = theirs[np.searchsorted(many.bins, few.bins, side="left")]
    return float(min(1.0, max(np.abs(mine[1:] - at).max(), np.abs(mine[:-1] - before).max())))


def p_value(d: float, n: int, m: int) -> float:
    """Chance of a distance of at least `d` between independent samples of n and m rows of one distribution.

    Asymptotic, with Stephens' correction for small samples; conservative for columns with ties.

    References:
        Stephens (1970), Use of the Kolmogorov-Smirnov, Cramér-von Mises and
        related statistics without extensive tables.

    >>> p_value(0.0, 100, 100)
    1.0
    """
    if n == 0 or m == 0:
        return 1.0
    root = np.sqrt(n * m / (n + m))
    return float(kolmogorov((root + 0.12 + 0.11 / root) * d))
