"""Rows of the lake become the numbers of the judge: whose failure, whose loss, which stage."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from afterfit.records import ModelVersion, Outcome, Prediction, Role, ShadowScore, Status, Task
from afterfit.rollout.evidence import Evidence
from tests.rollout.plain_evidence import ROLLOUT, Log, from_lake

START = datetime(2026, 1, 5, tzinfo=UTC)


def version(
    number: int, classes: tuple[Any, ...] | None = (0, 1), task: Task = Task.BINARY, **more: Any
) -> ModelVersion:
    return ModelVersion("m", number, task, START, "", "", None, "", None, 0, (), classes, **more)


def row(i: int = 0, **changes: Any) -> dict[str, Any]:
    """Served by champion 1 with 0.8 for class 1, shadowed by candidate 2 with 0.6; class 1 came true."""
    at = START + timedelta(minutes=i)
    return {
        "prediction_id": f"p{i}", "time": at, "key": f"k{i}", "served_version": 1, "role": "champion", "routes": 7 + i // 1440, "status": "ok",
        "failed_version": None, "prediction": "1", "scores": [0.2, 0.8], "latency_ms": 1.0 + i, "shadow_version": 2,
        "shadow_status": "ok", "shadow_prediction": "1", "shadow_scores": [0.4, 0.6], "shadow_latency_ms": 2.0 + i,
        "outcome": "1", "outcome_time": at, "known_time": at + timedelta(hours=1), **changes,
    }  # fmt: skip


NOTHING = {"shadow_prediction": None, "shadow_scores": None}
ALONE = {"shadow_version": None, "shadow_status": None, "shadow_latency_ms": None, **NOTHING}


def of(
    rows: Sequence[dict[str, Any]],
    champion: ModelVersion | None = None,
    candidate: ModelVersion | None = None,
    stage_routes: int = 7,
) -> Evidence:
    with tempfile.TemporaryDirectory() as folder:
        lake = log_of(rows).write(Path(folder))
        return from_lake(lake, champion or version(1), candidate or version(2), stage_routes)


def log_of(rows: Sequence[dict[str, Any]]) -> Log:
    """What gateways and callers wrote about some rows."""
    decode = msgspec.json.decode
    served = [
        Prediction(
            r["prediction_id"], "m", r["served_version"], Role(r["role"]), r["time"], r["time"], {},
            None if r["prediction"] is None else decode(r["prediction"]), r["scores"], r["key"], 1.0, ROLLOUT, r["routes"],
            Status(r["status"]), r["failed_version"], None, r["latency_ms"],
        )
        for r in rows
    ]  # fmt: skip
    shadows = [
        ShadowScore(
            r["prediction_id"], "m", r["shadow_version"], r["time"], r["time"],
            None if r["shadow_prediction"] is None else decode(r["shadow_prediction"]), r["shadow_scores"], ROLLOUT,
            Status(r["shadow_status"]), None, r["shadow_latency_ms"],
        )
        for r in rows
        if r["shadow_version"] is not None
    ]  # fmt: skip
    outcomes = [
        Outcome("m", decode(r["outcome"]), r["outcome_time"], r["known_time"], r["prediction_id"])
        for r in rows
        if r["outcome"] is not None
    ]
    return Log(served, shadows, outcomes)


def test_a_pair_counts_whoever_served_it() -> None:
    swapped = row(1, served_version=2, role="canary", shadow_version=1)
    found = of([row(0), swapped])
    assert found.champion_loss.round(4).tolist() == [0.04, 0.16]
    assert found.candidate_loss.round(4).tolist() == [0.16, 0.04]
    assert (found.candidate_asked, found.champion_asked) == (2, 2)
    assert (found.candidate_keys, found.champion_keys, found.stage_requests) == (1, 1, 1)


def test_each_version_is_read_with_its_own_classes() -> None:
    """A candidate may know its classes in another order, or one fewer."""
    found = of([row(shadow_scores=[0.9, 0.1])], candidate=version(2, (1, 0)))
    assert found.candidate_loss.round(4).tolist() == [0.01]
    three, two = version(1, ("a", "b", "c"), Task.MULTICLASS), version(2, ("a", "c"), Task.MULTICLASS)
    answer: dict[str, Any] = {"outcome": '"c"', "prediction": '"c"', "shadow_prediction": '"c"'}
    found = of([row(scores=[0.0, 0.0, 1.0], shadow_scores=[0.2, 0.8], **answer)], three, two)
    assert found.champion_loss.tolist() == [0.0]
    assert found.candidate_loss.round(4).tolist() == [0.04]


def test_a_regression_is_measured_on_the_champions_scale() -> None:
    numbers: dict[str, Any] = {
        "prediction": "10.0",
        "scores": None,
        "shadow_prediction": "13.0",
        "shadow_scores": None,
        "outcome": "11",
    }
    found = of(
        [row(**numbers)],
        version(1, None, Task.REGRESSION, loss_scale=4.0),
        version(2, None, Task.REGRESSION, loss_scale=100.0),
    )
    assert (found.champion_loss.tolist(), found.candidate_loss.tolist()) == ([0.25], [0.5])


@pytest.mark.parametrize(
    "changes",
    [
        {"outcome": None, "known_time": None},  # not known, or retracted
        {"shadow_status": "error", **NOTHING},
        {"shadow_status": "dropped", **NOTHING},
        {"shadow_version": 7},  # somebody else's shadow
        ALONE,
    ],
)
def test_what_is_not_a_pair_has_no_loss(changes: dict[str, Any]) -> None:
    found = of([row(**changes)])
    assert (len(found.candidate_loss), len(found.champion_loss), len(found.day), found.stage_pairs) == (0, 0, 0, 0)


def test_a_fallback_is_the_candidates_failure_and_the_champions_answer() -> None:
    fallback = row(0, status="fallback", failed_version=2)  # the shadow then asks the candidate again
    found = of([fallback, row(1)])
    assert (found.candidate_bad, found.champion_bad) == (1, 0)
    assert (found.stage_requests, found.candidate_keys, found.champion_keys) == (1, 1, 1)
    assert found.champion_loss.round(4).tolist() == [0.04, 0.04]


def test_a_skipped_row_is_assigned_but_no_attempt() -> None:
    """Behind one death there may be a thousand of them, and each bad event must be news."""
    skipped = [row(i, status="skipped", failed_version=2, **ALONE) for i in range(1000)]
    died = row(1000, status="fallback", failed_version=2, **ALONE)
    found = of([*skipped, died, row(1001)])
    assert (found.candidate_bad, found.candidate_asked) == (1, 2)
    assert (found.champion_bad, found.champion_asked) == (0, 1)
    assert found.candidate_keys == 1001  # the sample ratio is that of the assignment
    assert found.stage_requests == 1  # and what was not put to the candidate lets no stage pass
    assert found.stage_pairs == 1


def test_neither_the_champion_before_nor_a_fallback_makes_a_pair() -> None:
    before = row(0, served_version=7, role="standby", status="fallback", failed_version=1)
    configured = row(1, served_version=0, role="fallback", status="fallback", failed_version=1)
    found = of([before, configured])
    assert (found.champion_bad, found.champion_asked, found.stage_pairs) == (2, 2, 0)
    assert len(found.candidate_loss) == 0


def test_failures_are_blamed_on_who_failed() -> None:
    rows = [
        row(0, shadow_status="timeout", **NOTHING),
        row(1, status="error", failed_version=1, prediction=None, scores=None, **ALONE),
        row(2, served_version=2, shadow_version=1, shadow_status="error", **NOTHING),
        row(3, shadow_status="dropped", **NOTHING),  # was never asked
    ]
    found = of(rows)
    assert (found.candidate_bad, found.candidate_asked) == (1, 2)
    assert (found.champion_bad, found.champion_asked) == (2, 4)


def test_one_request_of_many_rows_fails_once() -> None:
    died = [row(i, latency_ms=12.5, status="fallback", failed_version=2, **ALONE) for i in range(50)]
    well = [row(50 + i, latency_ms=3.25, shadow_latency_ms=4.5) for i in range(30)]
    found = of([*died, *well])
    assert (found.candidate_bad, found.candidate_asked, found.champion_asked) == (1, 2, 1)
    assert found.stage_requests == 50
    unmeasured = [{**r, "latency_ms": 0.0} for r in died]
    assert of(unmeasured).candidate_bad == 50


def test_the_stage_has_its_own_counts_and_the_rollout_its_own_order() -> None:
    late = row(0, known_time=START + timedelta(days=3), outcome="0")
    rows = [late, *(row(60 * 24 * d) for d in (1, 2))]
    found = of(rows, stage_routes=8)
    assert found.stage_pairs == 2
    assert found.champion_keys == 2
    assert found.champion_loss.round(4).tolist() == [0.04, 0.04, 0.64]  # in the order in which they became known
    assert (found.day - found.day.min()).tolist() == [1, 2, 0]


def test_no_rows_are_no_evidence() -> None:
    found = of([])
    assert (len(found.candidate_loss), found.candidate_asked, found.candidate_keys) == (0, 0, 0)


def test_a_large_rollout_is_read_fast(tmp_path: Path) -> None:
    lake = log_of([row(i) for i in range(1000)]).write(tmp_path)
    n = 100_000
    pairs = pa.concat_tables([lake.pairs("m", ROLLOUT)] * (n // 1000))
    traffic = lake.traffic("m", ROLLOUT, version=2, since=7)
    began = time.perf_counter()
    found = Evidence.of(pairs, traffic, champion=version(1), candidate=version(2), stage_routes=7)
    assert len(found.candidate_loss) == n
    assert time.perf_counter() - began < 5.0  # 0.1 s on an idle machine


def test_outcomes_of_any_json_kind_are_read() -> None:
    values = [True, 1, 1.0]
    found = of([row(i, outcome=msgspec.json.encode(v).decode()) for i, v in enumerate(values)])
    assert found.champion_loss.round(4).tolist() == [0.04, 0.04, 0.04]
