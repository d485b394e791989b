"""`GET /openapi.json`: the gateway as it is routed now, in OpenAPI 3.1; each model's rows are described by its signature."""

from __future__ import annotations

from typing import Any

from afterfit import __version__
from afterfit.adapters.lane import bounds_of
from afterfit.gateway.fleet import Lane
from afterfit.gateway.protocols.reply import Reply
from afterfit.gateway.service import Service
from afterfit.records import Feature

Schema = dict[str, Any]
_KINDS: dict[str, Schema] = {
    "number": {"type": "number", "minimum": -1.7e308, "maximum": 1.7e308},
    "integer": {"type": "integer"},
    "boolean": {"type": "boolean"},
    "text": {"type": "string"},
}
_TEXT: Schema = {"type": "string"}
_NAME: Schema = {"type": "string", "minLength": 1, "maxLength": 500}
_SAID = {
    400: "the body does not fit; the message says what was wanted",
    401: "a token is demanded, and no valid one came",
    403: "the token lacks the role",
    404: "no such model, version or path",
    409: "an id was acknowledged before",
    413: "the body is too large",
    429: "the token asks more often than it may",
    503: "nobody could answer, too many ask at once, or the log is full; try again",
}


async def description(service: Service, _body: bytes) -> Reply:
    """GET /openapi.json."""
    return 200, described(service.fleet.lanes.values(), service.limits.rows), []


def described(lanes: Any, most: int) -> Schema:
    """The whole description; the same for the same routes."""
    paths = _fixed()
    rows: Schema = {}
    for lane in sorted(lanes, key=lambda lane: str(lane.routes.model)):
        name = lane.routes.model
        rows[f"{name}.row"] = _row(lane)
        paths |= _of_model(name, most)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Afterfit gateway", "version": __version__},
        "security": [{}, {"token": []}],  # none is demanded before the first one was made
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": _schemas(most) | rows,
            "headers": _headers(),
        },
    }


def _row(lane: Lane) -> Schema:
    """An object of the champion's features; what only other routed versions want may stand beside them."""
    known = {f.name: _feature(f) for f in lane.version.features}
    others: Schema = {name: {} for names in lane.others.values() for name in sorted(names.names - known.keys())}
    return _object(known | others, required=list(known))


def _feature(feature: Feature) -> Schema:
    schema = _KINDS[feature.kind]
    if feature.kind == "integer":
        schema = schema | dict(zip(("minimum", "maximum"), bounds_of(feature), strict=True))
    return schema | {"type": [schema["type"], "null"]} if feature.nullable else schema


def _object(properties: Schema, required: list[str] | None = None) -> Schema:
    wanted = {"required": required} if required else {}
    return {"type": "object", "properties": properties, **wanted, "additionalProperties": False}


def _list(items: Schema, **bounds: int) -> Schema:
    return {"type": "array", "items": items, **bounds}


def _each(schema: Schema) -> Schema:
    """One for the request, or one a row."""
    return {"anyOf": [schema, _list(schema)]}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _of_model(name: str, most: int) -> Schema:
    rows = _list(_ref(f"{name}.row"), minItems=1, maxItems=most)
    asked = _object({"rows": rows, "key": _each(_NAME), "id": _each(_NAME), "time": _each(_ref("time"))}, ["rows"])
    table = {
        "oneOf": [_object({shape: rows}, [shape]) for shape in ("dataframe_records", "inputs", "instances")]
        + [_ref("split")]
    }
    v1, v2 = f"/v1/models/{name}", f"/v2/models/{name}"
    return {
        v1: {"get": _read("the versions that serve, and the features", "object")},
        f"{v1}/predict": {"post": _asked(asked, "answers", "v1_error")},
        f"{v1}/outcomes": {"post": _asked(_ref("outcomes"), "results", "v1_error", answered=False)},
        f"{v1}/invocations": {"post": _asked(table, "predictions", "mlflow_error")},
        v2: {"get": _read("inputs and outputs", "v2_metadata")},
        f"{v2}/ready": {"get": _read("whether the champion answers", "object", 503)},
        f"{v2}/infer": {"post": _asked(_ref("v2_request"), "v2_response", "v2_error")},
    }


def _fixed() -> Schema:
    pages = {
        "/v1/models": "the models that are routed",
        "/v2": "name, version and extensions of the server",
        "/v2/health/live": "the process answers",
        "/openapi.json": "this description",
        "/healthz": "the process answers",
    }
    found: Schema = {path: {"get": _read(what, "object")} for path, what in pages.items()}
    for path in ("/readyz", "/v2/health/ready"):
        found[path] = {"get": _read("whether every champion answers", "object", 503)}
    for path in ("/ping", "/health"):
        found[path] = {"get": {"responses": {str(s): _plain("whether every champion answers") for s in (200, 503)}}}
    found["/metrics"] = {"get": {"responses": {"200": _plain("what is counted, as Prometheus reads it")}}}
    found["/version"] = {"get": {"responses": {"200": _plain("the MLflow whose dialect is spoken")}}}
    return found


def _plain(what: str) -> Schema:
    return {"description": what, "content": {"text/plain": {"schema": _TEXT}}}


def _read(what: str, schema: str, *others: int) -> Schema:
    return {"responses": {str(status): _reply(what, schema) for status in (200, *others)}}


def _reply(what: str, schema: str, *headers: str) -> Schema:
    told = {name: {"$ref": f"#/components/headers/{name}"} for name in ("x-request-id", *headers)}
    return {"description": what, "headers": told, "content": {"application/json": {"schema": _ref(schema)}}}


def _asked(body: Schema, reply: str, error: str, *, answered: bool = True) -> Schema:
    good = _reply("answered, and in the log", reply, *(_ANSWERED if answered else ()))
    bad = {str(status): _reply(what, error) for status, what in _SAID.items()}
    content = {"application/json": {"schema": body}}
    return {"requestBody": {"required": True, "content": content}, "responses": {"200": good, **bad}}


_ANSWERED = ("x-afterfit-version", "x-afterfit-role", "x-afterfit-lane")


def _headers() -> Schema:
    return {name: {"required": True, "schema": _TEXT} for name in ("x-request-id", *_ANSWERED)}


def _schemas(most: int) -> Schema:
    value: Schema = {"type": ["string", "number", "boolean", "null"]}
    scores: Schema = {"type": ["array", "null"], "items": {"type": "number"}}
    moment: Schema = {
        "anyOf": [{"type": "string", "format": "date-time"}, {"type": "number", "minimum": 0, "maximum": 2**32}]
    }
    answer = {"id": _TEXT, "prediction": value, "scores": scores, "version": {"type": "integer"}, "role": _TEXT}
    known = ("prediction_id", "key", "source")
    outcome = {
        **dict.fromkeys(known, _TEXT | {"minLength": 1}),
        "value": value,
        "kind": {"enum": ["outcome", "correction", "retraction"]},
    }
    outcome |= {name: _ref("time") for name in ("time", "event_time", "known_time")}
    return {
        "object": {"type": "object"},
        "time": moment,
        "answers": _object(
            {"predictions": _list({"type": "object", "properties": answer, "required": ["id", "version"]})}
        ),
        "predictions": _object({"predictions": _list(value)}, ["predictions"]),
        "outcomes": _object({"outcomes": _list(_object(outcome, ["value"]), minItems=1, maxItems=most)}, ["outcomes"]),
        "results": _object({"results": _list({"type": "object", "required": ["status"]})}, ["results"]),
        "split": _object(
            {"dataframe_split": _object({"columns": _list(_TEXT), "data": _list(_list(value)), "index": _list({})})}
        ),
        "v1_error": _object({"error": _object({"message": _TEXT, "problems": _list(_TEXT)}, ["message"])}, ["error"]),
        "mlflow_error": _object({"error_code": _TEXT, "message": _TEXT}, ["error_code", "message"]),
        "v2_error": _object({"error": _TEXT}, ["error"]),
        **_v2_schemas(value),
    }


def _v2_schemas(value: Schema) -> Schema:
    shape = _list({"type": "integer", "minimum": 0})
    kinds = [
        "BOOL",
        "BYTES",
        *(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)),
        "FP16",
        "FP32",
        "FP64",
    ]
    named = {"name": _TEXT, "datatype": {"enum": kinds}}
    data = _list({"anyOf": [value, _list(value)]})
    tensor = _object(
        {**named, "shape": shape, "data": data, "parameters": {"type": "object"}}, [*named, "shape", "data"]
    )
    asked = {
        "id": _NAME,
        "parameters": _object({"key": _NAME, "time": _ref("time")}),
        "inputs": _list(_ref("v2_tensor"), minItems=1),
    }
    asked["outputs"] = _list(_object({"name": {"enum": ["predict", "predict_proba"]}}, ["name"]))
    told = {"model_name": _TEXT, "model_version": _TEXT, "id": _TEXT, "outputs": _list(_ref("v2_tensor"))}
    described = {"type": "object", "properties": {"name": _TEXT, "versions": _list(_TEXT), "platform": _TEXT}}
    return {
        "v2_tensor": tensor,
        "v2_request": _object(asked, ["inputs"]),
        "v2_response": _object(told, ["model_name", "outputs"]),
        "v2_metadata": described | {"required": ["name", "platform", "inputs", "outputs"]},
    }
