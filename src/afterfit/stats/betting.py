"""Anytime-valid tests for the mean of bounded observations, by betting against it."""

from __future__ import annotations

from math import ceil, log

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
BETS = np.array([0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9])  # shares of the largest bet that can't go bankrupt


def log_e(x: ArrayLike, mean: float, side: str) -> Floats:
    """Running log of an e-process against "the mean is at most `mean`" (side "greater") or "at least" (side "less").

    A gambler bets a constant share on x lying above (below) `mean`; the wealth of a mixture of gamblers with other
    shares is a non-negative supermartingale under the null, so P(it ever exceeds 1/alpha) <= alpha (Ville), whatever
    the distribution, however often it is looked at, and under dependence as long as conditional means obey the null.
    Bets are constant, so what all of x is worth does not depend on its order.

    Args:
        x: observations in [0, 1], shape (n,), in time order.
        mean: in (0, 1).
        side: "greater" collects evidence that the mean is above `mean`, "less" that it is below.

    Returns:
        Shape (n,): log E after each observation. Reject at any moment at which it is at least log(1/alpha).

    References:
        Waudby-Smith and Ramdas (2024), Estimating means of bounded random variables by betting, arXiv 2010.09686:
        the hedged capital process; constant bets mixed over a grid.

    >>> bool(log_e([1.0] * 20, 0.5, "greater")[-1] > np.log(20))
    True
    """
    wealth = log_wealth(x, mean, side).cumsum(axis=1)
    top = wealth.max(axis=0)
    return np.asarray(top + np.log(np.exp(wealth - top).mean(axis=0)))  # the mixture, without overflow


def needed(x: ArrayLike, mean: float, side: str, alpha: float) -> int | None:
    """About how many observations a rejection at `alpha` takes in all, if those to come are like those seen.

    The best of the gamblers must earn log(1/alpha) and make up for the others that share its stake.

    Args:
        x, mean, side: as in :func:`log_e`.
        alpha: in (0, 1).

    Returns:
        None when nobody has earned anything: at the present mean there will be no rejection.

    >>> needed([0.4, 0.6] * 10, 0.55, "less", 0.05)
    65
    """
    wealth = log_wealth(x, mean, side).sum(axis=1)
    best = float(wealth.max(initial=0.0))
    if best <= 0.0:
        return None
    return ceil(np.size(x) * (log(1.0 / alpha) + log(len(BETS))) / best)


def log_wealth(x: ArrayLike, mean: float, side: str) -> Floats:
    """What each bet adds to the log of its gambler's wealth, shape (n_bets, n)."""
    values = np.asarray(x, dtype=float)
    if values.size and not (values.min() >= 0.0 and values.max() <= 1.0):
        raise ValueError("observations must lie in [0, 1]")
    if not 0.0 < mean < 1.0:
        raise ValueError(f"mean must lie in (0, 1), found {mean}")
    if side == "less":
        values, mean = 1.0 - values, 1.0 - mean
    elif side != "greater":
        raise ValueError(f"side {side!r}: wanted 'greater' or 'less'")
    bets = BETS / mean  # 1 + bet * (0 - mean) = 1 - share > 0
    return np.asarray(np.log1p(bets[:, None] * (values - mean)[None, :]))


def interval(x: ArrayLike, alpha: float, grid: int = 400) -> tuple[float, float]:
    """The (1 - alpha) confidence sequence for the mean after all of x: valid at this and every earlier moment.

    Means that an e-process has rejected at level alpha/2 a side at any moment so far are out.

    Args:
        x: observations in [0, 1], shape (n,).
        alpha: in (0, 1).
        grid: resolution of the answer, 1/grid.

    >>> low, high = interval([0.4, 0.6] * 200, 0.05)
    >>> low < 0.5 < high and high - low < 0.2
    True
    """
    values = np.asarray(x, dtype=float)
    limit = np.log(2.0 / alpha)
    low, high = 0.0, 1.0
    means = np.arange(1, grid) / grid
    if values.size == 0:
        return low, high
    centre = float(values.mean())
    for mean in means[means < centre][::-1]:  # the nearest rejected mean below is the bound: evidence only grows
        if log_e(values, float(mean), "greater").max() >= limit:
            low = float(mean)
            break
    for mean in means[means > centre]:
        if log_e(values, float(mean), "less").max() >= limit:
            high = float(mean)
            break
    return low, high
