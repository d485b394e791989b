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

    @property
    def said(self) -> str:
        """What the model makes of it, in words."""
        if self.importance is None:
            return "its importance was not measured"
        return "the model does as well without it" if self.ignored else "the model uses it"


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
    """The features that moved or that the model uses, what matters most first; empty where nothing was measured.

    What moved stands above what did not, ordered by distance times importance; what the model ignores comes last of it.

    Args:
        findings: of one window, those of segments too. A column that no check of MOVES judged is left out.
        importance: rise of the loss by feature, kept with the version.
    """
    if not importance:
        return []
    idle = ignored(importance)
    far: dict[str, float] = {}
    for f in findings:
        if f.check in MOVES:
            far[f.column] = max(far.get(f.column, 0.0), f.distance if f.drifted else 0.0)
    rows = [Weighed(name, d, importance.get(name), name in idle) for name, d in far.items()]
    return sorted((r for r in rows if r.distance or (r.importance is not None and not r.ignored)), key=_rank)


def _rank(row: Weighed) -> Any:
    weight = max(row.importance or 0.0, 0.0)
    return (row.distance == 0.0, row.ignored, -row.distance * weight, -weight, -row.distance)


def _lowered(f: Finding) -> Finding:
    if f.severity is Severity.INFO:
        return f
    return replace(f, severity=Severity.INFO, message=f"{f.message}; the model does as well without it")
