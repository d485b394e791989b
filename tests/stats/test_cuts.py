"""Segments are the largest values; any number of names is counted in bounded memory, and too-rare ones are pooled."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from afterfit.stats import heavy_hitters
from afterfit.stats.cuts import MOST_SEGMENTS, NULL, OTHER, choose, rows_by_segment
from afterfit.stats.heavy_hitters import KEPT, HeavyHitters

names = st.lists(st.one_of(st.none(), st.sampled_from([*"abcdefgh", OTHER, 1.0, 2, True])), max_size=200)


@given(names, names)
def test_every_row_of_the_reference_is_in_one_segment(reference: list[object], window: list[object]) -> None:
    counts = [HeavyHitters(Counter(map(name, side))) for side in (reference, window)]
    plan = choose("by", *counts, least=5, needed=2)
    cut = rows_by_segment(plan, np.array([*reference, None], dtype=object)[:-1])
    places = sorted(row for rows in cut.values() for row in rows.tolist())
    assert places == list(range(len(reference)))
    assert all(len(rows) >= 5 for segment, rows in cut.items() if segment != OTHER)
    unknown = set(map(name, window)) - set(map(name, reference))
    seen = rows_by_segment(plan, np.array([*window, None], dtype=object)[:-1])
    assert sum(map(len, seen.values())) == sum(name(v) not in unknown for v in window)


def name(value: object) -> str:
    return NULL if value is None else "1" if value == 1.0 and value is not True else str(value)


def test_null_is_a_segment_of_its_own_and_numbers_are_called_as_people_do() -> None:
    plan = choose("by", HeavyHitters({NULL: 400, "4": 400}), least=300, needed=30)
    cut = rows_by_segment(plan, np.array([4.0, np.nan, 4.0]))
    assert {segment: rows.tolist() for segment, rows in cut.items()} == {"4": [0, 2], NULL: [1]}


def test_what_is_pooled_is_said_with_the_reason() -> None:
    reference = HeavyHitters({f"n{i:02}": 1000 - i for i in range(25)} | {"few": 7, "gone": 800})
    window = HeavyHitters({f"n{i:02}": 40 for i in range(25)} | {"gone": 29, "new": 99})
    plan = choose("by", reference, window, least=300, needed=30)
    assert plan.kept == tuple(f"n{i:02}" for i in range(MOST_SEGMENTS))
    assert "5 values beyond the 20 largest (n20, n21, n22 ...)" in plan.said
    assert "1 value with fewer than 300 rows in the reference (few)" in plan.said
    assert "1 value with fewer than 30 in the window (gone)" in plan.said
    assert plan.segment("gone") == plan.segment("few") == OTHER
    assert plan.segment("new") is None  # there is nothing to compare it with


@given(st.lists(st.lists(st.integers(0, 400), max_size=300), max_size=6), st.integers(3, 40))
def test_counts_are_too_small_by_at_most_what_was_lost(parts: list[list[int]], kept: int) -> None:
    true = Counter(str(v) for part in parts for v in part)
    before, heavy_hitters.KEPT = heavy_hitters.KEPT, kept
    try:
        total = HeavyHitters()
        for part in parts:
            total += HeavyHitters(Counter(map(str, part)))
    finally:
        heavy_hitters.KEPT = before
    assert len(total.counts) <= kept
    assert total.lost <= sum(true.values()) / (kept + 1)
    for one, count in true.items():
        assert count - total.lost <= total.counts.get(one, 0) <= count


def test_a_million_names_are_bounded_and_the_largest_survive() -> None:
    rng = np.random.default_rng(0)
    total = HeavyHitters()
    for _ in range(10):
        rare = Counter(map(str, rng.integers(0, 10**9, 100_000).tolist()))
        total += HeavyHitters(rare | Counter({"JFK": 5000, "EWR": 3000}))
    plan = choose("id", total, least=300, needed=30)
    assert len(total.counts) <= KEPT
    assert plan.kept == ("JFK", "EWR")
    assert plan.segment("never seen") == OTHER  # which of the rare ones are new can't be told
    assert "too rare to count" in plan.said
