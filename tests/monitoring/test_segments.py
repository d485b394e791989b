"""The live monitor by segment: references that hold them, windows that are cut, and one incident a kind that says where."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pytest

from afterfit.errors import InputError
from afterfit.monitoring.checks import check_window
from afterfit.monitoring.incidents import group
from afterfit.monitoring.look import Seen
from afterfit.monitoring.reference import Reference
from afterfit.monitoring.report import Report
from afterfit.monitoring.segments import check_segmented, note, seen_window, segmented_reference
from afterfit.monitoring.where import by_segment, gathered
from afterfit.records import Finding, Severity, Window
from afterfit.stats.cuts import NULL, OTHER
from tests.monitoring.html_page import Page, finding, healthy

DAY = 86400.0
DAYS = 60
KINDS = {"origin": "text", "temp": "number", "hour": "integer"}
Columns = dict[str, Any]


def rows(n: int, seed: int) -> Columns:
    rng = np.random.default_rng(seed)
    origin = rng.choice(np.array(["JFK", "EWR", "SWF", None], dtype=object), n, p=[0.5, 0.3, 0.01, 0.19])
    return {"origin": origin, "temp": rng.normal(50.0, 5.0, n), "hour": rng.integers(0, 24, n).astype(float)}


@pytest.fixture(scope="module")
def reference() -> Reference:
    columns = rows(300 * DAYS, 1)
    times = np.sort(np.random.default_rng(2).uniform(0.0, DAYS * DAY, 300 * DAYS))
    return segmented_reference(
        columns, kinds=KINDS, times=times, prediction=columns["temp"] / 100, window=DAY, segment_by=["origin"]
    )


def look(reference: Reference, columns: Columns, **more: Any) -> list[Finding]:
    times = DAYS * DAY + np.linspace(0.0, DAY, len(columns["hour"]), endpoint=False)
    return check_segmented(reference, columns, alpha=0.01, times=times, **more)


def test_a_reference_holds_its_segments_and_reads_back(reference: Reference) -> None:
    cells = reference.segments["origin"]
    assert set(cells) == {"JFK", "EWR", NULL, OTHER}
    assert sum(part.profile.n for part in cells.values()) == reference.profile.n
    assert all("origin" not in part.profile.columns for part in cells.values())
    assert all(part.prediction is not None for part in cells.values())
    text = msgspec.json.encode(reference.to_dict())
    again = Reference.from_dict(msgspec.json.decode(text))
    assert msgspec.json.encode(again.to_dict()) == text
    old = {k: v for k, v in reference.to_dict().items() if k != "segments"}  # written before there were any
    assert not Reference.from_dict(old).segments


def test_a_change_in_one_segment_is_named_and_a_window_without_is_healthy(reference: Reference) -> None:
    assert not [f for f in look(reference, rows(300, 3)) if f.drifted]
    moved = rows(300, 4)
    moved["temp"] = moved["temp"] + 4.0 * (moved["origin"] == "EWR")
    found = look(reference, moved)
    assert {(f.column, f.segment) for f in found if f.drifted} >= {("temp", "origin=EWR")}
    assert not [f for f in found if f.drifted and f.segment not in (None, "origin=EWR")]
    assert any(f.message.startswith("temp [origin=EWR]: the distribution moved") for f in found)


def test_nulls_are_a_segment_and_the_rare_ones_say_what_is_needed(reference: Reference) -> None:
    columns = rows(300, 5)
    broken = columns | {"temp": np.where([o is None for o in columns["origin"]], np.nan, columns["temp"])}
    found = look(reference, broken)
    assert ("temp", "nulls", f"origin={NULL}") in {(f.column, f.check, f.segment) for f in found if f.drifted}
    (rare,) = [f for f in found if f.segment == f"origin={OTHER}"]
    assert "not judged by itself" in rare.message
    assert "wanted 30 and 300" in rare.message
    assert [f.message for f in found if f.check == "segment" and f.segment is None] == [
        "origin: values too rare in the reference or beyond the 20 largest are judged as (other) (SWF)"
    ]


def test_without_segments_nothing_changes(reference: Reference) -> None:
    columns = rows(300, 6)
    plain = Reference(**{**{f: getattr(reference, f) for f in Reference.__dataclass_fields__}, "segments": {}})
    assert check_segmented(plain, columns, alpha=0.01) == check_window(plain, columns, alpha=0.01)


def test_answers_of_another_version_are_left_out(reference: Reference) -> None:
    columns = rows(400, 7)
    answers = np.where(np.arange(400) < 100, np.nan, columns["temp"] / 100)
    found = look(reference, columns, prediction=answers)
    (whole,) = [f for f in found if f.check == "prediction"]
    assert whole.n_window == 300
    answers = answers + 0.2 * (columns["origin"] == "JFK")
    hit = [f for f in look(reference, columns, prediction=answers) if f.drifted and f.segment]
    assert {(f.check, f.segment, f.n_window) for f in hit} == {
        ("prediction", "origin=JFK", (columns["origin"][100:] == "JFK").sum())
    }


def test_a_missing_or_new_column_is_said_once(reference: Reference) -> None:
    columns = {k: v for k, v in rows(300, 8).items() if k != "temp"} | {"new": np.zeros(300)}
    found = look(reference, columns)
    assert [(f.column, f.segment) for f in found if f.check in ("missing", "extra")] == [("temp", None), ("new", None)]
    gone = look(reference, {k: v for k, v in rows(300, 8).items() if k != "origin"})
    assert [(f.column, f.segment) for f in gone if f.drifted] == [("origin", None)]


def test_small_changes_of_a_segment_add_up_over_windows(reference: Reference) -> None:
    """A move of 0.4 standard deviations in 90 of 300 rows a day: after a week the days together say more than the last."""
    recent: list[Seen] = []
    for day in range(8):
        columns = rows(300, 100 + day)
        columns["temp"] = columns["temp"] + 2.0 * (columns["origin"] == "EWR")
        start = (DAYS + day) * DAY
        times = start + np.linspace(0.0, DAY, 300, endpoint=False)
        alone, together = (
            check_segmented(reference, columns, alpha=0.01, recent=seen, times=times) for seen in ((), recent)
        )
        recent.append(seen_window(start, columns, KINDS, reference))
    assert not [f for f in alone if f.drifted and f.segment == "origin=EWR"]
    (found,) = [f for f in together if f.drifted and f.segment == "origin=EWR"]
    assert "over the last 7 windows" in found.message


def test_a_column_that_cuts_must_be_a_feature() -> None:
    with pytest.raises(InputError, match=r"the model has no such column.*known: 'origin'"):
        segmented_reference(
            rows(400, 1), kinds=KINDS, times=None, prediction=None, window=DAY, segment_by=["airport"]
        )  # fmt: skip


# --- where ------------------------------------------------------------------------------------------------------


def came_off(*segments: str) -> list[Finding]:
    return [note("o", f"o={s}: said", segment=f"o={s}", judged=2, n_reference=900, n_window=90) for s in segments]


def part(column: str, segment: str, **changes: Any) -> Finding:
    return finding(column, segment=f"o={segment}", **changes)


@pytest.mark.parametrize(
    ("findings", "said", "segment"),
    [
        ([finding("t"), part("t", "a"), part("t", "b")], "; in all 2 segments of o", None),
        ([finding("t"), part("t", "a")], "; in 1 of 2 segments of o (a)", None),
        ([finding("t")], "; in no single segment", None),
        ([healthy("t"), part("t", "a")], "; only in 1 of 2 segments of o (a), not in the whole", "o=a"),
        ([finding("t", "missing", method="schema")], "moved", None),
    ],
)
def test_a_finding_says_whether_it_is_everywhere(findings: list[Finding], said: str, segment: str | None) -> None:
    (told,) = gathered([*findings, *came_off("a", "b")])
    assert told.message == f"t: the distribution moved{said.removeprefix('moved')}"
    assert told.segment == segment


def test_the_worst_place_makes_the_severity_and_without_segments_nothing_is_gathered() -> None:
    (told,) = gathered([finding("t"), part("t", "a", severity=Severity.CRITICAL), *came_off("a", "b")])
    assert (told.segment, told.severity) == (None, Severity.CRITICAL)
    assert gathered([finding("t"), finding("t"), healthy("u")]) == [finding("t"), finding("t")]


def test_one_incident_for_the_whole_and_its_segments() -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    findings = [finding("t"), part("t", "a"), part("t", "b"), part("u", "a"), *came_off("a", "b")]
    window = Window(now - timedelta(days=1), now)
    (incident,) = group(findings, [], model="m", version=1, window=window, now=now)
    assert incident.columns == ("t", "u")
    assert "in all 2 segments of o" in incident.messages[0]
    assert "only in 1 of 2 segments of o (a)" in incident.messages[1]


def test_the_page_and_the_report_have_a_line_for_each_segment() -> None:
    few = note("o", "o=c: 3 rows, wanted 30", segment="o=c", n_window=3)
    pooled = note("o", "o: c and d are pooled")
    findings = (healthy("t"), healthy("u"), part("t", "<b>"), *came_off("a", "<b>"), few, pooled)
    report = Report(findings, 0.01, 1000, 500)
    assert [(s.name, s.judged, s.drifted) for s in by_segment(findings)] == [
        ("o=<b>", 2, ("t",)), ("o=a", 2, ()), ("o=c", 0, ())
    ]  # fmt: skip
    assert [s["name"] for s in report.to_dict()["segments"]] == ["o=<b>", "o=a", "o=c"]
    words = Page(report.to_html(title="t")).words
    assert "1 of 2 columns changed; worst: t (distribution moved only in o=<b>)" in words
    assert "1 of 2 segments drifted" in words
    assert "3 rows, wanted 30" in words
    assert "o: c and d are pooled." in words
    assert "By segment" not in Page(Report((healthy("t"),), 0.01, 9, 9).to_html(title="t")).words
