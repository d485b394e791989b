"""Findings weighed by what their columns mean to the model."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

from rich.console import Console

from afterfit.monitoring.importance import Weighed, beside, ignored, weighted
from afterfit.monitoring.importance_table import SHOWN, TITLE, importance_section, terminal_table
from afterfit.monitoring.report import Report
from afterfit.records import Finding, Severity
from tests.monitoring.html_page import Page

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
    assert [r.said for r in rows[1:]] == [
        "the model uses it",
        "its importance was not measured",
        "the model does as well without it",
    ]


def test_only_what_moved_or_is_used_stands_there_and_what_moved_stands_first() -> None:
    importance = IMPORTANCE | {"still idle": 0.0, "gone": 0.2}
    findings = [
        finding("temp", drifted=False),
        finding("still idle", drifted=False),
        finding("never measured", drifted=False),
        finding("gone", "missing"),
        finding("id", distance=0.1),
        replace(finding("hour", distance=0.3), segment="airport=JFK"),
        finding("hour", drifted=False),
    ]
    assert [(r.feature, r.distance) for r in beside(findings, importance)] == [
        ("hour", 0.3),
        ("id", 0.1),
        ("temp", 0.0),
    ]
    assert beside(findings, {}) == []


def rows(n: int) -> list[Weighed]:
    return beside([finding(f"f{i}", distance=0.5) for i in range(n)], {f"f{i}": 1.0 + n - i for i in range(n)})


def printed(shown: list[Weighed]) -> str:
    console = Console(width=80, file=StringIO(), soft_wrap=True)
    console.print(terminal_table(shown))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_the_terminal_shows_eight_and_counts_the_rest() -> None:
    lines = printed(rows(SHOWN + 2)).splitlines()
    assert [line.split()[0] for line in lines if "the model uses it" in line] == [f"f{i}" for i in range(SHOWN)]
    assert "and 2 features more" in lines[-1]
    assert "of them" not in lines[-1]
    cut = [*rows(SHOWN + 1), Weighed("id", 1.0, 0.0, True)]
    assert "and 2 features more; 1 of them moved, and the model does as well without" in printed(cut).replace("\n", " ")
    assert "more" not in printed(rows(SHOWN))
    assert "[bold]" in printed([replace(rows(1)[0], feature="[bold]")])


def test_the_page_draws_both_numbers_as_bars() -> None:
    weighed = (
        Weighed("temp", 0.25, 0.04, False),
        Weighed("<b>", 1.7, 0.01, False),
        Weighed("id", 0.5, -0.0001, True),
        Weighed("new", 0.125, None, False),
        Weighed("hour", 0.0, 0.02, False),
    )
    source = Report((finding("temp"),), 0.01, 9000, 3000, weighed=weighed).to_html()
    assert source.index(importance_section(weighed)) < source.index("What changed, worst first")
    widths = [float(a["width"].rstrip("%")) for a in Page(importance_section(weighed)).of("rect")]
    assert widths == [25.0, 100.0, 100.0, 25.0, 50.0, 0.0, 12.5, 0.0, 0.0, 50.0]
    words = Page(source).words
    assert "hourthe model uses itnot moved0.0200" in words
    assert "newits importance was not measured0.125–" in words
    assert "idthe model does as well without it0.5000.0000" in words
    assert "<b>the model uses it1.700" in words
    assert TITLE not in Report((finding("temp"),), 0.01, 9000, 3000).to_html()


def test_nothing_is_drawn_beside_nothing() -> None:
    flat = (Weighed("id", 0.5, 0.0, True),)
    assert 'width="0.0%"' in importance_section(flat)
    assert importance_section(()) == ""
