"""A version that is an HTTP model server of somebody else, asked through a real gateway, worker process and socket."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

import afterfit as af
from afterfit.errors import InputError, WorkerError
from afterfit.lifecycle import Happening
from tests.world import World, frame, wait_for


class Server:
    """A model server of a few lines that speaks `/invocations` and V2, and misbehaves on demand."""

    def __init__(self, model: Any) -> None:
        self.mood = "calm"
        self.model = model
        self.asked: list[Any] = []
        self.token: str | None = None  # that it wants
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.asked.append(body)
                if outer.mood == "hang":
                    time.sleep(3.0)
                status, reply = (500, "out of luck") if outer.mood == "refuse" else (200, outer.reply(self.path, body))
                if outer.token is not None and self.headers["authorization"] != f"Bearer {outer.token}":
                    status, reply = 401, "who are you"
                content = reply.encode() if isinstance(reply, str) else json.dumps(reply).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def reply(self, path: str, body: Any) -> Any:
        model = self.model
        if self.mood == "nonsense":
            return "<html>"
        v2 = path.endswith("/infer")
        X = (
            pd.DataFrame({i["name"]: i["data"] for i in body["inputs"]})
            if v2
            else pd.DataFrame(body["dataframe_split"]["data"], columns=body["dataframe_split"]["columns"])
        )
        answer = model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X)
        if self.mood == "nan":
            answer = np.full_like(answer, np.nan)
        if self.mood == "fewer":
            answer = answer[:-1]
        if not v2:
            return {"predictions": answer.tolist()}
        name = body["outputs"][0]["name"]
        output = {"name": name, "datatype": "FP64", "shape": list(answer.shape), "data": answer.ravel().tolist()}
        return {"model_name": "m", "outputs": [output]}

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(LogisticRegression().fit(*frame(400)))
    yield made
    made.close()


@pytest.mark.parametrize(("protocol", "path"), [("mlflow", "/invocations"), ("v2", "/v2/models/m/infer")])
def test_it_answers_what_the_server_answers(server: Server, protocol: str, path: str) -> None:
    model, (X, _) = LogisticRegression().fit(*frame(400)), frame(450, seed=3)
    upstream = af.Upstream(server.url + path, protocol=protocol, classes=[0, 1])
    assert np.allclose(upstream.predict_proba(X), model.predict_proba(X), atol=1e-12)
    assert upstream.predict(X).tolist() == model.predict(X).tolist()
    assert len(server.asked) == 3  # 200 + 200 + 50 rows, asked once for both
    copy = pickle.loads(pickle.dumps(upstream))
    assert np.allclose(copy.predict_proba(X[:2]), model.predict_proba(X[:2]), atol=1e-12)


class Doubling:
    """Twice `a`; a null counts as zero."""

    def predict(self, X: pd.DataFrame) -> Any:
        return 2.0 * X["a"].astype(float).fillna(0.0).to_numpy()


@pytest.mark.parametrize(("protocol", "path"), [("mlflow", "/invocations"), ("v2", "/v2/models/m/infer")])
def test_a_regression_and_nulls(protocol: str, path: str) -> None:
    X, server = pd.DataFrame({"a": [1.5, None, 3.0]}), Server(Doubling())
    try:
        assert af.Upstream(server.url + path, protocol=protocol).predict(X).tolist() == [3.0, 0.0, 6.0]
    finally:
        server.close()


@pytest.mark.parametrize(
    ("mood", "words"),
    [
        ("refuse", "refused with 500: out of luck"),
        ("nonsense", "no reply of numbers in the protocol mlflow"),
        ("fewer", "answered 1 rows, wanted 2"),
        ("hang", "does not answer: ReadTimeout"),
    ],
)
def test_what_goes_wrong_is_said(server: Server, mood: str, words: str) -> None:
    server.mood = mood
    with pytest.raises(WorkerError, match=words):
        af.Upstream(f"{server.url}/invocations", classes=[0, 1], timeout=0.3).predict_proba(frame(2)[0])


def test_a_token_comes_from_the_environment_and_is_kept_nowhere(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.token, X = "very-secret", frame(2)[0]
    with pytest.raises(WorkerError, match="refused with 401"):
        af.Upstream(f"{server.url}/invocations", classes=[0, 1]).predict_proba(X)
    upstream = af.Upstream(f"{server.url}/invocations", classes=[0, 1], token_env="THEIR_TOKEN")
    monkeypatch.delenv("THEIR_TOKEN", raising=False)
    with pytest.raises(WorkerError, match="THEIR_TOKEN, which is not set"):
        upstream.predict_proba(X)
    monkeypatch.setenv("THEIR_TOKEN", server.token)
    assert upstream.predict_proba(X).shape == (2, 2)
    assert b"very-secret" not in pickle.dumps(upstream)


def test_what_cannot_be_one_is_refused() -> None:
    with pytest.raises(InputError, match="protocol = 'grpc'; known: 'mlflow', 'v2'"):
        af.Upstream("http://localhost/invocations", protocol="grpc")
    with pytest.raises(InputError, match="wanted the address"):
        af.Upstream("localhost:5001/invocations")


def test_a_server_of_labels_can_not_be_a_classifier() -> None:
    class Labels(LogisticRegression):  # type: ignore[misc]  # scikit-learn ships no types
        predict_proba = property()  # hasattr is false

    server = Server(Labels().fit(*frame(400)))
    try:
        with pytest.raises(WorkerError, match='pyfunc_predict_fn="predict_proba"'):
            af.Upstream(f"{server.url}/invocations", classes=["a", "b", "c"]).predict_proba(frame(3)[0])
    finally:
        server.close()


@pytest.mark.timeout(200)
def test_a_server_is_shadowed_promoted_logged_and_falls_back_like_any_version(world: World, server: Server) -> None:
    """Version 1 is a model of ours, version 2 the server: it hangs, dies and answers NaN, and no caller notices."""
    world.live(LogisticRegression())
    upstream = af.Upstream(f"{server.url}/invocations", classes=[0, 1], timeout=0.5)
    X, y = frame(400)
    version = af.register("m", upstream, X, y, holdout=frame(300, 1), config=world.config)
    assert version.tags["lane"] == "python"
    assert server.url in version.tags["lane_why"]
    world.say(Happening.FAST_TRACKED, version=2, weight=0.5, why="test")
    world.start()
    by = {1: 0, 2: 0}
    for n in range(40):
        (said,) = world.predict(key=f"k{n}").json()["predictions"]
        by[said["version"]] += 1
    assert by[2] > 5
    for mood in ("hang", "refuse", "nan", "nonsense"):
        server.mood = mood
        for n in range(6):
            reply = world.predict(key=f"k{n}")
            assert reply.status_code == 200
            assert reply.json()["predictions"][0]["version"] == 1
    server.close()
    assert all(world.predict(key=f"k{n}").status_code == 200 for n in range(10))
    rows = world.logged()
    assert len(rows) == 40 + 24 + 10
    assert set(rows.loc[rows["failed_version"] == 2, "version"]) == {1}


def test_a_server_that_answers_something_else_by_now_is_not_routed(world: World, server: Server) -> None:
    world.live(LogisticRegression())
    X, y = frame(400)
    af.register("m", af.Upstream(f"{server.url}/invocations", classes=[0, 1]), X, y, config=world.config)
    other = LogisticRegression().fit(X, 1 - y)
    server.model = other
    world.say(Happening.FAST_TRACKED, version=2, weight=0.5, why="test")
    world.start()
    wait_for(lambda: "probe failed" in world.loop.problems("m", 2), 60, "the change was not found")
    assert all(world.predict(key=f"k{n}").json()["predictions"][0]["version"] == 1 for n in range(10))


@pytest.mark.timeout(200)
def test_the_scoring_server_of_mlflow_itself(tmp_path: Path) -> None:
    """The app that `mlflow models serve` runs, in a process of its own; mlflow-skinny has it, FastAPI is its need."""
    pytest.importorskip("fastapi", reason="mlflow's scoring server needs it")
    import socket

    import mlflow.sklearn

    model, (X, _) = LogisticRegression().fit(*frame(400)), frame(50, seed=3)
    path = tmp_path / "model"
    mlflow.sklearn.save_model(
        model, str(path), pyfunc_predict_fn="predict_proba", pip_requirements=[], serialization_format="cloudpickle"
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = (
        "import sys, mlflow.pyfunc, uvicorn; from mlflow.pyfunc.scoring_server import init\n"
        "uvicorn.run(init(mlflow.pyfunc.load_model(sys.argv[1])), port=int(sys.argv[2]), log_level='warning')"
    )
    running = subprocess.Popen([sys.executable, "-c", code, str(path), str(port)])
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: _pings(url), 60, "mlflow's scoring server did not start")
        upstream = af.Upstream(f"{url}/invocations", classes=[0, 1], timeout=30.0)
        assert np.allclose(upstream.predict_proba(X), model.predict_proba(X), atol=1e-12)
    finally:
        running.terminate()
        running.wait(30)


def _pings(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ping").status_code == 200
    except httpx.HTTPError:
        return False
