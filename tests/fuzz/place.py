"""Two models behind a real gateway process: `numbers` in the graph lane, `mixed` (text, flags, nulls) in a worker process."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import afterfit as af
from afterfit.adapters.routes_board import FileRoutesBoard
from afterfit.config import parse
from afterfit.home import Home
from afterfit.records import Acknowledgement, ModelRoutes, ModelVersion, Role, Routes, Target, Task, Window
from tests.world import wait_for

EVER = Window(datetime(2, 1, 1, tzinfo=UTC), datetime(9998, 1, 1, tzinfo=UTC))
NUMBERS, MIXED = "numbers", "mixed"


def _frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "a": rng.normal(size=300),
            "b": rng.integers(0, 5, 300),
            "c d": np.where(rng.random(300) < 0.1, np.nan, rng.normal(size=300)),
            "flag": rng.random(300) < 0.5,
            "é": rng.choice(["red", "green", "blue"], 300),
        }
    )


class Place:
    """A home with both models, and a gateway process in front of it."""

    def __init__(self, folder: Path) -> None:
        models = {NUMBERS: {"task": "binary"}, MIXED: {"task": "binary", "lane": "python"}}
        self._config = parse({"models": models, "port": 0}, root=folder)
        self.home = Home.open(self._config)
        X = _frame()
        y = (X["a"] + X["b"] > 2).astype(int)
        encoded = make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore"), ["é"]), remainder="passthrough", sparse_threshold=0
        )
        fitted = {
            NUMBERS: (LogisticRegression().fit(X[["a", "b"]], y), X[["a", "b"]]),
            MIXED: (make_pipeline(encoded, HistGradientBoostingClassifier(max_iter=5)).fit(X, y), X),
        }
        routed = {}
        for name, (model, frame) in fitted.items():
            version = af.register(name, model, frame, y, holdout=(frame, y), config=self._config)
            routed[name] = ModelRoutes(name, Task.BINARY, (_champion(version),), rollout="fuzz")
        FileRoutesBoard(self._config.home).publish(Routes(1, datetime.now(UTC), routed))
        command = [sys.executable, "-m", "afterfit.gateway.server", "--home", str(self._config.home), "--port", "0"]
        self.log = folder / "gateway.log"
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out)
        wait_for(lambda: bool(self._acks()) and self._acks()[0].number == 1, 100.0, "the routes were not taken over")
        self.url = self.report().url

    def report(self) -> Acknowledgement:
        """What the gateway says of itself."""
        return self._acks()[0]

    def _acks(self) -> list[Acknowledgement]:
        return list(self.home.board.acknowledgements())

    def stop(self) -> None:
        """End the gateway in order; it must have lived until now."""
        assert self.process.poll() is None, f"the gateway died: {self.process.returncode}"
        self.process.terminate()
        assert self.process.wait(60) == 0

    def logged(self) -> tuple[Counter[str], int]:
        """(how often each id stands in the log as answered, rows that nobody could answer), of both models."""
        self.home.lake.drain(self._config.home / "journal")
        ids: Counter[str] = Counter()
        errors = 0
        for name in (NUMBERS, MIXED):
            table = self.home.lake.predictions(name, EVER).select(["prediction_id", "status"]).to_pydict()
            answered = [i for i, s in zip(table["prediction_id"], table["status"], strict=True) if s != "error"]
            assert len(set(answered)) == len(answered), f"an id stands twice in the log of {name}"
            ids.update(answered)
            errors += len(table["status"]) - len(answered)
        return ids, errors

    def close(self) -> None:
        """However it stands."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)
        self.home.close()


def _champion(version: ModelVersion) -> Target:
    return Target(version.version, Role.CHAMPION, 1.0, version.folder, version.model_sha256)
