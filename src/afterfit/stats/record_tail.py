"""How far does a healthy block go beyond everything seen before? Exponential excesses over the range of the rest."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

PRIOR = 0.02  # excess (in spreads of the column) of two blocks that are added, since one seldom sees more than two


def p_value(excess: float, blocks: ArrayLike) -> float:
    """Chance that a healthy block goes beyond the range of the others by at least `excess`.

    Under exchangeable blocks a new one sets a record with a chance of about (k + 1) / (n + 1), when k of n did so beside
    the rest. Peaks over a threshold are near exponential; with a gamma prior for their rate, the predictive tail is
    (1 + excess / sum)^-(k + 2). Alone this is too bold for heavy-tailed columns, whose records come as single rows: take
    the larger of it and a test for rows.

    Args:
        excess: mean distance of a window's values beyond the reference's range (0 inside), in spreads of the column.
        blocks: the same for each block of the reference beside the rest, shape (n_blocks,).

    References:
        Pickands (1975), Statistical inference using extreme order statistics.

    >>> p_value(0.0, [0.0] * 20)
    1.0
    """
    seen = np.asarray(blocks, dtype=float)
    if excess <= 0.0:
        return 1.0
    if seen.size == 0:
        return 0.0
    records = int((seen > 0).sum())
    shape = records + 2
    return float((records + 1) / (seen.size + 1) * (1.0 + excess / (seen.sum() + 2 * PRIOR)) ** -shape)
