"""NannyML's univariate drift with its defaults, a chunk a day. Same files and answers as scipy_side.py."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from nannyml import UnivariateDriftCalculator

METHOD = "jensen_shannon"  # the default for numbers and for categories


def answer(path: str, reference_days: int) -> dict[str, Any]:
    """{column: {"alarms": [by window], "strengths": [by window]}}; the strength is the sd above the reference's mean
    chunk, of which 3 is the default threshold."""
    frame = pd.read_parquet(path)
    day = frame["time"].astype("int64") // 86_400_000_000
    columns = [c for c in frame if c != "time"]
    calculator = UnivariateDriftCalculator(column_names=columns, timestamp_column_name="time", chunk_period="D")
    calculator.fit(frame[day < reference_days])
    result = calculator.calculate(frame[day >= reference_days])
    usual = result.filter(period="reference").to_df()
    table = result.filter(period="analysis").to_df()
    found: dict[str, Any] = {}
    for column in columns:
        base = usual[(column, METHOD, "value")].to_numpy(float)
        values = table[(column, METHOD, "value")].to_numpy(float)
        strengths = (values - np.nanmean(base)) / max(float(np.nanstd(base)), 1e-12)
        alarms = table[(column, METHOD, "alert")].astype(bool)
        found[str(column)] = {"alarms": alarms.tolist(), "strengths": np.nan_to_num(strengths).tolist()}
    return found


def main() -> None:
    """`nannyml_side.py <job.json> <answer.json>`."""
    warnings.filterwarnings("ignore")
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    found = {path: answer(path, job["reference_days"]) for path in job["files"]}
    Path(sys.argv[2]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
