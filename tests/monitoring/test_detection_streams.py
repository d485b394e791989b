"""The detection benchmark: its streams are seeded and as described, and its scores are right on hand-made examples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from benchmarks.detection import score
from benchmarks.detection.streams import (
    BEGINS,
    DAY,
    KINDS,
    LASTS,
    LIVE,
    REFERENCE,
    SPREAD,
    Change,
    Stream,
    changed,
    changed_days,
    changes,
    healthy,
    moments,
    spread,
    strength,
    write,
)


def stream(kind: str, rows: int = 200) -> Stream:
    return Stream(kind, 10, rows, 1, changes(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_is_seeded_and_its_columns_differ(kind: str) -> None:
    times = moments(stream(kind))
    assert np.array_equal(times, moments(stream(kind)))
    assert np.array_equal(healthy(stream(kind), "f01", times), healthy(stream(kind), "f01", times))
    other = Stream(kind, 10, 200, 2)
    assert not np.array_equal(healthy(stream(kind), "f01", times), healthy(other, "f01", times))
    assert not np.array_equal(healthy(stream(kind), "f01", times), healthy(stream(kind), "f06", times))


def test_times_are_in_order_and_each_day_has_its_rows() -> None:
    times = moments(stream("independent"))
    assert (np.diff(times) >= 0).all()
    assert np.bincount((times // DAY).astype(int)).tolist() == [200] * (REFERENCE + LIVE)


def test_days_have_levels_and_levels_last() -> None:
    times = moments(stream("levels", 500))
    days = np.stack([healthy(stream("levels", 500), f, times).reshape(-1, 500).mean(axis=1) for f in ("f00", "f01")])
    assert 0.3 * SPREAD < days.std() < 0.8 * SPREAD
    assert np.mean([np.corrcoef(d[1:], d[:-1])[0, 1] for d in days]) > 0.3
    plain = healthy(stream("independent", 500), "f00", times).reshape(-1, 500).mean(axis=1)
    assert plain.std() < 0.1 * SPREAD


def test_seasons_return_each_day_and_each_week() -> None:
    times = moments(stream("season", 500))
    rows = healthy(stream("season", 500), "f00", times)
    hours = np.array([rows[(times % DAY) // 3600 == h].mean() for h in range(24)])
    assert np.ptp(hours) > SPREAD  # a wave of 0.8 sd to each side
    days = rows.reshape(-1, 500).mean(axis=1)[:119].reshape(17, 7)
    assert days.mean(axis=0).std() > 2 * days.std(axis=0).mean()


def test_heavy_tails_text_counts_and_nulls() -> None:
    times = moments(stream("heavy"))
    rows = healthy(stream("heavy"), "f00", times)
    assert np.abs(rows - np.median(rows)).max() > 20 * spread(rows)
    assert len(set(healthy(stream("heavy"), "f04", times))) > 50
    assert set(healthy(stream("independent"), "f04", times)) == {"a", "b", "c", "d"}
    counts = healthy(stream("discrete"), "f01", times)
    assert np.array_equal(counts, np.round(counts))
    assert 0.01 < np.isnan(healthy(stream("independent"), "f03", times)).mean() < 0.03


@pytest.mark.parametrize("kind", KINDS)
def test_a_change_leaves_its_column_alone_outside_its_days(kind: str) -> None:
    times = moments(stream(kind))
    day = times // DAY - REFERENCE - BEGINS
    outside = (day < 0) | (day >= LASTS)
    for change in changes(kind):
        before = healthy(stream(kind), change.column, times)
        after = changed(before, change, times, 1)
        same = (before == after) | (pd.isna(before) & pd.isna(after))
        assert same[outside].all()
        assert not same[~outside].all()
        again = changed(before, change, times, 1)
        assert ((after == again) | (pd.isna(after) & pd.isna(again))).all()


@pytest.mark.parametrize("kind", ["independent", "levels", "season", "discrete"])
def test_a_mean_moves_by_its_size(kind: str) -> None:
    times = moments(stream(kind))
    before = healthy(stream(kind), "f01", times)
    during = (times // DAY >= REFERENCE + BEGINS) & (times // DAY < REFERENCE + BEGINS + LASTS)
    moved = (changed(before, Change("mean", 0.5, "abrupt", "f01"), times, 1) - before)[during].mean()
    assert moved == pytest.approx(0.5 * spread(before), rel=0.1)
    assert spread(before) == pytest.approx(before.std(), rel=0.1)


def test_units_nulls_categories_and_shares() -> None:
    times = moments(stream("independent"))
    during = (times // DAY >= REFERENCE + BEGINS) & (times // DAY < REFERENCE + BEGINS + LASTS)

    def after(family: str, size: float, column: str) -> tuple[np.ndarray, np.ndarray]:
        before = healthy(stream("independent"), column, times)
        return before[during], changed(before, Change(family, size, "abrupt", column), times, 1)[during]

    warm, cold = after("unit", 1 / 1.8, "f00")
    assert np.allclose(cold * 1.8 + 32, warm)
    _, nulls = after("nulls", 0.2, "f03")
    assert np.isnan(nulls).mean() == pytest.approx(0.02 + 0.98 * 0.2, abs=0.03)
    _, fresh = after("category", 0.05, "f04")
    assert (fresh == "new").mean() == pytest.approx(0.05, abs=0.02)
    were, shares = after("shares", 0.1, "f09")
    assert (were == "a").mean() - (shares == "a").mean() == pytest.approx(0.1, abs=0.02)
    assert (shares == "d").mean() - (were == "d").mean() == pytest.approx(0.1, abs=0.02)
    once, scaled = after("scale", 1.5, "f02")
    assert scaled.std() == pytest.approx(1.5 * once.std(), rel=0.01)


def test_shapes() -> None:
    assert [strength("abrupt", d) for d in (0, 29)] == [1.0, 1.0]
    assert [strength("gradual", d) for d in (0, 9, 19, 29)] == [0.05, 0.5, 1.0, 1.0]
    assert changed_days("recurring") == ([True] * 5 + [False] * 5) * 3


def test_files_hold_the_rows_with_their_times(tmp_path: Path) -> None:
    small = Stream("independent", 10, 50, 1, changes("independent"))
    write(small, tmp_path)
    whole = pq.read_table(tmp_path / f"{small.name}.parquet")
    assert whole.column_names == ["time", *small.columns]
    assert whole.num_rows == 50 * (REFERENCE + LIVE)
    shown = pq.read_table(tmp_path / f"{small.name} changes.parquet")
    assert shown.column_names == ["time", *(c.name for c in small.changes)]
    assert shown.num_rows == 50 * (REFERENCE + LASTS)
    assert shown["nulls 0.2 abrupt"].null_count > whole["f03"].null_count


def test_incidents_are_runs() -> None:
    assert score.incidents([]) == 0
    assert score.incidents([True] * 60) == 1
    assert score.incidents([False, True, True, False, True]) == 2


def test_bounds_are_exact() -> None:
    assert score.poisson_bounds(0) == pytest.approx((0.0, 3.689), abs=1e-3)
    assert score.poisson_bounds(5) == pytest.approx((1.623, 11.668), abs=1e-3)
    assert score.binomial_bounds(0, 10) == pytest.approx((0.0, 0.3085), abs=1e-4)
    assert score.binomial_bounds(10, 10) == pytest.approx((0.6915, 1.0), abs=1e-4)


def test_a_delay_counts_from_the_first_changed_window_and_only_there() -> None:
    assert score.delay([True, False], [True, True]) == 0
    assert score.delay([True, False, True], [False, True, True]) == 1
    assert score.delay([False, True, False], [True, False, True]) is None


def test_missed_changes_are_endless() -> None:
    assert score.quantile([0, 1, 2, None], 0.5) == 1
    assert score.quantile([0, 1, None, None], 0.9) is None
    assert score.quantile(list(range(10)), 0.9) == 8
    assert score.quantile([], 0.5) is None


def test_a_raised_threshold_lets_no_more_windows_through() -> None:
    healthy_strengths = [0.1, 0.5, 0.5, 0.9]
    for allowed in range(5):
        cut = score.raised(healthy_strengths, allowed)
        assert sum(x > cut for x in healthy_strengths) <= allowed
    assert score.raised(healthy_strengths, 0) == 0.9
    assert score.raised(healthy_strengths, 4) == -np.inf


@pytest.mark.parametrize(
    ("ours", "peers", "said"),
    [
        (1, [2, None], "sooner"), (2, [2, 5], "equal"), (3, [2, 5], "later"), (3, [None, None], "sooner"),
        (None, [4, None], "missed"), (None, [None], "nobody"),
    ],
)  # fmt: skip
def test_verdicts(ours: score.Delay, peers: list[score.Delay], said: str) -> None:
    assert score.verdict(ours, peers) == said
