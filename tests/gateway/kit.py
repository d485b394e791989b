"""Version folders without a tracking system, and a model whose rows say how it shall misbehave."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cloudpickle
import msgspec
import numpy as np
import pandas as pd

from afterfit.adapters.model_folder import folder_sha256
from afterfit.errors import DuplicateError, StoreError
from afterfit.gateway.fleet import Fleet
from afterfit.records import (
    Feature,
    ModelRoutes,
    ModelVersion,
    Outcome,
    Prediction,
    Role,
    Routes,
    ShadowScore,
    Target,
    Task,
)
from afterfit.tracking.features import features_of
from afterfit.tracking.golden import golden, golden_rows
from afterfit.tracking.scoring import classes_of

NOW = datetime(2026, 1, 5, tzinfo=UTC)
KILL, HANG, NAN, RAISE, SLOW = 666, 777, 888, 999, 555
A, B = Feature("a", "number", "float64"), Feature("b", "number", "float64")


class Scripted:
    """P(1) is column `weight` of a row; some values of `a` make it misbehave instead."""

    classes_ = np.array([0, 1])

    def __init__(self, weight: str = "a") -> None:
        self.weight = weight

    def predict_proba(self, X: pd.DataFrame) -> Any:
        told = set(X["a"])
        if KILL in told:
            os.kill(os.getpid(), signal.SIGKILL)
        if HANG in told:
            time.sleep(600)
        if RAISE in told:
            raise RuntimeError("out of luck")
        if SLOW in told:
            time.sleep(0.3)
        p = X[self.weight].to_numpy(dtype=float)
        p = np.where(p == NAN, np.nan, np.clip(p, 0.0, 1.0))
        return np.column_stack([1 - p, p])

    def predict(self, X: pd.DataFrame) -> Any:
        return (np.nan_to_num(self.predict_proba(X))[:, 1] > 0.5).astype(int)


class Picky(Scripted):
    """Its labels follow a threshold of its own, not the larger score."""

    def predict(self, X: pd.DataFrame) -> Any:
        return (self.predict_proba(X)[:, 1] > 0.2).astype(int)


class Worded(Scripted):
    """Its labels are words."""

    classes_ = np.array(["no", "yes"])

    def predict(self, X: pd.DataFrame) -> Any:
        return self.classes_[super().predict(X)]


def save(
    home: Path,
    model: Any,
    *,
    number: int = 1,
    name: str = "m",
    task: Task = Task.BINARY,
    features: Sequence[Feature] = (A,),
    classes: tuple[Any, ...] | None = (0, 1),
    golden: dict[str, Any] | None = None,
) -> ModelVersion:
    """A version folder as tracking leaves it behind."""
    folder = home / "models" / name / str(number)
    _write_model(folder / "model", model)
    version = ModelVersion(
        model=name,
        version=number,
        task=task,
        created_at=NOW,
        folder=str(folder),
        uri="",
        run_id=None,
        model_sha256=folder_sha256(folder / "model"),
        data_sha256=None,
        n_rows=1,
        features=tuple(features),
        classes=classes,
    )
    (folder / "version.json").write_bytes(msgspec.json.encode(version))
    if golden is not None:
        (folder / "golden.json").write_text(json.dumps(golden), encoding="utf-8")
    return version


def trained(home: Path, model: Any, X: pd.DataFrame, y: Any, *, task: Task, number: int = 1) -> ModelVersion:
    """A fitted estimator's version folder, with golden rows and the signature of its frame."""
    features, classes = features_of(X), classes_of(model)
    kept = golden(model, golden_rows(X, features), classes)
    return save(home, model, number=number, task=task, features=features, classes=classes, golden=kept)


def _write_model(path: Path, model: Any) -> None:
    if hasattr(model, "get_params"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MLflow warns about its own type hints while it is imported
            import mlflow.sklearn

            mlflow.sklearn.save_model(model, str(path), serialization_format="cloudpickle", pip_requirements=[])
        return
    path.mkdir(parents=True)  # Scripted is no estimator: the same format by hand, its class travels by value
    own = sys.modules[Scripted.__module__]
    cloudpickle.register_pickle_by_value(own)
    (path / "model.pkl").write_bytes(cloudpickle.dumps(model))
    cloudpickle.unregister_pickle_by_value(own)
    flavor = "{pickled_model: model.pkl, serialization_format: cloudpickle, code: null}"
    (path / "MLmodel").write_text(f"flavors: {{sklearn: {flavor}}}\n", encoding="utf-8")


def target(version: ModelVersion, role: Role = Role.CHAMPION, weight: float = 1.0) -> Target:
    """A version's place in the routes."""
    return Target(version.version, role, weight, version.folder, version.model_sha256)


def routes(number: int, *targets: Target, timeout: float = 1.0, name: str = "m") -> Routes:
    """A snapshot of one model; the weights are those of the targets."""
    model = ModelRoutes(name, Task.BINARY, targets, rollout="r", timeout=timeout)
    return Routes(number, NOW, {name: model})


def both(first: Routes, second: Routes) -> Routes:
    """One snapshot with the models of two."""
    return replace(first, models={**first.models, **second.models})


class MemoryJournal:
    """A journal without a disk."""

    def __init__(self) -> None:
        self.rows: list[Prediction] = []
        self.shadow_rows: list[ShadowScore] = []
        self.outcome_rows: list[Outcome] = []
        self.full = False
        self.lost_rows: list[Prediction] = []

    async def predictions(self, rows: Sequence[Prediction]) -> None:
        if self.full:
            raise StoreError("the disk is full")
        known = {row.id for row in self.rows}
        for row in rows:
            if row.id in known:
                raise DuplicateError(f"prediction id {row.id!r} was acknowledged before")
        await asyncio.sleep(0)
        self.rows += rows

    def lost(self, rows: Sequence[Prediction]) -> None:
        self.lost_rows += rows

    def shadows(self, rows: Sequence[ShadowScore]) -> None:
        self.shadow_rows += rows

    async def outcomes(self, rows: Sequence[Outcome]) -> list[str]:
        self.outcome_rows += rows
        return ["stored"] * len(rows)


def with_fleet(folder: Path, act: Callable[[Fleet], Coroutine[Any, Any, None]]) -> None:
    """Do something with a fleet that is stopped afterwards."""

    async def run() -> None:
        fleet = Fleet(folder / "logs")
        try:
            await act(fleet)
        finally:
            await fleet.stop()

    asyncio.run(run())
