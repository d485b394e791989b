"""Evidently's default drift score of each column, by window. Same files and answers as scipy_side.py.

A whole report takes seconds, since it also draws: the preset runs once, to show that the scores taken one by one
are its own; all other windows call the same statistics directly.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
from evidently import Report
from evidently.core.datasets import infer_column_type
from evidently.legacy.calculations.stattests import get_stattest
from evidently.presets import DataDriftPreset

P_VALUES = {"ks", "chisquare", "z"}  # for references of up to 1 000 rows; larger ones get distances
LEAST = 1e-300


def score(reference: pd.Series, window: pd.Series) -> tuple[float, bool, float]:
    """(score, drifted, strength) of one column; the strength is 1 at the default threshold."""
    a, b = reference.dropna(), window.dropna()
    if b.empty:
        return 0.0, False, 0.0
    kind = infer_column_type(reference)
    test = get_stattest(a, b, kind, None)
    result = test(a, b, kind, None)
    value, threshold = float(result.drift_score), float(result.actual_threshold)
    strength = threshold / max(value, LEAST) if test.name in P_VALUES else value / threshold
    return value, bool(result.drifted), strength


def check(reference: pd.DataFrame, window: pd.DataFrame) -> None:
    """Stop unless the preset says the same of this window."""
    report = Report([DataDriftPreset()]).run(window, reference).dict()
    said = {m["config"]["column"]: m["value"] for m in report["metrics"] if "column" in m.get("config", {})}
    mine = {str(c): score(reference[c], window[c])[0] for c in reference}
    wrong = {c: (mine[c], said.get(c)) for c in mine if abs(mine[c] - float(said.get(c, "nan"))) > 1e-9}
    if wrong or set(said) != set(mine):
        raise SystemExit(f"the preset has other scores than the statistics called one by one: {wrong}")


def answer(path: str, reference_days: int, first: bool) -> dict[str, Any]:
    """{column: {"alarms": [by window], "strengths": [by window]}}."""
    frame = pd.read_parquet(path)
    day = frame.pop("time").astype("int64") // 86_400_000_000
    before, live = frame[day < reference_days], frame[day >= reference_days]
    windows = [window for _, window in live.groupby(day[day >= reference_days])]
    if first:
        check(before, windows[0])
    found: dict[str, Any] = {}
    for column in frame:
        scores = [score(before[column], window[column]) for window in windows]
        found[str(column)] = {"alarms": [s[1] for s in scores], "strengths": [s[2] for s in scores]}
    return found


def main() -> None:
    """`evidently_side.py <job.json> <answer.json>`."""
    warnings.filterwarnings("ignore")
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    found = {path: answer(path, job["reference_days"], i == 0) for i, path in enumerate(job["files"])}
    Path(sys.argv[2]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
