"""The conformance suite passes our gateway, with both kinds of inputs, and catches a server that breaks the protocol."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
from sklearn.linear_model import LogisticRegression

from afterfit.adapters.token_store import TokenStore
from afterfit.testing.open_inference import OpenInferenceLaws, Report, check_open_inference
from afterfit.testing.open_inference_checks import Tensor
from tests.world import START, World

TENSOR: list[Tensor] = [{"name": "rows", "shape": [2, 2], "datatype": "FP64", "data": [0.5, 1, -0.5, 2]}]
COLUMNS: list[Tensor] = [
    {"name": "a", "shape": [2, 1], "datatype": "FP64", "data": [0.5, -0.5]},
    {"name": "b", "shape": [2], "datatype": "INT64", "data": [1, 2]},
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("open-inference"))
    made.live(LogisticRegression())
    made.start()
    yield made
    made.stop()
    made.close()


class OfOurs(OpenInferenceLaws):
    inputs: ClassVar[list[Tensor]] = COLUMNS
    url = ""

    @pytest.fixture(autouse=True)
    def _gateway(self, world: World) -> None:
        self.url = world.url

    def report(self) -> Report:
        report = check_open_inference(self.url, "m", self.inputs)
        assert report.conforms
        return report


class TestColumns(OfOurs):
    pass


class TestTensor(OfOurs):
    inputs = TENSOR


def test_what_is_skipped_is_only_what_the_inputs_can_not_show(world: World) -> None:
    skipped = [
        [r.name for r in check_open_inference(world.url, "m", inputs).results if r.outcome == "skip"]
        for inputs in (COLUMNS, TENSOR)
    ]
    assert skipped == [[], ["order of inputs"]]


def test_the_command_prints_a_table(world: World, tmp_path: Path) -> None:
    (tmp_path / "inputs.json").write_text(json.dumps(COLUMNS), encoding="utf-8")
    command = [sys.executable, "-m", "afterfit.testing.open_inference", world.url, "m", str(tmp_path / "inputs.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "| id comes back | must | the id of a request is returned | pass |" in done.stdout


def test_a_gateway_that_demands_a_token_gets_it_from_the_environment(tmp_path: Path) -> None:
    world = World(tmp_path)
    try:
        world.live(LogisticRegression())
        token = TokenStore(world.config.home).add("suite", ["predict", "view"], now=START)
        world.start()
        (tmp_path / "inputs.json").write_text(json.dumps(COLUMNS), encoding="utf-8")
        command = [
            sys.executable,
            "-m",
            "afterfit.testing.open_inference",
            world.url,
            "m",
            str(tmp_path / "inputs.json"),
        ]
        codes = [
            subprocess.run(command, capture_output=True, check=False, env={**os.environ, **more}).returncode
            for more in ({}, {"AFTERFIT_TOKEN": token})
        ]
        assert codes == [1, 0]
    finally:
        world.close()


Change = Callable[[str, int, Any], tuple[int, Any]]  # path, status, body -> what the broken server says instead


def _no_id(_path: str, status: int, body: Any) -> tuple[int, Any]:
    return status, {k: v for k, v in body.items() if k != "id"}


def _error_object(_path: str, status: int, body: Any) -> tuple[int, Any]:
    return status, {"error": {"message": body["error"]}} if status >= 400 else body


def _always_fine(_path: str, status: int, body: Any) -> tuple[int, Any]:
    return 200 if status < 500 else status, body


def _shape_of_one(_path: str, status: int, body: Any) -> tuple[int, Any]:
    for tensor in body.get("outputs", ()) if "model_name" in body else ():
        tensor["shape"][0] = 1
    return status, body


def _one_output(_path: str, status: int, body: Any) -> tuple[int, Any]:
    return status, body | {"outputs": body["outputs"][:1]} if "model_name" in body else body


def _other_names(_path: str, status: int, body: Any) -> tuple[int, Any]:
    for tensor in body.get("outputs", ()) if "model_name" in body else ():
        tensor["name"] += "_0"
    return status, body


def _text_for_numbers(_path: str, status: int, body: Any) -> tuple[int, Any]:
    for tensor in body.get("outputs", ()) if "model_name" in body else ():
        tensor["data"] = [str(element) for element in tensor["data"]]
    return status, body


def _counted(path: str, status: int, body: Any) -> tuple[int, Any]:
    _counted.number = getattr(_counted, "number", 0) + 1  # type: ignore[attr-defined]
    return status, body | {"asked": _counted.number} if path.startswith("/v2/models/m") else body  # type: ignore[attr-defined]


BROKEN: list[tuple[Change, set[str]]] = [
    (_no_id, {"id comes back"}),
    (_error_object, {"unknown model", "no json", "unknown model metadata", "data too short", "negative shape"}),
    (_always_fine, {"unknown model", "unknown model not ready", "unknown version", "no inputs", "unknown datatype"}),
    (_shape_of_one, {"inference", "batch"}),
    (_one_output, {"all outputs"}),
    (_other_names, {"all outputs", "chosen outputs", "outputs as described"}),
    (_text_for_numbers, {"inference"}),
    (_counted, {"metadata stays"}),
]


@pytest.mark.parametrize(("change", "caught"), BROKEN, ids=[change.__name__ for change, _ in BROKEN])
def test_a_server_that_breaks_the_protocol_is_caught(world: World, change: Change, caught: set[str]) -> None:
    with broken(world.url, change) as url:
        report = check_open_inference(url, "m", COLUMNS)
    assert caught <= set(report.failed), report.table()
    assert len(report.failed) < len(report.results)


class broken:  # noqa: N801  a context manager
    """Our own gateway behind a proxy that changes what it says."""

    def __init__(self, url: str, change: Change) -> None:
        client = self._client = httpx.Client(base_url=url)

        class Proxy(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._pass_on("GET", b"")

            def do_POST(self) -> None:
                self._pass_on("POST", self.rfile.read(int(self.headers["content-length"])))

            def _pass_on(self, method: str, content: bytes) -> None:
                reply = client.request(method, self.path, content=content)
                status, body = change(self.path, reply.status_code, reply.json())
                told = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(told)))
                self.end_headers()
                self.wfile.write(told)

            def log_message(self, format: str, *_args: Any) -> None:
                """Not on the terminal."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._client.close()
