"""BentoML as its guide has it: a service class with the model from joblib and one typed method."""

import os
from pathlib import Path

import bentoml
import joblib
import numpy as np
import pandas as pd

QUIET = {"access": {"enabled": False}}


@bentoml.service(workers=1, logging=QUIET)
class Arrays:
    def __init__(self) -> None:
        self.model = joblib.load(Path(os.environ["BENCH_MODEL"]) / "model.joblib")

    @bentoml.api
    def predict(self, rows: np.ndarray) -> np.ndarray:
        return self.model.predict_proba(rows)


@bentoml.service(workers=1, logging=QUIET)
class Frames:
    def __init__(self) -> None:
        self.model = joblib.load(Path(os.environ["BENCH_MODEL"]) / "model.joblib")

    @bentoml.api
    def predict(self, rows: pd.DataFrame) -> np.ndarray:
        return self.model.predict_proba(rows)
