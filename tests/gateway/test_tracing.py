"""Spans: below the caller's own, one a version and one for the log; and a real collector gets them from a real gateway."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from afterfit.gateway.tracing import provider_of
from afterfit.records import Role
from tests.gateway.kit import RAISE, Scripted, routes, save, target
from tests.gateway.test_app import Room, in_room, key_of
from tests.world import World

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADERS = {"traceparent": f"00-{TRACE}-{PARENT}-01"}


@pytest.fixture
def spans() -> InMemorySpanExporter:
    """What was traced, in the order in which it ended."""
    return InMemorySpanExporter()


def provider(spans: InMemorySpanExporter) -> TracerProvider:
    made = TracerProvider(shutdown_on_exit=False)
    made.add_span_processor(SimpleSpanProcessor(spans))
    return made


def named(spans: InMemorySpanExporter) -> dict[str, list[ReadableSpan]]:
    found: dict[str, list[ReadableSpan]] = {}
    for span in spans.get_finished_spans():
        found.setdefault(span.name, []).append(span)
    return found


def test_a_request_is_one_tree_below_its_callers_span(tmp_path: Path, spans: InMemorySpanExporter) -> None:
    champion, canary = save(tmp_path, Scripted(), number=1), save(tmp_path, Scripted(), number=2)
    snapshot = routes(1, target(champion, weight=0.5), target(canary, Role.CANARY, 0.5))

    async def act(room: Room) -> None:
        body = {"rows": [{"a": 0.25}] * 3, "key": [key_of(room.service, v) for v in (1, 2, 2)]}
        reply = await room.client.post("/v1/models/m/predict", json=body, headers=HEADERS)
        assert reply.status_code == 200
        assert reply.headers["traceparent"] == HEADERS["traceparent"]

    in_room(tmp_path, snapshot, act, provider(spans).get_tracer("test"))
    found = named(spans)
    (request,) = found["predict"]
    assert request.kind is SpanKind.SERVER
    assert request.parent is not None
    assert (f"{request.parent.trace_id:032x}", f"{request.parent.span_id:016x}") == (TRACE, PARENT)
    assert dict(request.attributes or {}) == {
        "http.request.method": "POST",
        "url.path": "/v1/models/m/predict",
        "http.response.status_code": 200,
        "afterfit.model": "m",
        "afterfit.version": "1,2",
        "afterfit.role": "champion,canary",
        "afterfit.lane": "python,python",
    }
    context = request.get_span_context()
    assert context is not None
    assert all(s.parent is not None and s.parent.span_id == context.span_id for s in found["model"])
    told = sorted(
        tuple((s.attributes or {})[f"afterfit.{n}"] for n in ("version", "role", "rows")) for s in found["model"]
    )
    assert told == [(1, "champion", 1), (2, "canary", 2)]
    (commit,) = found["log commit"]
    assert dict(commit.attributes or {}) == {"afterfit.rows": 3}
    assert commit.parent is not None
    assert commit.parent.span_id == context.span_id
    assert {f"{s.get_span_context().trace_id:032x}" for s in spans.get_finished_spans()} == {TRACE}  # type: ignore[union-attr]


def test_who_failed_is_in_the_span_and_nothing_of_the_row(tmp_path: Path, spans: InMemorySpanExporter) -> None:
    champion, canary = save(tmp_path, Scripted(), number=1), save(tmp_path, Scripted(), number=2)
    snapshot = routes(1, target(champion, weight=0.5), target(canary, Role.CANARY, 0.5))

    async def act(room: Room) -> None:
        room.service.fleet.lanes["m"].workers[2].problem = "is being restarted"
        await room.ask({"a": 0.5}, key=key_of(room.service, 2))
        assert (await room.ask({"a": RAISE}, key=key_of(room.service, 1))).status_code == 503
        assert [(await room.ask({"a": 0.125}, id="mine")).status_code for _ in range(2)] == [200, 409]
        room.journal.full = True
        assert (await room.ask({"a": 0.125})).status_code == 200

    in_room(tmp_path, snapshot, act, provider(spans).get_tracer("test"))
    found = named(spans)
    skipped, failed = found["model"][:2]
    told = {n: (skipped.attributes or {})[f"afterfit.{n}"] for n in ("version", "role", "status", "failed_version")}
    assert told == {"version": 1, "role": "champion", "status": "skipped", "failed_version": 2}
    assert (failed.attributes or {})["afterfit.status"] == "error"
    assert [s.status.status_code for s in found["predict"]] == [
        StatusCode.UNSET,
        StatusCode.ERROR,
        *[StatusCode.UNSET] * 3,
    ]
    assert [s.status.status_code for s in found["log commit"]] == [
        *[StatusCode.UNSET] * 3,  # the second is the attempt that nobody answered
        *[StatusCode.ERROR] * 2,
    ]
    everything = "".join(span.to_json() for span in spans.get_finished_spans())
    assert [
        text for text in ("out of luck", "0.125", "mine", "the disk is full", "exception") if text in everything
    ] == []


def test_pages_make_no_spans_and_a_bad_parent_is_none(tmp_path: Path, spans: InMemorySpanExporter) -> None:
    async def act(room: Room) -> None:
        for path in ("/healthz", "/metrics", "/v1/models/m"):
            assert (await room.client.get(path)).status_code == 200
        assert spans.get_finished_spans() == ()
        body = {"rows": [{"a": 0.5}]}
        reply = await room.client.post("/v1/models/m/predict", json=body, headers=[(b"traceparent", b"junk\xff")])
        assert reply.status_code == 200

    in_room(tmp_path, routes(1, target(save(tmp_path, Scripted()))), act, provider(spans).get_tracer("test"))
    (request,) = named(spans)["predict"]
    assert request.parent is None


def test_the_standard_variables_decide(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    assert provider_of({"OTEL_SDK_DISABLED": "true"}) is None
    assert provider_of({"OTEL_TRACES_EXPORTER": "none"}) is None
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    made = provider_of({})
    assert made is not None
    assert made.resource.attributes["service.name"] == "mine"
    made.shutdown()
    monkeypatch.delenv("OTEL_SERVICE_NAME")
    made = provider_of({})
    assert made is not None
    assert made.resource.attributes["service.name"] == "afterfit-gateway"
    made.shutdown()
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with caplog.at_level(logging.WARNING, "afterfit.gateway"):
        assert provider_of({}) is None
        assert provider_of({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}) is None
    assert "pip install 'afterfit[otel]'" in caplog.text
    assert "set http/protobuf" in caplog.text


@contextmanager
def collector() -> Iterator[tuple[str, list[Any]]]:
    """An OTLP collector on loopback: (its address, the spans that came, with the name of their service)."""
    came: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            told = ExportTraceServiceRequest.FromString(body)
            for resource in told.resource_spans:
                named = {a.key: a.value.string_value for a in resource.resource.attributes}
                came.extend(
                    (named["service.name"], self.path, s) for scope in resource.scope_spans for s in scope.spans
                )
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", came
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_collector_gets_the_spans_of_a_gateway(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    version = world.live()
    with collector() as (url, came):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        world.start()
        body = {"rows": [{"a": 0.5, "b": 1}]}
        reply = httpx.post(f"{world.url}/v1/models/m/predict", json=body, headers=HEADERS, timeout=60.0)
        assert reply.status_code == 200
        world.stop()  # what was not sent yet is sent now
    assert {(service, path) for service, path, _ in came} == {("afterfit-gateway", "/v1/traces")}
    spans = {span.name: span for _, _, span in came}
    assert set(spans) == {"predict", "model", "log commit"}
    assert {span.trace_id.hex() for span in spans.values()} == {TRACE}
    assert spans["predict"].parent_span_id.hex() == PARENT
    assert {spans[name].parent_span_id for name in ("model", "log commit")} == {spans["predict"].span_id}
    told = {a.key: a.value.string_value or a.value.int_value for a in spans["model"].attributes}
    assert (told["afterfit.version"], told["afterfit.model"]) == (version.version, "m")


def test_a_collector_that_is_away_costs_no_caller_an_answer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with collector() as (url, _):
        pass  # nobody listens there any more
    world.live()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    world.start()
    for _ in range(5):
        assert world.predict().status_code == 200
    began = time.monotonic()
    world.stop()
    assert time.monotonic() - began < 15.0  # `afterfit up` has that much patience; ours is 3 s
    assert len(world.logged()) == 5


def test_a_gateway_that_is_not_asked_for_traces_loads_nothing_for_them() -> None:
    code = (
        "import sys, afterfit.gateway.server; print(sorted({m.split('.')[0] for m in sys.modules} & {'opentelemetry'}))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"
