"""The page of metrics: Prometheus reads it, it counts what happened and nothing else, and callers make no labels."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from afterfit.adapters.journal import SqliteJournal
from afterfit.adapters.routes_board import NO_ROUTES, FileRoutesBoard
from afterfit.errors import DuplicateError, InputError, StoreError, UnknownNameError, WorkerError
from afterfit.gateway.metrics import CONTENT_TYPE, of_controller, of_journal, rendered
from afterfit.gateway.signature import SignatureError
from afterfit.gateway.tally import BOUNDS, Tally
from afterfit.records import Family, Role, Sample
from tests.gateway.kit import NOW, RAISE, SLOW, Scripted, routes, save, target
from tests.gateway.test_app import Room, in_room, key_of

AFTERFIT = "afterfit_"


@dataclass(frozen=True)
class Page:
    """The samples of one page."""

    samples: Mapping[tuple[str, frozenset[tuple[str, str]]], float]

    @staticmethod
    def of(text: str) -> Page:
        found = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        named = {(s.name.removeprefix(AFTERFIT), frozenset(s.labels.items())): s.value for s in found}
        assert len(named) == len(found), "a series stands twice"
        return Page(named)

    def sum(self, name: str, **labels: str) -> float:
        """Of the series that have these labels among theirs."""
        return sum(value for (n, has), value in self.samples.items() if n == name and has >= labels.items())


async def page(room: Room) -> Page:
    reply = await room.client.get("/metrics")
    assert (reply.status_code, reply.headers["content-type"]) == (200, CONTENT_TYPE[1].decode())
    return Page.of(reply.text)


def test_requests_rows_and_errors_are_counted_as_they_were_answered(tmp_path: Path) -> None:
    async def act(room: Room) -> None:
        for _ in range(3):
            await room.ask({"a": 0.25}, {"a": 0.75})
        await room.ask({"a": 0.25}, id="once")
        assert (await room.ask({"a": 0.25}, id="once")).status_code == 409
        await room.ask({"a": "text"})
        await room.client.post("/v1/models/m/predict", content=b"{")
        await room.client.get("/v1/models/m/predict")
        assert (await room.ask({"a": RAISE})).status_code == 503
        told = {"outcomes": [{"prediction_id": "once", "value": 1}, {"value": 1}]}
        await room.client.post("/v1/models/m/outcomes", json=told)
        found = await page(room)
        answered = {"operation": "predict", "model": "m", "version": "1", "role": "champion", "lane": "python"}
        assert found.sum("requests_total", status="200", **answered) == 4
        assert found.sum("request_seconds_count", status="200", **answered) == 4
        by_status = [found.sum("requests_total", operation="predict", status=str(s)) for s in (400, 405, 409, 503)]
        assert by_status == [2, 1, 1, 1]
        assert found.sum("requests_total") == 10
        reasons = ("signature", "input", "method", "duplicate", "no_answer")
        assert [found.sum("errors_total", model="m", reason=r) for r in reasons] == [1] * 5
        assert found.sum("errors_total") == 5
        rows = {"model": "m", "version": "1", "role": "champion", "lane": "python"}
        assert found.sum("rows_total", status="ok", **rows) == 7
        assert found.sum("rows_total", status="error", **rows) == 1
        assert found.sum("rows_total") == 8
        assert found.sum("outcomes_total", model="m", result="stored") == 1
        assert found.sum("outcomes_total", model="m", result="rejected") == 1

    in_room(tmp_path, routes(1, target(save(tmp_path, Scripted()))), act)


def test_who_answered_instead_is_told_by_the_rows(tmp_path: Path) -> None:
    champion, canary = save(tmp_path, Scripted(), number=1), save(tmp_path, Scripted(), number=2)
    snapshot = routes(7, target(champion, weight=0.5), target(canary, Role.CANARY, 0.5))

    async def act(room: Room) -> None:
        one, two = key_of(room.service, 1), key_of(room.service, 2)
        reply = await room.ask({"a": 0.25}, {"a": 0.5}, {"a": 0.75}, key=[one, two, two])
        assert reply.headers["x-afterfit-version"] == "1,2"
        await room.shadowed(3)
        room.service.fleet.lanes["m"].workers[2].problem = "is being restarted"
        assert (await room.ask({"a": 0.25}, key=two)).headers["x-afterfit-version"] == "1"
        found = await page(room)
        assert found.sum("rows_total", version="1", role="champion", status="ok") == 1
        assert found.sum("rows_total", version="2", role="canary", status="ok") == 2
        assert found.sum("rows_total", version="1", role="champion", status="skipped") == 1
        assert found.sum("requests_total", version="1,2", status="200") == 1
        assert found.sum("requests_total", version="1", role="champion", status="200") == 1
        assert found.sum("shadow_rows_total", status="ok") == 3
        assert [found.sum("version_weight", role=role) for role in ("champion", "canary")] == [0.5, 0.5]
        assert [found.sum("version_up", version=v) for v in "12"] == [1, 0]
        assert found.sum("routes_number") == 7

    in_room(tmp_path, snapshot, act)


def test_an_open_breaker_and_dropped_copies_show(tmp_path: Path) -> None:
    champion, shadow = save(tmp_path, Scripted(), number=1), save(tmp_path, Scripted(), number=2)
    snapshot = routes(1, target(champion), target(shadow, Role.SHADOW, 0.0))

    async def act(room: Room) -> None:
        breaker = room.service.fleet.lanes["m"].shadows[2].breaker
        assert (await page(room)).sum("breaker_open") == 0
        for _ in range(5):
            breaker.record(False, 1e12, "timeout")  # in the far future: no probe is due
        await room.ask({"a": 0.5})
        await asyncio.sleep(0.05)
        found = await page(room)
        assert [found.sum("breaker_open", version=v) for v in "12"] == [0, 1]
        assert found.sum("shadow_dropped_rows_total", reason="breaker open") == 1
        assert found.sum("shadow_dropped_rows_total") == 1

    in_room(tmp_path, snapshot, act)


def test_a_histogram_is_cumulative_and_slow_requests_are_high_in_it(tmp_path: Path) -> None:
    async def act(room: Room) -> None:
        await room.ask({"a": 0.5})
        await room.ask({"a": SLOW})
        found = await page(room)
        buckets = [found.sum("request_seconds_bucket", operation="predict", le=f"{b:g}") for b in BOUNDS]
        assert buckets == sorted(buckets)
        at = dict(zip(BOUNDS, buckets, strict=True))
        assert at[0.25] <= 1  # the slow one took 0.3 s
        assert found.sum("request_seconds_bucket", operation="predict", le="+Inf") == 2
        assert found.sum("request_seconds_count", operation="predict") == 2
        assert found.sum("request_seconds_sum", operation="predict") >= 0.3

    in_room(tmp_path, routes(1, target(save(tmp_path, Scripted()))), act)


def test_callers_make_no_labels(tmp_path: Path) -> None:
    """Whatever they ask for, the number of series stays what the routes make it."""

    async def act(room: Room) -> None:
        await room.ask({"a": 0.5}, model="guess")
        await room.client.get("/v1/models/guess")
        await room.client.get("/junk")
        before = len((await page(room)).samples)
        before = max(before, len((await page(room)).samples))  # its own request is in the second
        for i in range(50):
            await room.ask({"a": 0.5}, model=f"guess-{i}")
            await room.client.get(f"/v1/models/guess-{i}")
            await room.client.get(f"/junk/{i}/predict")
        found = await page(room)
        assert len(found.samples) == before
        assert found.sum("requests_total", operation="predict", model="unknown", status="404") == 51
        assert found.sum("errors_total", model="unknown", reason="not_found") == 102
        assert len(room.service.tally._seen) < 10

    in_room(tmp_path, routes(1, target(save(tmp_path, Scripted()))), act)


def test_the_only_model_is_named_where_the_path_names_none(tmp_path: Path) -> None:
    async def act(room: Room) -> None:
        reply = await room.client.post("/invocations", json={"inputs": [{"a": 0.5}]})
        assert reply.status_code == 200
        await room.client.post("/v2/models/m/infer", json={"inputs": [_tensor()]})
        found = await page(room)
        assert found.sum("requests_total", operation="predict", model="m", version="1", status="200") == 2

    in_room(tmp_path, routes(1, target(save(tmp_path, Scripted()))), act)


def _tensor() -> dict[str, object]:
    return {"name": "a", "datatype": "FP64", "shape": [1], "data": [0.5]}


def test_what_the_log_did_not_take_is_counted(tmp_path: Path) -> None:
    async def act(room: Room) -> None:
        await room.ask({"a": 0.5})
        room.journal.full = True
        await room.ask({"a": 0.5}, {"a": 0.25})
        found = await page(room)
        assert [found.sum("rows_total", status=s) for s in ("ok", "unlogged")] == [1, 2]

    in_room(tmp_path, routes(1, target(save(tmp_path, Scripted()))), act)


def test_the_journal_tells_what_is_lost_and_how_complete_the_log_is(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "gateway-1.db")
    try:
        journal.losses.add_minutes([("m", NOW)])
        found = Page.of(rendered(of_journal(journal, {"m": 99, "other": 5})).decode())
    finally:
        journal.close()
    assert [found.sum("lost_rows_total", model=m) for m in ("m", "other")] == [1, 0]
    assert [found.sum("log_completeness_ratio", model=m) for m in ("m", "other")] == [0.99, 1.0]
    assert found.sum("journal_bytes") > 0
    assert found.sum("journal_disk_free_bytes") > 0


def test_what_the_controller_tells_is_on_the_page_and_damage_takes_no_other_figure(tmp_path: Path) -> None:
    board = FileRoutesBoard(tmp_path)
    assert Page.of(rendered(of_controller(board)).decode()).samples == {("controller_readable", frozenset()): 1.0}
    board.tell([Family("afterfit_x", "gauge", "X.", (Sample(2.5, {"model": "m"}), Sample(math.inf)))])
    found = Page.of(rendered(of_controller(board)).decode())
    assert (found.sum("x", model="m"), found.sum("x"), found.sum("controller_readable")) == (2.5, math.inf, 1.0)
    (tmp_path / "controller.json").write_text("[{", encoding="utf-8")
    with pytest.raises(StoreError, match="writes it anew"):
        board.told()
    assert Page.of(rendered(of_controller(board)).decode()).samples == {("controller_readable", frozenset()): 0.0}


@given(st.text(max_size=20), st.floats(allow_nan=False))
def test_any_label_and_number_come_back(label: str, value: float) -> None:
    text = rendered([Family("afterfit_x", "gauge", "X.", (Sample(value, {"model": label}),))]).decode()
    (family,) = text_string_to_metric_families(text)
    (sample,) = family.samples
    assert (sample.labels, sample.value) == ({"model": label}, value)


def test_each_error_has_a_reason() -> None:
    tally = Tally(lambda: ["m"])
    signature = SignatureError(["row 0: nonsense"])
    given = [
        (400, signature, "signature"),
        (400, InputError("x"), "input"),
        (401, InputError("x"), "unauthenticated"),
        (403, InputError("x"), "forbidden"),
        (404, UnknownNameError("model", "x", []), "not_found"),
        (409, DuplicateError("x"), "duplicate"),
        (413, InputError("x"), "too_large"),
        (503, WorkerError("x"), "no_answer"),
        (503, StoreError("x"), "log"),
        (503, None, "defect"),
    ]
    for status, error, reason in given:
        tally.error("/v1/models/m/predict", status, error)
        assert tally.errors.pop(("m", reason)) == 1
    assert not tally.errors


def test_a_page_is_read_without_a_model(tmp_path: Path) -> None:
    async def act(room: Room) -> None:
        found = await page(room)
        assert found.sum("build_info") == 1
        assert found.sum("ready") == 0  # nothing was published yet
        assert (await room.client.post("/metrics")).status_code == 405

    in_room(tmp_path, NO_ROUTES, act)
