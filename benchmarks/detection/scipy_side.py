"""The loop everybody writes: ks_2samp or chi2_contingency of each column against the reference, by window.

Reads a list of Parquet files, writes for each file and column the windows that alarmed, and how strongly.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import chi2_contingency, ks_2samp

P = 0.05
LEAST = 1e-300  # a p-value of 0 has no logarithm


def p_value(reference: pd.Series, window: pd.Series) -> float:
    """Of one column; nulls are left out."""
    a, b = reference.dropna(), window.dropna()
    if len(b) == 0:
        return 1.0
    if pd.api.types.is_numeric_dtype(a):
        return float(ks_2samp(a.to_numpy(), b.to_numpy(), method="asymp").pvalue)
    names = sorted(set(a) | set(b))
    counts = np.array([s.value_counts().reindex(names, fill_value=0) for s in (a, b)])
    return float(chi2_contingency(counts).pvalue) if len(names) > 1 else 1.0


def answer(path: str, reference_days: int) -> dict[str, Any]:
    """{column: {"alarms": [by window], "strengths": [by window]}}; the strength is -log10 of the p-value."""
    frame = pd.read_parquet(path)
    day = frame.pop("time").astype("int64") // 86_400_000_000
    before, live = frame[day < reference_days], frame[day >= reference_days]
    windows = [window for _, window in live.groupby(day[day >= reference_days])]
    found: dict[str, Any] = {}
    for column in frame:
        p = [p_value(before[column], window[column]) for window in windows]
        strengths = [float(-np.log10(max(v, LEAST))) for v in p]
        found[str(column)] = {"alarms": [v < P for v in p], "strengths": strengths}
    return found


def main() -> None:
    """`scipy_side.py <job.json> <answer.json>`."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    found = {path: answer(path, job["reference_days"]) for path in job["files"]}
    Path(sys.argv[2]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
