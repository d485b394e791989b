"""A relation that changes is found soon, one that does not is left alone; and the detector keeps its run length."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import binom

from afterfit.stats import e_detector
from afterfit.stats.concept import Concept

SHARED = Path(__file__).parents[3] / "shared" / "data"
RUN_LENGTH = 20_000.0


@pytest.mark.parametrize("heavy", [False, True])
def test_the_average_run_length_holds(heavy: bool) -> None:
    """P(alarm within n) <= n / A. 400 runs of 200 at A = 1000: more than the bound by chance once in 1e4 seeds."""
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(400):
        x = rng.beta(0.1, 0.4, 200) if heavy else (rng.random(200) < 0.2).astype(float)
        path, _ = e_detector.of_losses(x, 0.2)
        alarms += bool(path.max() >= np.log(1000))
    assert alarms <= binom.isf(1e-4, 400, 0.2)


def test_parts_give_what_the_whole_gives() -> None:
    x = np.random.default_rng(2).random(300)
    whole, end = e_detector.of_losses(x, 0.4)
    state, parts = None, []
    for part in np.split(x, [0, 7, 150]):
        path, state = e_detector.of_losses(part, 0.4, state=state)
        parts.append(path)
    assert np.concatenate(parts) == pytest.approx(whole)
    assert state == pytest.approx(end)


def rows(rng: np.random.Generator, n: int, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x = rng.normal(size=(n, len(weights)))
    return x, (rng.random(n) < expit(x @ weights)).astype(float)


def test_a_healthy_relation_is_left_alone_and_a_flipped_one_is_found() -> None:
    """40 streams of 2,000 rows each: fewer than 4 alarms (2,000 / 20,000 is the bound of each chance, 1e-4 for 13)."""
    old, flipped = np.array([1.0, -1.0, 0.5]), np.array([1.0, 1.0, 0.5])
    alarms, delays = 0, []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        x, y = rows(rng, 1000, old)
        known = Concept.learn(x, expit(x @ old), y)
        x, y = rows(rng, 2000, old)
        known = known.update(x, expit(x @ old), y)
        alarms += known.log_e >= np.log(RUN_LENGTH)
        for start in range(0, 1000, 25):
            x, y = rows(rng, 25, flipped)
            known = known.update(x, expit(x @ old), y)
            if known.log_e >= np.log(RUN_LENGTH):
                delays.append(start + 25)
                break
    assert alarms <= 4
    assert len(delays) == 40
    assert np.median(delays) <= 200


def test_nulls_constants_and_one_class_do_no_harm() -> None:
    rng = np.random.default_rng(3)
    x = np.column_stack([rng.normal(size=500), np.full(500, 7.0), np.full(500, np.nan)])
    x[::5, 0] = np.nan
    known = Concept.learn(x, np.full(500, 0.5), np.zeros(500)).update(x, np.full(500, 0.5), np.zeros(500))
    assert np.isfinite(known.log_e)
    assert known.log_e < np.log(RUN_LENGTH)
    assert known.update(x[:0], np.empty(0), np.empty(0)).log_e == known.log_e


@pytest.mark.skipif(not (SHARED / "sea.csv.gz").exists(), reason="needs ../shared/data/sea.csv.gz")
def test_sea_changes_its_concept_three_times() -> None:
    """A logistic regression on the first 6,000 rows of each concept, 3,000 more as reference; found within 500 rows."""
    from sklearn.linear_model import LogisticRegression

    table = pd.read_csv(SHARED / "sea.csv.gz")
    x, y = table[["f1", "f2", "f3"]].to_numpy(), table["y"].to_numpy(dtype=float)
    for begin, change in ((0, 12_500), (12_500, 25_000), (25_000, 37_500)):
        model = LogisticRegression().fit(x[begin : begin + 6000], y[begin : begin + 6000])
        p = model.predict_proba(x)[:, 1]
        learned = slice(begin + 6000, begin + 9000)
        known = Concept.learn(x[learned], p[learned], y[learned])
        before = slice(begin + 9000, change)
        known = known.update(x[before], p[before], y[before])
        assert known.log_e < np.log(RUN_LENGTH), f"false alarm before row {change}"
        after = slice(change, change + 500)
        assert known.update(x[after], p[after], y[after]).log_e >= np.log(RUN_LENGTH), f"row {change} missed"
