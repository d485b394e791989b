"""The description of the gateway: valid, the same for the same routes, and its rows are those of the signature."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema_rs

from tests.gateway.kit import A, B, Scripted, routes, save, target
from tests.gateway.test_app import Room, in_room


def test_rows_are_described_by_the_signature(tmp_path: Path) -> None:
    whole = replace(B, kind="integer", dtype="Int16", nullable=True)

    async def act(room: Room) -> None:
        told = (await room.client.get("/openapi.json")).json()
        assert told == (await room.client.get("/openapi.json")).json()
        schema = told["components"]["schemas"]["m.row"]
        validator = jsonschema_rs.validator_for(schema)
        rows = [{"a": 0.5, "b": 1}, {"a": 1, "b": None}, {"a": None, "b": 1}, {"a": 0.5}, {"a": 0.5, "b": 1.5}]
        for row in [*rows, {"a": "x", "b": 1}, {"a": 0.5, "b": 40_000}, {"a": 0.5, "b": 1, "c": 1}]:
            reply = await room.ask(row)
            assert validator.is_valid(row) == (reply.status_code == 200), row
        assert len(json.dumps(told)) < 22_000

    in_room(tmp_path, routes(1, target(save(tmp_path, Scripted(), features=(A, whole)))), act)


def test_every_path_that_is_described_is_there(tmp_path: Path) -> None:
    async def act(room: Room) -> None:
        paths = (await room.client.get("/openapi.json")).json()["paths"]
        for path, methods in paths.items():
            assert (await room.client.request("DELETE", path)).status_code == 405
            for method in methods:
                assert (await room.client.request(method, path)).status_code in (200, 400)

    in_room(tmp_path, routes(1, target(save(tmp_path, Scripted()))), act)
