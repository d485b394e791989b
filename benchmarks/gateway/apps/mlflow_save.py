"""`mlflow_save.py MODEL_FOLDER TARGET`: saves the model as MLflow's guide has it, with its signature."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import joblib
import mlflow.sklearn
import pandas as pd
from mlflow.models import infer_signature


def main(source: str, target: str) -> None:
    model = joblib.load(Path(source) / "model.joblib")
    frame = pd.DataFrame(json.loads((Path(source) / "rows.json").read_text(encoding="utf-8")))
    told = json.loads((Path(source) / "model.json").read_text(encoding="utf-8"))
    data = frame if "text" in told["columns"].values() else frame.to_numpy()
    signature = infer_signature(data, model.predict_proba(data))
    mlflow.sklearn.save_model(
        model,
        target,
        signature=signature,
        pyfunc_predict_fn="predict_proba",
        serialization_format="cloudpickle",
        pip_requirements=[],
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
