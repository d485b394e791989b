"""What the Open Inference Protocol demands of a server, one small check a demand; `open_inference.py` runs them all.

Source of the requirements: https://github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md.
"""

from __future__ import annotations

import copy
import json
import math
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

Tensor = dict[str, Any]  # name, shape, datatype, data, and perhaps parameters: as in a request
INTEGERS = tuple(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64))
DATATYPES = ("BOOL", "BYTES", "FP16", "FP32", "FP64", *INTEGERS)
NOBODY = "no-such-model-of-the-conformance-suite"
MUST, MAY = "must", "may"


class Skip(Exception):  # noqa: N818  it is no error
    """A check does not apply to this server or these inputs."""


class Server:
    """The server under test, and the words to ask it in."""

    def __init__(
        self, client: httpx.Client, model: str, inputs: list[Tensor], version: str | None, parameters: dict[str, Any]
    ) -> None:
        self._client = client
        self.model = model
        self.inputs = inputs
        self._version = version
        self._parameters = parameters

    @property
    def rows(self) -> int:
        """Rows of the example."""
        return int(self.inputs[0]["shape"][0])

    @property
    def version(self) -> str:
        """A version that may be asked for.

        Raises:
            Skip: the server names none.
        """
        if self._version is not None:
            return self._version
        versions = self.get(f"/v2/models/{self.model}").json().get("versions") or []
        if not versions:
            raise Skip("the metadata lists no version, and none was given")
        return str(versions[0])

    def get(self, path: str, status: int | None = 200) -> httpx.Response:
        """A reply, of this status."""
        reply = self._client.get(path)
        assert status is None or reply.status_code == status, f"GET {path}: {_short(reply)}; wanted {status}"
        return reply

    def body(self, **changes: Any) -> dict[str, Any]:
        """The example as a request body, with some fields changed; a field that is changed to None is left out."""
        body: dict[str, Any] = {"inputs": copy.deepcopy(self.inputs)}
        if self._parameters:
            body["parameters"] = self._parameters
        return {key: value for key, value in (body | changes).items() if value is not None}

    def with_first(self, **changes: Any) -> dict[str, Any]:
        """A request body whose first input is changed."""
        body = self.body()
        body["inputs"][0] |= changes
        return body

    def infer(self, body: Any = None, path: str = "", model: str = "") -> httpx.Response:
        """Whatever the server says to a request body, or to bytes."""
        content = body if isinstance(body, bytes) else json.dumps(self.body() if body is None else body).encode()
        at = f"/v2/models/{model or self.model}{path}/infer"
        return self._client.post(at, content=content, headers={"content-type": "application/json"})

    def answer(self, body: Any = None, path: str = "") -> dict[str, Any]:
        """The reply to a request that must be answered."""
        reply = self.infer(body, path)
        assert reply.status_code == 200, f"infer: {_short(reply)}; wanted 200"
        found: dict[str, Any] = reply.json()
        return found

    def refused(self, body: Any, path: str = "", model: str = "") -> None:
        """A request that must be refused, in the protocol's words."""
        reply = self.infer(body, path, model)
        assert reply.status_code >= 400, f"infer: {_short(reply)}; wanted an error status"
        is_error(reply)


@dataclass(frozen=True, slots=True)
class Check:
    """A requirement and how it is proven."""

    name: str
    level: str
    requirement: str
    act: Callable[[Server], None]


CHECKS: list[Check] = []


def _check(level: str, requirement: str) -> Callable[[Callable[[Server], None]], Callable[[Server], None]]:
    def keep(act: Callable[[Server], None]) -> Callable[[Server], None]:
        CHECKS.append(Check(act.__name__.replace("_", " "), level, requirement, act))
        return act

    return keep


def _short(reply: httpx.Response) -> str:
    return f"status {reply.status_code}, {reply.text[:120]!r}"


def is_error(reply: httpx.Response) -> None:
    """The body of an error is an object whose `error` is a text."""
    try:
        told = reply.json()
    except ValueError as error:
        raise AssertionError(f'{_short(reply)}; wanted {{"error": text}}') from error
    assert isinstance(told, dict), f"{_short(reply)}; wanted an object"
    assert isinstance(told.get("error"), str), f'{_short(reply)}; wanted {{"error": text}}'
    assert told["error"], "the error says nothing"


def flat(data: Any) -> Iterator[Any]:
    """The elements of nested lists, in row-major order.

    >>> list(flat([[1, 2], [3]]))
    [1, 2, 3]
    """
    for item in data:
        if isinstance(item, list):
            yield from flat(item)
        else:
            yield item


def shaped(tensor: Tensor) -> None:
    """Name, datatype, shape and as many elements as the shape says, each of the datatype."""
    assert isinstance(tensor.get("name"), str), f"output {tensor.get('name')!r}: its name is no text"
    assert tensor["datatype"] in DATATYPES, f"datatype {tensor['datatype']!r}: wanted one of {DATATYPES}"
    assert all(type(size) is int and size >= 0 for size in tensor["shape"]), f"shape {tensor['shape']!r}"
    elements, size = list(flat(tensor["data"])), math.prod(tensor["shape"])
    assert len(elements) == size, f"{len(elements)} elements, wanted {size} for shape {tensor['shape']}"
    kinds: dict[str, tuple[type, ...]] = {"BOOL": (bool,), "BYTES": (str,)}
    wanted = kinds.get(tensor["datatype"], (int, float) if tensor["datatype"].startswith("FP") else (int,))
    for element in elements:
        fits = isinstance(element, wanted) and isinstance(element, bool) == (wanted == (bool,))
        assert fits, f"{tensor['datatype']}: found {element!r}"


# --- health ----------------------------------------------------------------------------------------------------


@_check(MUST, "GET /v2/health/live answers 200 while the server runs")
def live(server: Server) -> None:
    server.get("/v2/health/live")


@_check(MAY, 'the body of live is {"live": true}')
def live_body(server: Server) -> None:
    assert server.get("/v2/health/live").json().get("live") is True, "no live: true"


@_check(MUST, "GET /v2/health/ready answers 200 when all models are ready")
def ready(server: Server) -> None:
    server.get("/v2/health/ready")


@_check(MUST, "GET /v2/models/NAME/ready answers 200 for a model that is ready")
def model_ready(server: Server) -> None:
    server.get(f"/v2/models/{server.model}/ready")


@_check(MAY, 'the body of a model\'s ready is {"name": NAME, "ready": true}')
def model_ready_body(server: Server) -> None:
    told = server.get(f"/v2/models/{server.model}/ready").json()
    assert (told["name"], told["ready"]) == (server.model, True), f"found {told}"


@_check(MUST, "a model that is not there is not ready: the answer is no 2xx")
def unknown_model_not_ready(server: Server) -> None:
    assert server.get(f"/v2/models/{NOBODY}/ready", None).status_code >= 400, "it is said to be ready"


# --- metadata --------------------------------------------------------------------------------------------------


@_check(MUST, "GET /v2 tells name, version and a list of extensions")
def server_metadata(server: Server) -> None:
    told = server.get("/v2").json()
    assert isinstance(told["name"], str), f"name {told['name']!r}"
    assert isinstance(told["version"], str), f"version {told['version']!r}"
    assert isinstance(told["extensions"], list), f"extensions {told['extensions']!r}"


@_check(MUST, "GET /v2/models/NAME tells name and platform")
def model_metadata(server: Server) -> None:
    told = server.get(f"/v2/models/{server.model}").json()
    assert told["name"] == server.model, f"name {told['name']!r}"
    assert isinstance(told["platform"], str), f"platform {told['platform']!r}"


@_check(MAY, "the metadata describes inputs and outputs: name, datatype, shape with -1 for what varies")
def tensors_in_metadata(server: Server) -> None:
    told = server.get(f"/v2/models/{server.model}").json()
    assert told.get("inputs"), "no inputs"
    assert told.get("outputs"), "no outputs"
    for tensor in told["inputs"] + told["outputs"]:
        assert isinstance(tensor["name"], str), f"name {tensor['name']!r}"
        assert tensor["datatype"] in DATATYPES, f"datatype {tensor['datatype']!r}"
        assert all(type(size) is int and size >= -1 for size in tensor["shape"]), f"shape {tensor['shape']}"


@_check(MAY, "the metadata is the same each time, also after a request")
def metadata_stays(server: Server) -> None:
    first = server.get(f"/v2/models/{server.model}").json()
    server.answer()
    assert server.get(f"/v2/models/{server.model}").json() == first, "it changed"


@_check(MUST, "a version that the metadata lists has metadata, is ready and answers")
def listed_version(server: Server) -> None:
    at = f"/versions/{server.version}"
    server.get(f"/v2/models/{server.model}{at}")
    server.get(f"/v2/models/{server.model}{at}/ready")
    server.answer(path=at)


@_check(MUST, "metadata of a model that is not there is an error status with an error object")
def unknown_model_metadata(server: Server) -> None:
    reply = server.get(f"/v2/models/{NOBODY}", None)
    assert reply.status_code >= 400, _short(reply)
    is_error(reply)


# --- inference -------------------------------------------------------------------------------------------------


@_check(MUST, "a request is answered with model_name and outputs; each output's data fits its shape and datatype")
def inference(server: Server) -> None:
    told = server.answer()
    assert told["model_name"] == server.model, f"model_name {told['model_name']!r}"
    assert told["outputs"], "no outputs"
    for tensor in told["outputs"]:
        shaped(tensor)


@_check(MUST, "the shape of a batched output covers the whole batch")
def batch(server: Server) -> None:
    for tensor in server.answer()["outputs"]:
        assert tensor["shape"][0] == server.rows, f"shape {tensor['shape']}, {server.rows} rows were sent"


@_check(MAY, "outputs have the name, datatype and number of dimensions that the metadata says")
def outputs_as_described(server: Server) -> None:
    described = {t["name"]: t for t in server.get(f"/v2/models/{server.model}").json().get("outputs") or ()}
    if not described:
        raise Skip("the metadata describes no outputs")
    for tensor in server.answer()["outputs"]:
        assert tensor["name"] in described, f"output {tensor['name']!r} is not in the metadata"
        said = described[tensor["name"]]
        assert said["datatype"] == tensor["datatype"], f"{tensor['datatype']}, described as {said['datatype']}"
        fits = [s if s >= 0 else t for s, t in zip(said["shape"], tensor["shape"], strict=False)]
        assert len(said["shape"]) == len(tensor["shape"]), f"shape {tensor['shape']}, described as {said['shape']}"
        assert fits == tensor["shape"], f"shape {tensor['shape']}, described as {said['shape']}"


@_check(MUST, "the id of a request is returned")
def id_comes_back(server: Server) -> None:
    for given in (str(uuid.uuid4()), str(uuid.uuid4())):  # a server may remember those it answered
        told = server.answer(server.body(id=given)).get("id")
        assert told == given, f"id {told!r}, wanted {given!r}"


@_check(MUST, "a request without id is answered")
def no_id(server: Server) -> None:
    server.answer(server.body(id=None))


@_check(MUST, "data may be flat or nested, in row-major order, with the same meaning")
def flat_and_nested(server: Server) -> None:
    first, second = server.body(), server.body()
    for one, other in zip(first["inputs"], second["inputs"], strict=True):
        one["data"] = list(flat(one["data"]))
        other["data"] = nested(one["data"], other["shape"])
    if first["inputs"] == second["inputs"]:
        raise Skip("all inputs have one dimension")
    told = [[list(flat(t["data"])) for t in server.answer(body)["outputs"]] for body in (first, second)]
    assert told[0] == told[1], f"flat {told[0]}, nested {told[1]}"


def nested(elements: list[Any], shape: Sequence[int]) -> list[Any]:
    """Flat elements as lists of lists of that shape.

    >>> nested([1, 2, 3, 4], [2, 2])
    [[1, 2], [3, 4]]
    """
    if len(shape) < 2:
        return elements
    width = math.prod(shape[1:])
    return [nested(elements[i * width : (i + 1) * width], shape[1:]) for i in range(shape[0])]


@_check(MUST, "outputs may be chosen by name: the chosen one comes, and no other")
def chosen_outputs(server: Server) -> None:
    for name in [tensor["name"] for tensor in server.answer()["outputs"]]:
        told = [t["name"] for t in server.answer(server.body(outputs=[{"name": name}]))["outputs"]]
        assert told == [name], f"asked for {name!r}, found {told}"


@_check(MUST, "where no output is chosen, all that the metadata lists come")
def all_outputs(server: Server) -> None:
    described = {t["name"] for t in server.get(f"/v2/models/{server.model}").json().get("outputs") or ()}
    if not described:
        raise Skip("the metadata describes no outputs")
    told = {tensor["name"] for tensor in server.answer()["outputs"]}
    assert told == described, f"found {sorted(told)}, described {sorted(described)}"


@_check(MUST, "the same inputs in another order have the same meaning: inputs go by name")
def order_of_inputs(server: Server) -> None:
    if len(server.inputs) < 2:
        raise Skip("there is one input only")
    turned = server.body()
    turned["inputs"].reverse()
    told = [[list(flat(t["data"])) for t in server.answer(body)["outputs"]] for body in (server.body(), turned)]
    assert told[0] == told[1], f"{told[0]}, turned {told[1]}"


# --- errors ----------------------------------------------------------------------------------------------------


@_check(MUST, "inference with a model that is not there is an error status with an error object")
def unknown_model(server: Server) -> None:
    server.refused(server.body(), model=NOBODY)


@_check(MUST, "inference with a version that is not there is an error status with an error object")
def unknown_version(server: Server) -> None:
    server.refused(server.body(), path="/versions/no-such-version")


@_check(MUST, "a body that is no JSON is an error status with an error object")
def no_json(server: Server) -> None:
    server.refused(b'{"inputs": [')


@_check(MUST, "a body without inputs is an error status with an error object")
def no_inputs(server: Server) -> None:
    server.refused(server.body(inputs=None))


@_check(MAY, "an empty list of inputs is refused")
def empty_inputs(server: Server) -> None:
    server.refused(server.body(inputs=[]))


@_check(MUST, "an input without name, shape, datatype or data is refused")
def fields_of_an_input(server: Server) -> None:
    for field in ("name", "shape", "datatype", "data"):
        body = server.body()
        del body["inputs"][0][field]
        server.refused(body)


@_check(MUST, "a datatype that the protocol does not have is refused")
def unknown_datatype(server: Server) -> None:
    server.refused(server.with_first(datatype="FP65"))


@_check(MUST, "elements that are not of the datatype and can't be coerced to it are refused")
def wrong_datatype(server: Server) -> None:
    other = ["x"] * math.prod(server.inputs[0]["shape"])
    if server.inputs[0]["datatype"] == "BYTES":
        raise Skip("the first input is text, which any element can be coerced to")
    server.refused(server.with_first(data=other))


@_check(MUST, "a shape that the data does not fill is refused")
def data_too_short(server: Server) -> None:
    server.refused(server.with_first(data=list(flat(server.inputs[0]["data"]))[:-1]))


@_check(MUST, "data beyond the shape is refused")
def data_too_long(server: Server) -> None:
    data = list(flat(server.inputs[0]["data"]))
    server.refused(server.with_first(data=[*data, data[-1]]))


@_check(MUST, "a dimension must be an unsigned integer")
def negative_shape(server: Server) -> None:
    server.refused(server.with_first(shape=[-1, *server.inputs[0]["shape"][1:]]))


@_check(MAY, "an output that the model does not have is refused")
def unknown_output(server: Server) -> None:
    server.refused(server.body(outputs=[{"name": NOBODY}]))


@_check(MAY, "what a caller did wrong is a status of 400 to 499, not the server's fault")
def callers_mistakes(server: Server) -> None:
    many = list(flat(server.inputs[0]["data"])) * 2
    for body in (b"[", server.body(inputs=[]), server.with_first(datatype="FP65"), server.with_first(data=many)):
        reply = server.infer(body)
        assert 400 <= reply.status_code < 500, f"infer: {_short(reply)}; wanted a status of 400 to 499"
