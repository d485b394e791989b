"""How often does a statistic get this large by itself? Its values between reference blocks, and a tail beyond."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import chi2, f, gumbel_r

FEWEST = 10  # blocks from which the spread between blocks can be judged
NORMAL = 10.0  # blocks that the normal case (one dominant normal deviation) weighs beside those seen
SURE = 0.9  # the spread is read at this one-sided confidence: few blocks tell it badly


def p_value(statistic: float, blocks: ArrayLike) -> float:
    """Chance that a healthy block shows at least `statistic`.

    Inside the range of the blocks the chance is their (add-one) share; beyond it a Gumbel distribution with the blocks'
    mean and the upper confidence limit of their standard deviation takes over. Its exponential tail is heavier than a
    normal's, and it never says more than the share does. With fewer than ten blocks nothing can be said, and the answer is 0: the caller's test for
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
    wider = np.sqrt((seen.size - 1) / chi2.isf(SURE, seen.size - 1) * (1.0 + 1.0 / seen.size))
    scale = spread * wider * np.sqrt(6.0) / np.pi
    location = float(seen.mean()) - np.euler_gamma * scale
    return float(min(share, gumbel_r.sf(statistic, location, scale)))


def squared_p_value(deviation: float, blocks: ArrayLike, freedom: float, smaller: float = 0.0) -> float:
    """Chance that a healthy block deviates from the reference by at least `deviation`, for deviations that add up.

    The square of a difference of means, shares or distribution functions is a quadratic form of near-normal sums, close
    to a scaled chi-squared: autocorrelation changes its scale and its degrees of freedom. Both come from the blocks,
    the second by moments and drawn towards 1 (the widest tail of all such forms, Székely and Bakirov); the predictive
    tail for the next block is then an F distribution. Far lighter than the exponential tail of :func:`p_value`, but of
    no use for distances that are near their upper limit.

    Args:
        deviation: at least 0, 0 is none.
        blocks: the same for each block of the reference, shape (n_blocks,).
        freedom: degrees of freedom for independent rows, the most that are believed.
        smaller: mean square that is added because the window has fewer rows than a block had.

    References:
        Satterthwaite (1946), An approximate distribution of estimates of variance components.
        Székely, Bakirov (2003), Extremal probabilities for Gaussian quadratic forms.

    >>> squared_p_value(0.0, [0.1] * 20, 1.0)
    1.0
    """
    seen = np.square(np.asarray(blocks, dtype=float))
    if seen.size < FEWEST:
        return 0.0
    share = (1 + int((seen >= deviation**2).sum())) / (seen.size + 1)
    mean = float(seen.mean())
    if mean + smaller == 0.0 or deviation**2 <= seen.max():
        return min(1.0, share) if deviation**2 <= seen.max() else 0.0
    free = degrees(seen, freedom)
    return float(min(share, f.sf(deviation**2 / (mean + smaller), free, free * seen.size)))


def degrees(squares: ArrayLike, most: float) -> float:
    """Degrees of freedom of the scaled chi-squared with the mean and the variance of `squares`, shape (n_blocks,), drawn
    towards 1 and never above `most`.

    >>> degrees([1.0] * 20, 1.0)
    1.0
    """
    seen = np.asarray(squares, dtype=float)
    mean = float(seen.mean())
    varied = float(np.square(seen / mean - 1.0).sum()) if mean else 0.0
    return min(most, 2.0 / ((NORMAL * 2.0 + varied) / (NORMAL + seen.size)))
