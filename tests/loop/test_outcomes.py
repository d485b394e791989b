"""What outcomes say in the live loop: estimates before they come, their audit after, and a relation that changes."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from afterfit.adapters.journal import SqliteJournal
from afterfit.loop import Loop
from afterfit.loop.estimates import audit_of, harm
from afterfit.loop.status import status
from afterfit.loop.view import losses_of
from afterfit.records import ModelVersion, Outcome, Prediction, Role
from tests.world import START, World, frame

A_DAY = 240
LATE = timedelta(hours=30)  # outcomes come that long after their predictions


class Days:
    """Whole days of answers and outcomes, written as a gateway would write them."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder, {"outcome_delay": "30h"})
        self.version: ModelVersion = self.world.live(LogisticRegression())
        X, y = frame(400)
        self.model = LogisticRegression().fit(X, y)
        self.days = 0

    def live(self, days: int, *, changed: bool = False) -> None:
        """`changed`: what `b` says of the outcome is turned round."""
        for _ in range(days):
            asyncio.run(self._write(changed))
            self.days += 1
            self.world.tick(24)

    async def _write(self, changed: bool) -> None:
        rng, model, start = np.random.default_rng(self.days), "m", START + timedelta(days=self.days)
        X, _ = frame(A_DAY, 1000 + self.days)
        scores, luck = self.model.predict_proba(X), 0.2 * rng.normal()
        b = 4.0 - X["b"] if changed else X["b"]
        y = (rng.random(A_DAY) < expit(2 * X["a"] + 0.5 * b - 1 + luck)).astype(int)
        times = [start + timedelta(days=i / A_DAY) for i in range(A_DAY)]
        ids = [f"{self.days}-{i}" for i in range(A_DAY)]
        journal = SqliteJournal(self.world.config.home / "journal" / f"{self.days}.db")
        await journal.predictions(
            [
                Prediction(
                    id=id, model=model, version=1, role=Role.CHAMPION, time=at, logged_at=at, key=None,
                    features={"a": float(a), "b": int(b)}, prediction=int(p[1] > 0.5), scores=(p[0], p[1]),
                )
                for id, at, a, b, p in zip(ids, times, X["a"], X["b"], scores, strict=True)
            ]
        )  # fmt: skip
        await journal.outcomes(
            [
                Outcome(
                    model=model,
                    value=int(v),
                    event_time=at + LATE,
                    known_time=at + LATE,
                    prediction_id=id,
                    source="test",
                )
                for id, at, v in zip(ids, times, y, strict=True)
            ]
        )
        journal.close()


def test_the_whole_story(tmp_path: Path) -> None:
    days = Days(tmp_path)
    world, store = days.world, days.world.home.store
    try:
        days.live(20)
        losses = losses_of(store, "m")
        assert [one.estimated for one in losses[:5]] == [None] * 5
        newest, mature = losses[-1], [one for one in losses if one.loss is not None and one.estimated is not None]
        assert (newest.loss, newest.n) == (None, 0)  # estimated before an outcome is known
        assert newest.estimated is not None
        assert newest.low is not None
        assert newest.high is not None
        assert newest.low < newest.estimated < newest.high
        assert len(mature) >= 8
        healthy = audit_of(store, days.version)
        assert (healthy.windows, healthy.downgraded) == (len(mature), False)
        said = status(world.loop, world.now)["models"]["m"]
        assert said["estimates"].startswith("trusted: ")
        assert f"of {len(mature)} windows" in said["estimates"]
        assert "estimated loss" in said["performance"]
        assert store.incidents("m") == []
        awful = {"estimated_loss": 9.0, "estimated_low": 8.0, "estimated_high": 10.0}
        assert "estimated loss 9.0" in harm(days.version, awful, store, 0.1)

        days.live(12, changed=True)
        concept = [i for i in store.incidents("m") if i.kind == "concept"]
        assert len(concept) == 1
        assert "concept" in concept[0].checks or "calibration" in concept[0].checks
        assert [i.kind for i in store.incidents("m") if i.kind in ("drift", "quality")] == []
        assert audit_of(store, days.version).downgraded
        assert status(world.loop, world.now)["models"]["m"]["estimates"].startswith("downgraded")
        assert harm(days.version, awful, store, 0.1) == ""  # what was wrong before is no evidence
        assert any(m.startswith("why: ") for m in concept[0].messages)
        found = world.loop.cause("m", world.now)
        assert (found.largest, found.drop.low > 0.0) == ("concept", True)
        assert "mainly by concept (100%)" in str(found)

        known = world.loop.senses.outcomes._champions["m"]
        world.loop = Loop(world.home)  # a new process
        days.live(1, changed=True)
        again = world.loop.senses.outcomes._champions["m"]
        assert again.meaning.days == known.meaning.days + 1
        before = {name: numbers[: len(known.meaning.history[name])] for name, numbers in again.meaning.history.items()}
        assert before == {name: pytest.approx(numbers) for name, numbers in known.meaning.history.items()}
    finally:
        world.close()
