"""Wasserstein-1 distance of two numeric columns: how far values had to be moved, on average."""

from __future__ import annotations

import numpy as np

from afterfit.stats.numeric import Numeric


def distance(reference: Numeric, window: Numeric) -> float:
    """In standard deviations of the reference (in the column's own unit when that is 0); 0 when one is empty.

    The area between the two cumulative distributions, from the middles of the bins.

    References:
        Vallender (1974), Calculation of the Wasserstein distance between probability distributions on the line.

    >>> round(distance(Numeric.of([0.0, 2.0]), Numeric.of([1.0, 3.0])), 6)
    1.0
    """
    if not reference.values or not window.values:
        return 0.0
    points = np.concatenate([reference.middles, window.middles])
    steps = np.concatenate([reference.counts / reference.values, -window.counts / window.values])
    order = np.argsort(points, kind="stable")
    apart = np.abs(np.cumsum(steps[order])[:-1])
    area = float((apart * np.diff(points[order])).sum())
    return area / reference.sd if reference.sd > 0 else area
