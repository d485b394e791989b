"""Was the label-free estimator right, now that outcomes have matured? Its coverage, and what outcomes correct of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import bdtr, ndtri, stdtrit

FEWEST_BIAS = 5  # windows
TOLERATED = 0.25  # of the half width: a bias that lowers a coverage of 95 % to 92 %
FEWEST_LABELLED = 30
FEWEST_OTHERS = 5  # known rows unlike the most frequent loss: with fewer the normal interval covers too seldom


@dataclass(frozen=True, slots=True)
class Audit:
    """Report on an estimator over matured windows."""

    windows: int
    covered: int
    coverage: float | None  # share of windows whose realised metric lay in the interval; None without windows
    mean_error: float | None  # estimate - realised
    p_value: float  # chance of so few covered windows if the nominal coverage were true
    downgraded: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Blend:
    """A mean over all rows: the estimate, corrected by the rows whose outcome is known. None when it is undefined."""

    value: float | None
    low: float | None
    high: float | None
    trust: float  # 0: outcomes alone; 1: the estimate, less its mean error on the known rows
    reason: str = ""


def audit(
    estimate: ArrayLike, low: ArrayLike, high: ArrayLike, realised: ArrayLike,
    nominal: float = 0.95, alpha: float = 0.01,
) -> Audit:  # fmt: skip
    """Score past estimates against the truth; the estimator is downgraded when it was wrong.

    It is wrong if so few windows were covered that the nominal coverage is rejected (exact binomial test), or if its
    mean error, in half widths of the interval, is beyond a quarter with confidence 1 - alpha (t interval, 5 windows or
    more). A right estimator is downgraded with a chance of at most 2 alpha each time it is audited; audits of growing
    histories are not one test. Windows share one calibration: an unlucky one is downgraded too, as it should be.

    Args:
        estimate, low, high, realised: shape (n_windows,); windows with a NaN are left out.
        nominal: what the intervals promised, in (0, 1).
        alpha: in (0, 1).

    Raises:
        ValueError: shapes differ, or nominal or alpha is no probability.

    References:
        Clopper and Pearson (1934) for the exact binomial.

    >>> report = audit([0.8] * 10, [0.7] * 10, [0.9] * 10, [0.85] * 6 + [0.6] * 4)
    >>> report.coverage, report.downgraded
    (0.6, True)
    """
    if not (0.0 < nominal < 1.0 and 0.0 < alpha < 1.0):
        raise ValueError(f"nominal {nominal} and alpha {alpha} must lie in (0, 1)")
    values = [np.atleast_1d(np.asarray(x, dtype=float)) for x in (estimate, low, high, realised)]
    if len({x.shape for x in values}) != 1:
        raise ValueError(f"shapes differ: {[x.shape for x in values]}")
    fine = np.isfinite(np.stack(values)).all(axis=0)
    middle, bottom, top, truth = (x[fine] for x in values)
    n = len(truth)
    if not n:
        return Audit(0, 0, None, None, 1.0, False, "no window has matured")
    covered = int(((bottom <= truth) & (truth <= top)).sum())
    p_value = float(bdtr(covered, n, nominal))
    error = middle - truth
    reasons = []
    if p_value < alpha:
        reasons.append(f"{covered} of {n} intervals held the truth, {nominal:.0%} were promised")
    half = np.maximum(0.5 * (top - bottom), 1e-12)
    if n >= FEWEST_BIAS:
        scaled = error / half
        reach = float(stdtrit(n - 1, 1.0 - alpha / 2.0)) * float(scaled.std(ddof=1)) / np.sqrt(n)
        if abs(scaled.mean()) - reach > TOLERATED:
            reasons.append(f"it is biased by {error.mean():+.4g}, {abs(scaled.mean()):.2f} half widths")
    return Audit(n, covered, covered / n, float(error.mean()), p_value, bool(reasons), "; ".join(reasons))


def blend(realised: ArrayLike, expected_known: ArrayLike, expected_rest: ArrayLike, level: float = 0.95) -> Blend:
    """Mean loss (or correctness, cost, error) over all rows, when the outcomes of some are known.

    The mean of the known outcomes, moved by trust times the difference of what was expected of the rest and of the
    known rows; trust is chosen to make the interval short, so a useless expectation costs nothing. The interval is for
    the mean in the population of all these rows, and holds however wrong the expectation is, if the known rows are a
    random part of them: outcomes that come sooner for one class are not.

    Args:
        realised: loss of each known row, shape (n_known,).
        expected_known: loss that was expected of the same rows, shape (n_known,).
        expected_rest: loss expected of the rows not known yet, shape (n_rest,), may be empty.
        level: nominal coverage, in (0, 1).

    Returns:
        Undefined with fewer than 30 known rows, or fewer than 5 that differ from the most frequent loss: of 40 rows
        that are all right the interval would be a point.

    Raises:
        ValueError: shapes differ, a value is not finite, or level is no probability.

    References:
        Angelopoulos, Bates, Fannjiang, Jordan, Zrnic (2023), Prediction-powered inference, arXiv 2301.09633;
        the choice of trust from Angelopoulos, Duchi, Zrnic (2023), PPI++, arXiv 2311.01453.

    >>> rng = np.random.default_rng(0)
    >>> p = rng.random(5000)
    >>> truth = (rng.random(5000) < p).astype(float)
    >>> found = blend(truth[:500], p[:500] + 0.2, p[500:] + 0.2)  # the expectation is too high by 0.2
    >>> found.low < 0.5 < found.high
    True
    """
    y, f, rest = (np.atleast_1d(np.asarray(x, dtype=float)) for x in (realised, expected_known, expected_rest))
    if y.shape != f.shape or not all(np.isfinite(x).all() for x in (y, f, rest)):
        raise ValueError(f"shapes {y.shape} and {f.shape} must agree, and every value be finite")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie in (0, 1), found {level}")
    n, m = len(y), len(rest)
    if n < FEWEST_LABELLED:
        return Blend(None, None, None, 0.0, f"{n} outcomes are known, wanted {FEWEST_LABELLED}")
    others = n - int(np.unique(y, return_counts=True)[1].max())
    if others < FEWEST_OTHERS:
        return Blend(
            None, None, None, 0.0, f"all but {others} of {n} known rows are alike, wanted {FEWEST_OTHERS} others"
        )
    trust = 0.0
    if m >= FEWEST_LABELLED and np.ptp(f) > 0.0:
        trust = float(np.clip(np.cov(y, f, ddof=1)[0, 1] / (f.var(ddof=1) * (1.0 + n / m)), 0.0, 1.0))
    value = float(y.mean()) + trust * (float(rest.mean()) - float(f.mean()) if m else 0.0)
    variance = float((y - trust * f).var(ddof=1)) / n
    if m >= FEWEST_LABELLED:
        variance += trust**2 * float(rest.var(ddof=1)) / m
    reach = float(ndtri(0.5 + level / 2.0)) * float(np.sqrt(variance))
    return Blend(value, value - reach, value + reach, trust)
