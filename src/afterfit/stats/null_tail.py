"""How often does a statistic get this large by itself? Its values between reference blocks, and a tail beyond."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import gumbel_r

FEWEST = 10  # blocks from which the spread between blocks can be judged


def p_value(statistic: float, blocks: ArrayLike) -> float:
    """Chance that a healthy block shows at least `statistic`.

    Inside the range of the blocks the chance is their (add-one) share; beyond it a Gumbel distribution with the blocks'
    mean and standard deviation takes over, whose exponential tail is heavier than a normal's, and never says more than
    the share does. With fewer than ten blocks nothing can be said, and the answer is 0: the caller's test for
    independent rows then decides alone.

    Args:
        statistic: larger is stranger.
        blocks: the same statistic for each block of the reference against the rest of it, shape (n_blocks,).

    References:
        Gumbel (1958), Statistics of extremes: method of moments.

    >>> p_value(0.0, [1.0] * 20)
    1.0
    """
    seen = np.asarray(blocks, dtype=float)
    if seen.size < FEWEST:
        return 0.0
    share = (1 + int((seen >= statistic).sum())) / (seen.size + 1)
    spread = float(seen.std(ddof=1))
    if spread == 0.0 or statistic <= seen.max():
        return min(1.0, share) if statistic <= seen.max() else 0.0
    scale = spread * np.sqrt(6.0) / np.pi
    location = float(seen.mean()) - np.euler_gamma * scale
    return float(min(share, gumbel_r.sf(statistic, location, scale)))
