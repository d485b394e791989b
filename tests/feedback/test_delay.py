"""The delay curve where it is easily fooled: a late correction, a young stream, outcomes that never come."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from afterfit.feedback.delay import DelayCurve

DAY = 86400.0
Floats = NDArray[np.float64]


def learn(delay: Floats, age: Floats, never: float, hint: float, rng: np.random.Generator) -> DelayCurve:
    known = (delay <= age) & (rng.random(len(age)) >= never)
    return DelayCurve.learn(np.where(known, delay, age), known, hint=hint)


@pytest.mark.parametrize("n", [300, 2000, 20_000])
@pytest.mark.parametrize("never", [0.0, 0.03, 0.2])
def test_maturity_is_that_of_the_outcomes_that_come(n: int, never: float) -> None:
    rng = np.random.default_rng(n)
    delay, age = rng.exponential(0.2 * DAY, n), rng.uniform(0, 60 * DAY, n)
    curve = learn(delay, age, never, DAY, rng)
    assert curve.plateau == pytest.approx(1 - never, abs=0.08)
    assert 0.4 * DAY < curve.maturity() < 2.0 * DAY  # the 99 % point is 0.92 days
    assert curve.maturity(0.5) < curve.maturity()


@pytest.mark.parametrize("n", [300, 2000, 20_000])
def test_one_correction_of_an_old_row_moves_nothing(n: int) -> None:
    rng = np.random.default_rng(n + 1)
    delay, age = rng.exponential(0.2 * DAY, n), rng.uniform(0, 60 * DAY, n)
    known = (delay <= age) & (rng.random(n) > 0.03)
    ages = np.where(known, delay, age)
    before = DelayCurve.learn(ages, known, hint=DAY)
    oldest = np.argsort(ages)[-2]
    known[oldest] = True
    after = DelayCurve.learn(ages, known, hint=DAY)
    assert after.maturity() == pytest.approx(before.maturity(), rel=0.2)
    assert after.plateau == pytest.approx(before.plateau, abs=0.02)


def test_a_stream_younger_than_its_delays_waits_for_the_hint() -> None:
    rng = np.random.default_rng(3)
    for days, wanted in ((7, 14.0), (40, 13.9)):
        curve = learn(rng.uniform(0, 14 * DAY, 5000), rng.uniform(0, days * DAY, 5000), 0.0, 14 * DAY, rng)
        assert curve.maturity() / DAY == pytest.approx(wanted, abs=0.5)
        assert curve.completeness(6.9 * DAY) < 0.99
        assert curve.completeness(15 * DAY) == 1.0


def test_completeness_only_rises() -> None:
    rng = np.random.default_rng(4)
    curve = learn(rng.exponential(DAY, 1000), rng.uniform(0, 30 * DAY, 1000), 0.1, DAY, rng)
    found = [curve.completeness(a) for a in np.linspace(0, 30 * DAY, 50)]
    assert found == sorted(found)
    assert (curve.completeness(-1.0), found[-1]) == (0.0, 1.0)
