"""Afterfit's side: registers the model, puts it live, starts the gateway, and counts its log afterwards."""

from __future__ import annotations

import json
import shutil
import sys
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bodies import OURS
from models import HELD, Model, features, outcome
from peers import Start

import afterfit as af
from afterfit.adapters.routes_board import FileRoutesBoard
from afterfit.home import Home, find_config
from afterfit.records import ModelRoutes, ModelVersion, Role, Routes, Target, Task, Window

EVER = Window(datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))


@dataclass(frozen=True)
class Logged:
    """The log after all load: rows of answered requests, and how many ids are among them."""

    rows: int
    ids: int


class Ours:
    """One model under care in a home of its own, served by a gateway without its control loop (which only reads)."""

    def __init__(self, model: Model, folder: Path) -> None:
        self._name = model.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "afterfit.toml").write_text(f'[models.{model.name}]\ntask = "binary"\n', encoding="utf-8")
        self._config = find_config(folder)
        self.home = Home.open(self._config)
        self._board = FileRoutesBoard(self.home.config.home)
        self.version = self.register(model.fitted, model)
        model.link.unlink(missing_ok=True)
        made = Path(self.version.folder) / "model"
        if (made / "graph.onnx").exists():
            model.link.symlink_to(made)

    def register(self, fitted: Any, model: Model) -> ModelVersion:
        """A version of the model, with a hold-out."""
        held = features(model.name, HELD, seed=4)
        return af.register(
            self._name, fitted, model.X, model.y, holdout=(held, outcome(held, seed=5)), config=self._config
        )

    def publish(self, *shadows: ModelVersion) -> None:
        """Put the model live, with these shadows."""
        targets = [_target(self.version, Role.CHAMPION, 1.0), *(_target(s, Role.SHADOW, 0.0) for s in shadows)]
        routes = ModelRoutes(self._name, Task.BINARY, tuple(targets), rollout="benchmark")
        number = self._board.current().number + 1
        self._board.publish(Routes(number, datetime.now(UTC), {self._name: routes}))

    def start(self, port: int) -> Start:
        """The gateway as the supervisor starts it."""
        command = [sys.executable, "-m", "afterfit.gateway.server", "--home", str(self.home.config.home)]
        return Start([*command, "--port", str(port)], f"/v1/models/{self._name}/predict", OURS)

    def versions(self, port: int) -> list[dict[str, Any]]:
        """What the gateway says of the versions that it runs."""
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models/{self._name}", timeout=30) as reply:
            found: list[dict[str, Any]] = json.load(reply)["versions"]
        return found

    def dropped(self) -> dict[str, int]:
        """Shadow rows dropped since the gateway started, by reason."""
        return dict(self._board.acknowledgements()[0].dropped)

    def logged(self) -> Logged:
        """Drain the journal into the lake, and count there."""
        self.home.lake.drain(self.home.config.home / "journal")
        table = self.home.lake.predictions(self._name, EVER).select(["prediction_id", "status"]).to_pandas()
        good = table[table["status"] != "error"]
        return Logged(len(good), good["prediction_id"].nunique())

    def shadow_rows(self) -> int:
        """Shadow scores in the lake."""
        return self.home.lake.counts(self._name)["shadows"]


def _target(version: ModelVersion, role: Role, weight: float) -> Target:
    return Target(version.version, role, weight, version.folder, version.model_sha256)
