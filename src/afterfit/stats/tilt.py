"""How often is the mean of n independent rows this far out? Exact enough in the far tail of lopsided columns, too."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_ndtr, logit, xlogy

from afterfit.stats.binning import Floats

STEPS = 60
LEAST = 1e-12  # share that is told from none
NEAR = 1e-4  # |w| below which the formula is 0/0 and the normal one is as good
STEEP = 700.0  # a tilt beyond which exp overflows


def p_value(mean: float, rows: float, values: Floats, shares: Floats) -> float:
    """Two-sided chance of a mean at least that far from 0, of `rows` draws of `values` with probabilities `shares`.

    Args:
        mean: of the rows; `values` are centred, so that 0 is expected.
        rows: how many, larger than 0.
        values, shares: shape (k,).

    References:
        Barndorff-Nielsen (1986), Inference on full or partial parameters based on the standardized signed log likelihood
        ratio (the r* formula for the saddlepoint tail of Lugannani and Rice, 1980).

    >>> p_value(0.0, 10, np.array([-1.0, 1.0]), np.array([0.5, 0.5]))
    1.0
    """
    variance = float(values**2 @ shares)
    if mean == 0.0 or variance == 0.0:
        return 1.0 if mean == 0.0 else 0.0
    end = float(values.max() if mean > 0 else values.min())
    if abs(mean) >= abs(end) * (1.0 - 1e-9):  # every row at the end of the range
        return float(min(1.0, 2.0 * float(shares[values == end].sum()) ** rows))
    tilt, cumulant, curvature = _solve(mean, values, shares, variance)
    w = np.sign(tilt) * np.sqrt(max(2.0 * rows * (tilt * mean - cumulant), 0.0))
    return float(_two_sided(np.array([w]), np.array([tilt * np.sqrt(rows * curvature)]))[0])


def share_p_value(count: ArrayLike, rows: ArrayLike, share: ArrayLike) -> Floats:
    """The same for counts of a category with that share, shape (k,); half a row is taken off for being whole numbers.

    >>> share_p_value([8], [10], [0.5]).round(3).tolist()  # exactly 0.109
    [0.116]
    """
    n, p = np.asarray(rows, dtype=float), np.clip(np.asarray(share, dtype=float), LEAST, 1.0 - LEAST)
    far = np.asarray(count, dtype=float) - n * p
    near = np.sign(far) * np.maximum(np.abs(far) - 0.5, 0.0)
    x = np.clip(p + near / n, LEAST, 1.0 - LEAST)
    gain = xlogy(x, x / p) + xlogy(1.0 - x, (1.0 - x) / (1.0 - p))
    w = np.sign(near) * np.sqrt(np.maximum(2.0 * n * gain, 0.0))
    return _two_sided(w, (logit(x) - logit(p)) * np.sqrt(n * x * (1.0 - x)))


def _two_sided(w: Floats, v: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        better = np.where(np.abs(w) > NEAR, w + np.log(v / w) / w, w)
    return np.asarray(np.minimum(1.0, 2.0 * np.exp(log_ndtr(-np.abs(better)))))


def _solve(mean: float, values: Floats, shares: Floats, variance: float) -> tuple[float, float, float]:
    """(tilt, cumulant, variance under the tilt) at which the tilted mean is `mean`: Newton, halving on a bracket."""
    low, high = (0.0, np.inf) if mean > 0 else (-np.inf, 0.0)
    tilt = mean / variance
    reach = STEEP / float(np.abs(values).max())
    for _ in range(STEPS):
        tilt = float(np.clip(tilt, -reach, reach))
        weights = shares * np.exp(tilt * values)
        total = float(weights.sum())
        now = float(weights @ values) / total
        curvature = float(weights @ values**2) / total - now * now
        if abs(now - mean) <= 1e-10 * abs(mean) or (abs(tilt) == reach and (now - mean) * tilt < 0):
            break
        low, high = (tilt, high) if now < mean else (low, tilt)
        step = tilt + (mean - now) / curvature if curvature > 0 else np.inf
        tilt = step if low < step < high else (low + high) / 2.0 if np.isfinite(low + high) else 2.0 * tilt
    return tilt, float(np.log(total)), curvature
