"""Durability, redaction and completeness with a real gateway process: what is written, and what verdicts make of it."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sklearn.linear_model import LogisticRegression

from afterfit.adapters.journal import SqliteJournal
from afterfit.config import parse
from afterfit.lifecycle import Happening
from afterfit.monitoring.completeness import LEAST, incomplete, is_evidence, share
from afterfit.records import Outlook
from afterfit.supervisor import gateway_command
from tests.adapters.log_rows import prediction
from tests.world import START, World, frame


def start(world: World, durability: str) -> None:
    """A gateway with a durability of its own."""
    command = [sys.executable, "-m", "afterfit.gateway.server", "--home", str(world.config.home), "--port", "0"]
    world.gateway = subprocess.Popen([*command, "--durability", durability])
    world.settled()


def test_the_settings_reach_the_gateway() -> None:
    command = gateway_command(parse({"durability": "fsync"}))
    assert command[command.index("--durability") + 1] == "fsync"


def test_every_durability_logs_what_was_answered(world: World) -> None:
    world.live(LogisticRegression())
    for durability in ("commit", "fsync", "async"):
        start(world, durability)
        for n in range(30):
            assert world.predict(id=f"{durability}-{n}").status_code == 200
        assert world.outcomes([{"prediction_id": f"{durability}-0", "value": 1}]).json()["results"][0]["status"] in (
            "stored",
            "waiting",  # async: its prediction may still be on its way
        )
        world.stop()
    found = world.logged()
    assert sorted(found["prediction_id"]) == sorted(f"{d}-{n}" for d in ("commit", "fsync", "async") for n in range(30))
    assert found["outcome"].notna().sum() == 3


@pytest.mark.parametrize("durability", ["commit", "fsync"])
def test_what_was_acknowledged_survives_a_kill(world: World, durability: str) -> None:
    world.live(LogisticRegression())
    acknowledged = []
    for life in range(2):
        start(world, durability)
        for n in range(40):
            acknowledged += [p["id"] for p in world.predict(id=f"{life}-{n}").json()["predictions"]]
        assert world.gateway is not None
        world.gateway.kill()
        world.gateway.wait()
    world.gateway = None
    assert sorted(world.logged()["prediction_id"]) == sorted(acknowledged)


REDACT: dict[str, Any] = {"redact": {"a": "drop", "b": "hash"}}


@pytest.fixture
def redacting(tmp_path: Path) -> Any:
    made = World(tmp_path, REDACT)
    yield made
    made.close()


def test_the_model_gets_the_values_and_the_log_does_not(redacting: World) -> None:
    world = redacting
    world.live(LogisticRegression())
    model, (X, _) = LogisticRegression().fit(*frame(400)), frame(20, seed=5)
    world.start()
    rows: list[dict[str, Any]] = [{"a": float(a), "b": int(b)} for a, b in zip(X["a"], X["b"], strict=True)]
    for start_at in (0, 10):
        some = rows[start_at : start_at + 10]
        answers = world.predict(rows=some).json()["predictions"]
        wanted = model.predict_proba(X[start_at : start_at + 10])
        assert [a["scores"] for a in answers] == [pytest.approx(list(w), abs=1e-9) for w in wanted]
    world.stop()
    found = [json.loads(f) for f in world.logged()["features"]]
    assert [set(f) for f in found] == [{"b"}] * 20
    assert all(len(f["b"]) == 16 for f in found)
    assert len({f["b"] for f in found}) == X["b"].nunique()


def test_redacted_rows_can_not_be_scored_again_and_the_gate_says_so(redacting: World) -> None:
    world = redacting
    world.live(LogisticRegression())
    world.register(LogisticRegression(), seed=3)
    world.say(Happening.DEPLOYED, version=2)
    for _ in range(3):
        world.tick()
    failed = world.loop.book("m").last("gate_failed")
    assert failed is not None
    assert "no logged row can be scored again, since a, b are redacted" in failed.data["why"]


# --- completeness ------------------------------------------------------------------------------------------------


def test_the_share_and_what_is_evidence() -> None:
    assert incomplete(990, 10) is None
    found = incomplete(989, 11)
    assert found is not None
    assert "11 of 1,000 answered rows (1.1%)" in found.message
    assert is_evidence({"completeness": LEAST})
    assert not is_evidence({"completeness": share(989, 11)})
    assert is_evidence({})  # windows of an earlier release


def record(world: World, hours: float, n: int, lost: int) -> None:
    """Rows of an hour and on, each with its outcome, and so many that the disk did not take."""
    X, _ = frame(n + lost, seed=int(hours))
    model = LogisticRegression().fit(*frame(400))
    scores = model.predict_proba(X).tolist()
    rows = [
        prediction(
            f"{hours}-{i}", model="m", time=START + timedelta(hours=hours, seconds=10 * i), features=row, scores=tuple(s),
            prediction=int(s[1] > 0.5), logged_at=START + timedelta(hours=hours),
        )
        for i, (row, s) in enumerate(zip(X.to_dict("records"), scores, strict=True))
    ]  # fmt: skip
    journal = SqliteJournal(world.config.home / "journal" / "g.db")
    journal.lost(rows[n:])
    journal.predictions_now(rows[:n])
    journal.close()


def test_a_window_with_an_incomplete_log_is_a_finding_and_no_evidence(world: World) -> None:
    world.live(LogisticRegression())
    record(world, 1, 300, 0)
    record(world, 25, 250, 50)
    record(world, 49, 0, 20)
    record(world, 73, 300, 2)
    world.tick(hours=24 * 5)
    windows = world.home.store.windows("m", "drift")[:4]
    assert [round(n["completeness"], 3) for _, _, n in windows] == [1.0, 0.833, 0.0, 0.993]
    for _, findings, _ in windows[1:3]:
        (only,) = findings
        assert (only.check, only.column, only.drifted) == ("completeness", "log", True)
    for _, findings, _ in (windows[0], windows[3]):
        assert "completeness" not in {f.check for f in findings}
    (incident,) = [i for i in world.home.store.incidents("m") if "completeness" in i.checks]
    assert incident.kind == "quality"
    assert "the log is incomplete: 50 of 300" in incident.title


def test_a_rollout_whose_log_is_incomplete_has_no_valid_verdict() -> None:
    import numpy as np

    from afterfit.config import RolloutConfig
    from afterfit.lifecycle import Phase, State
    from afterfit.rollout.evidence import Evidence
    from afterfit.rollout.judge import judge

    def verdict(lost: int) -> Any:
        n = 2000
        evidence = Evidence(
            np.full(n, 0.1), np.full(n, 0.1), np.zeros(n, dtype=np.int64), n, n, stage_pairs=n, stage_requests=n,
            candidate_keys=n // 2, champion_keys=n // 2, rows=n, lost=lost,
        )  # fmt: skip
        state = State(phase=Phase.CANARY, champion=1, candidate=2, weight=0.5, stage=1)
        return judge(state, evidence, RolloutConfig(), stage_age=0.0)

    assert verdict(0)[0].outlook is Outlook.PASS
    assert verdict(20)[0].outlook is Outlook.PASS
    bad, happening, _ = verdict(25)
    assert (bad.outlook, happening) == (Outlook.INVALID, None)
    assert "25 of 2,025 answered rows could not be logged" in bad.reasons[0]
