"""The ASGI application: paths, status codes and JSON around the service. No error leaves without saying what to do."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

import msgspec

from afterfit.errors import AfterfitError, DuplicateError, InputError, StoreError, UnknownNameError, WorkerError
from afterfit.gateway.requests import decode, predict_request
from afterfit.gateway.service import Service
from afterfit.gateway.signature import SignatureError
from afterfit.records import Role, Value

log = logging.getLogger("afterfit.gateway")
MOST_BYTES = 8 * 2**20
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Reply = tuple[int, Any, list[tuple[bytes, bytes]]]

_JSON = (b"content-type", b"application/json")
_encode = msgspec.json.Encoder().encode


class _Answer(msgspec.Struct, gc=False):
    """What a caller gets for one row."""

    id: str
    prediction: Value
    scores: tuple[float, ...] | None
    version: int
    role: Role


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
        head = [_JSON, (b"content-length", b"%d" % len(content)), *headers]
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
        lane = self._service.lane(model)
        rows = await self._service.predict(lane, predict_request(body, lane.signature, self._service.now()))
        versions = ",".join(map(str, sorted({r.version for r in rows})))
        answers = [_Answer(r.id, r.prediction, r.scores, r.version, r.role) for r in rows]
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
                "lane": lane.kinds[t.version][0],
                "lane_why": lane.kinds[t.version][1] or None,
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
    """(handler, model) of a request."""
    wanted, model, name = "GET", "", ""
    match path.split("/"):
        case ["", "v1", "models", model, ("predict" | "outcomes") as name] if model:
            wanted = "POST"
        case ["", "v1", "models", model] if model:
            name = "model"
        case ["", "v1", ("models" as name)] | ["", ("healthz" | "readyz") as name]:
            pass
        case _:
            raise NoPathError(
                f"no such path {path!r}; known: /v1/models/NAME/predict, /v1/models/NAME/outcomes, "
                "/v1/models, /v1/models/NAME, /healthz, /readyz"
            )
    if method != wanted:
        raise WrongMethodError(path, wanted, method)
    return name, model


async def _body(scope: Message, receive: Receive) -> bytes:
    """The whole body; one above the limit is refused before it is read."""
    too_large = f"the body is larger than {MOST_BYTES // 2**20} MiB; send fewer rows a request"
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > MOST_BYTES:
            raise TooLargeError(too_large)
    parts = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise InputError("the client went away")
        part: bytes = message.get("body", b"")
        if len(parts) + len(part) > MOST_BYTES:
            raise TooLargeError(too_large)
        if not message.get("more_body", False):
            return bytes(parts + part) if parts else part
        parts += part


def _problem(
    status: int, message: str, *, problems: list[str] | None = None, headers: Sequence[tuple[bytes, bytes]] = ()
) -> Reply:
    error: dict[str, Any] = {"message": message}
    if problems:
        error["problems"] = problems
    return status, {"error": error}, [*headers]
