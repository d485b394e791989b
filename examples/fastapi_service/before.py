"""A small service as it is found everywhere: it loads a model, answers, and is told later what came true."""

from __future__ import annotations

import pickle
from pathlib import Path
from uuid import uuid4

import pandas as pd
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
model = pickle.loads(Path("model.pkl").read_bytes())


class Flat(BaseModel):
    """What a caller knows of a flat."""

    size: float
    rooms: int
    district: str


class Truth(BaseModel):
    """Whether the flat was let within a month."""

    id: str
    let: bool


@app.post("/predict")
def predict(flat: Flat) -> dict[str, object]:
    id, row = str(uuid4()), flat.model_dump()
    share = float(model.predict_proba(pd.DataFrame([row]))[0, 1])
    return {"id": id, "let": share > 0.5, "share": share}


@app.post("/truth")
def truth(told: Truth) -> dict[str, str]:
    return {"noted": told.id}
