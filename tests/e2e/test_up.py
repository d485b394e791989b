"""As a new user would: `afterfit init`, `python train.py`, `afterfit up`, a prediction, an outcome, Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from tests.world import wait_for

AFTERFIT = [sys.executable, "-m", "afterfit.cli"]


def run(folder: Path, *arguments: str, code: int = 0, **environ: str) -> str:
    """Run a command in a folder; its output, which never holds a traceback."""
    result = subprocess.run(
        [*AFTERFIT, *arguments], cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, **environ}
    )
    assert result.returncode == code, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    return result.stdout + result.stderr


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.timeout(240)
def test_from_init_to_a_retrained_model_under_care(tmp_path: Path) -> None:
    run(tmp_path, "init")
    assert "exist already" in run(tmp_path, "init", code=1)
    trained = subprocess.run([sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert trained.returncode == 0, trained.stderr
    assert "registered version 1" in trained.stdout
    settings = tmp_path / "afterfit.toml"
    settings.write_text(
        settings.read_text("utf-8").replace('"binary"', '"binary"\nfallback = "maybe"'), encoding="utf-8"
    )
    port = free_port()
    environ = {**os.environ, "AFTERFIT_PORT": str(port), "AFTERFIT_TICK": "1s"}
    up = subprocess.Popen([*AFTERFIT, "up"], cwd=tmp_path, env=environ, stdout=subprocess.PIPE, text=True)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: lists(url, "my-model"), 60, "the model did not go live")
        features = httpx.get(f"{url}/v1/models/my-model").json()["features"]
        row = {f["name"]: 1.0 for f in features}
        answer = httpx.post(
            f"{url}/v1/models/my-model/predict", json={"rows": [row], "key": "patient"}, timeout=30
        ).json()
        id = answer["predictions"][0]["id"]
        told = httpx.post(
            f"{url}/v1/models/my-model/outcomes", json={"outcomes": [{"prediction_id": id, "value": 1}]}, timeout=30
        ).json()
        assert told["results"] == [{"status": "stored"}]
        wait_for(lambda: 'champion_version{model="my-model"} 1' in _metrics(url), 30, "the controller told nothing")
        assert 'afterfit_outcomes_total{model="my-model",result="stored"} 1' in _metrics(url)
        said = run(tmp_path, "status")
        assert "version 1 is champion" in said
        assert re.search(r"lane +onnx; [\d,]+ rows tried", " ".join(said.split()))
        assert re.search(r"log +100.00% of 1 answered rows", said)
        assert "degraded" not in said  # what is nothing is not told
        assert re.search(r"problem of \S+: my-model/fallback: ", said)
        said = run(tmp_path, "why", "my-model")
        assert "learning_rate" in said
        assert "sha256" in said.lower()
        assert "trivial predictor" in said
        assert "another `afterfit up`" in run(tmp_path, "up", code=3, AFTERFIT_PORT=str(free_port()))
        gateway = next(p for p in psutil.Process(up.pid).children() if "gateway.server" in " ".join(p.cmdline()))
        gateway.kill()
        wait_for(lambda: lists(url, "my-model"), 60, "the gateway was not started again")
        run(tmp_path, "halt", "my-model", "--why", "test")
        assert "halted" in run(tmp_path, "status")
        assert "champion already" in run(tmp_path, "deploy", "my-model", "1", code=1)
        assert "not possible" in run(tmp_path, "train", "my-model", code=1)
    finally:
        children = psutil.Process(up.pid).children(recursive=True)
        up.send_signal(signal.SIGINT)
        out, _ = up.communicate(timeout=60)
    assert up.returncode == 0
    assert f"http://127.0.0.1:{port}" in out
    assert "stopped" in out
    assert [p for p in children if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []
    assert "all is well" in run(tmp_path, "doctor")


def test_a_port_in_use_is_told_and_nothing_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = run(tmp_path, "up", code=3, AFTERFIT_PORT=str(port))
    assert f"port {port}" in said
    assert "in use" in said
    assert not (tmp_path / ".afterfit" / "gateways").exists()


def test_what_is_wrong_is_said_in_one_line(tmp_path: Path) -> None:
    assert "no model yet" in run(tmp_path, "status")
    assert "unknown model 'm'" in run(tmp_path, "why", "m", code=1)
    (tmp_path / "afterfit.toml").write_text('[models.m]\ntask = "binary"\nwindwo = "1d"\n', encoding="utf-8")
    said = run(tmp_path, "status", code=1)
    assert "unknown key 'windwo'" in said
    assert "Did you mean 'window'" in said


def test_a_damaged_store_is_told(tmp_path: Path) -> None:
    run(tmp_path, "status")
    (tmp_path / ".afterfit" / "control.db").write_bytes(b"this is no database, and never was" * 100)
    for path in (tmp_path / ".afterfit").glob("control.db-*"):
        path.unlink()
    said = run(tmp_path, "up", code=3)
    assert "control.db" in said
    (tmp_path / "file").write_text("x", encoding="utf-8")
    assert "file" in run(tmp_path, "status", code=3, AFTERFIT_HOME=str(tmp_path / "file"))


def test_a_damaged_journal_is_moved_aside_told_and_serving_goes_on(tmp_path: Path) -> None:
    home = tmp_path / ".afterfit"
    (home / "journal").mkdir(parents=True)
    (home / "journal" / "gateway-1.db").write_bytes(b"no journal at all" * 500)
    command = [sys.executable, "-m", "afterfit.gateway.server", "--home", str(home), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as gateway:
        assert gateway.stdout is not None
        assert "gateway gateway-1 serves" in gateway.stdout.readline()
        gateway.terminate()
        _, said = gateway.communicate(timeout=60)
    assert gateway.returncode == 0
    assert "rows of it that are not in the lake are lost unless it is mended" in said
    (aside,) = (home / "journal" / "damaged").iterdir()
    assert aside.read_bytes().startswith(b"no journal at all")


def test_compare_tells_drift_by_its_exit_code(tmp_path: Path) -> None:
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(1)
    before = pd.DataFrame({"x": rng.normal(size=3000), "c": rng.choice(["a", "b"], 3000)})
    after = pd.DataFrame({"x": rng.normal(1.0, 1, 1000), "c": rng.choice(["a", "b"], 1000)})
    before.to_parquet(tmp_path / "before.parquet")
    after.to_csv(tmp_path / "after.csv", index=False)
    said = run(tmp_path, "compare", "before.parquet", "after.csv", code=4)
    assert "x: the distribution moved" in said
    assert "c: the distribution" not in said
    run(tmp_path, "compare", "before.parquet", "before.parquet", "--json")


def _metrics(url: str) -> str:
    return httpx.get(f"{url}/metrics", timeout=5.0).text


def lists(url: str, model: str) -> bool:
    try:
        return model in httpx.get(f"{url}/v1/models", timeout=5.0).json()["models"]
    except httpx.HTTPError:
        return False
