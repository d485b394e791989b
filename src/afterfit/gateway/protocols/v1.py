"""Afterfit's own dialect: rows as objects, an id, version and role with each answer, and outcomes."""

from __future__ import annotations

from typing import Any

import msgspec

from afterfit.errors import InputError
from afterfit.gateway.ladder import any_degraded, why_degraded
from afterfit.gateway.protocols.reply import Reply, answered_by
from afterfit.gateway.requests import decode, predict_request
from afterfit.gateway.service import Service
from afterfit.records import Predictions, Role, Value


class _Answer(msgspec.Struct, gc=False):
    """What a caller gets for one row."""

    id: str
    prediction: Value
    scores: tuple[float, ...] | None
    version: int
    role: Role
    degraded: str | msgspec.UnsetType = (
        msgspec.UNSET
    )  # why it is not the routed version's own answer; absent where it is


async def predict(service: Service, body: bytes, model: str) -> Reply:
    """POST /v1/models/NAME/predict."""
    lane = service.lane(model)
    rows = await service.predict(lane, predict_request(body, lane.signature, service.now(), service.limits.rows))
    if isinstance(rows, Predictions):
        answers = list(map(_Answer, *(rows.column(name) for name in ("id", "prediction", "scores", "version", "role"))))
    else:
        answers = [_Answer(r.id, r.prediction, r.scores, r.version, r.role) for r in rows]
    if any_degraded(rows):
        for answer, row in zip(answers, rows, strict=True):
            answer.degraded = why_degraded(row) or msgspec.UNSET
    return 200, {"predictions": answers}, answered_by(lane, rows)


async def outcomes(service: Service, body: bytes, model: str) -> Reply:
    """POST /v1/models/NAME/outcomes."""
    service.lane(model)
    data = decode(body)
    if set(data) != {"outcomes"}:
        raise InputError(f'wanted {{"outcomes": [...]}} and nothing else, found the keys {sorted(data)}')
    return 200, {"results": await service.outcomes(model, data["outcomes"])}, []


async def models(service: Service, _body: bytes) -> Reply:
    """GET /v1/models: what is routed, and what is wrong with it."""
    fleet = service.fleet
    return 200, {"models": sorted(fleet.lanes), "routes": fleet.number, "problems": fleet.problems()}, []


async def model(service: Service, _body: bytes, name: str) -> Reply:
    """GET /v1/models/NAME."""
    lane = service.lane(name)
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
    return 200, {"model": name, "task": lane.routes.task.value, "versions": versions, "features": features}, []


async def healthz(_service: Service, _body: bytes) -> Reply:
    """GET /healthz: the process answers."""
    return 200, {"status": "alive"}, []


async def readyz(service: Service, _body: bytes) -> Reply:
    """GET /readyz: routes were taken over, and every champion answers. Why not is for those to see who may: /v1/models."""
    ready = service.fleet.ready()
    return 200 if ready else 503, {"status": "ready" if ready else "not ready"}, []


def problem(_status: int, message: str, problems: list[str]) -> dict[str, Any]:
    """An error as this dialect tells it."""
    return {"error": {"message": message, "problems": problems} if problems else {"message": message}}
