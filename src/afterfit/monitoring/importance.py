"""Findings read with what their columns mean to the model: a huge shift of a feature that it ignores pages nobody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from afterfit.records import Finding, Severity

IGNORED = 0.02  # of the importance of all features: what shuffling noise into a model gives too
FLOOR = 1e-4  # rise of the bounded loss below which no feature counts, however little the others matter
MOVES = ("drift", "range", "unseen")  # checks of where values lie
LOWERED = ("drift",)  # shuffling shows only what values of the reference do to the model; new ones keep their severity


@dataclass(frozen=True, slots=True)
class Weighed:
    """A feature's shift beside what the model makes of it."""

    feature: str
    distance: float  # largest of its drifted findings of MOVES, 0 without one
    importance: float | None  # rise of the loss when it is shuffled; None where it was not measured
    ignored: bool  # whether the model does as well without it


def ignored(importance: Mapping[str, float]) -> set[str]:
    """Features that the model does as well without, by measured importance.

    >>> sorted(ignored({"temp": 0.04, "hour": 0.002, "id": 0.0001, "noise": -0.0003}))
    ['id', 'noise']
    """
    total = sum(max(v, 0.0) for v in importance.values())
    return {name for name, value in importance.items() if value < max(FLOOR, IGNORED * total)}


def weighted(findings: Sequence[Finding], importance: Mapping[str, float]) -> list[Finding]:
    """The findings with the severity that fits: a moved feature that the model ignores is INFO, and says so.

    A column that was never measured keeps its severity, and so do values beyond the reference and broken feeds.

    Args:
        findings: of one window, in any order; the order stays.
        importance: rise of the loss by feature, kept with the version.
    """
    idle = ignored(importance)
    return [_lowered(f) if f.drifted and f.check in LOWERED and f.column in idle else f for f in findings]


def beside(findings: Sequence[Finding], importance: Mapping[str, float]) -> list[Weighed]:
    """Every feature's distance beside its importance, what matters most first: both large, then important, then moved."""
    idle = ignored(importance)
    far: dict[str, float] = {}
    for f in findings:
        moved = f.distance if f.drifted and f.check in MOVES else 0.0
        if f.column in importance or f.check in MOVES:
            far[f.column] = max(far.get(f.column, 0.0), moved)
    rows = [Weighed(name, d, importance.get(name), name in idle) for name, d in far.items()]
    return sorted(rows, key=_rank)


def _rank(row: Weighed) -> Any:
    weight = max(row.importance or 0.0, 0.0)
    return (row.ignored, -row.distance * weight, -weight, -row.distance)


def _lowered(f: Finding) -> Finding:
    if f.severity is Severity.INFO:
        return f
    return replace(f, severity=Severity.INFO, message=f"{f.message}; the model does as well without it")
