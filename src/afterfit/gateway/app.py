"""The ASGI application: paths, status codes and JSON around the service. No error leaves without saying what to do."""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

import msgspec

from afterfit.errors import AfterfitError, DuplicateError, InputError, StoreError, UnknownNameError, WorkerError
from afterfit.gateway.requests import decode, predict_request
from afterfit.gateway.service import Service
from afterfit.gateway.signature import SignatureError

log = logging.getLogger("afterfit.gateway")
MOST_BYTES = 8 * 2**20
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Reply = tuple[int, dict[str, Any], list[tuple[bytes, bytes]]]

_PATHS = (
    ("POST", re.compile(r"/v1/models/([^/]+)/predict"), "predict"),
    ("POST", re.compile(r"/v1/models/([^/]+)/outcomes"), "outcomes"),
    ("GET", re.compile(r"/v1/models/([^/]+)"), "model"),
    ("GET", re.compile(r"/v1/models"), "models"),
    ("GET", re.compile(r"/healthz"), "healthz"),
    ("GET", re.compile(r"/readyz"), "readyz"),
)
_encode = msgspec.json.Encoder().encode


class TooLargeError(InputError):
    """A body above the limit."""


class NoPathError(InputError):
    """A path that the gateway does not have."""


class WrongMethodError(InputError):
    """A path asked with another method than it takes."""

    def __init__(self, path: str, wanted: str, found: str) -> None:
        self.wanted = wanted
        super().__init__(f"{path} takes {wanted}, found {found}")


_STATUS = ((TooLargeError, 413), (DuplicateError, 409), (NoPathError, 404), (UnknownNameError, 404))


class App:
    """Raw ASGI: no framework stands between the socket and the service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        status, body, headers = await self._reply(scope, receive)
        content = _encode(body)
        head = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode()), *headers]
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": content})

    async def _reply(self, scope: Message, receive: Receive) -> Reply:
        try:
            name, model = _route(scope["method"], scope["path"])
            handler: Callable[..., Awaitable[Reply]] = getattr(self, f"_{name}")
            if scope["method"] == "POST":
                return await handler(model, await _body(scope, receive))
            return await handler(model)
        except AfterfitError as error:
            return _refusal(error)
        except Exception:  # noqa: BLE001  the process boundary: a caller must not see the insides of a defect of ours
            log.error("a defect of the gateway: %s %s\n%s", scope["method"], scope["path"], traceback.format_exc())
            return _problem(503, "the gateway met a defect of its own and logged it; please report gateway.log")

    async def _predict(self, model: str, body: bytes) -> Reply:
        self._service.lane(model)
        rows = await self._service.predict(model, predict_request(body, self._service.now()))
        versions = ",".join(str(v) for v in sorted({r.version for r in rows}))
        answers = [
            {
                "id": r.id,
                "prediction": r.prediction,
                "scores": r.scores,
                "version": r.version,
                "role": r.role.value,
            }
            for r in rows
        ]
        return 200, {"predictions": answers}, [(b"x-afterfit-version", versions.encode())]

    async def _outcomes(self, model: str, body: bytes) -> Reply:
        self._service.lane(model)
        data = decode(body)
        if set(data) != {"outcomes"}:
            raise InputError(f'wanted {{"outcomes": [...]}} and nothing else, found the keys {sorted(data)}')
        return 200, {"results": await self._service.outcomes(model, data["outcomes"])}, []

    async def _models(self, _model: str) -> Reply:
        return 200, {"models": sorted(self._service.fleet.lanes), "routes": self._service.fleet.number}, []

    async def _model(self, model: str) -> Reply:
        lane = self._service.lane(model)
        versions = [
            {
                "version": t.version,
                "role": t.role.value,
                "weight": t.weight,
                "lane": "python",
                "pid": lane.workers[t.version].pid,
                "problem": lane.workers[t.version].problem or None,
            }
            for t in lane.routes.targets
        ]
        features = [{"name": f.name, "kind": f.kind, "nullable": f.nullable} for f in lane.version.features]
        return 200, {"model": model, "task": lane.routes.task.value, "versions": versions, "features": features}, []

    async def _healthz(self, _model: str) -> Reply:
        return 200, {"status": "alive"}, []

    async def _readyz(self, _model: str) -> Reply:
        ready = self._service.fleet.champions_answer()
        problems = self._service.fleet.problems()
        return 200 if ready else 503, {"status": "ready" if ready else "not ready", "problems": problems}, []


def _refusal(error: AfterfitError) -> Reply:
    if isinstance(error, SignatureError):
        return _problem(400, "the rows do not fit the model's signature", problems=error.problems)
    if isinstance(error, WrongMethodError):
        return _problem(405, str(error), headers=[(b"allow", error.wanted.encode())])
    if isinstance(error, WorkerError | StoreError):
        return _problem(503, f"{error}; try again", headers=[(b"retry-after", b"1")])
    return _problem(next((s for kind, s in _STATUS if isinstance(error, kind)), 400), str(error))


def _route(method: str, path: str) -> tuple[str, str]:
    matches = [(m, name, found) for m, pattern, name in _PATHS if (found := pattern.fullmatch(path))]
    if not matches:
        raise NoPathError(
            f"no such path {path!r}; known: /v1/models/NAME/predict, /v1/models/NAME/outcomes, "
            "/v1/models, /v1/models/NAME, /healthz, /readyz"
        )
    for wanted, name, found in matches:
        if wanted == method:
            return name, found.group(1) if found.groups() else ""
    raise WrongMethodError(path, matches[0][0], method)


async def _body(scope: Message, receive: Receive) -> bytes:
    """The whole body; one above the limit is refused before it is read."""
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"0")
    too_large = TooLargeError(f"the body is larger than {MOST_BYTES // 2**20} MiB; send fewer rows a request")
    if length.isdigit() and int(length) > MOST_BYTES:
        raise too_large
    parts = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise InputError("the client went away")
        parts += message.get("body", b"")
        if len(parts) > MOST_BYTES:
            raise too_large
        if not message.get("more_body", False):
            return bytes(parts)


def _problem(
    status: int, message: str, *, problems: list[str] | None = None, headers: Sequence[tuple[bytes, bytes]] = ()
) -> Reply:
    error: dict[str, Any] = {"message": message}
    if problems:
        error["problems"] = problems
    return status, {"error": error}, [*headers]
