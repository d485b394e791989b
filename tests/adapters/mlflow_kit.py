"""Small drafts and fresh MLflow stores for the tests; the tables of one store are made once and copied."""

from __future__ import annotations

import functools
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from afterfit.adapters.mlflow_registry import MlflowRegistry
from afterfit.tracking.draft import Draft, Labelled, draft

AT = datetime(2024, 5, 1, 12, tzinfo=UTC)
RNG = np.random.default_rng(3)
X = pd.DataFrame({"a": RNG.normal(size=120), "b": RNG.normal(size=120)})
SIGNAL = X["a"] + RNG.normal(size=120)
TARGETS: dict[str, Any] = {
    "binary": (SIGNAL > 0).astype(int).rename(None),
    "multiclass": pd.Series(np.where(SIGNAL > 0.5, "up", np.where(SIGNAL < -0.5, "down", "flat"))),
    "regression": SIGNAL.rename(None),
}


def copy_template(folder: Path) -> None:
    """An empty MLflow database in a folder; making its tables takes seconds, so it is done once a test run."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mlflow.db").write_bytes(_template())


@functools.cache
def _template() -> bytes:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        MlflowRegistry(uri(folder), None, models=folder, code_root=folder).champion("none")
        return (folder / "mlflow.db").read_bytes()


def uri(folder: Path) -> str:
    """The tracking URI of the store in a folder."""
    return f"sqlite:///{folder / 'mlflow.db'}"


def registry(folder: Path, **more: Any) -> MlflowRegistry:
    """A registry of its own in a folder."""
    copy_template(folder)
    options = {"models": folder / "models", "code_root": folder, **more}
    return MlflowRegistry(uri(folder), folder / "mlartifacts", **options)


def a_draft(model: Any, task: str = "binary", **more: Any) -> Draft:
    """A draft of model `m`, fitted now."""
    y = TARGETS[task]
    model.fit(X[:100], y[:100])
    holdout = Labelled(X[100:].reset_index(drop=True), y[100:].reset_index(drop=True))
    return draft("m", model, Labelled(X[:100], y[:100]), at=AT, holdout=holdout, **more)
