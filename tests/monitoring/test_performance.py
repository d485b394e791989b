"""The harm test on mature outcomes: quiet where nothing changed, and quick where something did."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from afterfit.monitoring.performance import DayLosses, performance_finding, realised
from afterfit.records import Finding, Severity

Floats = NDArray[np.float64]
DAY = 86400.0
A_DAY = 40  # rows


def live(rng: np.random.Generator, levels: Floats, spread: float = 0.05, row: float = 0.15) -> tuple[Floats, Floats]:
    """(losses, times): each day has a level of its own, each row is a draw about it; all in [0, 1]."""
    level = np.clip(levels + spread * rng.normal(size=len(levels)), 0.02, 0.98)
    concentration = level * (1 - level) / row**2 - 1
    shape = np.repeat(np.maximum(concentration, 0.5), A_DAY)
    mean = np.repeat(level, A_DAY)
    return rng.beta(mean * shape, (1 - mean) * shape), np.arange(len(mean)) * DAY / A_DAY


def look(losses: Floats, times: Floats, **changes: Any) -> Finding:
    settings = {"tolerance": 0.015, "alpha": 0.05, **changes}
    return performance_finding(by_day(losses, times), 0.147, 0.2, 6300, **settings)


def by_day(losses: Floats, times: Floats, parts: int = 1) -> DayLosses:
    kept = DayLosses()
    for some in np.array_split(np.arange(len(losses)), parts):
        kept.add(losses[some], times[some])
    return kept


def first_day(losses: Floats, times: Floats) -> int | None:
    """The first of weekly looks that finds harm, in days."""
    for days in range(7, round(times[-1] / DAY) + 2, 7):
        seen = times < days * DAY
        if look(losses[seen], times[seen]).drifted:
            return days
    return None


def test_a_champion_that_did_not_change_is_left_alone_for_half_a_year() -> None:
    """300 champions, looked at every week; the bound is exact and fails by chance once in 10 000."""
    rng = np.random.default_rng(1)
    found = [first_day(*live(rng, np.full(182, 0.147))) for _ in range(300)]
    assert sum(day is not None for day in found) <= binom.isf(1e-4, 300, 0.05)


def test_a_fall_like_that_of_the_flights_is_found_within_weeks() -> None:
    """A Brier loss from 0.15 to 0.21, as when log loss goes from 0.46 to 0.60."""
    rng = np.random.default_rng(2)
    found = [first_day(*live(rng, np.full(120, 0.21))) for _ in range(60)]
    days = [day for day in found if day is not None]
    assert len(days) >= 58
    assert np.median(days) <= 42


def test_a_broken_champion_is_found_within_a_week_or_two() -> None:
    rng = np.random.default_rng(3)
    found = [first_day(*live(rng, np.full(28, 0.35))) for _ in range(30)]
    assert all(day is not None and day <= 14 for day in found)


def test_a_champion_that_recovered_is_well_again() -> None:
    rng = np.random.default_rng(4)
    losses, times = live(rng, np.r_[np.full(20, 0.147), np.full(14, 0.4), np.full(150, 0.147)], spread=0.02)
    worst, last = times < 34 * DAY, look(losses, times)
    assert look(losses[worst], times[worst]).drifted
    assert not last.drifted


def test_a_finding_says_what_it_saw() -> None:
    rng = np.random.default_rng(5)
    found = look(*live(rng, np.full(60, 0.3)))
    assert (found.column, found.check, found.drifted, found.severity) == (
        "outcome",
        "performance",
        True,
        Severity.CRITICAL,
    )
    assert found.distance == pytest.approx(0.3 - 0.147, abs=0.03)
    assert found.statistic >= found.threshold
    assert found.p_value <= 0.025
    assert (found.n_reference, found.n_window) == (6300, 60 * A_DAY)
    assert "60 days" in found.message


def test_rows_of_one_day_are_one_observation() -> None:
    """A terrible day with a thousand rows is one terrible day."""
    rng = np.random.default_rng(6)
    losses = np.clip(rng.normal(0.4, 0.1, 1000), 0, 1)
    assert not look(losses, np.full(1000, 3600.0)).drifted
    assert look(losses, np.arange(1000.0) * float(DAY)).drifted


def test_tolerance_and_alpha_matter() -> None:
    losses, times = live(np.random.default_rng(7), np.full(40, 0.24), spread=0.02)
    assert look(losses, times).drifted
    assert not look(losses, times, tolerance=0.09).drifted
    assert not look(losses, times, alpha=1e-9).drifted


def test_nothing_seen_is_nothing_found() -> None:
    found = look(np.empty(0), np.empty(0))
    assert (found.drifted, found.n_window, found.p_value, found.distance) == (False, 0, 1.0, 0.0)


@pytest.mark.parametrize("days", [1, 10])
def test_the_interval_of_a_window_holds_the_truth(days: int) -> None:
    """Nominal 95 %, 400 windows; below a coverage of 92 % by chance once in 1e4. Ten days have levels of their own."""
    rng = np.random.default_rng(8)
    held = 0
    for _ in range(400):
        found = realised(*live(rng, np.full(days, 0.3), spread=0.05 if days > 1 else 0.0))
        assert found is not None
        held += found[1] <= 0.3 <= found[2]
    assert binom.ppf(1e-4, 400, 0.93) <= held <= 395


def test_days_are_the_units_of_an_interval_where_there_are_enough() -> None:
    losses = np.repeat([0.1, 0.5, 0.1, 0.5, 0.1, 0.5], 100)
    by_day, by_row = realised(losses, np.repeat(np.arange(6.0), 100) * DAY), realised(losses, np.zeros(600))
    assert by_day is not None
    assert by_row is not None
    assert by_day[0] == by_row[0] == pytest.approx(0.3)
    assert by_day[2] - by_day[1] > 5 * (by_row[2] - by_row[1])
    narrow = realised(losses, np.zeros(600), level=0.5)
    assert narrow is not None
    assert narrow[2] < by_row[2]
    assert realised(np.r_[losses[:29], [np.nan] * 9], np.zeros(38)) is None


def test_windows_that_come_one_by_one_and_in_any_order_say_what_all_rows_say() -> None:
    rng = np.random.default_rng(4)
    losses, times = live(rng, np.full(30, 0.2))
    order = rng.permutation(len(losses))
    whole, parts = by_day(losses, times), by_day(losses[order], times[order], parts=17)
    assert parts.n == whole.n == len(losses)
    assert parts.mean == pytest.approx(losses.mean())
    assert parts.means() == pytest.approx(losses.reshape(30, A_DAY).mean(axis=1))
    assert by_day(losses[:0], times[:0]).means().shape == (0,)  # a window without a row
