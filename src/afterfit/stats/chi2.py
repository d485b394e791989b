"""Do two categorical profiles come from one distribution? Pearson's chi-squared test with rare categories pooled."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from afterfit.stats.categorical import Categorical, alike

RARE = 0.01  # categories below this share of the reference are pooled as one
LEAST = 5.0  # expected rows a cell needs, or chi-squared is none: smaller ones are pooled
Floats = NDArray[np.float64]


def table(reference: Categorical, window: Categorical) -> Floats:
    """Counts (2, k): the reference's common categories, and one cell for everything else the reference knows.

    Categories that the reference never saw are left to the `unseen` check: one of them would make chi-squared infinite.
    Once the reference has dropped names, a name it does not list may be one of those, and counts as rare.

    >>> table(Categorical.of(["a", "b"]), Categorical.of(["a", "c"])).tolist()
    [[1.0, 1.0], [1.0, 0.0]]
    """
    reference, window = alike(reference, window)
    common = [k for k, v in reference.counts.items() if v >= RARE * reference.values]
    rare = [k for k in reference.counts if k not in set(common)]
    rows = [[float(p.counts.get(k, 0)) for k in common] for p in (reference, window)]
    if rare:
        for row, p in zip(rows, (reference, window), strict=True):
            row.append(float(sum(p.counts.get(k, 0) for k in rare)))
    return np.array(rows)


def total_variation(reference: Categorical, window: Categorical) -> float:
    """Half the sum of absolute differences of the shares, in [0, 1]; 0 when one is empty.

    >>> total_variation(Categorical.of(["a", "a"]), Categorical.of(["b", "b"]))
    1.0
    """
    reference, window = alike(reference, window)
    names: Mapping[str, int] = {**reference.counts, **window.counts}
    if not reference.values or not window.values:
        return 0.0
    return 0.5 * sum(
        abs(reference.counts.get(k, 0) / reference.values - window.counts.get(k, 0) / window.values) for k in names
    )


def noise(reference: Categorical) -> float:
    """n times the squared mean total variation between n independent rows and the reference, by the normal limit.

    >>> round(noise(Categorical.of(["a", "b"])), 3)
    0.159
    """
    shares = np.array(list(reference.counts.values()), dtype=float) / max(reference.values, 1)
    return float(np.sqrt(shares * (1.0 - shares)).sum() ** 2 / (2.0 * np.pi))


def p_value(reference: Categorical, window: Categorical, inflation: float = 1.0) -> float:
    """Chance of so large a chi-squared between independent samples of one distribution.

    `inflation` is how much more samples vary than independent rows would; the statistic is divided by it.

    References:
        Pearson (1900); continuity is not corrected, cells are pooled below 1 % and below five expected rows.

    >>> p_value(Categorical.of(["a", "b"] * 50), Categorical.of(["a", "b"] * 50))
    1.0
    """
    counts = table(reference, window)
    counts = counts[:, counts.sum(axis=0) > 0]
    totals = counts.sum(axis=1)
    if counts.shape[1] < 2 or (totals == 0).any():
        return 1.0
    small = counts.sum(axis=0) * totals.min() / totals.sum() < LEAST
    if small.any():
        counts = np.column_stack([counts[:, ~small], counts[:, small].sum(axis=1)])
    if counts.shape[1] < 2:
        return 1.0
    expected = np.outer(totals, counts.sum(axis=0)) / totals.sum()
    statistic = float(((counts - expected) ** 2 / expected).sum())
    return float(chi2.sf(statistic / inflation, counts.shape[1] - 1))
