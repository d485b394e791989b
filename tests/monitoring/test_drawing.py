"""The drawings of a report: columns of every kind, bars that hold all values, and words beside each picture."""

from __future__ import annotations

import re

import numpy as np
import pytest

from afterfit.monitoring.drawing import MOST_CATEGORIES, Pair, histogram, shown_categories
from afterfit.monitoring.markup import number, percent
from afterfit.stats.profile import Categorical, Numeric
from tests.monitoring.html_page import drawn, finding, healthy, normal, page

# --- columns of every kind -------------------------------------------------------------------------------------


def test_every_drawing_has_words_for_those_who_do_not_see_it() -> None:
    read = page(finding("temp"), healthy("b"), temp=(normal(1, 50.0), normal(2, 80.0)), b=(normal(1), normal(2)))
    labels = [a["aria-label"] for a in read.of("svg") if a.get("aria-hidden") != "true"]
    assert len(labels) == 2
    assert re.search(r"temp, old: nine in ten values from 4\d.* to 5\d.*; new: nine in ten values from 7\d", labels[0])


@pytest.mark.parametrize("sides", [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize("kind", ["number", "text"])
def test_a_column_without_any_value_is_drawn_as_far_as_it_can_be(sides: tuple[bool, bool], kind: str) -> None:
    numbers = [Numeric.of([np.nan] * 50) if empty else normal(1) for empty in sides]
    texts = [Categorical.of([None] * 50) if empty else Categorical.of(["a", "b"]) for empty in sides]
    pair = (numbers[0], numbers[1]) if kind == "number" else (texts[0], texts[1])
    read = page(finding("a", "nulls"), healthy("b"), a=pair, b=pair)
    assert "nan" not in read.words.lower().replace("finan", "")
    assert ("Neither the old nor the new data have a value" in read.words) == all(sides)
    if not all(sides):
        assert f"no {'old' if sides[0] else 'new'} values" in read.words.lower()
    assert "50 (100%)" in read.words


@pytest.mark.parametrize(
    "pair",
    [
        (Numeric.of([7.0] * 40), Numeric.of([7.0] * 40)),
        (Numeric.of([0.0] * 40), Numeric.of([0.0] * 39 + [1.0])),
        (Numeric.of([-1e308, 1e308] * 20), Numeric.of([1e-300] * 40)),
        (Numeric.of([np.inf, -np.inf, 1.0, np.nan] * 10), Numeric.of([2.0] * 40)),
        (Numeric.of([]), Numeric.of([])),
        (Categorical.of(["only"] * 40), Categorical.of(["only"] * 40)),
        (Categorical.of([""] * 40), Categorical.of([" "] * 40)),
        (Categorical.of([]), Categorical.of([])),
        (normal(1), Categorical.of(["a"] * 40)),
        (normal(1), None),
        (None, Categorical.of(["a"] * 40)),
        (None, None),
    ],
    ids=lambda pair: "",
)
def test_odd_columns_are_drawn_without_a_fault(pair: Pair) -> None:
    read = page(finding("a"), healthy("b"), a=pair, b=pair)
    for path in read.of("path"):
        assert all(0.0 <= float(y) <= 100.0 for y in re.findall(r"V(-?[\d.]+|nan|-?inf)", path["d"]))
    assert len(read.of("article")) == 1


@pytest.mark.parametrize("many", [1, 9, 1000, 3000])
def test_at_most_eight_categories_are_drawn_and_the_shares_add_up(many: int) -> None:
    old = Categorical.of([f"c{i}" for i in range(many) for _ in range(1 + (i < 3) * 50)])
    new = Categorical.of([f"c{i}" for i in range(many)])
    read = page(finding("a"), a=(old, new))
    rows = re.findall(r"(\d+\.?\d*)%", drawn(read))
    assert len(rows) == 2 * min(many, MOST_CATEGORIES + 1)
    assert sum(map(float, rows)) == pytest.approx(200.0, abs=1.0 if many < 1000 else 3.0)
    assert ("Too many categories to keep their names" in read.words) == (many > 1000)
    assert f"({many - MOST_CATEGORIES:,} categor" in read.words or many not in (9, 1000)


def test_a_small_drawing_has_no_empty_place_for_others_that_do_not_exist() -> None:
    names = [f"c{i}" for i in range(10)]
    for many, places in ((3, 3), (10, MOST_CATEGORIES + 1)):
        column = Categorical.of(names[:many])
        (small,) = page(healthy("a"), a=(column, column)).of("svg", "spark")
        assert small["viewbox"] == f"0 0 {10 * places} 100"


def test_many_others_do_not_squash_the_named_ones() -> None:
    names = [f"c{i}" for i in range(400)]
    flooded = page(finding("a"), healthy("b"), a=(Categorical.of(names), Categorical.of(names)))
    assert {a["width"] for a in flooded.of("rect")} == {"100.0%"}
    assert len(flooded.of("rect")) == 2 * MOST_CATEGORIES
    assert "all others (392 categories)98.0%98.0%" in flooded.words
    assert "left out: they would dwarf the rest" in flooded.words
    few = page(finding("a"), a=(Categorical.of(names[:10]), Categorical.of(names[:10])))
    assert {a["width"] for a in few.of("rect")} == {"100.0%", "50.0%"}
    assert len(few.of("rect")) == 2 * (MOST_CATEGORIES + 1)


def test_the_categories_that_findings_speak_of_are_drawn_even_if_rare() -> None:
    common = [f"c{i}" for i in range(12) for _ in range(100)]
    old = Categorical.of([*common, *["rare"] * 90])
    new = Categorical.of([*common, "fresh"])
    kept = shown_categories(old, new)
    assert len(kept) == MOST_CATEGORIES
    assert {"rare", "fresh"} <= set(kept)
    assert page(finding("a"), a=(old, new)).words.count("unseen") == 1


def test_names_are_compared_with_hash_groups_as_hash_groups() -> None:
    names = [f"c{i}" for i in range(1200)]
    few, many = Categorical.of(names[:3] * 100), Categorical.of(names[:3] * 100 + names)
    for pair in ((few, many), (many, few)):
        read = page(finding("a"), healthy("b"), a=pair, b=pair)
        assert "hash group #" in read.words
        assert read.words.count("unseen") == 0
        assert [float(v) for v in re.findall(r"(33\.3)%", drawn(read))] == [33.3] * 3


# --- bars ------------------------------------------------------------------------------------------------------


def test_bars_hold_all_values_and_wild_ones_are_piled_into_the_last_and_said() -> None:
    wild = Numeric.of(np.append(np.random.default_rng(1).normal(10, 2, 970), [9999.0] * 30))
    usual = Numeric.of(np.random.default_rng(2).normal(10, 2, 1000))
    bars = histogram(usual, wild)
    assert bars is not None
    assert bars.old is not None
    assert bars.new is not None
    assert len(bars.new) == 30
    assert bars.old.sum() == pytest.approx(1.0)
    assert bars.new.sum() == pytest.approx(1.0)
    assert bars.edges[-1] < 20
    assert bars.new[-1] >= 0.03
    read = page(finding("a"), a=(usual, wild))
    assert re.search(r"3\.\d% of the new values in the last bar are higher, up to 9,999", read.words)


def test_one_value_is_one_bar() -> None:
    bars = histogram(Numeric.of([7.0] * 40), Numeric.of([7.0] * 30))
    assert bars is not None
    assert bars.old is not None
    assert bars.new is not None
    assert (bars.old.tolist(), bars.new.tolist()) == ([1.0], [1.0])


def test_whole_numbers_get_whole_bars_so_that_none_looks_empty() -> None:
    rng = np.random.default_rng(2)
    for top in (5, 24, 100):
        bars = histogram(Numeric.of(rng.integers(0, top, 20_000)), Numeric.of(rng.integers(0, top, 20_000)))
        assert bars is not None
        assert bars.new is not None
        assert len(bars.new) <= 30
        assert bars.new[:-1].max() < 1.5 * bars.new[:-1].min()


def test_metres_and_kilometres_are_drawn_on_a_logarithmic_scale() -> None:
    metres = Numeric.of(np.random.default_rng(3).gamma(20.0, 100.0, 2000))
    kilometres = Numeric.of(np.random.default_rng(4).gamma(20.0, 0.1, 2000))
    bars = histogram(metres, kilometres)
    assert bars is not None
    assert bars.old is not None
    assert bars.new is not None
    assert bars.logarithmic
    assert min((bars.old > 0.01).sum(), (bars.new > 0.01).sum()) >= 4  # both have a shape
    assert "logarithmic scale" in page(finding("a"), a=(metres, kilometres)).words
    same = histogram(metres, metres)
    assert same is not None
    assert not same.logarithmic


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0, "0"), (1234567.8, "1,234,568"), (-2.5, "-2.5"), (1e20, "1e+20"), (float("inf"), "–")]
)
def test_numbers_for_people(value: float, shown: str) -> None:
    assert number(value) == shown


def test_a_little_is_never_nothing() -> None:
    assert [percent(s) for s in (0.0, 1e-9, 0.5, 1 - 1e-9, 1.0)] == ["0%", "<0.1%", "50.0%", ">99.9%", "100%"]
