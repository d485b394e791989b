"""Has the champion lost performance since it was validated? A harm test on mature outcomes, valid at every look."""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit
from scipy.stats import norm

from afterfit.records import Finding, Severity
from afterfit.stats.betting import log_e

Floats = NDArray[np.float64]
DAY = 86400.0
FEWEST_DAYS = 5  # from which days are the units of an interval, not rows
FEWEST_ROWS = 30


def realised(losses: Floats, times: Floats, level: float = 0.95) -> tuple[float, float, float] | None:
    """(mean loss, low, high) of mature rows, or None with fewer than 30 of them.

    The interval is for the mean in the population of such rows. With five days or more, days are its units (the error of a
    ratio of sums over days), as rows of one day share its luck; within fewer days only the luck of rows is in it.

    Args:
        losses, times: of each row, shape (n,); times in epoch seconds. Losses that are NaN are left out.
        level: nominal coverage, in (0, 1).

    References:
        Cochran (1977), Sampling techniques, for the ratio estimator.

    >>> low, high = realised(np.tile([0.0, 1.0], 50), np.arange(100.0))[1:]
    >>> bool(0.39 < low < 0.5 < high < 0.61)
    True
    """
    known = np.isfinite(losses)
    losses, times = losses[known], times[known]
    if len(losses) < FEWEST_ROWS:
        return None
    mean = float(losses.mean())
    _, day = np.unique(np.floor(times / DAY), return_inverse=True)
    unit = day if day.max() + 1 >= FEWEST_DAYS else np.arange(len(losses))
    sums = np.bincount(unit, weights=losses - mean)
    n = len(sums)
    error = float(np.sqrt(n / (n - 1) * (sums @ sums))) / len(losses)
    reach = float(stdtrit(n - 1, 0.5 + level / 2.0)) * error
    return mean, mean - reach, mean + reach


class DayLosses:
    """Losses of a champion's mature rows, by day of event time: sums, so that years and millions of rows take no memory.

    >>> losses = DayLosses()
    >>> losses.add(np.array([0.25, 0.75, 1.0]), np.array([0.0, 3600.0, 90000.0]))
    >>> losses.n, losses.mean, losses.means().tolist()
    (3, 0.6666666666666666, [0.5, 1.0])
    """

    def __init__(self) -> None:
        self._days: dict[float, tuple[int, float]] = {}  # rows, and the sum of their losses

    def add(self, losses: Floats, times: Floats) -> None:
        """Bounded losses in [0, 1] and event times in epoch seconds, both of shape (n,)."""
        days, place = np.unique(np.floor(times / DAY), return_inverse=True)
        counts, sums = np.bincount(place, minlength=len(days)), np.bincount(place, weights=losses, minlength=len(days))
        for day, n, total in zip(days.tolist(), counts.tolist(), sums.tolist(), strict=True):
            before = self._days.get(day, (0, 0.0))
            self._days[day] = before[0] + n, before[1] + total

    @property
    def n(self) -> int:
        """Rows."""
        return sum(n for n, _ in self._days.values())

    @property
    def mean(self) -> float:
        """Of all rows; there must be one."""
        return sum(total for _, total in self._days.values()) / self.n

    def means(self) -> Floats:
        """Of each day that has rows, in order of time."""
        return np.array([total / n for _, (n, total) in sorted(self._days.items())])


def performance_finding(
    live: DayLosses, source_mean: float, source_sd: float, source_n: int, *, tolerance: float, alpha: float
) -> Finding:
    """Drifted when live risk is shown to exceed the hold-out's upper bound plus the tolerance.

    Losses of one day share its weather and its traffic, so the mean loss of a day is one observation in [0, 1]; the
    betting e-process then needs only that a day's expected loss, given the past, is within the bound. The hold-out's
    own days are few and its bound counts rows; the tolerance makes up for that: with hold-outs of seven days like
    those of the flights (means of days 0.16, deviation 0.05) and a tolerance of a tenth, 4 of 100 champions that never
    changed had a finding within half a year.

    Args:
        live: bounded losses of the champion's mature rows.
        source_mean, source_sd, source_n: bounded loss on its hold-out.
        tolerance: loss above the hold-out's that does not matter.
        alpha: chance of a false finding at any time in the champion's life; split between the bound and the test.

    References:
        Podkopaev and Ramdas (2021), Tracking the risk of a deployed model, arXiv 2110.06177.
    """
    bound = source_mean + float(norm.ppf(1.0 - alpha / 2.0)) * source_sd / sqrt(max(source_n, 1)) + tolerance
    bound = min(max(bound, 1e-6), 1.0 - 1e-6)
    means = live.means()
    evidence = log_e(means, bound, "greater")
    now = float(evidence[-1]) if len(evidence) else 0.0  # not the best so far: a champion that recovered is well again
    threshold = float(np.log(2.0 / alpha))
    mean = live.mean if live.n else source_mean
    drifted = now >= threshold
    said = (
        f"live loss {mean:.4f} on {live.n:,} mature rows of {len(means)} days, hold-out {source_mean:.4f}, "
        f"bound {bound:.4f}"
    )
    return Finding(
        column="outcome",
        check="performance",
        method="betting e-process on daily mean losses",
        statistic=now,
        distance=mean - source_mean,
        p_value=float(min(1.0, np.exp(-now))),
        threshold=threshold,
        drifted=drifted,
        severity=Severity.CRITICAL if drifted else Severity.INFO,
        message=("performance fell: " if drifted else "performance holds: ") + said,
        n_reference=source_n,
        n_window=live.n,
    )
