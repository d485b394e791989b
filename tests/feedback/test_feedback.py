"""Delay, triggers, training sets and the gate: decisions with reasons, also the no."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from afterfit.config import RetrainConfig, RolloutConfig
from afterfit.errors import InputError
from afterfit.feedback.delay import DelayCurve
from afterfit.feedback.gate import first_gate, gate
from afterfit.feedback.training_set import split
from afterfit.feedback.triggers import Proposal, retrain_reason
from afterfit.records import Finding, Incident, Outlook, Severity, Window

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def test_rows_that_never_get_an_outcome_do_not_keep_a_window_immature() -> None:
    rng = np.random.default_rng(1)
    delay, age = rng.exponential(3600.0, 5000), rng.uniform(0, 86400 * 5, 5000)
    known = (delay <= age) & (rng.random(5000) > 0.03)  # 3 % are cancelled
    curve = DelayCurve.learn(np.where(known, delay, age), known, hint=1.0)
    assert 0.94 < curve.plateau < 0.99
    assert 3 * 3600 < curve.maturity() < 8 * 3600
    assert curve.completeness(86400.0) > 0.99
    assert curve.completeness(0.0) < 0.01


def test_the_hint_counts_until_there_are_enough_outcomes() -> None:
    curve = DelayCurve.learn([1.0] * 50, [True] * 50, hint=777.0)
    assert curve.maturity() == 777.0
    assert (curve.completeness(776.0), curve.completeness(777.0)) == (0.0, 1.0)


def propose(**changes: Any) -> Proposal:
    values: dict[str, Any] = {
        "last_change": NOW - 40 * DAY, "last_training": None, "drift_open": [], "performance": None,
        "new_mature_rows": 10_000, "quality_open": False, **changes,
    }  # fmt: skip
    config = values.pop("config", RetrainConfig(triggers=("performance", "drift", "schedule:60d")))
    return retrain_reason(NOW, config, **values)


INCIDENT = Incident("i", "m", "drift", NOW, NOW, Severity.WARNING, "temp moved", ("temp",), ("drift",), ("temp moved",))
FELL = Finding("outcome", "performance", "", 9, 0.1, 0.0, 3, True, Severity.CRITICAL, "performance fell", 1, 1)


@pytest.mark.parametrize(
    ("changes", "start", "trigger", "said"),
    [
        ({}, False, None, "no trigger"),
        ({"drift_open": [INCIDENT]}, True, "drift", "temp moved"),
        ({"performance": FELL, "drift_open": [INCIDENT]}, True, "performance", "fell"),
        ({"last_change": NOW - 61 * DAY}, True, "schedule", "60d"),
        ({"drift_open": [INCIDENT], "quality_open": True}, False, "drift", "feed is broken"),
        ({"drift_open": [INCIDENT], "last_training": NOW - 2 * DAY}, False, "drift", "cooling down"),
        ({"drift_open": [INCIDENT], "new_mature_rows": 10}, False, "drift", "fewer than 500"),
        ({"config": RetrainConfig(triggers=("volume:9000",))}, True, "volume", "9000"),
    ],
)
def test_a_trigger_starts_or_says_why_not(changes: dict[str, Any], start: bool, trigger: str | None, said: str) -> None:
    found = propose(**changes)
    assert (found.start, found.trigger) == (start, trigger)
    assert said in found.reason


def rows(n: int, hours: float = 1.0) -> pa.Table:
    times = [NOW - timedelta(hours=hours * (n - i)) for i in range(n)]
    outcome = [None if i % 10 == 0 else str(i % 2) for i in range(n)]
    return pa.table({"time": pa.array(times, pa.timestamp("us", "UTC")), "outcome": outcome})


def test_the_newest_mature_rows_are_held_out_behind_an_embargo() -> None:
    broken = Window(NOW - 20 * DAY, NOW - 19 * DAY)
    made = split(
        rows(1000),
        now=NOW,
        recency=30 * 86400.0,
        holdout=7 * 86400.0,
        embargo=6 * 3600.0,
        min_rows=100,
        exclude=[broken],
    )
    train, held = made.train["time"].to_pylist(), made.holdout["time"].to_pylist()
    assert min(train) >= NOW - 30 * DAY
    assert max(held) < NOW - timedelta(hours=6)
    assert min(held) >= NOW - timedelta(hours=6) - 7 * DAY
    assert min(held) - max(train) >= timedelta(hours=6)
    assert not any(broken.start <= t < broken.end for t in train)
    assert made.train["outcome"].null_count == 0
    assert made.excluded["outcome not known"] == 100
    assert 20 <= made.excluded["broken feed"] <= 24


def test_too_few_rows_say_how_many_it_takes() -> None:
    with pytest.raises(InputError, match="wanted 5000"):
        split(rows(1000), now=NOW, recency=None, holdout=86400.0, embargo=0.0, min_rows=5000)


@pytest.mark.parametrize(
    ("shift", "n", "outlook"),
    [
        (-0.01, 3000, Outlook.PASS),
        (0.0, 3000, Outlook.PASS),
        (0.05, 3000, Outlook.HARM),
        (0.004, 400, Outlook.UNDECIDED),
        (0.0, 50, Outlook.NO_DATA),
    ],
)
def test_the_gate(shift: float, n: int, outlook: Outlook) -> None:
    rng = np.random.default_rng(2)
    champion = rng.beta(2, 8, n)
    candidate = np.clip(champion + rng.normal(shift, 0.05, n), 0, 1)
    verdict = gate(candidate, champion, (np.arange(n) * 600.0).astype(np.float64), RolloutConfig())
    assert verdict.outlook is outlook
    assert str(n) in verdict.reasons[0].replace(",", "")


def test_the_first_gate() -> None:
    good = {"holdout_loss": 0.15, "holdout_loss_sd": 0.2, "holdout_n": 2000.0, "baseline_loss": 0.2}
    assert first_gate(good, RolloutConfig()).outlook is Outlook.PASS
    assert first_gate({**good, "holdout_loss": 0.3}, RolloutConfig()).outlook is Outlook.HARM
    assert first_gate({**good, "holdout_loss": 0.199}, RolloutConfig()).outlook is Outlook.UNDECIDED
    assert first_gate({}, RolloutConfig()).outlook is Outlook.NO_DATA
