"""A small real world for tests: a home, its loop on a clock of the test's own, and a real gateway process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression

import afterfit as af
from afterfit.config import Config, parse
from afterfit.home import Home
from afterfit.lifecycle import Happening
from afterfit.loop import Loop
from afterfit.records import ModelVersion

START = datetime(2026, 1, 5, tzinfo=UTC)
SETTINGS: dict[str, Any] = {
    "task": "binary",
    "window": "1d",
    "outcome_delay": "1h",
    "rollout": {"canary": [0.2, 0.5], "timeout": "2s", "min_pairs": 50, "min_requests": 10},
}


class Moody(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """A logistic regression that misbehaves, in a way of its own, while a certain file exists."""

    def __init__(self, mood: str = "calm", trigger: str = "", bias: float = 0.0) -> None:
        self.mood = mood
        self.trigger = trigger
        self.bias = bias

    def fit(self, X: Any, y: Any) -> Moody:
        self.model_ = LogisticRegression().fit(X, y)
        self.classes_ = self.model_.classes_
        return self

    def predict_proba(self, X: Any) -> Any:
        scores = self.model_.predict_proba(X)
        if self.trigger and os.path.exists(self.trigger):
            if self.mood == "crash":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.mood == "hang":
                time.sleep(600)
            if self.mood == "slow":
                time.sleep(0.5)
            if self.mood == "nan":
                return np.full_like(scores, np.nan)
            if self.mood == "shape":
                return scores[:, :1]
            if self.mood == "raise":
                raise RuntimeError("out of luck")
        return scores

    def predict(self, X: Any) -> Any:
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def frame(n: int, seed: int = 0) -> tuple[pd.DataFrame, pd.Series]:
    """Rows with a number, an integer and a number that may be null, and a 0/1 target that depends on them."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame({"a": rng.normal(size=n), "b": rng.integers(0, 5, n)})
    y = pd.Series((rng.random(n) < 1 / (1 + np.exp(-(2 * X["a"] + 0.5 * X["b"] - 1)))).astype(int))
    return X, y


class World:
    """One home with one model `m`, and as many gateway processes as the test starts."""

    def __init__(self, folder: Path, settings: Mapping[str, Any] | None = None) -> None:
        self.folder = folder
        self.config: Config = parse({"models": {"m": {**SETTINGS, **(settings or {})}}, "port": 0}, root=folder)
        self.home = Home.open(self.config)
        self.loop = Loop(self.home)
        self.now = START
        self.gateway: subprocess.Popen[bytes] | None = None
        self.url = ""

    def register(self, model: Any = None, seed: int = 0) -> ModelVersion:
        """A new version, trained on 400 rows; Moody by default."""
        X, y = frame(400, seed)
        held = frame(300, seed + 1)
        fitted = (Moody() if model is None else model).fit(X, y)
        times = pd.Series(pd.date_range(end=START, periods=len(X), freq="h"))
        return af.register("m", fitted, X, y, holdout=held, time=times, config=self.config)

    def live(self, model: Any = None) -> ModelVersion:
        """Register a version and let the loop put it live as the first champion."""
        version = self.register(model)
        for _ in range(2):
            self.tick()
        assert self.loop.book("m").state.champion == version.version
        return version

    def tick(self, hours: float = 0.0) -> None:
        """One look of the loop, after the clock moved."""
        self.now += timedelta(hours=hours)
        self.loop.settle(self.now)

    def say(self, happening: Happening, **data: Any) -> None:
        """A person's word."""
        self.loop.say("m", happening, data, actor="person:test", now=self.now)

    def start(self, *, clock: str = "machine", name: str = "gateway-1") -> None:
        """Start a gateway and wait until it runs the published routes."""
        command = [sys.executable, "-m", "afterfit.gateway.server", "--home", str(self.config.home), "--port", "0"]
        self.gateway = subprocess.Popen([*command, "--clock", clock, "--id", name])
        self.settled()

    def settled(self, patience: float = 60.0) -> None:
        """Wait until the gateway has acknowledged the newest routes."""
        number = self.home.board.current().number

        def taken_over() -> bool:
            acks = self.home.board.acknowledgements()
            if acks and all(a.number >= number for a in acks):
                self.url = acks[0].url
                return True
            return False

        wait_for(taken_over, patience, f"routes {number} were not acknowledged")

    def predict(self, rows: list[dict[str, Any]] | None = None, **more: Any) -> httpx.Response:
        """Ask the gateway."""
        body = {"rows": rows or [{"a": 0.5, "b": 1}], **more}
        return httpx.post(f"{self.url}/v1/models/m/predict", json=body, timeout=60.0)

    def outcomes(self, items: list[dict[str, Any]]) -> httpx.Response:
        """Tell the gateway what came true."""
        return httpx.post(f"{self.url}/v1/models/m/outcomes", json={"outcomes": items}, timeout=60.0)

    def logged(self) -> pd.DataFrame:
        """All predictions in the lake, after a drain."""
        from afterfit.records import Window

        self.home.lake.drain(self.config.home / "journal")
        far = Window(datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
        table: pd.DataFrame = self.home.lake.labelled("m", far).to_pandas()
        return table

    def stop(self) -> None:
        """End the gateway, in order."""
        if self.gateway is not None:
            self.gateway.terminate()
            assert self.gateway.wait(30) == 0
            self.gateway = None

    def close(self) -> None:
        """End everything, however it stands."""
        if self.gateway is not None:
            self.gateway.kill()
            self.gateway.wait(30)
        self.home.close()


def wait_for(condition: Callable[[], bool], patience: float, what: str) -> None:
    """Poll until a condition holds."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"{what} within {patience:g} s"
        time.sleep(0.02)


def with_trigger(folder: Path, mood: str) -> tuple[Moody, Path]:
    """A model of that mood, and the file that sets it off."""
    trigger = folder / f"{mood}.on"
    return Moody(mood, str(trigger)), trigger
