"""The ASGI edge: paths, status codes, sizes and headers around the dialects. No error leaves without saying what to do."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
import uuid_utils

from afterfit.adapters.token_store import OUTCOME, PREDICT, VIEW
from afterfit.errors import AfterfitError, DuplicateError, InputError, StoreError, UnknownNameError, WorkerError
from afterfit.gateway import metrics
from afterfit.gateway.defects import Defects
from afterfit.gateway.limits import BusyError, RefusedError, Room, TooManyError
from afterfit.gateway.protocols import invocations, openapi, v1, v2
from afterfit.gateway.protocols.reply import Headers, Reply
from afterfit.gateway.service import Service
from afterfit.gateway.signature import SignatureError
from afterfit.gateway.tokens import NoTokenError, RoleError, Tokens

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Handler = Callable[..., Awaitable[Reply]]  # of service, body, and the names in the path

_JSON, _TEXT = (b"content-type", b"application/json"), (b"content-type", b"text/plain; charset=utf-8")
_VISIBLE = bytes(range(0x20, 0x7F))
_LONGEST = 200  # bytes of an id that a caller gives to a request
_encode = msgspec.json.Encoder().encode
_PATHS = (
    "/v1/models/NAME/predict, /v1/models/NAME/outcomes, /v1/models, /v1/models/NAME, /v2/models/NAME/infer, /invocations, "
    "/healthz, /readyz, /metrics; /openapi.json describes them all"
)


class TooLargeError(InputError):
    """A body above the limit."""


class NoPathError(InputError):
    """A path that the gateway does not have."""


class WrongMethodError(InputError):
    """A path asked with another method than it takes."""

    def __init__(self, path: str, wanted: str, found: str) -> None:
        self.wanted = wanted
        super().__init__(f"{path} takes {wanted}, found {found}")


_STATUS = (
    (TooLargeError, 413),
    (DuplicateError, 409),
    (NoPathError, 404),
    (UnknownNameError, 404),
    (NoTokenError, 401),
    (RoleError, 403),
    (TooManyError, 429),
    (BusyError, 503),
)


class App:
    """Raw ASGI: no framework stands between the socket and the service."""

    def __init__(self, service: Service, tokens: Tokens | None = None) -> None:
        self._service = service
        self._tokens = tokens
        self._room = Room(service.limits)
        self._defects = Defects()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        began = time.perf_counter()
        length, authorization, back = _head(scope["headers"])
        status, content, headers = await self._reply(scope, receive, length, authorization)
        head = [(b"content-length", b"%d" % len(content)), *headers, *back]
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": content})
        self._service.tally.request(scope["path"], status, headers, time.perf_counter() - began)

    async def _reply(
        self, scope: Message, receive: Receive, length: int, authorization: bytes
    ) -> tuple[int, bytes, Headers]:
        path: str = scope["path"]
        try:
            status, answer, headers = await self._answer(scope, receive, length, authorization)
            if isinstance(answer, bytes):
                return status, answer, headers or [_TEXT]  # those of a text begin with its type
            return status, _encode(answer), [_JSON, *headers]
        except AfterfitError as error:
            status, message, headers = _refusal(error)
            problems = error.problems if isinstance(error, SignatureError) else []
            self._service.tally.error(path, status, error)
        except Exception as error:  # noqa: BLE001  the process boundary: a caller must not see the insides of a defect of ours
            self._defects.tell(scope["method"], path, error)
            status, headers, problems = 503, [], []
            self._service.tally.error(path, status, None)
            message = "the gateway met a defect of its own and logged it; please report gateway.log"
        return status, _encode(_dialect(path).problem(status, message, problems)), [_JSON, *headers]

    async def _answer(self, scope: Message, receive: Receive, length: int, authorization: bytes) -> Reply:
        """What the handler says; nothing of a body is read before its sender was let in."""
        handler, names = _route(scope["method"], scope["path"])
        role = _ROLES.get(handler, VIEW)
        if role is None:  # a probe must not fail because callers are many
            return await handler(self._service, b"", *names)
        caller = self._tokens.caller(authorization, role) if self._tokens is not None else None
        self._room.enter(caller)
        try:
            body = await _body(receive, length, self._service.limits.body) if scope["method"] == "POST" else b""
            return await handler(self._service, body, *names)
        finally:
            self._room.leave(caller)


def _refusal(error: AfterfitError) -> tuple[int, str, Headers]:
    if isinstance(error, SignatureError):
        return 400, "the rows do not fit the model's signature", []
    if isinstance(error, WrongMethodError):
        return 405, str(error), [(b"allow", error.wanted.encode())]
    if isinstance(error, WorkerError | StoreError):
        return 503, f"{error}; try again", [(b"retry-after", b"1")]
    status = next((s for kind, s in _STATUS if isinstance(error, kind)), 400)
    return status, str(error), error.headers if isinstance(error, RefusedError) else []


def _dialect(path: str) -> Any:
    """The module that words an error on this path."""
    if path == "/v2" or path.startswith("/v2/"):
        return v2
    return invocations if path in ("/ping", "/health", "/version") or path.endswith("/invocations") else v1


@lru_cache(maxsize=1024)
def _route(method: str, path: str) -> tuple[Handler, Sequence[str]]:
    """(handler, the names in the path) of a request. Errors are not cached, so junk can't fill it."""
    wanted, handler, names = _post(path) or _get(path)
    if method != wanted:
        raise WrongMethodError(path, wanted, method)
    return handler, names


def _post(path: str) -> tuple[str, Handler, Sequence[str]] | None:
    match path.split("/"):
        case ["", "v1", "models", model, "predict"] if model:
            return "POST", v1.predict, (model,)
        case ["", "v1", "models", model, "outcomes"] if model:
            return "POST", v1.outcomes, (model,)
        case ["", "v1", "models", model, "invocations"] if model:
            return "POST", invocations.invocations, (model,)
        case ["", "invocations"]:
            return "POST", invocations.invocations, ()
        case ["", "v2", "models", model, "infer"] if model:
            return "POST", v2.infer, (model,)
        case ["", "v2", "models", model, "versions", version, "infer"] if model and version:
            return "POST", v2.infer, (model, version)
    return None


_FIXED: dict[str, Handler] = {
    "/v1/models": v1.models,
    "/healthz": v1.healthz,
    "/readyz": v1.readyz,
    "/v2": v2.server,
    "/v2/": v2.server,
    "/v2/health/live": v2.live,
    "/v2/health/ready": v2.ready,
    "/ping": invocations.ping,
    "/health": invocations.ping,
    "/version": invocations.version,
    "/openapi.json": openapi.description,
    "/metrics": metrics.metrics,
}
# What a token must be allowed for; all others show something, and want `view`. None asks for no token.
_ROLES: dict[Handler, str | None] = {
    **dict.fromkeys((v1.predict, v2.infer, invocations.invocations), PREDICT),
    v1.outcomes: OUTCOME,
    **dict.fromkeys((v1.healthz, v1.readyz, v2.live, v2.ready, invocations.ping), None),
}


def _get(path: str) -> tuple[str, Handler, Sequence[str]]:
    if path in _FIXED:
        return "GET", _FIXED[path], ()
    match path.split("/"):
        case ["", "v1", "models", model] if model:
            return "GET", v1.model, (model,)
        case ["", "v2", "models", model, *names] if model:
            match names:
                case [] | ["versions", _] if all(names):
                    return "GET", v2.metadata, (model, *names[1:])
                case ["ready"]:
                    return "GET", v2.model_ready, (model,)
                case ["versions", version, "ready"] if version:
                    return "GET", v2.model_ready, (model, version)
    raise NoPathError(f"no such path {path!r}; known: {_PATHS}")


def _head(headers: Iterable[tuple[bytes, bytes]]) -> tuple[int, bytes, Headers]:
    """(the length that the body is said to have, who asks, the headers that go back whatever comes)."""
    length, authorization, request, trace = 0, b"", b"", b""
    for name, value in headers:
        if name == b"content-length":
            length = int(value) if value.isdigit() else 0
        elif name == b"authorization":
            authorization = value
        elif name == b"x-request-id":
            request = value
        elif name == b"traceparent":
            trace = value
    if not request or len(request) > _LONGEST or request.translate(None, _VISIBLE):
        request = str(uuid_utils.uuid7()).encode()
    if not trace or len(trace) > _LONGEST or trace.translate(None, _VISIBLE):
        return length, authorization, [(b"x-request-id", request)]
    return length, authorization, [(b"x-request-id", request), (b"traceparent", trace)]


async def _body(receive: Receive, length: int, most: int) -> bytes:
    """The whole body; one above the limit is refused before it is read."""
    too_large = f"the body is larger than {most // 2**20} MiB; send fewer rows a request"
    if length > most:
        raise TooLargeError(too_large)
    parts = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise InputError("the client went away")
        part: bytes = message.get("body", b"")
        if len(parts) + len(part) > most:
            raise TooLargeError(too_large)
        if not message.get("more_body", False):
            return bytes(parts + part) if parts else part
        parts += part
