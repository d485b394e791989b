"""Population stability index between a reference and a window, on the reference's deciles or categories."""

from __future__ import annotations

import numpy as np

from afterfit.stats.chi2 import table
from afterfit.stats.profile import Categorical, Floats, Ints, Numeric

DECILES = 10
SMOOTH = 0.5  # added to every cell, so that an empty one does not make the index infinite


def psi(reference: Numeric | Categorical, window: Numeric | Categorical) -> float:
    """Sum of (p - q) ln(p / q) over cells, with natural logarithm; 0 when one is empty.

    Cells come from the reference alone, so that windows can be compared with each other.

    References:
        Siddiqi (2006), Credit risk scorecards.

    >>> psi(Categorical.of(["a", "b"] * 50), Categorical.of(["a", "b"] * 50))
    0.0
    """
    if not reference.values or not window.values:
        return 0.0
    if isinstance(reference, Numeric) and isinstance(window, Numeric):
        reference, window = reference.at_shift(window.shift), window.at_shift(reference.shift)
        edges = np.unique(reference.bins[_decile_bins(reference)])
        cells = np.stack([_counts(reference, edges), _counts(window, edges)])
    elif isinstance(reference, Categorical) and isinstance(window, Categorical):
        cells = table(reference, window)
    else:
        raise TypeError("a numeric column can't be compared with a text column")
    shares = (cells + SMOOTH) / (cells + SMOOTH).sum(axis=1, keepdims=True)
    return float(((shares[0] - shares[1]) * np.log(shares[0] / shares[1])).sum())


def _decile_bins(reference: Numeric) -> Ints:
    cumulated = np.cumsum(reference.counts)
    return np.asarray(np.searchsorted(cumulated, np.arange(1, DECILES) / DECILES * cumulated[-1]))


def _counts(profile: Numeric, edges: Ints) -> Floats:
    cell = np.searchsorted(edges, profile.bins, side="left")
    return np.asarray(np.bincount(cell, profile.counts, minlength=len(edges) + 1), dtype=float)
