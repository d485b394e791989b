"""Afterfit's monitor as the loop runs it: one look a day, a budget, and the last healthy windows.

The strength is log10(threshold / p-value) of a column's most striking finding; above 0 it alarms. A change is looked at
in its own column, with the part of the budget that the column has within the whole frame: the other columns are as
healthy as before. For one change the whole frame is looked at, to show that both say the same.
"""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from afterfit.monitoring.checks import check_columns, is_healthy
from afterfit.monitoring.look import REMEMBERED, Seen
from afterfit.monitoring.reference import Reference, build_reference
from afterfit.records import Finding
from afterfit.stats.profile import Column, Profile, profile

DAY = 86_400.0
LEAST = 1e-300
Found = list[list[Finding]]  # by window


@dataclass(frozen=True)
class Window:
    """Rows, times and profiles of one day."""

    rows: Mapping[str, Any]
    times: Any
    profiles: Mapping[str, Column]

    def only(self, column: str, name: str) -> Window:
        """One column of this frame, under the name that the reference knows."""
        return Window({column: self.rows[name]}, self.times, {column: self.profiles[name]})


def look_at(
    reference: Reference, windows: Iterable[Window], alpha: float, recent: Iterable[Seen] = ()
) -> tuple[Found, list[Seen]]:
    """The findings of each window, and the healthy windows at the end, the way loop/sensing.py looks."""
    last: deque[Seen] = deque(recent, maxlen=REMEMBERED)
    seen = []
    for window in windows:
        found = check_columns(
            reference, window.profiles, alpha=alpha, recent=tuple(last), rows=window.rows, times=window.times
        )
        if is_healthy(found):
            start = float(window.times.min() // DAY * DAY)
            last.append(Seen(start, Profile(len(window.times), window.profiles)))
        seen.append(found)
    return seen, list(last)


class Stream:
    """One stream and its changes, ready to be looked at."""

    def __init__(self, job: Mapping[str, Any], reference_days: int) -> None:
        columns, times, self.days = read(job["file"], reference_days)
        self.changes: Mapping[str, str] = job["changes"]
        self.changed = read(job["changes_file"], reference_days)[2] if self.changes else {}
        self.reference = build_reference(columns, kinds=_kinds(columns), times=times, prediction=None, window=DAY)

    def answer(self, alpha: float) -> dict[str, Any]:
        """{column or change: {"alarms", "strengths", "checks": [by window]}}."""
        seen, _ = look_at(self.reference, self.days.values(), alpha)
        found = {column: _series(seen, column) for column in self.reference.profile.columns}
        if not self.changes:
            return found
        before = [w for d, w in self.days.items() if d < min(self.changed)]
        _, recent = look_at(self.reference, before[-2 * REMEMBERED :], alpha)
        share = {f.column: f.threshold for f in seen[0] if f.check == "nulls"}
        for name, column in self.changes.items():
            found[name] = _series(self._alone(name, column, share[column], recent), column)
        return found

    def _alone(self, name: str, column: str, threshold: float, recent: list[Seen]) -> Found:
        whole = Profile(self.reference.profile.n, {column: self.reference.profile.columns[column]})
        reference = replace(self.reference, profile=whole)
        windows = [w.only(column, name) for w in self.changed.values()]
        alone = next(f.threshold for f in look_at(reference, windows[:1], 1.0)[0][0] if f.check == "nulls")
        healthy = [Seen(s.start, Profile(s.profile.n, {column: s.profile.columns[column]})) for s in recent]
        return look_at(reference, windows, threshold / alone, healthy)[0]

    def check(self, name: str, alpha: float) -> None:
        """Stop unless the whole frame, with this change in it, says the same as its column alone."""
        column, others = self.changes[name], self.answer(alpha)
        windows = []
        for d, w in self.days.items():
            other = self.changed[d].only(column, name) if d in self.changed else w
            rows, profiles = {**w.rows, column: other.rows[column]}, {**w.profiles, column: other.profiles[column]}
            windows.append(Window(rows, w.times, profiles))
        seen, _ = look_at(self.reference, windows[: list(self.days).index(max(self.changed)) + 1], alpha)
        whole = _series(seen[-len(self.changed) :], column)
        if not np.allclose(whole["strengths"], others[name]["strengths"]):
            raise SystemExit(f"{name}: the column alone says other things than within its frame")


def read(path: str, reference_days: int) -> tuple[dict[str, Any], Any, dict[int, Window]]:
    """(columns of the reference, their times, windows by day)."""
    frame = pd.read_parquet(path)
    times = frame.pop("time").astype("int64").to_numpy() / 1e6
    columns = {str(c): _array(frame[c]) for c in frame}
    day = np.floor(times / DAY).astype(int)
    windows = {}
    for d in np.unique(day[day >= reference_days]):
        rows = {name: values[day == d] for name, values in columns.items()}
        windows[int(d)] = Window(rows, times[day == d], profile(rows, _kinds(columns)).columns)
    before = day < reference_days
    return {n: v[before] for n, v in columns.items()}, times[before], windows


def _array(series: pd.Series) -> Any:
    if pd.api.types.is_numeric_dtype(series):
        return series.to_numpy(float)
    values = series.astype(object)
    return values.where(values.notna(), None).to_numpy(dtype=object)


def _kinds(columns: Mapping[str, Any]) -> dict[str, str]:
    return {name: "number" if values.dtype.kind == "f" else "text" for name, values in columns.items()}


def _series(seen: Found, column: str) -> dict[str, Any]:
    best = [max((f for f in found if f.column == column), key=_strength) for found in seen]
    strengths = [_strength(f) for f in best]
    return {"alarms": [s > 0 for s in strengths], "strengths": strengths, "checks": [f.check for f in best]}


def _strength(finding: Finding) -> float:
    return float(np.log10(finding.threshold / max(finding.p_value, LEAST))) if finding.threshold > 0 else 300.0


def main() -> None:
    """`ours.py <job.json> <answer.json>`: {budget: {stream: {column or change: ...}}}."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    found: dict[str, dict[str, Any]] = {name: {} for name in job["budgets"]}
    checked = False
    for described in job["streams"]:
        stream = Stream(described, job["reference_days"])
        if stream.changes and not checked:
            stream.check(next(iter(stream.changes)), max(job["budgets"].values()))
            checked = True
        for name, alpha in job["budgets"].items():
            found[name][described["name"]] = stream.answer(alpha)
    Path(sys.argv[2]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
