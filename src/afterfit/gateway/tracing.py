"""OpenTelemetry spans of what callers wait for: the request, each version that was asked, the commit to the log.

The extra `otel` and the standard variables (`OTEL_EXPORTER_OTLP_ENDPOINT` and its kin) turn it on; there is no setting of
our own. Where it is off, this module is not imported, and `App` and `Service` know nothing of it. No text of an error goes into a
span: it may hold values of a row, which the log redacts and a collector would not.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry.propagate import extract
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer

from afterfit import __version__
from afterfit.errors import AfterfitError
from afterfit.gateway.app import App, Message, Receive, Send
from afterfit.gateway.fleet import Lane
from afterfit.gateway.requests import PredictRequest
from afterfit.gateway.service import Part, Service
from afterfit.gateway.tally import OTHER
from afterfit.gateway.tokens import Tokens
from afterfit.records import Prediction

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

log = logging.getLogger("afterfit.gateway")
SERVICE = "afterfit-gateway"  # unless OTEL_SERVICE_NAME says otherwise
PATIENCE = 3.0  # seconds; the SDK itself would try for 30
_SILENT: dict[str, Any] = {"record_exception": False, "set_status_on_exception": False}  # its text may tell of a row
_PARENT = (b"traceparent", b"tracestate", b"baggage")
_TOLD = {b"x-afterfit-version": "version", b"x-afterfit-role": "role", b"x-afterfit-lane": "lane"}


def provider_of(environment: Mapping[str, str]) -> TracerProvider | None:
    """Where spans go, by the standard variables; None where they ask for none, or for what is not installed."""
    off = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if off or environment.get("OTEL_TRACES_EXPORTER", "otlp") != "otlp":
        return None
    spoken = environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environment.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if spoken == "grpc":
        log.warning("OTEL_EXPORTER_OTLP_PROTOCOL is grpc, so no trace is sent: set http/protobuf, and the port of that")
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        log.warning("OTEL_EXPORTER_OTLP_ENDPOINT is set, but no trace is sent: pip install 'afterfit[otel]'")
        return None
    from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = Resource.create({SERVICE_NAME: SERVICE, SERVICE_VERSION: __version__})
    provider = TracerProvider(resource=named.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def finish(provider: TracerProvider) -> None:
    """Send what is left; a collector that is away keeps this process for PATIENCE and no longer."""
    sending = threading.Thread(target=provider.shutdown, name="last spans", daemon=True)
    sending.start()
    sending.join(PATIENCE)


class TracedApp(App):
    """An App that makes a span of each prediction and each report of outcomes, below the caller's own span."""

    def __init__(self, service: Service, tokens: Tokens | None, tracer: Tracer) -> None:
        super().__init__(service, tokens)
        self._tracer = tracer

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request."""
        operation, model = self._service.tally.meaning(scope.get("path", ""))
        if operation == OTHER:
            return await super().__call__(scope, receive, send)
        parent = extract({n.decode(): v.decode("latin-1") for n, v in scope["headers"] if n in _PARENT})
        about = {"http.request.method": scope["method"], "url.path": scope["path"], "afterfit.model": model}
        with self._tracer.start_as_current_span(operation, parent, SpanKind.SERVER, about, **_SILENT) as span:

            async def heard(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attributes(_of_reply(message))
                    if message["status"] >= 500:
                        span.set_status(Status(StatusCode.ERROR))
                await send(message)

            return await super().__call__(scope, receive, heard)


class TracedService(Service):
    """A Service that makes a span of each version that answers a part of a request, and of the commit."""

    def __init__(self, *parts: Any, tracer: Tracer, **more: Any) -> None:
        super().__init__(*parts, **more)
        self._tracer = tracer

    async def _answer(self, lane: Lane, part: Part, request: PredictRequest) -> Sequence[Prediction]:
        with self._tracer.start_as_current_span("model", **_SILENT) as span:
            rows = await super()._answer(lane, part, request)
            span.set_attributes(_of_answer(lane, rows))
            return rows

    async def _commit(self, predictions: Sequence[Prediction]) -> None:
        about = {"afterfit.rows": len(predictions)}
        with self._tracer.start_as_current_span("log commit", attributes=about, **_SILENT) as span:
            try:
                await super()._commit(predictions)
            except AfterfitError:
                span.set_status(Status(StatusCode.ERROR))
                raise


def _of_reply(message: Message) -> dict[str, str | int]:
    told = {f"afterfit.{_TOLD[name]}": value.decode() for name, value in message["headers"] if name in _TOLD}
    return {"http.response.status_code": message["status"], **told}


def _of_answer(lane: Lane, rows: Sequence[Prediction]) -> dict[str, str | int]:
    first = rows[0]
    about: dict[str, str | int] = {
        "afterfit.model": first.model,
        "afterfit.version": first.version,
        "afterfit.role": first.role.value,
        "afterfit.lane": lane.kind(first.version),
        "afterfit.rows": len(rows),
        "afterfit.status": first.status.value,
    }
    if first.failed_version is not None:
        about["afterfit.failed_version"] = first.failed_version
    return about
