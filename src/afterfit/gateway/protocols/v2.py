"""Open Inference Protocol V2 over REST: one input a feature, or one tensor of all where all are numbers; labels and scores out.

Nulls: JSON null in `data`, where the feature may be null. `parameters` of a request may carry Afterfit's `key` and `time`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any

import msgspec
import uuid_utils

from afterfit import __version__
from afterfit.errors import InputError, UnknownNameError, list_known
from afterfit.feedback.told import kind_of
from afterfit.gateway.fleet import Lane
from afterfit.gateway.protocols.reply import Reply, answered_by
from afterfit.gateway.requests import decode, rows_request
from afterfit.gateway.service import Service
from afterfit.records import Prediction, Value, column

EXTENSIONS = ["afterfit_nulls", "afterfit_single_tensor", "afterfit_key_and_time"]  # told in docs/protocols.md
PREDICT, SCORES = "predict", "predict_proba"
_DATATYPES = {"number": "FP64", "integer": "INT64", "boolean": "BOOL", "text": "BYTES"}  # of a feature, by its kind
_CONTENT_TYPE = "content_type"  # how MLServer's clients mark frames and text; it changes nothing here


class _Tensor(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    shape: list[Annotated[int, msgspec.Meta(ge=0)]]
    datatype: str
    data: list[Any]
    parameters: dict[str, Any] | None = None


class _Wanted(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    parameters: dict[str, Any] | None = None


class _Request(msgspec.Struct, forbid_unknown_fields=True):
    inputs: list[_Tensor]
    outputs: list[_Wanted] | None = None
    id: str | None = None
    parameters: dict[str, Any] | None = None


_read = msgspec.json.Decoder(_Request).decode


async def infer(service: Service, body: bytes, model: str, version: str = "") -> Reply:
    """POST /v2/models/NAME[/versions/V]/infer. The id of the request is the id of its prediction, `id/0` ... for several rows."""
    lane = _lane(service, model, version)
    asked = _request(body)
    told = _parameters(asked.parameters, ("key", "time", _CONTENT_TYPE), "the request")
    names = _outputs(lane, asked.outputs)
    given = asked.id or str(uuid_utils.uuid7())
    request = rows_request(
        _rows(lane, asked.inputs),
        lane.signature,
        service.now(),
        service.limits.rows,
        id=given,
        key=told.get("key"),
        time=told.get("time"),
    )
    rows = await service.predict(lane, request)
    reply = {
        "model_name": model,
        "model_version": ",".join(map(str, sorted({row.version for row in rows}))),
        "id": given,
        "outputs": [_output(lane, name, rows) for name in names],
    }
    return 200, reply, answered_by(lane, rows)


async def metadata(service: Service, _body: bytes, model: str, version: str = "") -> Reply:
    """GET /v2/models/NAME[/versions/V]."""
    lane = _lane(service, model, version)
    inputs: list[dict[str, Any]] = [
        {"name": f.name, "datatype": _DATATYPES[f.kind], "shape": [-1], "parameters": {"nullable": f.nullable}}
        for f in lane.version.features
    ]
    outputs: list[dict[str, Any]] = [{"name": PREDICT, "datatype": _labels(lane), "shape": [-1]}]
    if lane.version.classes is not None:
        outputs.append({"name": SCORES, "datatype": "FP64", "shape": [-1, len(lane.version.classes)]})
    body = {
        "name": model,
        "versions": [str(lane.champion)],
        "platform": "onnx_onnxv1" if lane.kinds[lane.champion][0] == "onnx" else "mlflow_pyfunc",
        "inputs": inputs,
        "outputs": outputs,
        "parameters": {"single_tensor": _all_numbers(lane)},
    }
    return 200, body, []


async def model_ready(service: Service, _body: bytes, model: str, version: str = "") -> Reply:
    """GET /v2/models/NAME[/versions/V]/ready."""
    lane = _lane(service, model, version)
    ready = not lane.workers[lane.champion].problem
    return 200 if ready else 503, {"name": model, "ready": ready}, []


async def server(_service: Service, _body: bytes) -> Reply:
    """GET /v2."""
    return 200, {"name": "afterfit", "version": __version__, "extensions": EXTENSIONS}, []


async def live(_service: Service, _body: bytes) -> Reply:
    """GET /v2/health/live."""
    return 200, {"live": True}, []


async def ready(service: Service, _body: bytes) -> Reply:
    """GET /v2/health/ready; the protocol names the field of this reply `live` too."""
    answers = service.fleet.ready()
    return 200 if answers else 503, {"live": True, "ready": answers}, []


def problem(_status: int, message: str, problems: list[str]) -> dict[str, Any]:
    """An error as the protocol wants it: one text."""
    return {"error": "; ".join([message, *problems])}


def _lane(service: Service, model: str, version: str) -> Lane:
    """The lane of a model. Which version answers a key is for the rollout to choose, so a caller may name the champion only.

    Raises:
        UnknownNameError: no such model, or another version was named.
    """
    lane = service.lane(model)
    if version and version != str(lane.champion):
        raise UnknownVersionError(model, version, lane.champion)
    return lane


class UnknownVersionError(UnknownNameError):
    """A version was named that is not the champion."""

    def __init__(self, model: str, found: str, champion: int) -> None:
        super().__init__("version", found, [str(champion)])
        self.args = (
            f"version {found!r} of {model} can't be asked for: callers don't choose versions, the rollout does; "
            f"ask /v2/models/{model}/infer, or name the champion, {champion}",
        )


def _request(body: bytes) -> _Request:
    try:
        return _read(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        if b"binary_data_size" in body:
            raise InputError("binary tensors are not read here; wanted each tensor's data as JSON") from error
        decode(body)
        raise InputError(f"the body is no inference request: {error}") from error


def _parameters(given: Mapping[str, Any] | None, known: Sequence[str], where: str) -> Mapping[str, Any]:
    for key in given or ():
        if key not in known:
            raise InputError(f"{where} has an unknown parameter {key!r}; {list_known(key, known)}")
    return given or {}


def _outputs(lane: Lane, wanted: Sequence[_Wanted] | None) -> Iterable[str]:
    """Names of the outputs to send, in the order asked for; all of them where nothing was asked for."""
    known = [PREDICT] if lane.version.classes is None else [PREDICT, SCORES]
    for output in wanted or ():
        if output.name not in known:
            raise InputError(f"unknown output {output.name!r}; {list_known(output.name, known)}")
        _parameters(output.parameters, (_CONTENT_TYPE,), f"output {output.name!r}")
    return dict.fromkeys(output.name for output in wanted) if wanted else known


def _rows(lane: Lane, inputs: Sequence[_Tensor]) -> list[dict[str, Value]]:
    columns = _single(lane, inputs[0]) if len(inputs) == 1 else None
    if columns is None:
        columns = {}
        for tensor in inputs:
            if tensor.name in columns:
                raise InputError(f"input {tensor.name!r} stands twice; wanted one input a feature")
            if len(tensor.shape) != 1 and tensor.shape[1:] != [1]:
                raise InputError(f"input {tensor.name!r} has shape {tensor.shape}; wanted [n] or [n, 1]")
            columns[tensor.name] = _elements(tensor)
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"wanted the same number of rows in each input, found {lengths}"[:500])
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _single(lane: Lane, tensor: _Tensor) -> dict[str, list[Value]] | None:
    """The columns of one tensor [n, k] that holds all k features of a model of numbers; None where it is another thing."""
    names = [feature.name for feature in lane.version.features]
    if len(tensor.shape) != 2 or not _all_numbers(lane) or (tensor.name in names and tensor.shape[1] == 1):
        return None
    width = tensor.shape[1]
    if width != len(names):
        raise InputError(
            f"input {tensor.name!r} has shape {tensor.shape}; wanted [n, {len(names)}], the features in the order of the "
            "model's metadata, or one input a feature"
        )
    flat = _elements(tensor)
    return {name: flat[i::width] for i, name in enumerate(names)}


def _all_numbers(lane: Lane) -> bool:
    return all(feature.kind in ("number", "integer") for feature in lane.version.features)


def _elements(tensor: _Tensor) -> list[Value]:
    """The elements in row-major order, from the flat or the nested form; each fits the datatype, or is null."""
    where = f"input {tensor.name!r}"
    fits = _FITS.get(tensor.datatype)
    if fits is None:
        raise InputError(f"{where}: unknown datatype {tensor.datatype!r}; {list_known(tensor.datatype, _FITS)}")
    _parameters(tensor.parameters, (_CONTENT_TYPE,), where)
    data, size = tensor.data, math.prod(tensor.shape)
    if len(tensor.shape) == 2 and data and isinstance(data[0], list):
        if len(data) != tensor.shape[0] or not all(
            isinstance(row, list) and len(row) == tensor.shape[1] for row in data
        ):
            raise InputError(
                f"{where}: wanted {tensor.shape[0]} lists of {tensor.shape[1]} elements, as its shape says"
            )
        data = [element for row in data for element in row]
    if len(data) != size:
        raise InputError(f"{where}: its shape {tensor.shape} makes {size} elements, found {len(data)}")
    for i, element in enumerate(data):
        if element is not None and not fits(element):
            raise InputError(f"{where}: element {i} is no {tensor.datatype}; found {kind_of(element)}")
    return data


def _whole(lowest: int, highest: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and lowest <= value <= highest


_FITS: dict[str, Callable[[Any], bool]] = {
    "BOOL": lambda value: type(value) is bool,
    "BYTES": lambda value: type(value) is str,
    **{f"UINT{bits}": _whole(0, 2**bits - 1) for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": _whole(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": lambda value: type(value) is float or type(value) is int for bits in (16, 32, 64)},
}


def _labels(lane: Lane) -> str:
    """The datatype of the predictions."""
    kinds = {type(label) for label in lane.version.classes or (0.0,)}
    named = {bool: "BOOL", int: "INT64", str: "BYTES"}
    return named.get(kinds.pop(), "FP64") if len(kinds) == 1 else "BYTES" if str in kinds else "FP64"


def _output(lane: Lane, name: str, rows: Sequence[Prediction]) -> dict[str, Any]:
    if name == PREDICT:
        return {"name": name, "datatype": _labels(lane), "shape": [len(rows)], "data": column(rows, "prediction")}
    width = len(lane.version.classes or ())
    scores = [
        score for of_row in column(rows, "scores") for score in of_row or [None] * width
    ]  # a fallback may have none
    return {"name": name, "datatype": "FP64", "shape": [len(rows), width], "data": scores}
