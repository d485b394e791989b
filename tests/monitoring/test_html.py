"""The page of a report: valid, self-contained, small, harmless whatever the data say, and worst first."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path

import numpy as np
import pytest

from afterfit.api import compare
from afterfit.errors import InputError
from afterfit.monitoring.drawing import MOST_CATEGORIES, Pair
from afterfit.monitoring.html import framed, render
from afterfit.monitoring.importance import Weighed
from afterfit.monitoring.markup import LONGEST, number, text
from afterfit.monitoring.report import Report
from afterfit.records import Severity
from afterfit.stats.profile import Categorical, Numeric, Profile
from tests.monitoring.html_page import Page, finding, healthy, normal, page

HOSTILE = "<script>alert('x')</script>\"><img src=http://evil.example/a onerror=alert(1)>&amp;\u202e\x00"
DAY = datetime(2013, 7, 1, tzinfo=UTC)


def wide(n: int, columns: int, shift: float) -> Profile:
    """Numbers and categories; `shift` moves all of them."""
    rng = np.random.default_rng(int(10 * shift))
    found: dict[str, Numeric | Categorical] = {}
    for i in range(columns):
        name = f"column_{i:03d}_{'long name ' * 6}"
        if i % 2:
            labels = [f"category {k + 7 * shift:.0f} of column {i} {'and so on ' * 8}" for k in range(40)]
            found[name] = Categorical.of(rng.choice(np.array(labels, dtype=object), n))
        else:
            found[name] = Numeric.of(rng.lognormal(3.0 + shift, 1.0, n))
    return Profile(n, found)


# --- the page as a whole ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_100_columns_are_one_valid_file_below_1_mb_also_if_all_have_changed(shift: float) -> None:
    old, new = wide(2000, 100, 0.1), wide(2000, 100, 0.1 + shift)
    weighed = tuple(Weighed(c, 0.3, 0.01, False) for c in old.columns)
    report = replace(compare(old, new), weighed=weighed)
    windows = [(DAY + timedelta(days=i), dict.fromkeys(old.columns, 0.1)) for i in range(365)]
    pairs = {c: (old.columns[c], new.columns[c]) for c in old.columns}
    source = render(report, pairs, title="wide", made_at=DAY, timeline=windows)
    assert len(source.encode()) < 1_000_000
    read = Page(source)
    assert len(read.of("article", "card")) == (100 if shift else 0)
    assert len(read.of("svg", "spark")) == (0 if shift else 100)


def test_the_page_is_written_where_it_is_wanted_or_it_is_said_why_not(tmp_path: Path) -> None:
    report = Report((), 0.01, 9, 9)
    written = report.to_html(tmp_path / "page.html")
    assert (
        (tmp_path / "page.html").read_text(encoding="utf-8") == written == report.to_html(str(tmp_path / "again.html"))
    )
    with pytest.raises(InputError, match=r"can't be written to .*nowhere"):
        report.to_html(tmp_path / "nowhere" / "page.html")


def test_nothing_is_loaded_and_nothing_runs() -> None:
    read = page(
        finding("a"), healthy("b"), a=(normal(1), normal(2, 70.0)), b=(Categorical.of(["x"]), Categorical.of(["x"]))
    )
    assert not {t for t, _ in read.tags} & {
        "script",
        "link",
        "img",
        "iframe",
        "object",
        "embed",
        "base",
        "form",
        "image",
    }
    for tag, attributes in read.tags:
        assert not {k for k in attributes if k.startswith("on") or k in ("src", "srcset", "data", "action")}, tag
    source = render(Report((), 0.01, 0, 0), {}, title="t")
    assert "url(" not in source
    assert "@import" not in source
    assert "://" not in source
    assert "default-src 'none'" in {a.get("content", "").split(";")[0] for a in read.of("meta")}


def test_hostile_names_are_shown_and_do_nothing() -> None:
    pairs: dict[str, Pair] = {
        HOSTILE: (Categorical.of([HOSTILE] * 9), Categorical.of([HOSTILE] * 5 + ["<b>new</b>"] * 4)),
        '"></style><script>numbers': (normal(1), normal(2)),
        "": (normal(1), normal(2)),
        "few<i>": (normal(1), normal(2)),
    }
    findings = (
        finding(HOSTILE, "<unknown check>", message=f"{HOSTILE}: {HOSTILE}", method=HOSTILE),
        finding('"></style><script>numbers'),
        healthy(""),
        healthy("few<i>", check="no_data", n_window=12),
    )
    windows = [(DAY, {HOSTILE: 0.3}), (DAY + timedelta(days=1), {HOSTILE: 0.1})]
    source = render(Report(findings, 0.01, 9, 9), pairs, title=HOSTILE, timeline=windows)
    read = Page(source)
    assert not {t for t, _ in read.tags} & {"script", "img", "i"}
    assert "<script>alert('x')</script>\"><img src=http://evil" in read.words
    assert "<b>new</b>" in read.words
    assert "(blank)" in read.words
    assert not set(source) & {"\x00", "\u202e"}
    assert not [k for _, attributes in read.tags for k in attributes if k.startswith("on")]


def test_text_that_can_not_be_encoded_or_never_ends_is_cut_and_replaced() -> None:
    assert text("\ud800a\x1b") == "\ufffda\ufffd"
    assert len(unescape(text("<" * 10_000))) == LONGEST
    long = "n" * 5000
    pair = (Categorical.of(["c" * 5000]), Categorical.of(["d" * 5000]))
    report = Report((finding(long, message="m" * 5000),), 0.01, 1, 1)
    read = Page(render(report, {long: pair}, title="t" * 5000))
    assert "n" * (LONGEST + 1) not in read.words
    assert "c" * (LONGEST + 1) not in read.words
    assert "m" * 401 not in read.words


def test_no_raw_rows_only_ends_middle_and_frequent_categories() -> None:
    rng = np.random.default_rng(5)
    values = rng.uniform(100_000, 999_999, 400).round(3)
    people = [f"person-{i:04d}" for i in range(400)]
    pair: Pair = (Numeric.of(values), Numeric.of(values[:200]))
    names: Pair = (Categorical.of(people), Categorical.of(people[:200]))
    words = page(
        finding("pay"), finding("who"), healthy("pay2"), healthy("who2"), pay=pair, who=names, pay2=pair, who2=names
    ).words
    assert sum(f"{v:.3f}" in words or f"{v:,.3f}" in words for v in values) == 0
    assert sum(number(v) in words for v in values) <= 8  # lowest, median, highest of both, and the ends of the axis
    assert sum(p in words for p in people) <= MOST_CATEGORIES + 2


def test_a_notebook_gets_the_page_in_a_frame_that_runs_nothing() -> None:
    source = render(Report((finding("a<b"),), 0.01, 1000, 500), {"a<b": (normal(1), normal(2))}, title="x\"y'z")
    read = Page(framed(source, 300))
    (frame,) = read.of("iframe")
    assert frame["sandbox"] == ""
    assert frame["height"] == "300"
    assert frame["srcdoc"] == source


# --- what it says ----------------------------------------------------------------------------------------------


def test_the_worst_column_is_named_first_everywhere() -> None:
    read = page(
        finding("mild", distance=0.2),
        healthy("fine"),
        finding("strong", distance=0.7),
        finding("broken", "unit", severity=Severity.CRITICAL, distance=0.3, message="broken: looks like a unit change"),
        finding("gone", "missing", severity=Severity.CRITICAL, distance=1.0, method="schema"),
    )
    assert (
        "4 of 5 columns changed; worst: gone (column missing), broken (unit change), strong (distribution" in read.words
    )
    heads = re.findall(r"(\d)\. (\w+)", read.words)
    assert heads == [("1", "gone"), ("2", "broken"), ("3", "strong"), ("4", "mild")]
    assert [a["href"] for a in read.of("a")] == ["#column-1", "#column-2", "#column-3", "#column-4"]
    assert [a["class"].split()[1] for a in read.of("article")] == ["critical", "critical", "warning", "warning"]
    assert "Looks like a unit change." in read.words


def test_all_findings_of_a_column_stand_on_its_one_card() -> None:
    read = page(
        finding("a", "drift", message="a: the distribution moved"),
        finding("a", "nulls", severity=Severity.CRITICAL, message="a: 40% of the values are null"),
        healthy("a", check="constant"),
        a=(normal(1), normal(2)),
    )
    assert len(read.of("article")) == 1
    assert read.words.index("40% of the values are null.") < read.words.index("The distribution moved.")
    assert "Also looked for, not found stuck at one value" in read.words.replace("foundstuck", "found stuck")


def test_a_null_surge_is_drawn_although_the_other_values_are_the_same() -> None:
    old = Numeric.of([1.0, 2.0, 3.0, 4.0, np.nan])
    new = Numeric.of([1.0, 2.0, np.nan, np.nan, np.nan])
    read = page(finding("a", "nulls"), a=(old, new))
    assert "Rows without a value" in read.words
    assert {a["width"] for a in read.of("rect")} == {"20.0%", "60.0%"}


def test_an_empty_report_says_so() -> None:
    assert "Nothing was compared" in page().words


def test_no_change_is_said_and_shown_with_the_largest_difference_first() -> None:
    read = page(
        healthy("near", distance=0.01),
        healthy("far", distance=0.05),
        near=(normal(1), normal(2)),
        far=(normal(1), normal(2)),
    )
    assert "No change found in 2 columns" in read.words
    assert read.words.rindex("far") < read.words.rindex("near")
    assert len(read.of("svg", "spark")) == 2


def test_too_few_rows_are_a_state_with_the_number_needed() -> None:
    few = healthy("a", check="no_data", n_window=12, message="a: 12 rows are too few to judge, wanted 30")
    read = page(few, a=(normal(1), normal(2, n=12)), b=(normal(1), normal(2)))
    assert "Nothing can be said yet about 2 columns" in read.words
    assert "too few rows: 12 there, 30 needed (18 more)" in read.words
    assert "no check has looked at it" in read.words
    assert "2 columns" not in page(few, healthy("c"), a=(normal(1), normal(2, n=12))).words


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        (0.01, "at most 1%. Of 100 such comparisons in which nothing has changed, about 1 "),
        (0.05, "at most 5%. Of 100 such comparisons in which nothing has changed, about 5 "),
        (1 / 90, "at most 1.111%. Of 100 such comparisons in which nothing has changed, about 1.111 "),
        (0.002, "at most 0.2%. Of 1,000 such comparisons in which nothing has changed, about 2 "),
    ],
)
def test_the_budget_in_plain_words(budget: float, said: str) -> None:
    assert said in Page(render(Report((), budget, 10, 10), {}, title="t")).words


def test_the_timeline_shows_when_it_began() -> None:
    windows = [(DAY + timedelta(days=i), {"a": 0.8 if i == 20 else 0.1}) for i in range(30)]
    windows[3] = (windows[3][0], {})  # a window that does not know the column
    read = page(finding("a"), finding("b"), timeline=windows, a=(normal(1), normal(2)), b=(normal(1), normal(2)))
    (bars,) = read.of("svg", "time")
    assert "highest 0.8, in the window from 2013-07-21" in bars["aria-label"]
    assert read.of("path", "t")[0]["d"].count("M") == 29
    assert "V0.0" in read.of("path", "t")[0]["d"]


def test_small_distances_look_small_on_the_timeline_and_many_windows_are_grouped_by_their_highest() -> None:
    windows = [(DAY + timedelta(hours=i), {"a": 0.1 if i == 777 else 0.01}) for i in range(1000)]
    read = page(finding("a"), timeline=windows)
    heights = [float(v) for v in re.findall(r"V([\d.]+)H", read.of("path", "t")[0]["d"])]
    assert len(heights) <= 120
    assert min(heights) == 60.0
    assert "Each bar is the highest of up to 9 windows" in read.words
