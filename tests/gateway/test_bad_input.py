"""Whatever a client sends, it gets a clear 4xx and nothing of the request is logged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.world import World


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("bad-input"))
    made.live()
    made.start()
    yield made
    made.stop()
    made.close()


GOOD = {"a": 0.5, "b": 1}
BAD_ROWS: list[tuple[str, list[Any], list[str]]] = [
    ("wrong type", [{"a": "x", "b": 1}], ["row 0", "'a'", "wanted number", "found text"]),
    ("boolean for number", [{"a": True, "b": 1}], ["row 0", "'a'", "wanted number", "found boolean"]),
    ("fraction for integer", [GOOD, {"a": 0.1, "b": 1.5}], ["row 1", "'b'", "wanted integer", "found number"]),
    ("missing", [{"a": 0.5}], ["row 0", "'b'", "missing", "wanted integer"]),
    ("extra", [{**GOOD, "bb": 2}], ["row 0", "unknown feature 'bb'", "Did you mean 'b'"]),
    ("null", [{"a": None, "b": 1}], ["row 0", "'a'", "null", "wanted number"]),
    ("no object", [5], ["row 0", "wanted an object", "found integer"]),
]


@pytest.mark.parametrize(("rows", "said"), [(r, s) for _, r, s in BAD_ROWS], ids=[n for n, _, _ in BAD_ROWS])
def test_a_row_that_does_not_fit_is_named(world: World, rows: list[Any], said: list[str]) -> None:
    before = len(world.logged())
    reply = world.predict(rows)
    assert reply.status_code == 400
    problem = reply.json()["error"]["problems"][0]
    assert all(part in problem for part in said), problem
    assert len(world.logged()) == before


BODIES: list[tuple[str, bytes, str]] = [
    ("broken JSON", b'{"rows": [', "not valid JSON"),
    ("NaN", b'{"rows": [{"a": NaN, "b": 1}]}', "not valid JSON"),
    ("infinity", b'{"rows": [{"a": 1e999, "b": 1}]}', ""),
    ("a list", b"[1]", "JSON object"),
    ("no rows", b"{}", '"rows"'),
    ("empty rows", b'{"rows": []}', "at least one row"),
    ("unknown key", b'{"rows": [{"a": 1, "b": 1}], "kye": "x"}', "Did you mean 'key'"),
    ("a bad time", b'{"rows": [{"a": 1, "b": 1}], "time": "soon"}', '"time"'),
    ("keys for other rows", b'{"rows": [{"a": 1, "b": 1}], "key": ["x", "y"]}', "2 entries for 1 rows"),
    ("the same id twice", b'{"rows": [{"a": 1, "b": 1}, {"a": 1, "b": 1}], "id": ["x", "x"]}', "twice"),
]


@pytest.mark.parametrize(("body", "said"), [(b, s) for _, b, s in BODIES], ids=[n for n, _, _ in BODIES])
def test_a_body_that_does_not_fit_is_a_clear_400(world: World, body: bytes, said: str) -> None:
    before = len(world.logged())
    reply = httpx.post(f"{world.url}/v1/models/m/predict", content=body)
    assert reply.status_code == 400, reply.text
    assert said in reply.json()["error"]["message"]
    assert len(world.logged()) == before


def test_ten_megabytes_are_refused_with_the_limit(world: World) -> None:
    reply = httpx.post(f"{world.url}/v1/models/m/predict", content=b" " * 10_000_000, timeout=30.0)
    assert reply.status_code == 413
    assert "8 MiB" in reply.json()["error"]["message"]


def test_an_unknown_model_lists_the_known_ones(world: World) -> None:
    reply = httpx.post(f"{world.url}/v1/models/mm/predict", json={"rows": [GOOD]})
    assert reply.status_code == 404
    assert "'m'" in reply.json()["error"]["message"]


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/models/m/predict", 405), ("GET", "/v3", 404)])
def test_a_wrong_path_or_method_says_what_there_is(world: World, method: str, path: str, status: int) -> None:
    reply = httpx.request(method, world.url + path)
    assert reply.status_code == status
    assert "/v1/models" in reply.json()["error"]["message"]


def test_an_id_is_acknowledged_once(world: World) -> None:
    assert world.predict(id="once").status_code == 200
    again = world.predict([GOOD, GOOD], id=["fresh", "once"])
    assert again.status_code == 409
    assert "'once'" in again.json()["error"]["message"]
    assert "fresh" not in set(world.logged()["prediction_id"])


def test_a_good_request_is_answered_and_logged(world: World) -> None:
    reply = world.predict([GOOD, {"a": -1, "b": 2.0}], id="pair", key="someone", time="2026-01-05T10:00:00Z")
    assert reply.status_code == 200
    assert reply.headers["x-afterfit-version"] == "1"
    answers = reply.json()["predictions"]
    assert [a["id"] for a in answers] == ["pair/0", "pair/1"]
    assert all(a["role"] == "champion" and abs(sum(a["scores"]) - 1) < 1e-9 for a in answers)
    logged = world.logged().set_index("prediction_id").loc[["pair/0", "pair/1"]]
    assert list(logged["key"]) == ["someone", "someone"]
    assert str(logged["time"].iloc[0]) == "2026-01-05 10:00:00+00:00"


def test_outcomes_are_judged_one_by_one(world: World) -> None:
    world.predict(id="judged")
    items: list[dict[str, Any]] = [
        {"prediction_id": "judged", "value": 1, "known_time": "2026-01-05T12:00:00Z"},
        {"prediction_id": "judged", "value": 1, "known_time": "2026-01-05T12:00:00Z"},
        {"prediction_id": "judged", "value": 7},
        {"value": 1},
        {"prediction_id": "judged", "value": 1, "kind": "rumour"},
        {"prediction_id": "from the future", "value": 0},
    ]
    results = world.outcomes(items).json()["results"]
    statuses = [r["status"] for r in results]
    assert statuses == ["stored", "duplicate", "rejected", "rejected", "rejected", "waiting"]
    assert "wanted one of [0, 1]" in results[2]["error"]
    assert "prediction_id" in results[3]["error"]
    assert "'correction'" in results[4]["error"]


def test_an_outcome_that_came_first_is_attached_when_its_prediction_arrives(world: World) -> None:
    assert world.outcomes([{"prediction_id": "late", "value": 1}]).json()["results"][0]["status"] == "waiting"
    world.home.lake.drain(world.config.home / "journal")
    assert world.home.lake.counts("m")["waiting"] >= 1
    assert world.predict(id="late").status_code == 200
    logged = world.logged().set_index("prediction_id")
    assert logged.loc["late", "outcome"] == "1"


def test_health_and_model_pages(world: World) -> None:
    assert httpx.get(f"{world.url}/healthz").json() == {"status": "alive"}
    assert httpx.get(f"{world.url}/readyz").status_code == 200
    page = httpx.get(f"{world.url}/v1/models/m").json()
    assert page["versions"][0]["role"] == "champion"
    assert {f["name"]: f["kind"] for f in page["features"]} == {"a": "number", "b": "integer"}
