"""What the monitor finds, what it leaves alone, and that a broken column never hides the others."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from afterfit.monitoring.checks import check_window, is_healthy
from afterfit.monitoring.incidents import group
from afterfit.monitoring.look import Seen
from afterfit.monitoring.performance import DayLosses, performance_finding
from afterfit.monitoring.reference import Reference, build_reference
from afterfit.records import Finding, Incident, Severity, Window
from afterfit.stats.profile import profile

KINDS = {"temp": "number", "count": "integer", "flag": "text", "place": "text"}
DAY = 86400.0
Columns = dict[str, Any]


def day_of(rng: np.random.Generator, day: int, n: int = 300, level: float | None = None) -> tuple[Columns, np.ndarray]:
    """A day of rows: the temperature has a level of its own each day, as weather has."""
    level = rng.normal(50, 6) if level is None else level
    columns = {
        "temp": level + rng.normal(0, 4, n),
        "count": rng.poisson(3, n).astype(float),
        "flag": rng.choice(np.array(["yes", "no"], dtype=object), n, p=[0.3, 0.7]),
        "place": rng.choice(np.array(["a", "b", "c", "d"], dtype=object), n, p=[0.5, 0.3, 0.15, 0.05]),
    }
    return columns, day * DAY + np.sort(rng.uniform(0, DAY, n))


def days(rng: np.random.Generator, first: int, count: int) -> tuple[Columns, np.ndarray]:
    parts = [day_of(rng, first + i) for i in range(count)]
    return {k: np.concatenate([p[0][k] for p in parts]) for k in KINDS}, np.concatenate([p[1] for p in parts])


@pytest.fixture(scope="module")
def reference() -> Reference:
    columns, times = days(np.random.default_rng(1), 0, 60)
    made = build_reference(columns, kinds=KINDS, times=times, prediction=columns["temp"] / 100, window=DAY)
    return Reference.from_dict(json.loads(json.dumps(made.to_dict())))


def look(
    reference: Reference, columns: Columns, times: np.ndarray | None = None, alpha: float = 1 / 90
) -> list[Finding]:
    rng = np.random.default_rng(5)
    recent = [Seen(day * DAY, profile(day_of(rng, day)[0], KINDS)) for day in range(53, 60)]
    return check_window(reference, columns, alpha=alpha, recent=recent, times=times)


def test_healthy_days_rarely_alarm(reference: Reference) -> None:
    """At 1 per 90 days: over 360 healthy days more than 13 alarms have a chance below 1e-4 at the budget."""
    rng = np.random.default_rng(2)
    alarms = sum(any(f.drifted for f in look(reference, *day_of(rng, 60 + i))) for i in range(360))
    assert alarms <= binom.isf(1e-4, 360, 1 / 90)


@pytest.mark.parametrize("n", [30, 50, 100, 1000, 5000])
def test_the_size_of_a_window_does_not_matter(n: int) -> None:
    """Independent rows, no times: 200 windows of each size at a budget of 5 % each."""
    rng = np.random.default_rng(3)

    def window(size: int) -> Columns:
        columns, _ = day_of(rng, 0, size, level=50.0)
        return columns

    reference = build_reference(window(20_000), kinds=KINDS, times=None, prediction=None, window=DAY)
    runs = 200 if n <= 1000 else 60
    alarms = sum(any(f.drifted for f in check_window(reference, window(n), alpha=0.05)) for _ in range(runs))
    assert alarms <= binom.isf(1e-4, runs, 0.05)


def broken(change: str) -> Columns:
    columns, _ = day_of(np.random.default_rng(4), 60, level=50.0)
    n = len(columns["temp"])
    half = np.arange(n) < n // 2
    match change:
        case "nulls":
            columns["count"] = np.where(half, np.nan, columns["count"])
        case "unseen":
            columns["place"] = np.where(half, "mars", columns["place"]).astype(object)
        case "constant":
            columns["temp"] = np.full(n, 50.0)
        case "range":
            columns["temp"] = -5 * columns["temp"]  # no conversion makes that ordinary
        case "drift":
            columns["count"] = columns["count"] + 2
        case "unit":
            columns["temp"] = (columns["temp"] - 32) / 1.8
        case "missing":
            del columns["temp"]
        case "type":
            columns["temp"] = np.array(["warm"] * n, dtype=object)
    return columns


@pytest.mark.parametrize(
    ("change", "column", "severity"),
    [
        ("nulls", "count", "critical"), ("unseen", "place", "warning"), ("constant", "temp", "critical"),
        ("range", "temp", "critical"), ("drift", "count", "warning"), ("unit", "temp", "critical"),
        ("missing", "temp", "critical"), ("type", "temp", "critical"),
    ],
)  # fmt: skip
def test_a_broken_column_is_named_and_hides_no_other(
    reference: Reference, change: str, column: str, severity: str
) -> None:
    found = [f for f in look(reference, broken(change)) if f.drifted]
    mine = [f for f in found if f.check == change]
    assert [(f.column, f.severity.value) for f in mine] == [(column, severity)]
    assert {f.column for f in found} == {column}
    assert column in mine[0].message
    checked = {f.column for f in look(reference, broken(change))}
    assert set(KINDS) <= checked
    if change == "unit":
        assert "unit change °F→°C" in mine[0].message


def test_a_new_category_is_news_once(reference: Reference) -> None:
    first, second = broken("unseen"), broken("unseen")
    second["place"] = np.where(second["place"] == "mars", "venus", second["place"]).astype(object)
    told = Seen(60 * DAY, profile(first, KINDS))

    def news(columns: Columns) -> list[str]:
        found = check_window(reference, columns, alpha=1 / 90, recent=[told])
        return [f.message for f in found if f.check == "unseen" and f.drifted]

    assert not news(first)
    (message,) = news(second)
    assert "venus" in message
    assert "mars" not in message
    hint = day_of(np.random.default_rng(8), 60, level=50.0)[0]
    hint["place"][:1] = "mars"  # too few to be told
    told = Seen(60 * DAY, profile(hint, KINDS))
    assert news(first)


def test_a_unit_that_changes_within_the_window_is_found(reference: Reference) -> None:
    rng = np.random.default_rng(6)
    columns, times = day_of(rng, 60, level=52.0)
    late = times > 60 * DAY + 0.8 * DAY
    columns["temp"] = np.where(late, (columns["temp"] - 32) / 1.8, columns["temp"])
    found = [f for f in look(reference, columns, times) if f.drifted and f.check == "unit"]
    assert [f.column for f in found] == ["temp"]


def test_one_bad_day_in_the_reference_does_not_hide_a_far_worse_one() -> None:
    rng = np.random.default_rng(10)
    columns, times = days(rng, 0, 90)
    bad = np.floor(times / DAY) == 40
    columns["temp"] = np.where(rng.random(times.size) < np.where(bad, 0.06, 0.0002), np.nan, columns["temp"])
    reference = build_reference(columns, kinds=KINDS, times=times, prediction=None, window=DAY)
    hits = 0
    for day in range(90, 100):
        window, moments = day_of(rng, day)
        window["temp"] = np.where(rng.random(300) < 0.2, np.nan, window["temp"])
        found = check_window(reference, window, alpha=1 / 90, times=moments)
        hits += any(f.drifted and (f.column, f.check) == ("temp", "nulls") for f in found)
    assert hits == 10


def test_too_few_rows_and_none_are_a_state(reference: Reference) -> None:
    for n in (0, 5):
        columns, _ = day_of(np.random.default_rng(7), 60, n)
        found = look(reference, columns)
        assert {f.check for f in found} == {"no_data"}
        assert not any(f.drifted for f in found)
    assert is_healthy(found)


def test_a_moved_score_is_found(reference: Reference) -> None:
    columns, _ = day_of(np.random.default_rng(8), 60, level=50.0)
    found = check_window(reference, columns, alpha=1 / 90, prediction=np.full(300, 5.0))
    assert [f.column for f in found if f.drifted] == ["prediction"]


def finding(column: str, check: str, severity: Severity = Severity.CRITICAL) -> Finding:
    return Finding(column, check, "m", 1, 1, 0, 0.01, True, severity, f"{column}: {check}", 10, 10)


def test_findings_become_one_incident_that_closes_when_it_is_quiet() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)

    def after(day: int, findings: list[Finding], before: list[Incident]) -> list[Incident]:
        window = Window(start + timedelta(days=day), start + timedelta(days=day + 1))
        return group(findings, before, model="m", version=1, window=window, now=window.end)

    (opened,) = after(0, [finding("temp", "unit"), finding("temp", "drift", Severity.WARNING)], [])
    assert (opened.kind, opened.columns, opened.severity) == ("quality", ("temp",), Severity.CRITICAL)
    assert "unit" in opened.title
    (more,) = after(1, [finding("dewp", "unit")], [opened])
    assert more.id == opened.id
    assert more.columns == ("temp", "dewp")
    quiet = [more]
    for day in range(2, 5):
        assert quiet[0].closed_at is None
        quiet = after(day, [], quiet)
    assert quiet[0].closed_at is not None


def test_a_fall_of_performance_is_found_and_a_steady_one_left_alone() -> None:
    rng = np.random.default_rng(9)
    times = np.arange(20_000) / 20_000 * 40 * DAY

    def drifted(mean: float) -> bool:
        level = np.repeat(rng.normal(mean, 0.03, 40), 500).clip(0, 1)
        live = rng.beta(2 * level, 2 * (1 - level) + 1e-9)
        kept = DayLosses()
        kept.add(live, times)
        return performance_finding(kept, 0.16, 0.22, 6000, tolerance=0.016, alpha=0.05).drifted

    assert sum(drifted(0.16) for _ in range(60)) <= binom.isf(1e-4, 60, 0.05)
    assert sum(drifted(0.30) for _ in range(20)) == 20
