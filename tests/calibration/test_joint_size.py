"""Joint drift tests on healthy windows: false findings no more often than their part of the budget says.

Each bound is the exact binomial one at 1e-4: on other seeds a case would fail without a reason once in 10,000 times or
less. Seeds are fixed, so a failure is a change of the code.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from afterfit.monitoring.joint import JointReference, check_joint
from afterfit.stats import correlations, pca_drift
from afterfit.stats.normal_scores import normal_scores
from afterfit.stats.row_sample import sample_rows

DAY = 86400.0
ALPHA = 0.1
Columns = dict[str, Any]


def healthy(rng: np.random.Generator, n: int, k: int, level: NDArray[np.float64] | None = None) -> Columns:
    """Columns that hang together, with nulls, a lopsided one, a constant, and categories."""
    together = np.random.default_rng(k).normal(size=(3, k))
    x = rng.normal(size=(n, 3)) @ together + rng.normal(size=(n, k))
    x = x if level is None else x + level
    found: Columns = {f"x{i}": x[:, i] for i in range(k)}
    found["x1"] = np.where(rng.random(n) < 0.2, np.nan, found["x1"])
    found["x2"] = np.exp(found["x2"])
    found["still"] = np.zeros(n)
    found["cut"] = np.array(["a", "b", "c"], dtype=object)[np.digitize(x[:, 0], [-1.0, 1.0])]
    found["free"] = rng.choice(np.array(["u", "v", None], dtype=object), n, p=[0.45, 0.45, 0.1])
    return found


def sizes(rng: np.random.Generator) -> tuple[int, int, int]:
    """(reference rows, window rows, columns): 50 to 2,000 and 3 to 40."""
    n, m = np.exp(rng.uniform(np.log(50), np.log(2000), 2)).astype(int).tolist()
    return n, m, int(rng.integers(3, 41))


def test_correlations_and_components_alarm_on_healthy_pairs_no_more_than_they_may() -> None:
    pairs, wrong = 150, {"correlations": 0, "components": 0}
    for seed in range(pairs):
        rng = np.random.default_rng([1, seed])
        n, m, k = sizes(rng)
        before, now = healthy(rng, n, k), healthy(rng, m, k)
        scores = normal_scores({name: np.concatenate([v, now[name]]) for name, v in before.items()})
        old, new = scores.values[:n], scores.values[n:]
        changed, errors = correlations.shuffled(old, new, scores.sources, rng), pca_drift.errors(old, new)
        assert changed is not None
        assert errors is not None
        wrong["correlations"] += changed.p_value < ALPHA
        wrong["components"] += errors.p_value < ALPHA
    assert max(wrong.values()) <= binom.isf(1e-4, pairs, ALPHA), wrong


def test_all_three_together_alarm_no_more_than_they_may() -> None:
    pairs, wrong = 30, 0
    for seed in range(pairs):
        rng = np.random.default_rng([2, seed])
        n, m, k = sizes(rng)
        found = check_joint(JointReference(healthy(rng, n, k)), healthy(rng, m, k), alpha=3 * ALPHA)
        wrong += any(f.drifted for f in found)
    assert wrong <= binom.isf(1e-4, pairs, 3 * ALPHA)


@pytest.mark.parametrize("differ", [0.0, 0.15], ids=["levels of days", "and correlations differ by day"])
def test_days_with_levels_of_their_own_are_no_change(differ: float) -> None:
    """Windows of a day each; without the blocks of the reference, nearly all of them would be told apart."""
    rng = np.random.default_rng(3)
    wrong, windows, n, days = 0, 0, 100, 48
    for _ in range(4):
        k = int(rng.integers(3, 9))
        level = rng.normal(size=(days, k))
        for i in range(1, days):
            level[i] = 0.5 * level[i - 1] + np.sqrt(0.75) * level[i]
        day = np.repeat(np.arange(days), n)
        columns = healthy(rng, day.size, k, level[day])
        r = np.tanh(0.5 + differ * rng.normal(size=days))[day]
        columns["y"] = r * (columns["x0"] - level[day, 0]) + np.sqrt(1 - r * r) * rng.normal(size=day.size) * 2.0
        times = day * DAY + rng.uniform(0, DAY, day.size)
        old = np.flatnonzero(day < 40)
        kept = old[sample_rows(old.size, times[old], DAY)]
        reference = JointReference({c: v[kept] for c, v in columns.items()}, times[kept], DAY)
        for d in range(40, days):
            rows = day == d
            found = check_joint(reference, {c: v[rows] for c, v in columns.items()}, alpha=3 * ALPHA, times=times[rows])
            wrong, windows = wrong + any(f.drifted for f in found), windows + 1
    assert wrong <= binom.isf(1e-4, windows, 3 * ALPHA), f"{wrong} of {windows} healthy days"
