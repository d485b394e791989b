"""Days with luck of their own, with and without a memory, against the false alarms allowed; and changes against its power.

A world's rows are answered by a model that is right but for the luck of the day: a shift of all log-odds, shared by its rows
(standard deviation 0.4, as on bad-weather days; from one day to the next with a memory, by weekday, with heavy tails, or
seldom and large).
"""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binom

from afterfit.monitoring.meaning import DAY, Meaning, Rows
from afterfit.stats.binning import Floats

RATE = 1 / 360  # a quarter of one in 90 days
DAYS = 100
WORLDS = 25
WEIGHTS = np.array([1.0, -1.0, 0.5, 0.25])


def luck(rng: np.random.Generator, days: int, memory: float, kind: str) -> Floats:
    if kind == "seldom":
        return np.where(rng.random(days) < 0.1, 1.5, 0.0)
    if kind == "heavy tails":
        return np.asarray(0.25 * rng.standard_t(2.5, size=days))
    if kind == "weekly":
        return np.tile(0.5 * rng.normal(size=7), days // 7 + 1)[:days] + 0.2 * rng.normal(size=days)
    level = np.zeros(days)
    for day in range(days):
        before = level[day - 1] if day else 0.0
        level[day] = memory * before + np.sqrt(1.0 - memory**2) * 0.4 * rng.normal()
    return level


def first_alarm(
    rng: np.random.Generator, *, memory: float, kind: str = "", rows: int = 150, days: int = DAYS,
    changed: Floats = WEIGHTS, shift: float = 0.0, at: int = DAYS,
) -> tuple[int, set[str]] | None:  # fmt: skip
    """(day, checks) of the first alarm; from day `at` on, outcomes follow other weights and lie `shift` higher."""
    known, levels = Meaning(), luck(rng, days, memory, kind)
    for day in range(days):
        x = rng.normal(size=(rows, 4)) + 0.3 * rng.normal(size=4)
        now = changed if day >= at else WEIGHTS
        y = (rng.random(rows) < expit(x @ now - 1.0 + levels[day] + shift * (day >= at))).astype(float)
        times = (day + np.arange(rows) / rows) * DAY
        known.add(Rows(expit(x @ WEIGHTS - 1.0), y, times, x), (day + 1) * DAY)
        drifted = {f.check for f in known.findings(RATE) if f.drifted}
        if drifted:
            return day, drifted
    return None


@pytest.mark.parametrize(
    ("memory", "kind"),
    [(0.0, ""), (0.7, ""), (0.9, ""), (0.0, "seldom"), (0.0, "heavy tails"), (0.0, "weekly")],
)
def test_shared_luck_is_no_change(memory: float, kind: str) -> None:
    """100 days are allowed 100 / 360 false alarms; of 25 worlds, more than the bound by chance once in 1e4."""
    alarms = [first_alarm(np.random.default_rng([1, seed]), memory=memory, kind=kind) for seed in range(WORLDS)]
    false = [a for a in alarms if a is not None]
    sys.stdout.write(f"memory {memory} {kind}: {len(false)} of {WORLDS} worlds, {false}\n")
    assert len(false) <= binom.isf(1e-4, WORLDS, 1.0 - np.exp(-DAYS * RATE))


def test_a_relation_that_changes_is_found_in_days() -> None:
    """The second feature no longer matters, or all matter less; 20 worlds each, found in 20 days in nine of ten."""
    for changed in (np.array([1.0, 0.0, 0.5, 0.25]), 0.4 * WEIGHTS):
        found = []
        for seed in range(20):
            rng = np.random.default_rng([2, seed])
            alarm = first_alarm(rng, memory=0.3, rows=400, days=50, changed=changed, at=30)
            found += [alarm[0] - 30] if alarm is not None and alarm[0] >= 30 else []
        sys.stdout.write(f"{changed}: {len(found)} of 20 found, after {sorted(found)} days\n")
        assert len(found) >= 18


def test_answers_that_turn_around_are_said_to_have_flipped() -> None:
    alarm = first_alarm(np.random.default_rng(3), memory=0.3, rows=400, days=32, changed=-WEIGHTS, at=25)
    assert alarm is not None
    assert alarm[0] in (25, 26)
    assert "sign" in alarm[1]


def test_scores_that_lie_lower_than_outcomes_are_a_matter_of_calibration() -> None:
    """A shift of five standard deviations of the days: no bad weather."""
    alarm = first_alarm(np.random.default_rng(4), memory=0.0, rows=400, days=40, shift=2.0, at=25)
    assert alarm is not None
    assert 25 <= alarm[0] <= 32
    assert alarm[1] == {"calibration"}
