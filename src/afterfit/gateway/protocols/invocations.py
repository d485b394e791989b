"""MLflow's scoring dialect: four shapes of a table go in, `{"predictions": [...]}` comes out, labels or values in row order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version as installed
from typing import Any

import uuid_utils

from afterfit.errors import InputError, UnknownNameError, list_known
from afterfit.gateway.protocols.reply import Reply, answered_by
from afterfit.gateway.requests import decode, rows_request
from afterfit.gateway.service import Service
from afterfit.records import column

SHAPES = ("dataframe_split", "dataframe_records", "inputs", "instances")
_CODES = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    409: "RESOURCE_ALREADY_EXISTS",
    413: "REQUEST_LIMIT_EXCEEDED",
    429: "REQUEST_LIMIT_EXCEEDED",
    503: "TEMPORARILY_UNAVAILABLE",
}


async def invocations(service: Service, body: bytes, model: str = "") -> Reply:
    """POST /invocations where one model is routed, or /v1/models/NAME/invocations.

    The ids of the predictions are `x-afterfit-id`, or `x-afterfit-id/0`, `/1` ... for several rows.
    """
    lane = service.lane(model or _only(service))
    names = [feature.name for feature in lane.version.features]
    given = str(uuid_utils.uuid7())
    request = rows_request(_rows(decode(body), names), lane.signature, service.now(), service.limits.rows, id=given)
    rows = await service.predict(lane, request)
    return (
        200,
        {"predictions": column(rows, "prediction")},
        [*answered_by(lane, rows), (b"x-afterfit-id", given.encode())],
    )


async def ping(service: Service, _body: bytes) -> Reply:
    """GET /ping and /health: an empty line, 200 where every champion answers."""
    return 200 if service.fleet.ready() else 503, b"\n", []


async def version(_service: Service, _body: bytes) -> Reply:
    """GET /version: of the MLflow whose dialect this is."""
    return 200, installed("mlflow-skinny").encode(), []


def problem(status: int, message: str, problems: list[str]) -> dict[str, Any]:
    """An error as MLflow tells it."""
    return {"error_code": _CODES.get(status, "BAD_REQUEST"), "message": "; ".join([message, *problems])}


def _only(service: Service) -> str:
    names = sorted(service.fleet.models())
    if not names:
        raise UnknownNameError("model", "", [])
    if len(names) > 1:
        raise InputError(f"{len(names)} models are routed: {', '.join(names)}; ask /v1/models/NAME/invocations")
    return names[0]


def _rows(body: Mapping[str, Any], names: Sequence[str]) -> list[Any]:
    """The rows of any of the four shapes; whether they fit is for the signature to say."""
    if body.get("params"):
        raise InputError('"params" was given, but no model here takes any: send the rows alone')
    found = [key for key in body if key != "params"]
    for key in found:
        if key not in SHAPES:
            raise InputError(f"the body has an unknown key {key!r}; {list_known(key, SHAPES)}")
    if len(found) != 1:
        raise InputError(f"wanted exactly one of {', '.join(SHAPES)}, found {', '.join(found) or 'none'}")
    if found[0] == "dataframe_split":
        return _split(body["dataframe_split"])
    table = body[found[0]]
    if isinstance(table, dict) and found[0] in ("inputs", "instances"):
        return _columns(found[0], table)
    if not isinstance(table, list):
        raise InputError(f'"{found[0]}": wanted a list of rows, found {type(table).__name__}')
    if found[0] == "dataframe_records":
        return table
    return [_named(i, row, names) if isinstance(row, list) else row for i, row in enumerate(table)]


def _split(table: object) -> list[Any]:
    if not isinstance(table, dict) or not isinstance(table.get("data"), list):
        raise InputError('wanted {"dataframe_split": {"columns": [name, ...], "data": [[value, ...], ...]}}')
    columns = table.get("columns")
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        raise InputError('"dataframe_split": wanted "columns", a list of feature names')
    if len(set(columns)) < len(columns):
        raise InputError('"dataframe_split": a name stands twice in "columns"')
    for key in table:
        if key not in ("columns", "data", "index"):
            raise InputError(f'"dataframe_split": {list_known(key, ("columns", "data", "index"))}')
    return [_named(i, row, columns) for i, row in enumerate(table["data"])]


def _named(number: int, row: object, names: Sequence[str]) -> dict[str, Any]:
    if not isinstance(row, list) or len(row) != len(names):
        found = f"{len(row)} values" if isinstance(row, list) else type(row).__name__
        raise InputError(f"row {number}: wanted a list of {len(names)} values, one a column, found {found}")
    return dict(zip(names, row, strict=True))


def _columns(shape: str, table: Mapping[str, Any]) -> list[Any]:
    lengths = {len(values) if isinstance(values, list) else -1 for values in table.values()}
    if len(lengths) != 1 or -1 in lengths:
        raise InputError(f'"{shape}": wanted one list of values a feature, all of one length')
    return [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]
