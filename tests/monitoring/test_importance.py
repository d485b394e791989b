"""Findings weighed by what their columns mean to the model."""

from __future__ import annotations

from dataclasses import replace

from afterfit.monitoring.importance import beside, ignored, weighted
from afterfit.records import Finding, Severity

IMPORTANCE = {"temp": 0.05, "hour": 0.01, "id": 0.0}


def finding(column: str, check: str = "drift", distance: float = 0.6, drifted: bool = True) -> Finding:
    severity = Severity.WARNING if drifted else Severity.INFO
    return Finding(
        column, check, "ks", distance, distance, 1e-9, 1e-4, drifted, severity, f"{column}: moved", 9000, 3000
    )


def test_a_moved_feature_that_the_model_ignores_is_only_information() -> None:
    (found,) = weighted([finding("id", distance=1.0)], IMPORTANCE)
    assert found == replace(
        finding("id", distance=1.0),
        severity=Severity.INFO,
        message="id: moved; the model does as well without it",
    )
    assert found.drifted


def test_all_others_stay_as_they_are() -> None:
    broken = replace(finding("id", "unit"), severity=Severity.CRITICAL)
    kept = [
        finding("temp"),
        finding("hour"),
        finding("never measured"),
        finding("id", drifted=False),
        finding("id", "range"),
        broken,
    ]
    assert weighted(kept, IMPORTANCE) == kept
    assert weighted([finding("id")], {}) == [finding("id")]


def test_what_counts_is_relative_and_has_a_floor() -> None:
    assert ignored({"a": 1.0, "b": 0.021}) == set()
    assert ignored({"a": 1.0, "b": 0.019}) == {"b"}
    assert ignored({"a": 5e-5, "b": 4e-5}) == {"a", "b"}
    assert ignored({}) == set()


def test_distance_stands_beside_importance_with_what_matters_first() -> None:
    findings = [
        finding("id", distance=1.0),
        finding("hour", distance=0.2),
        finding("temp", distance=0.3),
        finding("temp", "range", distance=0.4),
        finding("new", distance=0.9),
    ]
    rows = beside(findings, IMPORTANCE)
    assert [(r.feature, r.distance, r.importance, r.ignored) for r in rows] == [
        ("temp", 0.4, 0.05, False),
        ("hour", 0.2, 0.01, False),
        ("new", 0.9, None, False),
        ("id", 1.0, 0.0, True),
    ]
