"""Cramér's V between "reference or window" and the category: an effect size that does not grow with n."""

from __future__ import annotations

import numpy as np

from afterfit.stats.categorical import Categorical
from afterfit.stats.chi2 import table


def effect(reference: Categorical, window: Categorical) -> float:
    """Bias-corrected, in [0, 1]; 0 when one is empty or there is one category only.

    References:
        Bergsma (2013), A bias-correction for Cramér's V and Tschuprow's T.

    >>> effect(Categorical.of(["a"] * 50), Categorical.of(["a"] * 50))
    0.0
    """
    counts = table(reference, window)
    counts = counts[:, counts.sum(axis=0) > 0]
    n = counts.sum()
    if counts.shape[1] < 2 or (counts.sum(axis=1) == 0).any():
        return 0.0
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / n
    phi = float(((counts - expected) ** 2 / expected).sum()) / n
    k = counts.shape[1]
    corrected = max(0.0, phi - (k - 1) / (n - 1))
    columns, rows = k - (k - 1) ** 2 / (n - 1), 2 - 1 / (n - 1)
    return float(np.sqrt(corrected / min(columns - 1, rows - 1))) if min(columns, rows) > 1 else 0.0
