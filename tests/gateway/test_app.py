"""The whole request path in one process, with real workers: what callers get, and what is in the log afterwards."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from opentelemetry.trace import Tracer
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from afterfit.gateway import shadows
from afterfit.gateway.app import App
from afterfit.gateway.fleet import Fleet
from afterfit.gateway.service import Service
from afterfit.gateway.tracing import TracedApp, TracedService
from afterfit.records import Role, Routes, Status, Task
from afterfit.tracking.golden import as_rows
from tests.gateway.kit import (
    HANG,
    KILL,
    NOW,
    RAISE,
    SLOW,
    A,
    B,
    MemoryJournal,
    Scripted,
    routes,
    save,
    target,
    trained,
)


@dataclass
class Room:
    """A gateway without a socket."""

    client: httpx.AsyncClient
    service: Service
    journal: MemoryJournal

    async def ask(self, *rows: Any, model: str = "m", **more: Any) -> httpx.Response:
        return await self.client.post(f"/v1/models/{model}/predict", json={"rows": rows, **more})

    async def shadowed(self, n: int) -> None:
        for _ in range(1000):
            if len(self.journal.shadow_rows) >= n:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"{len(self.journal.shadow_rows)} shadow rows after 10 s, wanted {n}")


def in_room(
    folder: Path, snapshot: Routes, act: Callable[[Room], Awaitable[None]], tracer: Tracer | None = None
) -> None:
    async def run() -> None:
        fleet, journal = Fleet(folder / "logs"), MemoryJournal()
        if tracer is None:
            service = Service(fleet, journal, clock=lambda: NOW, request_clock=False)
            app = App(service)
        else:
            service = TracedService(fleet, journal, tracer=tracer, clock=lambda: NOW, request_clock=False)
            app = TracedApp(service, None, tracer)
        try:
            assert await fleet.apply(snapshot), fleet.problems()
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway", timeout=60.0) as client:
                await act(Room(client, service, journal))
        finally:
            await service.shadows.finish(0.0)
            await fleet.stop()

    asyncio.run(run())


def key_of(service: Service, version: int) -> str:
    """A key that the routes give to a version."""
    return next(k for k in map(str, range(1000)) if service.lane("m").assign(k)[0] == version)


def test_each_version_gets_its_own_features_in_its_own_order(tmp_path: Path) -> None:
    """A column in the wrong place would be wrong answers without an error."""
    champion = save(tmp_path, Scripted("a"), number=1, features=(A, B))
    turned = save(tmp_path, Scripted("a"), number=2, features=(B, A))
    snapshot = routes(1, target(champion, weight=0.5), target(turned, Role.CANARY, 0.5))

    async def act(room: Room) -> None:
        for version in (1, 2):
            reply = await room.ask({"a": 0.25, "b": 0.75}, {"b": 0.75, "a": 0.25}, key=key_of(room.service, version))
            assert [p["scores"] for p in reply.json()["predictions"]] == [[0.75, 0.25]] * 2
            assert reply.headers["x-afterfit-version"] == str(version)
        await room.shadowed(4)
        assert {(s.version, s.scores) for s in room.journal.shadow_rows} == {(1, (0.75, 0.25)), (2, (0.75, 0.25))}

    in_room(tmp_path, snapshot, act)


def test_a_candidate_that_wants_more_than_the_champion(tmp_path: Path) -> None:
    champion = save(tmp_path, Scripted(), number=1)
    curious = save(tmp_path, Scripted("b"), number=2, features=(A, B))
    snapshot = routes(1, target(champion, weight=0.5), target(curious, Role.CANARY, 0.5))

    async def act(room: Room) -> None:
        key = key_of(room.service, 2)
        with_b = (await room.ask({"a": 0.25, "b": 0.5}, key=key)).json()["predictions"][0]
        assert (with_b["version"], with_b["scores"]) == (2, [0.5, 0.5])
        without = (await room.ask({"a": 0.25}, key=key)).json()["predictions"][0]
        assert (without["version"], without["scores"], without["role"]) == (1, [0.75, 0.25], "champion")
        assert "feature 'b' is missing" in (room.journal.rows[-1].failure or "")
        assert (await room.ask({"a": 0.25, "c": 0.5})).status_code == 400
        await room.ask({"a": 0.25}, key=key_of(room.service, 1))
        await room.shadowed(2)
        assert Counter((s.version, s.status) for s in room.journal.shadow_rows) == {
            (1, Status.OK): 1,
            (2, Status.ERROR): 1,
        }

    in_room(tmp_path, snapshot, act)


@pytest.mark.parametrize("fault", [RAISE, KILL, HANG])
def test_the_champion_answers_and_the_failed_row_is_not_shadowed_again(tmp_path: Path, fault: int) -> None:
    class Deaf(Scripted):
        def predict_proba(self, X: pd.DataFrame) -> Any:
            return super().predict_proba(X.clip(upper=1.0))

    champion, candidate = save(tmp_path, Deaf(), number=1), save(tmp_path, Scripted(), number=2)
    snapshot = routes(1, target(champion, weight=0.5), target(candidate, Role.CANARY, 0.5), timeout=0.5)

    async def act(room: Room) -> None:
        reply = await room.ask({"a": fault}, key=key_of(room.service, 2))
        assert reply.json()["predictions"][0]["version"] == 1
        row = room.journal.rows[0]
        assert (row.status, row.version, row.failed_version, row.propensity) == (Status.FALLBACK, 1, 2, 0.5)
        assert row.failure
        await asyncio.sleep(0.2)
        assert room.journal.shadow_rows == []

    in_room(tmp_path, snapshot, act)


def test_a_request_that_nobody_could_answer_may_be_sent_again(tmp_path: Path) -> None:
    version = save(tmp_path, Scripted())

    async def act(room: Room) -> None:
        reply = await room.ask({"a": RAISE}, {"a": 0.5}, id="x")
        assert reply.status_code == 503
        assert "version 1 of m could not answer" in reply.json()["error"]["message"]
        assert [row.status for row in room.journal.rows] == [Status.ERROR] * 2
        assert not {row.id for row in room.journal.rows} & {"x/0", "x/1"}
        assert room.service.served["m"] == 0
        assert (await room.ask({"a": 0.25}, {"a": 0.5}, id="x")).status_code == 200
        assert (await room.ask({"a": KILL})).status_code == 503  # these rows kill every process: tried three times
        assert room.journal.rows[-1].status is Status.ERROR
        assert (await room.ask({"a": 0.5})).status_code == 200

    in_room(tmp_path, routes(1, target(version)), act)


def test_only_the_rows_without_an_answer_are_logged_as_errors(tmp_path: Path) -> None:
    champion, candidate = save(tmp_path, Scripted(), number=1), save(tmp_path, Scripted(), number=2)
    snapshot = routes(1, target(champion, weight=0.5), target(candidate, Role.CANARY, 0.5))

    async def act(room: Room) -> None:
        keys = [key_of(room.service, 1), key_of(room.service, 2)]
        assert (await room.ask({"a": RAISE}, {"a": 0.5}, key=keys)).status_code == 503
        assert [(r.version, r.status, r.key) for r in room.journal.rows] == [(1, Status.ERROR, keys[0])]

    in_room(tmp_path, snapshot, act)


def test_a_large_request_goes_in_pieces_that_each_have_the_timeout(tmp_path: Path) -> None:
    champion, candidate = save(tmp_path, Scripted(), number=1), save(tmp_path, Scripted(), number=2)
    snapshot = routes(1, target(champion, weight=0.5), target(candidate, Role.CANARY, 0.5), timeout=0.8)

    async def act(room: Room) -> None:
        rows = [{"a": SLOW if i % 2000 == 0 else i / 20_000} for i in range(10_000)]  # 0.3 s for each 2000 rows
        reply = await room.ask(*rows, key=key_of(room.service, 2))
        answers = reply.json()["predictions"]
        assert {p["version"] for p in answers} == {2}
        assert [p["scores"][1] for p in answers[1:2000]] == [i / 20_000 for i in range(1, 2000)]
        assert answers[9999]["scores"][1] == 9999 / 20_000

    in_room(tmp_path, snapshot, act)


def test_a_full_disk_costs_no_caller_an_answer_and_the_loss_is_counted(tmp_path: Path) -> None:
    async def act(room: Room) -> None:
        room.journal.full = True
        reply = await room.ask({"a": 0.25}, id="x")
        assert reply.status_code == 200
        assert reply.json()["predictions"][0]["scores"] == [0.75, 0.25]
        assert "is not in it" in reply.json()["predictions"][0]["degraded"]
        assert "is not in it" in reply.headers["x-afterfit-degraded"]
        assert room.service.unlogged == {"m": 1}
        assert [row.id for row in room.journal.lost_rows] == ["x"]
        assert "disk is full" in room.service.log_problem
        assert not room.service.served
        room.journal.full = False
        again = await room.ask({"a": 0.25}, id="x")
        assert "degraded" not in again.json()["predictions"][0]
        assert "x-afterfit-degraded" not in again.headers
        assert room.service.served == {"m": 1}

    in_room(tmp_path, routes(1, target(save(tmp_path, Scripted()))), act)


def test_requests_that_took_as_long_are_told_apart_by_their_latencies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evidence counts requests by them, and among a million there are not as many ticks of the clock as requests."""

    async def act(room: Room) -> None:
        with monkeypatch.context() as patch:
            patch.setattr("afterfit.gateway.service.time.perf_counter", lambda: 1.0)
            for _ in range(20):
                await room.ask({"a": 0.25}, {"a": 0.5})
        latencies = Counter(row.latency_ms for row in room.journal.rows)
        assert list(latencies.values()) == [2] * 20  # those of one request are the same
        assert all(0.0 < latency <= 1e-6 for latency in latencies)  # at most a tick

    in_room(tmp_path, routes(1, target(save(tmp_path, Scripted()))), act)


@pytest.mark.parametrize(
    ("bound", "dropped", "kept"),
    [
        ({"MOST_WAITING": 10}, 12, {"r3", "r4"}),
        ({"MOST_COPIES": 2, "THINNED": 1}, 12, {"r3", "r4"}),
        ({"MOST_COPIES": 1, "THINNED": 4}, 16, {"r4"}),  # r2 and r3 are not let in, for r1 replaced all that waited
    ],
)
def test_shadows_are_bounded_by_rows_and_requests_and_dropped_oldest_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: dict[str, int], dropped: int, kept: set[str]
) -> None:
    for name, most in bound.items():
        monkeypatch.setattr(shadows, name, most)
    champion, shadow = save(tmp_path, Scripted(), number=1), save(tmp_path, Scripted(), number=2)
    snapshot = routes(1, target(champion), target(shadow, Role.SHADOW, 0.0))

    async def act(room: Room) -> None:
        assert (await room.ask({"a": SLOW}, id="first")).status_code == 200
        for i in range(5):
            await room.ask(*[{"a": i / 10}] * 4, id=f"r{i}")
        assert room.service.shadows.dropped == {"queue full": dropped}
        await room.shadowed(1 + 20 - dropped)
        assert {s.prediction_id.split("/")[0] for s in room.journal.shadow_rows} == {"first", *kept}
        assert all(s.version == 2 and s.rollout == "r" for s in room.journal.shadow_rows)

    in_room(tmp_path, snapshot, act)


def test_shadows_of_a_version_that_left_are_counted_and_not_logged(tmp_path: Path) -> None:
    champion, shadow = save(tmp_path, Scripted(), number=1), save(tmp_path, Scripted(), number=2)

    async def act(room: Room) -> None:
        await room.ask({"a": SLOW})
        for _ in range(20):
            await room.ask({"a": 0.5})
        await room.service.fleet.apply(routes(2, target(champion)))
        for _ in range(300):
            if sum(room.service.shadows.dropped.values()) + len(room.journal.shadow_rows) == 21:
                break
            await asyncio.sleep(0.01)
        assert room.service.shadows.dropped["version gone"] > 0
        assert all(s.status is Status.OK for s in room.journal.shadow_rows)

    in_room(tmp_path, routes(1, target(champion), target(shadow, Role.SHADOW, 0.0)), act)


def test_paths_methods_and_bodies_that_do_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(room: Room) -> None:
        wrong = await room.client.get("/v1/models/path/predict")  # a model may be called `path`
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
        assert (await room.client.get("/v3")).status_code == 404

        async def endless() -> AsyncIterator[bytes]:
            for _ in range(10_000):
                yield b" " * 65_536

        large = await room.client.post("/v1/models/m/predict", content=endless())
        assert large.status_code == 413
        assert "8 MiB" in large.json()["error"]["message"]
        wrong_items: list[Any] = [[{}] * 10_001, [], {}, "x"]
        for items in wrong_items:
            refused = await room.client.post("/v1/models/m/outcomes", json={"outcomes": items})
            assert refused.status_code == 400
        assert (await room.client.post("/v1/models/m/outcomes", json={"outcome": []})).status_code == 400

        async def defect(*_: Any) -> None:
            raise RuntimeError("secret")

        monkeypatch.setattr(room.service, "predict", defect)
        reply = await room.ask({"a": 0.5})
        assert reply.status_code == 503
        assert "secret" not in reply.text

    in_room(tmp_path, routes(1, target(save(tmp_path, Scripted()))), act)


def _mutated(dice: random.Random) -> bytes:
    """A valid body with one thing changed: a value somewhere, or a byte."""
    strange: list[Any] = [
        None,
        True,
        "",
        "x",
        -1,
        2**63,
        2**64,
        10**400,
        1e300,
        0.5,
        [],
        {},
        [[]],
        {"a": {}},
        "\0",
        "é",
        "1",
    ]
    body: dict[str, Any] = {"rows": [{"a": 0.5, "b": 1}, {"a": 0.1, "b": 2}], "id": str(dice.random()), "time": 0}
    where = dice.choice(["rows", "id", "key", "time", "a", "b", "row", "c", "byte"])
    if where in ("rows", "id", "key", "time"):
        body[where] = dice.choice(strange)
    elif where == "row":
        body["rows"][1] = dice.choice(strange)
    elif where != "byte":
        body["rows"][dice.randrange(2)][where] = dice.choice(strange)
    text = bytearray(json.dumps(body, ensure_ascii=dice.random() < 0.5).encode())
    if where == "byte":
        text[dice.randrange(len(text))] = dice.randrange(256)
    return bytes(text)


def test_no_body_breaks_the_gateway_or_is_logged_by_half(tmp_path: Path) -> None:
    whole = replace(B, kind="integer", dtype="int64")
    version = save(tmp_path, Scripted(), features=(A, whole))

    async def act(room: Room) -> None:
        dice = random.Random(7)
        seen: Counter[int] = Counter()
        for _ in range(1500):
            before = len(room.journal.rows)
            reply = await room.client.post("/v1/models/m/predict", content=_mutated(dice))
            seen[reply.status_code] += 1
            logged = len(room.journal.rows) - before
            if reply.status_code == 200:
                assert logged == len(reply.json()["predictions"])
            else:
                assert (logged, bool(reply.json()["error"]["message"])) == (0, True)
        assert set(seen) <= {200, 400, 409}
        assert min(seen[200], seen[400]) > 100
        assert room.service.lane("m").workers[1].deaths == 0

    in_room(tmp_path, routes(1, target(version)), act)


def frame(n: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "number": np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)),
            "whole": rng.integers(0, 9, n),
            "flag": rng.random(n) < 0.5,
            "kind": pd.Categorical(rng.choice(["x", "y", "z"], n)),
            "text": rng.choice(["red", "green", "blue"], n),
        }
    )


def _encoded(estimator: Any) -> Any:
    return make_pipeline(
        make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["text", "kind"]), remainder="passthrough"
        ),
        estimator,
    )


@pytest.mark.parametrize("task", list(Task))
def test_served_answers_are_the_models_answers(tmp_path: Path, task: Task) -> None:
    X = frame()
    y: Any = X["number"].fillna(0.0) + X["whole"] + (X["text"] == "red")
    if task is Task.BINARY:
        y = (y > 4).map({True: "late", False: "on time"})
    if task is Task.MULTICLASS:
        y = pd.cut(y, [-99, 3, 6, 99], labels=False)
    estimator = HistGradientBoostingRegressor if task is Task.REGRESSION else HistGradientBoostingClassifier
    model = _encoded(estimator(max_iter=20)).fit(X, y)
    version = trained(tmp_path, model, X, y, task=task)
    rows = as_rows(X)

    async def act(room: Room) -> None:
        answers = (await room.ask(*rows)).json()["predictions"]
        assert [p["prediction"] for p in answers] == model.predict(X).tolist()
        if task is Task.REGRESSION:
            assert {p["scores"] for p in answers} == {None}
        else:
            assert np.array([p["scores"] for p in answers]) == pytest.approx(model.predict_proba(X))
        unseen = await room.ask({**rows[0], "kind": "never seen", "text": "never seen"})
        assert unseen.status_code == 200
        assert (await room.ask({**rows[0], "whole": None})).status_code == 400
        assert (await room.ask({**rows[0], "number": None})).status_code == 200

    in_room(tmp_path, routes(1, target(version)), act)


def test_labels_follow_from_scores_only_where_the_estimator_says_so() -> None:
    """For every estimator on the short list, predict() is the argmax; checked on rows near the border."""
    from lightgbm import LGBMClassifier
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.dummy import DummyClassifier
    from sklearn.ensemble import (
        BaggingClassifier,
        ExtraTreesClassifier,
        GradientBoostingClassifier,
        RandomForestClassifier,
        StackingClassifier,
        VotingClassifier,
    )
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.tree import DecisionTreeClassifier
    from xgboost import XGBClassifier, XGBRFClassifier

    from afterfit.adapters.model_folder import _ARGMAX, predicts_by_argmax

    rng = np.random.default_rng(1)
    X = pd.DataFrame(rng.normal(size=(400, 3)), columns=["a", "b", "c"])
    y = (X.sum(axis=1) + rng.normal(size=400)).round().clip(-1, 1) + 1
    listed: list[Any] = [
        HistGradientBoostingClassifier(max_iter=10),
        GradientBoostingClassifier(n_estimators=10),
        RandomForestClassifier(20),
        ExtraTreesClassifier(20),
        DecisionTreeClassifier(max_depth=3),
        DummyClassifier(),
        LogisticRegression(),
        LogisticRegressionCV(Cs=2, cv=2, use_legacy_attributes=False, l1_ratios=(0,), scoring="neg_log_loss"),
        MLPClassifier((4,), max_iter=2000, random_state=0),
        GaussianNB(),
        CalibratedClassifierCV(LogisticRegression()),
        LGBMClassifier(n_estimators=10, n_jobs=1, verbose=-1),
        XGBClassifier(n_estimators=10, n_jobs=1),
        XGBRFClassifier(n_estimators=10, n_jobs=1),
        LinearDiscriminantAnalysis(),
        BaggingClassifier(LogisticRegression(), 5),
        VotingClassifier([("a", LogisticRegression()), ("b", GaussianNB())], voting="soft"),
    ]
    assert {type(m).__name__ for m in listed} == _ARGMAX
    for model in [*listed, StackingClassifier([("a", GaussianNB())], LogisticRegression(), cv=2)]:
        model.fit(X, y)
        assert predicts_by_argmax(model)
        assert predicts_by_argmax(make_pipeline(model))
        assert (model.classes_[model.predict_proba(X).argmax(axis=1)] == model.predict(X)).all()
    assert not predicts_by_argmax(Scripted())
    assert not predicts_by_argmax(DummyClassifier(strategy="stratified"))
    assert not predicts_by_argmax(VotingClassifier([("a", GaussianNB())]))
    assert not predicts_by_argmax(StackingClassifier([("a", GaussianNB())], KNeighborsClassifier(), cv=2).fit(X, y))
