"""The three models and their rows: nothing (a constant), a logistic regression, and a pipeline as people deploy them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

NULL, LINEAR, PIPELINE = "null", "linear", "pipeline"
NAMES = (NULL, LINEAR, PIPELINE)
NUMBERS = tuple(f"n{i:02d}" for i in range(20))
TEXTS = {"t14": 3, "t15": 5, "t16": 8, "t17": 12, "t18": 20, "t19": 40}  # column -> categories
TRAINED, HELD = 20_000, 5_000  # rows
DISTINCT = 500  # rows that single-row requests take turns with
BATCH = 10_000  # rows of the one large request


@dataclass(frozen=True)
class Model:
    """A fitted model, written to `folder/model.joblib`, with rows that it never saw.

    `expected` are its own probabilities of class 1 for `rows`; every server must say the same.
    """

    name: str
    folder: Path
    fitted: Any
    X: pd.DataFrame
    y: pd.Series
    rows: pd.DataFrame
    expected: list[float]

    @property
    def link(self) -> Path:
        """Where the ONNX graph that registration made is linked to, if it made one."""
        return self.folder / "graph"

    @property
    def records(self) -> list[dict[str, Any]]:
        """The rows as JSON objects."""
        found: list[dict[str, Any]] = self.rows.to_dict("records")
        return found


def features(name: str, n: int, seed: int) -> pd.DataFrame:
    """20 columns: numbers, and for the pipeline six of them text."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({column: rng.normal(size=n).round(6) for column in NUMBERS})
    if name != PIPELINE:
        return frame
    for column, levels in TEXTS.items():
        frame["n" + column[1:]] = [f"level-{k}" for k in rng.integers(0, levels, n)]
    return frame.rename(columns={"n" + column[1:]: column for column in TEXTS})


def outcome(frame: pd.DataFrame, seed: int) -> pd.Series:
    """0 or 1, by a logistic law of four numbers (and one category, where there is one)."""
    logit = frame["n00"] - frame["n01"] + 0.5 * frame["n02"] * frame["n03"]
    if "t14" in frame:
        logit = logit + (frame["t14"] == "level-0") - 0.3
    drawn = np.random.default_rng(seed).random(len(frame)) < 1.0 / (1.0 + np.exp(-logit))
    return pd.Series(drawn.astype(int), name="y")


def unfitted(name: str) -> Any:
    """The estimator."""
    if name == NULL:
        return DummyClassifier(strategy="prior")
    if name == LINEAR:
        return LogisticRegression()
    numbers = [column for column in NUMBERS if "t" + column[1:] not in TEXTS]
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return make_pipeline(
        make_column_transformer((StandardScaler(), numbers), (encoder, list(TEXTS))),
        HistGradientBoostingClassifier(random_state=0),
    )


def data_of(name: str, rows: pd.DataFrame) -> Any:
    """Rows as the model takes them: the pipeline wants a frame, the others a bare array, which is the faster way."""
    return rows if name == PIPELINE else rows.to_numpy()


def build(name: str, folder: Path) -> Model:
    """Fit, and write what the servers need: `model.joblib`, `model.json` with the columns, `rows.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    X = features(name, TRAINED, seed=1)
    y = outcome(X, seed=2)
    fitted = unfitted(name).fit(data_of(name, X), y)
    rows = features(name, BATCH, seed=3)
    expected = fitted.predict_proba(data_of(name, rows))[:, 1].tolist()
    joblib.dump(fitted, folder / "model.joblib")
    columns = {column: "text" if column in TEXTS else "number" for column in X}
    (folder / "model.json").write_text(json.dumps({"name": name, "columns": columns}), encoding="utf-8")
    (folder / "rows.json").write_text(rows.to_json(orient="records", double_precision=15), encoding="utf-8")
    return Model(name, folder, fitted, X, y, rows, expected)
