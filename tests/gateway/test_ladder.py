"""Who answers when the version that should can't, how that is marked, and that it is never taken for its own answer."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from afterfit.errors import StoreError
from afterfit.gateway import breaker as breaker_module
from afterfit.gateway.fallback import Fallback, LastAnswers, read_prior
from afterfit.gateway.workers import Worker
from afterfit.records import ModelVersion, Role, Routes, Status, Task, Value
from tests.gateway.kit import HANG, KILL, NAN, RAISE, Scripted, routes, save, target
from tests.gateway.test_app import Room, in_room, key_of

LONG = 0.125


class Sleepy(Scripted):
    """Takes ten minutes for some rows."""

    def predict_proba(self, X: pd.DataFrame) -> Any:
        if LONG in set(X["a"]):
            time.sleep(600)
        return super().predict_proba(X)


def with_settings(snapshot: Routes, **settings: Any) -> Routes:
    return replace(snapshot, models={n: replace(m, **settings) for n, m in snapshot.models.items()})


def two(folder: Path, **settings: Any) -> Routes:
    """Version 2 is champion, version 1 the champion before; they answer the other way round."""
    before, now = save(folder, Scripted(), number=1), save(folder, Scripted(), number=2)
    return with_settings(routes(1, target(now), target(before, Role.STANDBY, 0.0)), **settings)


def canary(folder: Path, timeout: float = 1.0) -> Routes:
    champion, other = save(folder, Scripted(), number=1), save(folder, Sleepy(), number=2)
    return routes(1, target(champion, weight=0.5), target(other, Role.CANARY, 0.5), timeout=timeout)


def worker_of(room: Room, version: int) -> Worker:
    worker = room.service.lane("m").workers[version]
    assert isinstance(worker, Worker)
    return worker


def test_the_champion_before_answers_while_a_killed_champion_is_away(tmp_path: Path) -> None:
    async def act(room: Room) -> None:
        champion = worker_of(room, 2)
        os.kill(champion.pid or 0, signal.SIGKILL)
        while not champion.problem:
            await asyncio.sleep(0.005)
        answer = await room.ask({"a": 0.25})
        (told,) = answer.json()["predictions"]
        assert (told["version"], told["role"], told["scores"]) == (1, "standby", [0.75, 0.25])
        assert told["degraded"] == answer.headers["x-afterfit-degraded"]
        assert "version 2 is not being asked" in told["degraded"]
        (row,) = room.journal.rows
        assert (row.version, row.role, row.status, row.failed_version) == (1, Role.STANDBY, Status.SKIPPED, 2)
        assert room.service.degraded == {"m/standby": 1}
        while champion.problem:
            await asyncio.sleep(0.01)
        again = (await room.ask({"a": 0.25})).json()["predictions"][0]
        assert (again["version"], again["role"]) == (2, "champion")
        assert "degraded" not in again

    in_room(tmp_path, two(tmp_path), act)


def test_rows_that_kill_the_champion_are_kept_apart_and_others_are_answered(tmp_path: Path) -> None:
    async def act(room: Room) -> None:
        rows = [0.1, 0.2, KILL, 0.3, 0.4]
        replies = await asyncio.gather(*(room.ask({"a": a}) for a in rows))
        assert [r.status_code for r in replies] == [200, 200, 503, 200, 200]
        assert worker_of(room, 2).deaths == 1

    in_room(tmp_path, two(tmp_path), act)


def test_a_row_that_the_model_refuses_falls_to_the_bottom(tmp_path: Path) -> None:
    """The champion, the champion before, and then what is configured; without that a 503."""

    async def act(room: Room) -> None:
        reply = await room.ask({"a": RAISE}, key="k")
        (told,) = reply.json()["predictions"]
        assert (reply.status_code, told["version"], told["role"], told["prediction"]) == (200, 0, "fallback", 1)
        assert told["scores"] is None
        assert "configured fallback" in told["degraded"]
        (row,) = room.journal.rows
        assert (row.version, row.role, row.status, row.failed_version) == (0, Role.FALLBACK, Status.FALLBACK, 2)
        assert "out of luck; then version 1:" in (row.failure or "")
        assert room.service.degraded == {"m/fallback": 1}

    async def without(room: Room) -> None:
        assert (await room.ask({"a": RAISE})).status_code == 503
        assert [(r.status, r.failed_version) for r in room.journal.rows] == [(Status.ERROR, 2)]
        assert room.service.degraded == {"m/nobody": 1}

    snapshot = two(tmp_path, fallback=1)
    in_room(tmp_path, snapshot, act)
    in_room(tmp_path, with_settings(snapshot, fallback="none"), without)


def test_the_last_answer_of_a_key(tmp_path: Path) -> None:
    async def act(room: Room) -> None:
        await room.ask({"a": 0.25}, key="known")
        known = (await room.ask({"a": NAN}, key="known")).json()["predictions"][0]
        assert (known["role"], known["prediction"], known["scores"]) == ("fallback", 0, [0.75, 0.25])
        assert (await room.ask({"a": NAN}, key="unknown")).status_code == 503
        assert (await room.ask({"a": 0.75}, {"a": NAN}, key=["other", "known"])).status_code == 503

    in_room(tmp_path, with_settings(routes(1, target(save(tmp_path, Scripted()))), fallback="last"), act)


def test_what_was_answered_last_outlives_new_routes_and_is_bounded(tmp_path: Path) -> None:
    async def act(room: Room) -> None:
        await room.ask({"a": 0.25}, key="known")
        fleet = room.service.fleet
        lane = fleet.lanes["m"]
        assert await fleet.apply(Routes(2, first.made_at, {"m": lane.routes}))
        assert (await room.ask({"a": NAN}, key="known")).status_code == 200

    first = with_settings(routes(1, target(save(tmp_path, Scripted()))), fallback="last")
    in_room(tmp_path, first, act)
    kept = LastAnswers(most=100)
    for i in range(1000):
        kept.remember([str(i), "always"], ([i, i], None))
    assert len(kept._answers) == 100
    assert kept.recall(["always"]) == ([999], None)


def test_callers_do_not_wait_again_and_again_for_a_candidate_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker_module, "FIRST_PAUSE", 0.3)
    monkeypatch.setattr(breaker_module, "LONGEST_PAUSE", 0.3)

    async def act(room: Room) -> None:
        key = key_of(room.service, 2)
        candidate = worker_of(room, 2)
        first = await asyncio.gather(*(room.ask({"a": LONG}, key=key) for _ in range(breaker_module.FEW)))
        assert [r.json()["predictions"][0]["version"] for r in first] == [1] * breaker_module.FEW
        assert candidate.breaker.open
        room.journal.rows.clear()
        told = (await room.ask({"a": 0.25}, key=key)).json()["predictions"][0]
        assert (told["version"], told["scores"]) == (1, [0.75, 0.25])
        (row,) = room.journal.rows
        assert (row.status, row.failed_version) == (Status.SKIPPED, 2)
        assert "breaker open: " in (row.failure or "")
        while candidate.breaker.open:  # a copy of some row proves that it answers again; no caller waits for it
            reply = (await room.ask({"a": 0.5}, key=key)).json()["predictions"][0]
            assert reply["version"] in (1, 2)
            await asyncio.sleep(0.02)
        assert (await room.ask({"a": 0.5}, key=key)).json()["predictions"][0]["version"] == 2
        assert [s.status for s in room.journal.shadow_rows if s.version == 2 and s.status is Status.OK]

    in_room(tmp_path, canary(tmp_path, timeout=0.3), act)


def test_refused_rows_are_evidence_and_open_no_breaker(tmp_path: Path) -> None:
    """One bad client must not take the champion, nor the candidate, from everybody else."""

    async def act(room: Room) -> None:
        for version in (1, 2):
            for _ in range(3 * breaker_module.FEW):
                await room.ask({"a": RAISE}, key=key_of(room.service, version))
            assert not worker_of(room, version).breaker.open
        failed = [r.failed_version for r in room.journal.rows]
        assert (failed.count(1), failed.count(2)) == (15, 15)
        assert {r.status for r in room.journal.rows} == {Status.ERROR}

    in_room(tmp_path, canary(tmp_path), act)


def test_nobody_waits_beyond_the_deadline(tmp_path: Path) -> None:
    """A champion that hangs for ten minutes, and nothing below it but the fallback."""

    async def act(room: Room) -> None:
        async with asyncio.timeout(15.0):
            reply = await room.ask({"a": HANG})
        assert (reply.status_code, reply.json()["predictions"][0]["role"]) == (200, "fallback")

    champion = routes(1, target(save(tmp_path, Scripted())), timeout=0.3)
    in_room(tmp_path, with_settings(champion, deadline=1.5, fallback=0), act)


@pytest.mark.parametrize(
    ("wanted", "classes", "said"),
    [
        (2, (0, 1), "wanted one of [0, 1]"),
        (True, (0, 1), "wanted one of [0, 1]"),
        ("no", ("yes", "nope"), "wanted one of ['yes', 'nope']"),
        ("high", None, "the model answers numbers"),
        ("prior", (0, 1), "prior.json is missing"),
    ],
)
def test_a_fallback_that_can_not_be_is_told(
    tmp_path: Path, wanted: Value, classes: tuple[Value, ...] | None, said: str
) -> None:
    task = Task.BINARY if classes else Task.REGRESSION
    version = save(tmp_path, Scripted(), classes=classes, task=task)
    found = Fallback(wanted, version, LastAnswers())
    assert said in found.problem
    assert found.answer(["k"]) is None

    async def act(room: Room) -> None:
        assert said in room.service.fleet.problems()["m/fallback"]

    if wanted == 2:
        in_room(tmp_path, with_settings(routes(1, target(version)), fallback=wanted), act)


@pytest.mark.parametrize(
    ("wanted", "classes", "answer"),
    [
        (1, (0, 1), ([1, 1], None)),
        (True, (False, True), ([True, True], None)),
        ("yes", ("yes", "no"), ([["yes", "yes"], None])),
        (3, None, ([3.0, 3.0], None)),
        ("prior", (0, 1), ([1, 1], [[0.4, 0.6], [0.4, 0.6]])),
        ("none", (0, 1), None),
    ],
)
def test_fallbacks(tmp_path: Path, wanted: Value, classes: tuple[Value, ...] | None, answer: Any) -> None:
    version = save(tmp_path, Scripted(), classes=classes)
    (Path(version.folder) / "prior.json").write_text('{"prediction": 1, "scores": [0.4, 0.6]}', encoding="utf-8")
    found = Fallback(wanted, version, LastAnswers())
    assert not found.problem
    assert found.answer(["a", "b"]) == (None if answer is None else tuple(answer))


def test_a_registered_version_carries_its_prior(tmp_path: Path) -> None:
    from tests.world import World

    world = World(tmp_path)
    try:
        version: ModelVersion = world.register()
        prediction, scores = read_prior(version.folder)
        assert scores is not None
        assert abs(sum(scores) - 1.0) < 1e-12
        assert prediction == (version.classes or ())[scores.index(max(scores))]
        (Path(version.folder) / "prior.json").write_text(json.dumps([1]), encoding="utf-8")
        with pytest.raises(StoreError, match="can't be read"):
            read_prior(version.folder)
    finally:
        world.close()
