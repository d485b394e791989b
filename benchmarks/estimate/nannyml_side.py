"""Runs inside NannyML's own environment: writes its data sets as arrays, then answers one request a line.

Request: the name of a data set. Answer: JSON with seconds of fit and estimate, and the estimates of each chunk.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"  # it would report home
warnings.filterwarnings("ignore")

# name: (loader, outcome, prediction, score columns by label, rows a chunk)
SETS: dict[str, tuple[str, str, str, dict[str, str], int]] = {
    "car loan": ("synthetic_car_loan", "repaid", "y_pred", {"1": "y_pred_proba"}, 5000),
    "work from home": ("synthetic_binary_classification", "work_home_actual", "y_pred", {"1": "y_pred_proba"}, 5000),
    "MA employment": ("us_census_ma_employment_data", "employed", "prediction", {"1": "predicted_probability"}, 5000),
    "California": ("modified_california_housing", "clf_target", "y_pred", {"1": "y_pred_proba"}, 2000),
    "credit cards": (
        "synthetic_multiclass_classification",
        "y_true",
        "y_pred",
        {f"{c}_card": f"y_pred_proba_{c}_card" for c in ("prepaid", "highstreet", "upmarket")},
        5000,
    ),
}
PRICE = "car price"
FEATURES = ("car_age", "km_driven", "price_new", "accident_count", "door_count", "fuel", "transmission")


def frames(name: str, folder: Path) -> tuple[Any, Any, str, str, dict[str, str], int]:
    """(reference, analysis with outcomes, outcome, prediction, score columns, rows a chunk)."""
    pandas, numpy = import_module("pandas"), import_module("numpy")
    data = import_module("nannyml.datasets")
    if name == "1 M simulated" or name.startswith("world "):
        arrays = numpy.load(folder / f"{name}.npz")
        both = [pandas.DataFrame({c: arrays[f"{part}_{c}"] for c in ("y", "p", "s")}) for part in ("ref", "win")]
        return both[0], both[1], "y", "p", {"1": "s"}, int(arrays["rows"])
    if name == PRICE:
        reference, analysis, truth = data.load_synthetic_car_price_dataset()
        return reference, analysis.merge(truth, on="id"), "y_true", "y_pred", {}, 6000
    short, outcome, prediction, scores, rows = SETS[name]
    loader = getattr(data, f"load_{short}" if short.endswith("_data") else f"load_{short}_dataset")
    reference, analysis, truth = loader()
    analysis = analysis.merge(truth, on="id")
    return reference, analysis.iloc[: len(analysis) // rows * rows], outcome, prediction, scores, rows


def export(folder: Path) -> None:
    """Write every shipped data set as <name>.npz: {ref,win}_{y,p,s} and, for the regression, x."""
    numpy = import_module("numpy")
    for name in (*SETS, PRICE):
        reference, analysis, outcome, prediction, scores, rows = frames(name, folder)
        arrays: dict[str, Any] = {"rows": rows, "labels": numpy.array(list(scores))}
        for part, frame in (("ref", reference), ("win", analysis)):
            kind = str if len(scores) > 1 else float
            arrays[f"{part}_y"] = frame[outcome].to_numpy().astype(kind)
            arrays[f"{part}_p"] = frame[prediction].to_numpy().astype(kind)
            if scores:
                arrays[f"{part}_s"] = frame[list(scores.values())].to_numpy(float)
            else:
                for text in ("fuel", "transmission"):
                    frame[text] = frame[text].astype("category").cat.codes
                arrays[f"{part}_x"] = frame[list(FEATURES)].to_numpy(float)
        numpy.savez(folder / f"{name}.npz", **arrays)


def run(name: str, folder: Path) -> dict[str, Any]:
    """Fit and estimate once; the frames are loaded before the clock starts."""
    nannyml = import_module("nannyml")
    reference, analysis, outcome, prediction, scores, rows = frames(name, folder)
    common = {"y_true": outcome, "y_pred": prediction, "chunk_size": rows}
    if scores:
        metrics = ["roc_auc", "f1"]
        many = len(scores) > 1
        model = nannyml.CBPE(
            y_pred_proba=scores if many else next(iter(scores.values())),
            problem_type="classification_multiclass" if many else "classification_binary",
            metrics=metrics,
            **common,
        )
    else:
        metrics = ["mae", "rmse"]
        model = nannyml.DLE(
            feature_column_names=list(FEATURES), metrics=metrics, hyperparameters={"verbose": -1}, **common
        )
    start = time.perf_counter()
    model.fit(reference)
    fitted = time.perf_counter()
    found = model.estimate(analysis)
    done = time.perf_counter()
    table = found.filter(period="analysis").to_df()
    columns = {"value": "value", "low": "lower_confidence_boundary", "high": "upper_confidence_boundary"}
    estimates = {m: {k: table[(m, c)].tolist() for k, c in columns.items()} for m in metrics}
    return {"fit": fitted - start, "estimate": done - fitted, "metrics": estimates}


def main() -> None:
    """Export, say so, then answer until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries that print do not disturb the answers
    folder = Path(sys.argv[1])
    export(folder)
    print(json.dumps("ready"), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(run(line.strip(), folder)), file=answers, flush=True)


if __name__ == "__main__":
    main()
