"""The null of blocks with levels, memory and season, simulated.

Each bound is exact binomial: at the nominal share, more have a chance below 1e-5 per case, so the file fails without a
reason once in about 10,000 seeds. A memory of 0.9 beside 60 blocks cannot be read well: there the chance is up to three
times as large as it says, over several windows, which the bound of that case states.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from afterfit.stats.levels import DAY, Grid, Levels, Stretch, together

BLOCKS, ROWS, RUNS, ALPHA = 60, 500, 400, 0.02


def deviations(rng: np.random.Generator, days: int, memory: float, level: float) -> NDArray[np.float64]:
    x = rng.normal(size=days)
    for i in range(1, days):
        x[i] = memory * x[i - 1] + np.sqrt(1 - memory**2) * x[i]
    return np.asarray(level * x + rng.normal(size=days) / np.sqrt(ROWS))


def chance(c: NDArray[np.float64], windows: int, first: int = BLOCKS) -> float:
    levels = Levels.of(c[:BLOCKS] - c[:BLOCKS].mean(), Grid(np.arange(BLOCKS), DAY, ROWS))
    stretch = together([Stretch((first + i,), 1.0, ROWS) for i in range(windows)])
    now = float(c[first : first + windows].mean() - c[:BLOCKS].mean())
    return levels.p_value(now - levels.expected(stretch), stretch, 1.0)


@pytest.mark.parametrize(
    ("memory", "level", "times"),
    [(0.0, 0.0, 1), (0.0, 0.5, 1), (0.6, 0.5, 1), (0.6, 0.045, 1), (0.9, 0.045, 3)],
    ids=["independent rows", "days differ", "days last", "days last and differ little", "days last for long"],
)
@pytest.mark.parametrize("windows", [1, 7])
def test_healthy_stretches_are_no_surprise(memory: float, level: float, times: int, windows: int) -> None:
    rng = np.random.default_rng(3)
    wrong = sum(chance(deviations(rng, 70, memory, level), windows) < ALPHA for _ in range(RUNS))
    assert wrong <= binom.isf(1e-5, RUNS, ALPHA * times)


def test_small_moves_add_up_over_a_week() -> None:
    """A move of 0.1 sd is 2.2 standard errors of a day, and 6 of a week."""
    rng = np.random.default_rng(4)
    found = {1: 0, 7: 0}
    for _ in range(100):
        c = deviations(rng, 70, 0.0, 0.0)
        c[BLOCKS:] += 0.1
        for windows in found:
            found[windows] += chance(c, windows) < 1e-3
    assert found[1] < 40
    assert found[7] >= 75


def test_a_weekday_is_measured_against_its_own_kind() -> None:
    rng = np.random.default_rng(5)
    wrong = found = 0
    for _ in range(200):
        week = rng.normal(size=7) * 0.5
        c = deviations(rng, 70, 0.0, 0.0) + week[np.arange(70) % 7]
        wrong += chance(c, 1) < ALPHA
        c[BLOCKS] += 0.3
        found += chance(c, 1) < 1e-3
    assert wrong <= binom.isf(1e-5, 200, ALPHA)
    assert found >= 190  # without the season a day differs by 0.5 from the next


def test_hours_have_their_season_within_the_day() -> None:
    hours = np.arange(24 * 20)
    rng = np.random.default_rng(6)
    seen = np.sin(2 * np.pi * hours / 24) + rng.normal(0, 0.1, hours.size)
    levels = Levels.of(seen, Grid(hours, 3600.0, ROWS))
    assert levels.usual.size == 24
    assert levels.expected(Stretch((24 * 20 + 6,), 1.0, ROWS)) == pytest.approx(1.0, abs=0.1)


def test_a_season_that_the_reference_saw_too_seldom_is_not_taken() -> None:
    grid = Grid(np.arange(20), DAY, ROWS)  # six weekdays came three times, one twice
    assert grid.seasons() == []


def test_few_blocks_say_nothing_and_no_spread_says_all() -> None:
    few = Levels.of([0.1] * 5, Grid(np.arange(5), DAY, ROWS))
    assert few.p_value(0.0, Stretch((5,), 1.0, ROWS), 1.0) == 0.0
    none = Levels.of([0.0] * 30, Grid(np.arange(30), DAY, ROWS))
    assert none.p_value(0.0, Stretch((30,), 1.0, ROWS), 0.0) == 1.0
    assert none.p_value(0.1, Stretch((30,), 1.0, ROWS), 0.0) == 0.0
