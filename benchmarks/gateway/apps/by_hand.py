"""FastAPI as most people write it: a pydantic row, a DataFrame a request, the model from joblib."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from fastapi import FastAPI
from pydantic import BaseModel, create_model

FOLDER = Path(os.environ["BENCH_MODEL"])
TOLD = json.loads((FOLDER / "model.json").read_text(encoding="utf-8"))
KINDS: dict[str, Any] = {name: (str if kind == "text" else float, ...) for name, kind in TOLD["columns"].items()}
Row = create_model("Row", **KINDS)
model = joblib.load(FOLDER / "model.joblib")
app = FastAPI()


class Request(BaseModel):
    rows: list[Row]  # type: ignore[valid-type]


def prior(rows: list[Any]) -> list[float]:
    """No model at all: parse, validate, reply."""
    return [CONSTANT] * len(rows)


def array(rows: list[Any]) -> list[float]:
    data = np.array([list(row.model_dump().values()) for row in rows])
    return model.predict_proba(data)[:, 1].tolist()


def frame(rows: list[Any]) -> list[float]:
    data = pd.DataFrame([row.model_dump() for row in rows])
    return model.predict_proba(data)[:, 1].tolist()


answer = {"null": prior, "linear": array, "pipeline": frame}[TOLD["name"]]
CONSTANT = float(model.class_prior_[1]) if TOLD["name"] == "null" else 0.0


@app.post("/predict")
async def predict(request: Request) -> dict[str, list[float]]:
    return {"probabilities": answer(request.rows)}
