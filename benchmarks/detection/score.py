"""Incidents, false-alarm rates with exact bounds, delays, and thresholds raised until two tools alarm equally often."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, inf

from scipy.stats import beta, chi2

SURE = 0.95  # of the two-sided bounds
Delay = int | None  # windows from the first changed one to the first alarm in one; None: missed


def incidents(alarms: Sequence[bool]) -> int:
    """Runs of consecutive alarming windows.

    >>> incidents([True, True, False, True])
    2
    """
    return sum(now and not before for before, now in zip([False, *alarms], alarms, strict=False))


def poisson_bounds(count: int) -> tuple[float, float]:
    """Exact bounds of an expected count of which `count` was seen.

    References:
        Garwood (1936), Fiducial limits for the Poisson distribution.
    """
    tail = (1.0 - SURE) / 2.0
    low = float(chi2.ppf(tail, 2 * count)) / 2.0 if count else 0.0
    return low, float(chi2.isf(tail, 2 * count + 2)) / 2.0


def binomial_bounds(count: int, n: int) -> tuple[float, float]:
    """Exact bounds of a share of which `count` of `n` was seen.

    References:
        Clopper, Pearson (1934), The use of confidence or fiducial limits illustrated in the case of the binomial.
    """
    tail = (1.0 - SURE) / 2.0
    low = float(beta.ppf(tail, count, n - count + 1)) if count else 0.0
    high = float(beta.isf(tail, count + 1, n - count)) if count < n else 1.0
    return low, high


def delay(alarms: Sequence[bool], changed: Sequence[bool]) -> Delay:
    """Windows between the first changed one and the first changed one that alarms: 0 is at once, None is never.

    >>> delay([False, True, False, True], [True, False, True, True])
    3
    """
    first = next(i for i, c in enumerate(changed) if c)
    for i, (alarm, there) in enumerate(zip(alarms, changed, strict=True)):
        if alarm and there:
            return i - first
    return None


def quantile(delays: Sequence[Delay], share: float) -> Delay:
    """The least delay within which this share of all changes was found; None when fewer were found at all.

    >>> quantile([0, 3, None], 0.5)
    3
    """
    ordered = sorted(inf if d is None else d for d in delays)
    if not ordered:
        return None
    at = ordered[max(ceil(share * len(ordered) - 1e-9) - 1, 0)]
    return None if at == inf else int(at)


def raised(healthy: Sequence[float], allowed: int) -> float:
    """The least threshold that at most `allowed` of the healthy windows exceed (alarm: strength > threshold).

    >>> raised([1.0, 2.0, 3.0], 1)
    2.0
    """
    ordered = sorted(healthy, reverse=True)
    return ordered[allowed] if allowed < len(ordered) else -inf


def verdict(ours: Delay, peers: Sequence[Delay]) -> str:
    """Ours beside the best peer: sooner, equal, later, missed (only by us), or nobody (found it).

    >>> verdict(3, [None, 4])
    'sooner'
    """
    best = min((p for p in peers if p is not None), default=None)
    if ours is None:
        return "nobody" if best is None else "missed"
    if best is None or ours < best:
        return "sooner"
    return "equal" if ours == best else "later"
