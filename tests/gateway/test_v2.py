"""Open Inference Protocol: what goes in reaches the model as through /v1, and what comes out is what the protocol says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from afterfit.records import Feature, Role, Routes, Status
from tests.gateway.kit import RAISE, A, B, Scripted, Worded, routes, save, target
from tests.gateway.test_app import Room, in_room, key_of

INFER = "/v2/models/m/infer"
NULLABLE = replace(B, nullable=True)
WORDS = Feature("w", "text", "object")


def column(name: str, *data: Any, datatype: str = "FP64", shape: list[int] | None = None) -> dict[str, Any]:
    return {"name": name, "shape": shape or [len(data)], "datatype": datatype, "data": list(data)}


def one(folder: Path, *features: Feature) -> Routes:
    return routes(1, target(save(folder, Scripted(), features=features or (A, B))))


async def infer(room: Room, *inputs: dict[str, Any], **more: Any) -> httpx.Response:
    return await room.client.post(INFER, json={"inputs": inputs, **more})


def test_columns_and_one_tensor_flat_or_nested_give_the_same_answers(tmp_path: Path) -> None:
    async def act(room: Room) -> None:
        asked: list[list[dict[str, Any]]] = [
            [column("a", 0.25, 0.75), column("b", 1, 2)],
            [column("b", 1, 2, datatype="INT8"), column("a", 0.25, 0.75, shape=[2, 1])],
            [column("b", [1], [2], shape=[2, 1]), column("a", [0.25], [0.75], shape=[2, 1])],
            [column("x", 0.25, 1, 0.75, 2, shape=[2, 2])],
            [column("x", [0.25, 1], [0.75, 2], shape=[2, 2])],
        ]
        for inputs in asked:
            reply = await infer(room, *inputs)
            assert reply.status_code == 200, reply.text
            outputs = {o["name"]: o for o in reply.json()["outputs"]}
            assert outputs["predict"] == {"name": "predict", "datatype": "INT64", "shape": [2], "data": [0, 1]}
            assert outputs["predict_proba"]["shape"] == [2, 2]
            assert outputs["predict_proba"]["data"] == [0.75, 0.25, 0.25, 0.75]
        v1 = await room.ask({"a": 0.25, "b": 1}, {"a": 0.75, "b": 2})
        assert v1.status_code == 200
        told = {
            (i // 2 and json.dumps(dict(r.features), sort_keys=True)) for i, r in enumerate(room.journal.rows) if i > 1
        }
        assert told == {'{"a": 0.25, "b": 1}', '{"a": 0.75, "b": 2}'}

    in_room(tmp_path, one(tmp_path), act)


def test_id_key_and_time_reach_the_log_and_the_id_comes_back(tmp_path: Path) -> None:
    async def act(room: Room) -> None:
        parameters = {"key": "someone", "time": "2026-01-05T10:00:00Z", "content_type": "pd"}
        reply = await infer(room, column("a", 0.25), column("b", 1), id="mine", parameters=parameters)
        assert (reply.json()["id"], reply.json()["model_name"], reply.json()["model_version"]) == ("mine", "m", "1")
        row = room.journal.rows[0]
        assert (row.id, row.key, row.time.isoformat()) == ("mine", "someone", "2026-01-05T10:00:00+00:00")
        again = await infer(room, column("a", 0.25), column("b", 1), id="mine")
        assert again.status_code == 409
        await infer(room, column("a", 0.25, 0.5), column("b", 1, 1), id="pair")
        assert [r.id for r in room.journal.rows[1:]] == ["pair/0", "pair/1"]
        unnamed = await infer(room, column("a", 0.25), column("b", 1))
        assert unnamed.json()["id"] == room.journal.rows[-1].id

    in_room(tmp_path, one(tmp_path), act)


def test_outputs_are_those_asked_for(tmp_path: Path) -> None:
    async def act(room: Room) -> None:
        for wanted in (["predict"], ["predict_proba"], ["predict_proba", "predict"]):
            reply = await infer(room, column("a", 0.25), column("b", 1), outputs=[{"name": n} for n in wanted])
            assert [o["name"] for o in reply.json()["outputs"]] == wanted

    in_room(tmp_path, one(tmp_path), act)


def test_null_is_a_null_where_training_saw_one(tmp_path: Path) -> None:
    async def act(room: Room) -> None:
        assert (await infer(room, column("a", 0.25), column("b", None))).status_code == 200
        assert room.journal.rows[0].features == {"a": 0.25, "b": None}
        reply = await infer(room, column("a", None), column("b", 1))
        assert reply.status_code == 400
        assert "feature 'a' is null" in reply.json()["error"]

    in_room(tmp_path, one(tmp_path, A, NULLABLE), act)


WRONG: list[tuple[str, Any, str]] = [
    ("no JSON", b'{"inputs": [', "not valid JSON"),
    (
        "NaN in a list",
        b'{"inputs": [{"name": "a", "shape": [1], "datatype": "FP64", "data": [NaN]}]}',
        "wanted a finite number",
    ),
    ("no inputs", {}, "inputs"),
    ("empty inputs", {"inputs": []}, "at least one row"),
    ("unknown key", {"inputs": [], "ouputs": []}, "ouputs"),
    ("missing feature", {"inputs": [column("a", 0.5)]}, "feature 'b' is missing"),
    ("unknown feature", {"inputs": [column("a", 0.5), column("b", 1), column("c", 1)]}, "unknown feature 'c'"),
    ("unknown datatype", {"inputs": [column("a", 0.5, datatype="FP65")]}, "Did you mean"),
    ("fraction in INT64", {"inputs": [column("a", 0.5, datatype="INT64")]}, "element 0 is no INT64"),
    ("too large for UINT8", {"inputs": [column("a", 256, datatype="UINT8")]}, "element 0 is no UINT8"),
    ("text in FP64", {"inputs": [column("a", "x")]}, "element 0 is no FP64"),
    (
        "text for a number",
        {"inputs": [column("a", "x", datatype="BYTES"), column("b", 1)]},
        "wanted number, found text",
    ),
    ("too few elements", {"inputs": [column("a", 0.5, shape=[2])]}, "makes 2 elements, found 1"),
    ("three dimensions", {"inputs": [column("a", 0.5, shape=[1, 1, 1])]}, "wanted [n] or [n, 1]"),
    ("too wide", {"inputs": [column("x", 1, 2, 3, shape=[1, 3])]}, "wanted [n, 2]"),
    ("ragged", {"inputs": [column("x", [1, 2], [3], shape=[2, 2])]}, "2 lists of 2 elements"),
    ("lengths differ", {"inputs": [column("a", 0.5), column("b", 1, 2)]}, "same number of rows"),
    ("twice", {"inputs": [column("a", 0.5), column("a", 0.5)]}, "stands twice"),
    ("a negative shape", {"inputs": [column("a", 0.5, shape=[-1])]}, "shape"),
    ("a huge shape", {"inputs": [column("a", 0.5, shape=[2**62])]}, "elements, found 1"),
    (
        "unknown output",
        {"inputs": [column("a", 0.5), column("b", 1)], "outputs": [{"name": "predictt"}]},
        "Did you mean 'predict'",
    ),
    ("unknown parameter", {"inputs": [], "parameters": {"kye": "x"}}, "Did you mean 'key'"),
    ("binary", {"inputs": [{**column("a"), "parameters": {"binary_data_size": 8}}]}, "binary_data_size"),
    ("a number as id", {"inputs": [], "id": 7}, "id"),
]


def test_what_does_not_fit_is_told_in_one_text_and_not_logged(tmp_path: Path) -> None:
    async def act(room: Room) -> None:
        for name, body, said in WRONG:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            reply = await room.client.post(INFER, content=content)
            assert reply.status_code == 400, name
            assert list(reply.json()) == ["error"]
            assert said in reply.json()["error"], (name, reply.json()["error"])
        assert room.journal.rows == []

    in_room(tmp_path, one(tmp_path), act)


def test_a_caller_may_name_the_champion_only(tmp_path: Path) -> None:
    champion, candidate = save(tmp_path, Scripted(), number=1), save(tmp_path, Scripted(), number=2)
    snapshot = routes(1, target(champion, weight=0.5), target(candidate, Role.CANARY, 0.5))

    async def act(room: Room) -> None:
        body = {"inputs": [column("a", 0.25)]}
        for version, status in (("1", 200), ("2", 404), ("7", 404), ("x", 404)):
            reply = await room.client.post(f"/v2/models/m/versions/{version}/infer", json=body)
            assert reply.status_code == status
            assert (await room.client.get(f"/v2/models/m/versions/{version}")).status_code == status
            assert (await room.client.get(f"/v2/models/m/versions/{version}/ready")).status_code == status
        assert "the rollout does" in reply.json()["error"]
        keyed = {**body, "parameters": {"key": key_of(room.service, 2)}}
        reply = await room.client.post("/v2/models/m/versions/1/infer", json=keyed)  # as everybody with that key
        assert (reply.json()["model_version"], reply.headers["x-afterfit-role"]) == ("2", "canary")

    in_room(tmp_path, snapshot, act)


def test_metadata_says_what_infer_takes(tmp_path: Path) -> None:
    snapshot = routes(1, target(save(tmp_path, Worded(), features=(A, WORDS), classes=("no", "yes"))))

    async def act(room: Room) -> None:
        told = (await room.client.get("/v2/models/m")).json()
        assert [(i["name"], i["datatype"], i["shape"]) for i in told["inputs"]] == [
            ("a", "FP64", [-1]),
            ("w", "BYTES", [-1]),
        ]
        assert [(o["name"], o["datatype"], o["shape"]) for o in told["outputs"]] == [
            ("predict", "BYTES", [-1]),
            ("predict_proba", "FP64", [-1, 2]),
        ]
        assert (told["versions"], told["parameters"]["single_tensor"]) == (["1"], False)
        assert (await room.client.get("/v2")).json()["name"] == "afterfit"
        assert (await room.client.get("/v2/")).status_code == 200
        assert (await room.client.get("/v2/health/live")).json() == {"live": True}
        assert (await room.client.get("/v2/health/ready")).json()["ready"] is True
        assert (await room.client.get("/v2/models/m/ready")).json() == {"name": "m", "ready": True}
        reply = await infer(room, column("a", 0.25), column("w", "x", datatype="BYTES"))
        assert reply.json()["outputs"][0] == {"name": "predict", "datatype": "BYTES", "shape": [1], "data": ["no"]}

    in_room(tmp_path, snapshot, act)


NOWHERE = ["/v2/models", "/v2/models/", "/v2/models/m/versions", "/v2/models/m/versions/", "/v2/models//infer", "/v2/x"]


def test_paths_that_are_not_there_are_told_in_the_dialect(tmp_path: Path) -> None:
    async def act(room: Room) -> None:
        for path in NOWHERE:
            reply = await room.client.get(path)
            assert (reply.status_code, list(reply.json())) == (404, ["error"]), path
            assert isinstance(reply.json()["error"], str)
        assert (await room.client.post("/v2/models/mm/infer", json={"inputs": []})).status_code == 404
        wrong = await room.client.get(INFER)
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
        assert isinstance((await room.client.post("/v2", json={})).json()["error"], str)

    in_room(tmp_path, one(tmp_path), act)


def test_nobody_answered_is_a_503_that_is_logged(tmp_path: Path) -> None:
    async def act(room: Room) -> None:
        reply = await infer(room, column("a", RAISE), column("b", 1), id="x")
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
        assert "could not answer" in reply.json()["error"]
        assert [row.status for row in room.journal.rows] == [Status.ERROR]

    in_room(tmp_path, one(tmp_path), act)


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ASKED: dict[str, Any] = {
    INFER: {"inputs": [column("a", 0.5), column("b", 1)]},
    "/v1/models/m/predict": {"rows": [{"a": 0.5, "b": 1}]},
    "/v1/models/m/invocations": {"dataframe_records": [{"a": 0.5, "b": 1}]},
    "/invocations": {"inputs": [[0.5, 1]]},
    "/healthz": None,
    "/none": None,
}


def test_ids_of_request_and_trace_come_back_in_every_dialect(tmp_path: Path) -> None:
    async def act(room: Room) -> None:
        for path, body in ASKED.items():
            method = "POST" if body else "GET"
            mine = {"x-request-id": "mine", "traceparent": TRACE}
            reply = await room.client.request(method, path, json=body, headers=mine)
            assert (reply.headers["x-request-id"], reply.headers["traceparent"]) == ("mine", TRACE)
            bad = [{"x-request-id": given, "traceparent": given} for given in ("x" * 201, "\x01")]
            ours = [(await room.client.request(method, path, json=body, headers=h)).headers for h in bad]
            assert [len(headers["x-request-id"]) for headers in ours] == [36, 36]
            assert ours[0]["x-request-id"] != ours[1]["x-request-id"]
            assert not any("traceparent" in headers for headers in ours)
            if body:
                told = [reply.headers[f"x-afterfit-{name}"] for name in ("version", "role", "lane")]
                assert (reply.status_code, told) == (200, ["1", "champion", "python"])

    in_room(tmp_path, one(tmp_path), act)


def test_several_versions_stand_in_the_headers_in_one_order(tmp_path: Path) -> None:
    champion, candidate = save(tmp_path, Scripted(), number=1), save(tmp_path, Scripted(), number=2)
    snapshot = routes(1, target(champion, weight=0.5), target(candidate, Role.CANARY, 0.5))

    async def act(room: Room) -> None:
        keys = [key_of(room.service, 2), key_of(room.service, 1)]
        reply = await room.client.post(INFER, json={"inputs": [column("a", 0.25, 0.5)], "parameters": {"key": keys}})
        told = [reply.headers[f"x-afterfit-{name}"] for name in ("version", "role", "lane")]
        assert (told, reply.json()["model_version"]) == (["1,2", "champion,canary", "python,python"], "1,2")

    in_room(tmp_path, snapshot, act)
