"""MLflow's scoring dialect: its four shapes reach the model as rows do, and answers come back in its shape."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import httpx
import mlflow

from afterfit.records import Status
from tests.gateway.kit import RAISE, A, B, Scripted, Worded, both, routes, save, target
from tests.gateway.test_app import Room, in_room
from tests.world import World, frame

ROWS = [{"a": 0.25, "b": 1}, {"a": 0.75, "b": 2}]
TABLES: list[dict[str, Any]] = [
    {"dataframe_split": {"columns": ["b", "a"], "data": [[1, 0.25], [2, 0.75]]}},
    {"dataframe_split": {"columns": ["a", "b"], "index": [7, 8], "data": [[0.25, 1], [0.75, 2]]}},
    {"dataframe_records": ROWS},
    {"dataframe_records": ROWS, "params": None},
    {"inputs": {"a": [0.25, 0.75], "b": [1, 2]}},
    {"inputs": ROWS},
    {"inputs": [[0.25, 1], [0.75, 2]]},
    {"instances": ROWS},
    {"instances": [[0.25, 1], [0.75, 2]]},
]


def test_each_shape_of_a_table_gives_the_same_answers(tmp_path: Path) -> None:
    version = save(tmp_path, Worded(), features=(A, B), classes=("no", "yes"))

    async def act(room: Room) -> None:
        for table in TABLES:
            for path in ("/invocations", "/v1/models/m/invocations"):
                reply = await room.client.post(path, json=table)
                assert (reply.status_code, reply.json()) == (200, {"predictions": ["no", "yes"]}), table
                given = reply.headers["x-afterfit-id"]
                logged = [(row.id, row.features) for row in room.journal.rows[-2:]]
                assert logged == [(f"{given}/0", ROWS[0]), (f"{given}/1", ROWS[1])]
        assert len(room.journal.rows) == 2 * 2 * len(TABLES)

    in_room(tmp_path, routes(1, target(version)), act)


WRONG: list[tuple[Any, str]] = [
    (b"[1]", "JSON object"),
    (b'{"inputs": [[NaN, 1]]}', "wanted a finite number"),
    ({}, "exactly one of"),
    ({"inputs": [], "instances": []}, "exactly one of"),
    ({"dataframe_record": ROWS}, "Did you mean 'dataframe_records'"),
    ({"dataframe_records": ROWS, "params": {"x": 1}}, "no model here takes any"),
    ({"dataframe_records": {"a": [1]}}, "wanted a list of rows"),
    ({"dataframe_records": []}, "at least one row"),
    ({"dataframe_records": [[1, 2]]}, "row 0: wanted an object"),
    ({"dataframe_records": [{"a": 0.5}]}, "feature 'b' is missing"),
    ({"dataframe_records": [{"a": "x", "b": 1}]}, "wanted number, found text"),
    ({"dataframe_split": ROWS}, "columns"),
    ({"dataframe_split": {"data": [[1]]}}, "columns"),
    ({"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}}, "stands twice"),
    ({"dataframe_split": {"columns": ["a", "b"], "data": [[1]]}}, "wanted a list of 2 values"),
    ({"dataframe_split": {"columns": ["a", "b"], "data": [7]}}, "wanted a list of 2 values"),
    ({"dataframe_split": {"columns": ["a"], "data": [], "idx": []}}, "index"),
    ({"inputs": {"a": [1], "b": [1, 2]}}, "all of one length"),
    ({"inputs": {"a": 1, "b": 1}}, "all of one length"),
    ({"inputs": {}}, "all of one length"),
    ({"inputs": 5}, "wanted a list of rows"),
    ({"inputs": [[1, 2, 3]]}, "wanted a list of 2 values"),
]


def test_what_does_not_fit_is_told_as_mlflow_tells_it_and_not_logged(tmp_path: Path) -> None:
    async def act(room: Room) -> None:
        for body, said in WRONG:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            reply = await room.client.post("/invocations", content=content)
            told = reply.json()
            assert (reply.status_code, told["error_code"]) == (400, "BAD_REQUEST"), body
            assert said in told["message"], told
        assert room.journal.rows == []
        assert (await room.client.get("/invocations")).json()["error_code"] == "BAD_REQUEST"
        missing = await room.client.post("/v1/models/mm/invocations", json=TABLES[0])
        assert (missing.status_code, missing.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")

    in_room(tmp_path, routes(1, target(save(tmp_path, Scripted(), features=(A, B)))), act)


def test_invocations_without_a_name_needs_exactly_one_model(tmp_path: Path) -> None:
    first, second = save(tmp_path, Scripted(), name="m"), save(tmp_path, Scripted(), name="n")
    snapshot = both(routes(1, target(first)), routes(1, target(second), name="n"))

    async def act(room: Room) -> None:
        reply = await room.client.post("/invocations", json={"inputs": [[0.25]]})
        assert (reply.status_code, "2 models are routed: m, n" in reply.json()["message"]) == (400, True)
        assert (await room.client.post("/v1/models/n/invocations", json={"inputs": [[0.25]]})).status_code == 200
        assert [row.model for row in room.journal.rows] == ["n"]

    in_room(tmp_path, snapshot, act)


def test_nobody_answered_is_a_503(tmp_path: Path) -> None:
    async def act(room: Room) -> None:
        reply = await room.client.post("/invocations", json={"inputs": [[RAISE]]})
        assert (reply.status_code, reply.json()["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
        assert [row.status for row in room.journal.rows] == [Status.ERROR]

    in_room(tmp_path, routes(1, target(save(tmp_path, Scripted()))), act)


def test_health_and_version_are_those_of_mlflow(tmp_path: Path) -> None:
    async def act(room: Room) -> None:
        for path in ("/ping", "/health"):
            reply = await room.client.get(path)
            assert (reply.status_code, reply.text) == (200, "\n")
        assert (await room.client.get("/version")).text == mlflow.__version__
        await room.service.fleet.stop()
        assert (await room.client.get("/ping")).status_code == 503

    in_room(tmp_path, routes(1, target(save(tmp_path, Scripted()))), act)


def test_the_client_of_mlflow_itself_is_served(world: World) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow warns about its own type hints while it is imported
        from mlflow.pyfunc.scoring_server.client import ScoringServerClient

    world.live()
    world.start()
    address = httpx.URL(world.url)
    client: Any = ScoringServerClient(address.host, address.port)  # type: ignore[no-untyped-call]
    client.ping()
    X, _ = frame(50)
    rows: Any = X.to_dict("records")
    answers = client.invoke(X).get_predictions()
    assert answers[0].tolist() == [p["prediction"] for p in world.predict(rows).json()["predictions"]]
    assert client.get_version() == mlflow.__version__
    world.stop()
    assert len(world.logged()) == 100
