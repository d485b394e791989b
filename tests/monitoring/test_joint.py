"""Changes that no single column shows are found, named, and told from those that single columns show."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import afterfit as af
from afterfit.adapters.profiler import held, source_of
from afterfit.adapters.row_sample import read_rows, read_times
from afterfit.errors import InputError
from afterfit.monitoring.incidents import kind_of
from afterfit.monitoring.joint import CHECK, JOINT, JointReference, check_joint
from afterfit.records import Finding
from afterfit.stats.row_sample import BLOCKS, ROWS, sample_rows

DAY = 86400.0
ALPHA = 1e-3
Columns = dict[str, Any]


def rows(seed: int, n: int, k: int = 8) -> Columns:
    """Independent standard normal columns a, b, c, ..."""
    x = np.random.default_rng(seed).normal(size=(n, k))
    return {"abcdefghijklmnop"[i]: x[:, i] for i in range(k)}


def bound(columns: Columns, r: float) -> Columns:
    """b moves with a; its own distribution stays."""
    return columns | {"b": r * columns["a"] + np.sqrt(1.0 - r * r) * columns["b"]}


def crossed(columns: Columns) -> Columns:
    """b is a or -a: no correlation, no independence."""
    sign = np.where(columns["c"] > 0, 1.0, -1.0) * np.where(columns["d"] > 0, 1.0, -1.0)
    return columns | {"b": columns["a"] * sign}


def clustered(columns: Columns, side: float) -> Columns:
    """A fifth of the rows in two clusters, on one diagonal or the other; the distribution of a and of b stays."""
    inside = np.abs(columns["c"]) > 1.28
    end = 2.0 * np.sign(columns["d"])
    a, b = end + 0.3 * columns["a"], side * end + 0.3 * columns["b"]
    return columns | {"a": np.where(inside, a, columns["a"]), "b": np.where(inside, b, columns["b"])}


def by_method(found: list[Finding]) -> dict[str, Finding]:
    return {f.method.partition(",")[0]: f for f in found}


def test_a_correlation_that_flips_is_found_and_its_pair_named() -> None:
    found = by_method(check_joint(JointReference(bound(rows(0, 2000), 0.6)), bound(rows(1, 400), -0.6), alpha=ALPHA))
    pair = found["correlations"]
    assert pair.drifted
    assert re.match(r"correlation of a and b \+0\.[56]\d → -0\.[56]\d", pair.message)
    assert pair.message.endswith("no single column moved")
    assert (pair.column, pair.check, kind_of(pair)) == (JOINT, CHECK, "drift")
    told = found["classifier two-sample test"]
    assert told.drifted
    assert told.message.partition("(")[2].startswith(("a ", "b "))


@pytest.mark.parametrize("seed", range(3))
def test_dependence_without_correlation_is_found_by_the_classifier(seed: int) -> None:
    k = 5
    found = by_method(
        check_joint(JointReference(rows(2 * seed, 3000, k)), crossed(rows(2 * seed + 1, 2000, k)), alpha=ALPHA)
    )
    assert not found["correlations"].drifted
    told = found["classifier two-sample test"]
    assert told.drifted
    assert {name.split()[0] for name in told.message.partition("(")[2].split(", ")[:2]} == {"a", "b"}


def test_clusters_that_move_are_found() -> None:
    reference = JointReference(clustered(rows(0, 3000), 1.0))
    found = by_method(check_joint(reference, clustered(rows(1, 1000), -1.0), alpha=ALPHA))
    assert found["correlations"].drifted


def test_rows_that_leave_the_plane_of_the_reference_have_larger_errors_and_flatter_ones_smaller() -> None:
    def flat(seed: int, noise: float) -> Columns:
        base = rows(seed, 1000, 2)
        extra = np.random.default_rng(seed + 100).normal(size=(1000, 6))
        return {f"x{i}": base["a"] + (i % 3 - 1) * base["b"] + noise * extra[:, i] for i in range(6)}

    reference = JointReference(flat(0, 0.5))
    for noise, word in ((1.0, "less bound"), (0.2, "more bound")):
        found = by_method(check_joint(reference, flat(1, noise), alpha=ALPHA))["principal components"]
        assert found.drifted
        assert word in found.message


def test_many_small_moves_that_no_column_shows_are_found() -> None:
    old, new = rows(0, 5000, 16), {name: v + 0.1 for name, v in rows(1, 2000, 16).items()}
    found = by_method(check_joint(JointReference(old), new, alpha=ALPHA))
    assert found["classifier two-sample test"].drifted


def test_among_days_a_flip_is_found_in_one_day() -> None:
    rng = np.random.default_rng(5)
    day = np.repeat(np.arange(60), 200)
    columns = bound(rows(3, day.size), 0.7)
    level = rng.normal(size=(60, 2))[day]
    columns |= {"a": columns["a"] + level[:, 0], "b": columns["b"] + level[:, 1]}
    times = day * DAY + rng.uniform(0, DAY, day.size)
    kept = sample_rows(day.size, times, DAY)
    reference = JointReference({c: v[kept] for c, v in columns.items()}, times[kept], DAY)
    window, at = bound(rows(4, 200), -0.3), 61 * DAY + rng.uniform(0, DAY, 200)
    found = by_method(check_joint(reference, window, alpha=ALPHA, times=at))["correlations"]
    assert found.drifted
    assert found.method == "correlations, block null"
    same = by_method(check_joint(reference, bound(rows(6, 200), 0.7), alpha=ALPHA, times=at))["correlations"]
    assert not same.drifted


def test_columns_that_moved_by_themselves_explain_what_they_do() -> None:
    old, new = bound(rows(0, 2000), 0.6), bound(rows(1, 500), -0.6)
    beside = check_joint(JointReference(old), new, alpha=ALPHA, moved=["b"])
    assert not any(f.drifted for f in beside)
    new["d"] = -0.9 * new["c"] + np.sqrt(0.19) * new["d"]
    pair = by_method(check_joint(JointReference(old), new, alpha=ALPHA, moved=["b"]))["correlations"]
    assert pair.drifted
    assert pair.message.startswith("correlation of c and d")
    assert pair.message.endswith("beyond b")


def test_what_is_not_looked_at_is_said() -> None:
    wide = {f"x{i}": v for i, v in enumerate(np.random.default_rng(0).normal(size=(103, 100)))}
    found = check_joint(JointReference(wide), wide, alpha=ALPHA)
    assert all("3 columns and categories beyond the first 100 were not looked at" in f.message for f in found)


def test_the_same_rows_give_the_same_findings() -> None:
    args = JointReference(rows(0, 6000)), bound(rows(1, 6000), 0.2)
    assert check_joint(*args, alpha=ALPHA) == check_joint(*args, alpha=ALPHA)


@pytest.mark.parametrize(
    ("window", "reference"),
    [
        ({}, rows(0, 100)),
        (rows(0, 10), rows(0, 100)),
        (rows(0, 100), {}),
        ({"a": np.full(100, np.nan), "b": np.zeros(100)}, rows(0, 100)),
        ({"a": np.array(["x"] * 100, dtype=object), "b": np.zeros(100)}, rows(0, 100)),
        ({"a": np.array([None] * 100, dtype=object)}, {"a": np.array([None] * 100, dtype=object)}),
    ],
    ids=["no columns", "few rows", "no reference", "nulls and constants", "another kind", "only nulls"],
)
def test_what_cannot_be_judged_says_so_or_stays_quiet(window: Columns, reference: Columns) -> None:
    found = check_joint(JointReference(reference), window, alpha=ALPHA, times=None)
    assert found
    assert all(np.isfinite(f.p_value) for f in found)


def test_infinite_values_and_times_that_are_not_known_do_no_harm() -> None:
    old, new = rows(0, 2000), rows(1, 300)
    old["a"][:5], new["b"][:5] = np.inf, -np.inf
    times = np.repeat(np.arange(20.0), 100) * DAY
    times[::50] = np.nan
    found = check_joint(JointReference(old, times, DAY), new, alpha=ALPHA, times=np.full(300, np.nan))
    assert len(found) == 3
    assert not any(f.drifted for f in found)


def test_a_sample_keeps_whole_days_and_few_rows_are_kept_whole() -> None:
    times = np.repeat(np.arange(100.0), 1000) * DAY
    kept = sample_rows(times.size, times, DAY)
    assert kept.size == ROWS
    assert np.unique(times[kept]).size == BLOCKS
    assert (np.diff(kept) > 0).all()
    assert sample_rows(7).tolist() == list(range(7))
    assert sample_rows(100_000, np.full(100_000, np.nan), DAY).size == ROWS


def test_compare_finds_it_in_frames_and_in_files_alike(tmp_path: Path) -> None:
    old, new = pd.DataFrame(bound(rows(0, 20_000), 0.6)), pd.DataFrame(bound(rows(1, 20_000), -0.6))
    for frame in (old, new):
        frame["place"] = np.where(frame["c"] > 0, "here", "there")
        frame["when"] = pd.Timestamp("2024-01-01")
        frame.loc[::7, "d"] = np.nan
    files = [str(tmp_path / f"{name}.parquet") for name in ("old", "new")]
    old.to_parquet(files[0], row_group_size=3000)
    new.to_parquet(files[1], row_group_size=50_000)
    alone, found = af.compare(old, new), af.compare(old, new, joint=True)
    assert not alone.drifted
    assert {f.column for f in found.drifted} == {JOINT}
    assert af.compare(*files, joint=True).findings == found.findings
    assert "Correlation of a and b +0." in found.to_html()
    thresholds = [(f.threshold, g.threshold) for f, g in zip(alone.findings, found.findings, strict=False)]
    assert all(b == pytest.approx(0.9 * a) for a, b in thresholds)


def test_compare_with_times_judges_beside_blocks() -> None:
    old, new = pd.DataFrame(bound(rows(0, 6000), 0.6)), pd.DataFrame(bound(rows(1, 300), -0.6))
    old["t"] = pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(np.linspace(0, 30, len(old)), unit="D")
    new["t"] = pd.Timestamp("2024-02-01", tz="UTC") + pd.to_timedelta(np.linspace(0, 1, len(new)), unit="D")
    found = [f for f in af.compare(old, new, joint=True, time="t").drifted if f.column == JOINT]
    assert found
    assert all("block null" in f.method for f in found)


def test_what_keeps_no_rows_is_refused() -> None:
    frame = pd.DataFrame(rows(0, 100))
    with pytest.raises(InputError, match="keeps no rows"):
        af.compare(af.profile(frame), frame, joint=True)
    with pytest.raises(InputError, match="wanted times"):
        af.compare(frame, frame, joint=True, time="a")


def test_rows_of_odd_types_are_read_or_left_out() -> None:
    frame = pd.DataFrame({"n": [1, None, 3], "b": [True, False, True], "l": [[1], [2], [3]], "o": ["x", None, "y"]})
    frame["when"] = pd.Series([pd.Timestamp("2024-01-01", tz="UTC"), None, pd.Timestamp("2024-01-02", tz="UTC")])
    source = source_of(held(frame, "it"), "it")
    found = read_rows(source, np.array([0, 2]), skip={"o"})
    assert {name: v.tolist() for name, v in found.items()} == {"n": [1.0, 3.0], "b": [True, True]}
    seconds = read_times(source, "when", "it")
    assert seconds[2] - seconds[0] == DAY
    assert np.isnan(seconds[1])
