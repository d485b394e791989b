"""Days are the unit of what scores mean: in whatever parts their rows come, and few rows wait for more."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from afterfit.monitoring.meaning import DAY, ROWS, Meaning, Rows


def rows(days: int, a_day: int = 150, seed: int = 0, flip: bool = False) -> Rows:
    rng = np.random.default_rng(seed)
    n = days * a_day
    x = rng.normal(size=(n, 2))
    score = expit(x[:, 0])
    y = (rng.random(n) < (1 - score if flip else score)).astype(float)
    return Rows(score, y, np.arange(n) * DAY / a_day, x)


def test_parts_give_what_the_whole_gives() -> None:
    whole, parts, given = Meaning(), Meaning(), rows(20)
    whole.add(given, 20 * DAY)
    for part in np.array_split(np.arange(len(given.score)), 47):
        parts.add(given.of(part), float(given.times[part[-1]] + 1.0))
    parts.add(given.of(slice(0, 0)), 20 * DAY)
    assert whole.days == parts.days == 20
    assert parts.history["relation"] == pytest.approx(whole.history["relation"])
    assert parts.log_e == pytest.approx(whole.log_e)


def test_few_rows_wait_for_more_and_an_unfinished_day_for_its_end() -> None:
    known, given = Meaning(), rows(12, a_day=ROWS // 2)
    known.add(given, 12 * DAY)
    assert known.days == 6
    late = Meaning()
    late.add(given.of(slice(0, 75)), 1.5 * DAY)
    assert late.days == 0
    late.add(given.of(slice(75, None)), 12 * DAY)
    assert late.days == 6


def test_nothing_is_said_of_a_champion_with_few_days() -> None:
    known = Meaning()
    known.add(rows(10), 10 * DAY)
    assert known.findings(0.01) == []
    known.add(rows(11).of(slice(1500, None)), 11 * DAY)
    assert {f.check for f in known.findings(0.01)} == {"calibration", "sign"}
    assert not any(f.drifted for f in known.findings(0.01))


def test_the_rate_of_false_alarms_matters_and_a_regression_has_a_level_too() -> None:
    rng = np.random.default_rng(1)
    n = 200
    known = Meaning(scale=3.0)
    for day in range(24):
        truth = rng.normal(size=n)
        answer = truth + rng.normal(size=n) + 0.1 * rng.normal() + (0.8 if day >= 20 else 0.0)
        known.add(Rows(answer, truth, np.full(n, (day + 0.5) * DAY), truth[:, None]), (day + 1) * DAY)
    (found,) = [f for f in known.findings(1 / 30) if f.drifted]
    assert (found.check, found.column) == ("calibration", "prediction")
    assert "lower than the scores say" in found.message
    assert not any(f.drifted for f in known.findings(1e-12))
