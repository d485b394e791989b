"""`af.compare(..., segment_by=...)`: by frame and by path the same, whole = sum of the segments, malformed columns told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import afterfit as af
from afterfit.adapters import profiler
from afterfit.adapters.profiler import held, profile_of, source_of
from afterfit.adapters.segment_profiler import cells_of, count_names
from afterfit.errors import InputError
from afterfit.monitoring.reference import Reference
from afterfit.stats.cuts import NULL, OTHER, choose
from afterfit.stats.heavy_hitters import KEPT


def frame(n: int, seed: int, moved: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    origin = rng.choice(np.array(["JFK", "EWR", "LGA", "SWF", None], dtype=object), n, p=[0.42, 0.35, 0.2, 0.01, 0.02])
    return pd.DataFrame(
        {
            "origin": origin,
            "temp": rng.normal(50.0, 10.0, n) + np.where(origin == "JFK", moved, 0.0),
            "gaps": np.where(rng.random(n) < 0.1, np.nan, rng.lognormal(size=n)),
            "month": rng.integers(1, 4, n),
            "flag": rng.random(n) < 0.3,
            "text": pd.Series(rng.choice(["a", "b", "ü"], n)).where(rng.random(n) >= 0.1),
            "at": pd.Timestamp("2024-02-01", tz="UTC") + pd.to_timedelta(rng.integers(0, 10**6, n), unit="s"),
        }
    )


def cut(source: Any, by: str) -> Any:
    read = source_of(held(source, "it"), "it")
    plan = choose(by, count_names(read, by, "it"), least=300, needed=30)
    return cells_of(read, {by: plan}, read.names, "it")[by]


@pytest.mark.parametrize("by", ["origin", "month", "flag", "text"])
def test_the_whole_is_the_sum_of_its_segments(by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiler, "SPAN", 1000)
    rows = frame(5000, 1)
    whole, cells = profile_of(rows), cut(rows, by)
    assert sum(cell.n for cell in cells.values()) == whole.n
    for name, column in whole.columns.items():
        if name == by:
            assert all(name not in cell.columns for cell in cells.values())
            continue
        parts = [cell.columns[name] for cell in cells.values()]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        assert (total.n, total.nulls, total.values) == (column.n, column.nulls, column.values)
        assert np.array_equal(counts(total), counts(column))


def counts(column: Any) -> Any:
    return column.counts if not isinstance(column.counts, dict) else sorted(column.counts.items())


def test_frames_and_paths_say_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = frame(6000, 1), frame(3000, 2, moved=4.0)
    expected = af.compare(old, new, segment_by=["origin", "month"])
    assert {f.segment for f in expected.drifted} >= {"origin=JFK"}
    monkeypatch.setattr(profiler, "SPAN", 1000)
    for name, rows in (("old", old), ("new", new)):
        table = pa.Table.from_pandas(rows, preserve_index=False)
        pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=700)
        (tmp_path / name).mkdir()
        for i in range(3):
            pq.write_table(table.slice(i * 2000, 2000), tmp_path / name / f"{i}.parquet")
    pairs: list[tuple[Any, Any]] = [
        (tmp_path / "old.parquet", tmp_path / "new.parquet"),
        (str(tmp_path / "old"), str(tmp_path / "new" / "*.parquet")),
        (pl.from_pandas(old), pa.RecordBatchReader.from_stream(pa.Table.from_pandas(new, preserve_index=False))),
    ]
    for reference, current in pairs:
        found = af.compare(reference, current, segment_by=["origin", "month"])
        assert [(f.column, f.check, f.segment, f.drifted) for f in found.findings] == [
            (f.column, f.check, f.segment, f.drifted) for f in expected.findings
        ]
        np.testing.assert_allclose(
            [f.p_value for f in found.findings], [f.p_value for f in expected.findings], rtol=1e-6
        )


def test_small_and_unseen_segments_are_told_and_never_doubled() -> None:
    old, new = frame(6000, 1), frame(3000, 2)
    new.loc[:499, "origin"] = "XYZ"
    new.loc[:499, "temp"] += 100.0  # in a segment that has nothing to be compared with
    report = af.compare(old, new, segment_by="origin")
    assert not any(f.segment and "XYZ" in f.segment for f in report.findings)
    assert [f.segment for f in report.drifted if (f.column, f.check) == ("origin", "unseen")] == [None]
    assert not any(f.drifted for f in report.findings if f.segment)
    (pooled,) = [f for f in report.findings if f.segment == f"origin={OTHER}"]
    assert "not judged by itself" in pooled.message
    assert "wanted 30 and 300" in pooled.message
    assert any("2 values with fewer than 300 rows in the reference" in f.message for f in report.findings)
    assert f"origin={NULL}" not in {f.segment for f in report.findings}  # about 120 rows of the reference
    assert {s.name for s in report.segments} == {"origin=JFK", "origin=EWR", "origin=LGA", f"origin={OTHER}"}


def test_the_budget_is_shared_by_the_whole_and_its_segments() -> None:
    old, new = frame(6000, 1), frame(3000, 2, moved=9.0)
    old, new = (rows.assign(origin=rows["origin"].where(rows["origin"].isin(["JFK", "EWR"]))) for rows in (old, new))
    alone, report = af.compare(old, new, budget=0.04), af.compare(old, new, segment_by="origin", budget=0.04)
    assert sum(f.threshold for f in alone.findings) == pytest.approx(0.04)
    assert sum(f.threshold for f in report.findings if not f.segment) == pytest.approx(0.02)
    one = {f.segment: f.threshold for f in report.drifted if (f.column, f.check) == ("temp", "drift")}
    rest = sum(f.threshold for f in report.findings if not f.segment and f.column == "origin")
    part = one[None] / (0.02 - rest)  # of the budget of a segment, in which `origin` is not judged
    assert one["origin=JFK"] == pytest.approx(part * 0.02 / 3)


def test_any_number_of_names_is_bounded() -> None:
    rng = np.random.default_rng(0)
    n = 200_000
    ids = pa.array(np.arange(n)).cast(pa.string()).to_pandas().to_numpy(dtype=object, copy=True)
    ids[rng.random(n) < 0.1] = "JFK"
    table = pa.table({"id": pa.array(ids), "x": rng.normal(size=n)})
    counted = count_names(source_of(table, "it"), "id", "it")
    assert len(counted.counts) <= KEPT
    report = af.compare(table, table.slice(0, 90_000), segment_by="id")
    assert {s.name for s in report.segments} == {"id=JFK", f"id={OTHER}"}
    assert not report.drifted


def test_what_does_not_fit_is_told(tmp_path: Path) -> None:
    rows = frame(500, 1)
    with pytest.raises(InputError, match=r"the current data has no such column.*Did you mean 'origin'"):
        af.compare(rows, rows, segment_by="orgin")
    with pytest.raises(InputError, match="the reference has no such column"):
        af.compare(rows.drop(columns="origin"), rows, segment_by="origin")
    with pytest.raises(InputError, match="a Profile, which keeps no rows"):
        af.compare(af.profile(rows), rows, segment_by="origin")
    with pytest.raises(InputError, match="list of segments has no such column"):
        af.compare(Reference(af.profile(rows), None, {}, 0.0, 0.0), rows, segment_by="origin")
    with pytest.raises(InputError, match="wanted names of columns"):
        af.compare(rows, rows, segment_by=[1])  # type: ignore[list-item]
    lists = pa.table({"by": pa.array([[1]] * 500), "x": np.arange(500.0)})
    with pytest.raises(InputError, match="wanted text, numbers or truth values"):
        af.compare(lists, lists, segment_by="by")
    broken = tmp_path / "broken.parquet"
    rows.to_parquet(broken)
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(InputError, match="can't be read"):
        af.compare(broken, rows, segment_by="origin")


def test_columns_of_any_type_are_cut(tmp_path: Path) -> None:
    by = pa.array(["a", "b"] * 400)
    table = pa.table(
        {
            "by": by,
            "list": pa.array([[1], None] * 400),
            "struct": pa.array([{"k": 1}, {"k": 2}] * 400),
            "bytes": pa.array([b"x", None] * 400),
            "view": pa.array(["x", "y"] * 400, pa.string_view()),
            "nothing": pa.nulls(800),
            "coded": pa.array(["x", "y"] * 400).dictionary_encode(),
            "decimal": pa.array([1, None] * 400, pa.decimal128(5, 2)),
        }
    )
    report = af.compare(table, table, segment_by=["by", "coded", "nothing"])
    assert not report.drifted
    assert {"by=a", "by=b", "coded=x", "coded=y", f"nothing={NULL}"} <= {f.segment for f in report.findings}
    pq.write_table(table.drop_columns(["view"]), tmp_path / "t.parquet")
    assert not af.compare(tmp_path / "t.parquet", tmp_path / "t.parquet", segment_by="by").drifted


def test_answers_are_judged_by_segment() -> None:
    old, new = frame(6000, 1).assign(p=0.3), frame(3000, 2).assign(p=0.3)
    for rows, seed in ((old, 3), (new, 4)):
        rows["p"] = np.random.default_rng(seed).random(len(rows))
    new.loc[new["origin"] == "LGA", "p"] **= 0.6
    report = af.compare(old, new, prediction="p", segment_by="origin")
    hit = {(f.check, f.segment) for f in report.drifted}
    assert ("prediction", "origin=LGA") in hit
    assert any("the model's own answers [origin=LGA]: " in f.message for f in report.drifted)
    assert not {s for c, s in hit if c == "prediction"} & {"origin=JFK", "origin=EWR"}
