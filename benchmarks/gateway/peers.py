"""The peers: which packages, how the model is handed over, how the server is started, and in which words it is asked."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bodies import BENTO_ARRAY, BENTO_FRAME, INPUTS, PLAIN, SPLIT, V2_COLUMNS, V2_TENSOR, Dialect
from environments import python_with
from models import NULL, PIPELINE, Model
from servers import FailedError, free_port

APPS = Path(__file__).parent / "apps"
SAME = tuple(f"{name}=={version(name)}" for name in ("scikit-learn", "pandas", "joblib"))  # they unpickle our file
UVICORN = tuple(f"{name}=={version(name)}" for name in ("uvicorn", "httptools", "uvloop"))
QUIET = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]


@dataclass(frozen=True)
class Start:
    """A command for one model on one port."""

    command: list[str]
    path: str
    dialect: Dialect
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Peer:
    """Somebody who serves a model. No packages: it runs beside us, in our own environment."""

    title: str
    packages: tuple[str, ...]
    prepare: Callable[[Path, Model, Path], None]  # python, model, folder to write to
    start: Callable[[Path, Model, Path, int], Start]  # python, model, that folder, port

    def python(self, name: str) -> Path:
        """Its interpreter; the environment is made on first use."""
        return python_with(f"gateway-{name}", *self.packages) if self.packages else Path(sys.executable)


def _nothing(_python: Path, _model: Model, _folder: Path) -> None:
    """Served straight from `model.joblib`."""


def _uvicorn(python: Path, app: str, port: int) -> list[str]:
    return [str(python), "-m", "uvicorn", app, "--app-dir", str(APPS), "--port", str(port), *QUIET]


def _by_hand(python: Path, model: Model, _folder: Path, port: int) -> Start:
    return Start(_uvicorn(python, "by_hand:app", port), "/predict", PLAIN, {"BENCH_MODEL": str(model.folder)})


def _raw(python: Path, model: Model, _folder: Path, port: int) -> Start:
    env = {"BENCH_MODEL": str(model.folder)}
    if model.name != NULL:
        if not model.link.exists():
            raise FailedError("registration made no ONNX graph of this model")
        env["BENCH_GRAPH"] = str(model.link)
    return Start(_uvicorn(python, "raw:app", port), "/predict", PLAIN, env)


def _mlserver_files(_python: Path, model: Model, folder: Path) -> None:
    settings: dict[str, Any] = {"parallel_workers": 0, "host": "127.0.0.1", "debug": False}
    served = {"uri": str(model.folder / "model.joblib")}
    told = {"name": "m", "implementation": "mlserver_sklearn.SKLearnModel", "parameters": served}
    (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "model-settings.json").write_text(json.dumps(told), encoding="utf-8")


def _mlserver(python: Path, model: Model, folder: Path, port: int) -> Start:
    ports = {"HTTP": port, "GRPC": free_port(), "METRICS": free_port()}
    return Start(
        [str(python.with_name("mlserver")), "start", str(folder)],
        "/v2/models/m/infer",
        V2_COLUMNS if model.name == PIPELINE else V2_TENSOR,
        {f"MLSERVER_{kind}_PORT": str(number) for kind, number in ports.items()},
    )


def _bento(python: Path, model: Model, folder: Path, port: int) -> Start:
    frames = model.name == PIPELINE
    service = f"bento:{'Frames' if frames else 'Arrays'}"
    command = [str(python), "-m", "bentoml", "serve", service, "--working-dir", str(APPS), "--host", "127.0.0.1"]
    env = {"BENCH_MODEL": str(model.folder), "BENTOML_HOME": str(folder), "BENTOML_DO_NOT_TRACK": "True"}
    return Start([*command, "--port", str(port)], "/predict", BENTO_FRAME if frames else BENTO_ARRAY, env)


def _mlflow_files(python: Path, model: Model, folder: Path) -> None:
    command = [str(python), str(APPS / "mlflow_save.py"), str(model.folder), str(folder / "saved")]
    saved = subprocess.run(command, check=False, capture_output=True, text=True)
    if saved.returncode != 0:
        raise FailedError(f"the model could not be saved: {saved.stderr.strip()[-700:]}")


def _mlflow(python: Path, model: Model, folder: Path, port: int) -> Start:
    command = [str(python), "-m", "mlflow", "models", "serve", "--model-uri", str(folder / "saved")]
    command += ["--env-manager", "local", "--workers", "1", "--host", "127.0.0.1", "--port", str(port)]
    # it starts `python` and `uvicorn` by their names
    env = {"UVICORN_ACCESS_LOG": "false", "MLFLOW_DISABLE_TELEMETRY": "true", "PATH": f"{python.parent}:/usr/bin:/bin"}
    return Start(command, "/invocations", SPLIT if model.name == PIPELINE else INPUTS, env)


PEERS = {
    "raw": Peer("raw ASGI + onnxruntime", (), _nothing, _raw),
    "fastapi": Peer("FastAPI by hand", ("fastapi==0.165.0", *UVICORN, *SAME), _nothing, _by_hand),
    "mlserver": Peer("MLServer", ("mlserver==1.7.1", "mlserver-sklearn==1.7.1", *SAME), _mlserver_files, _mlserver),
    "bentoml": Peer("BentoML", ("bentoml==1.4.40", *SAME), _nothing, _bento),
    "mlflow": Peer("mlflow models serve", ("mlflow==3.17.2", *SAME), _mlflow_files, _mlflow),
}
SERVERS = ("mlserver", "bentoml", "mlflow")  # what the issue calls the three servers
