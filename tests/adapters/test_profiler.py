"""Any data set becomes one profile: by file, folder, pattern or frame the same; malformed frames never raise but InputError."""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import afterfit as af
from afterfit.adapters import profiler
from afterfit.adapters.column_profile import arrow_of, column_profile
from afterfit.adapters.profiler import profile_of
from afterfit.errors import InputError
from afterfit.stats.profile import Categorical, Numeric

N = 3000


def frame(n: int = N, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "x": np.where(rng.random(n) < 0.05, np.nan, rng.lognormal(size=n)),
            "k": rng.integers(-5, 50, n),
            "flag": rng.random(n) < 0.3,
            "place": pd.Series(rng.choice(["a", "b", "ü"], n)).where(rng.random(n) >= 0.1),
            "at": pd.Timestamp("2024-02-01", tz="UTC") + pd.to_timedelta(rng.integers(0, 10**6, n), unit="s"),
        }
    )


def test_every_source_gives_the_same_profile(tmp_path: Path) -> None:
    rows = frame()
    arrow_rows = table = pa.Table.from_pandas(rows, preserve_index=False)  # noqa: F841  DuckDB finds it by this name
    pq.write_table(table, tmp_path / "all.parquet", row_group_size=700)
    (tmp_path / "parts").mkdir()
    for i in range(3):
        pq.write_table(table.slice(i * 1000, 1000), tmp_path / "parts" / f"{i}.parquet")
    expected = profile_of(rows).to_dict()
    sources: list[Any] = [
        table, pl.from_arrow(table), duckdb.sql("SELECT * FROM arrow_rows"), tmp_path / "all.parquet", str(tmp_path / "parts"),
        str(tmp_path / "parts" / "*.parquet"),
    ]  # fmt: skip
    for source in sources:
        found = profile_of(source).to_dict()
        for column in ("x", "at"):  # moments differ in the last digits with the order of summation
            for moment in ("mean", "m2"):
                mine, theirs = found["columns"][column].pop(moment), expected["columns"][column][moment]
                assert mine == pytest.approx(theirs, rel=1e-9)
                found["columns"][column][moment] = theirs
        for moment in ("mean", "m2"):
            found["columns"]["k"][moment] = expected["columns"]["k"][moment]
        assert found == expected


def test_a_csv_is_read_too(tmp_path: Path) -> None:
    frame()[["x", "k", "place"]].to_csv(tmp_path / "rows.csv", index=False)
    found = profile_of(tmp_path / "rows.csv").columns
    x, k, place = (found[c] for c in ("x", "k", "place"))
    assert isinstance(x, Numeric)
    assert isinstance(k, Numeric)
    assert isinstance(place, Categorical)
    assert x.nulls == frame()["x"].isna().sum()
    assert k.kind == "integer"
    assert place.nulls == frame()["place"].isna().sum()


def test_the_result_depends_on_neither_threads_nor_spans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = frame()[["x", "k", "place"]]
    pq.write_table(pa.Table.from_pandas(rows, preserve_index=False), tmp_path / "r.parquet", row_group_size=100)
    whole = profile_of(tmp_path / "r.parquet")
    monkeypatch.setattr(profiler, "SPAN", 150)
    monkeypatch.setattr("os.cpu_count", lambda: 7)
    spans = profile_of(tmp_path / "r.parquet")
    for name, column in whole.columns.items():
        other = spans.columns[name]
        if isinstance(column, Numeric) and isinstance(other, Numeric):
            assert (column.shift, column.nulls, column.low, column.high) == (
                other.shift, other.nulls, other.low, other.high,
            )  # fmt: skip
            assert np.array_equal(column.counts, other.counts)
        else:
            assert column == other


@pytest.mark.parametrize(
    ("values", "kind", "nulls"),
    [
        (pa.array([decimal.Decimal("1.5"), None]), "number", 1),
        (pa.array(["a", None, "a"]).dictionary_encode(), "text", 1),
        (pa.array(["a"] * 3, pa.large_string()), "text", 0),
        (pa.array(["a", None], pa.string_view()), "text", 1),
        (pa.array([dt.date(2020, 1, 1), None]), "time", 1),
        (pa.array([dt.timedelta(seconds=5)]), "number", 0),
        (pa.array([dt.time(12, 30)]), "number", 0),
        (pa.array([True, None, False]), "boolean", 1),
        (pa.array([2**63], pa.uint64()), "integer", 0),
        (pa.array([np.float16(1.5)]), "number", 0),
        (pa.array([[1, 2], None]), "text", 1),
        (pa.array([{"a": 1}]), "text", 0),
        (pa.array([b"\xff"]), "text", 0),
        (pa.nulls(4), "text", 4),
        (pa.array([], pa.float64()), "number", 0),
        (pa.array([np.nan, np.inf, -np.inf, 1.0]), "number", 1),
    ],
)
def test_types(values: Any, kind: str, nulls: int) -> None:
    found = column_profile(pa.chunked_array([values]))
    assert (found.kind, found.nulls, found.n) == (kind, nulls, len(values))


def test_times_are_epoch_seconds() -> None:
    found = column_profile(arrow_of(pd.Series(pd.to_datetime(["2024-01-01", "2024-01-02"], utc=True))))
    assert isinstance(found, Numeric)
    assert found.low == 1704067200.0
    assert found.high - found.low == 86400.0


def test_a_million_names_stay_bounded_and_names_can_be_hidden() -> None:
    many = pd.DataFrame({"id": [f"user-{i}" for i in range(100_000)], "place": ["berlin"] * 100_000})
    found = profile_of(many, hash_categories=True)
    assert len(str(found.to_dict())) < 40_000
    assert "berlin" not in str(found.to_dict())
    assert found.columns["id"].values == 100_000


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda d: d / "none.parquet", "no such file"),
        (lambda d: d / "bad.parquet", "can't be read"),
        (lambda d: d / "bad.txt", "wanted .parquet or .csv"),
        (lambda d: str(d / "mixed" / "*.parquet"), "numbers in some rows and text in others"),
        (lambda d: pd.DataFrame([[1, 2]], columns=["a", "a"]), "several columns named"),
        (lambda d: 7, "wanted"),
        (lambda d: np.zeros((2, 2, 2)), "shape"),
    ],
)
def test_what_is_no_data_set_is_refused(tmp_path: Path, make: Callable[[Path], Any], said: str) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"no")
    (tmp_path / "bad.txt").write_text("no")
    (tmp_path / "mixed").mkdir()
    pq.write_table(pa.table({"a": [1.0]}), tmp_path / "mixed" / "1.parquet")
    pq.write_table(pa.table({"a": ["x"]}), tmp_path / "mixed" / "2.parquet")
    with pytest.raises(InputError, match=said):
        profile_of(make(tmp_path))


def test_files_may_lack_a_column_or_hold_only_nulls_of_it(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1.0, 2.0], "b": pa.nulls(2)}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"b": [5.0]}), tmp_path / "2.parquet")
    found = profile_of(tmp_path)
    assert found.n == 3
    assert [(c.n, c.nulls) for c in found.columns.values()] == [(3, 1), (3, 2)]


def _odd_column(rng: np.random.Generator, n: int) -> Any:
    some = rng.random(n) < 0.3
    choices: list[Callable[[], Any]] = [
        lambda: np.full(n, np.nan),
        lambda: np.where(some, np.inf, rng.normal(size=n)),
        lambda: [None if s else "x" for s in some],
        lambda: [1 if s else "one" for s in some],
        lambda: [[1] if s else None for s in some],
        lambda: [{"a": 1} if s else 3.5 for s in some],
        lambda: pd.Series([b"\xff\xfe" if s else "\ud800" for s in some], dtype=object),
        lambda: pd.Categorical(["a" if s else None for s in some]),
        lambda: pd.Categorical(np.where(some, 1, 2)),
        lambda: pd.array(np.where(some, 1, 2), dtype="Int64"),
        lambda: pd.to_datetime(["2020-01-01"] * n),
        lambda: pd.to_timedelta(np.arange(n), unit="s"),
        lambda: [decimal.Decimal("1.1") if s else None for s in some],
        lambda: rng.integers(0, 2**63 - 1, n),
        lambda: rng.uniform(-1.7, 1.7, n) * 1e308,
        lambda: rng.normal(size=n) * 1e-320,
        lambda: rng.random(n) < 0.5,
        lambda: rng.normal(size=n) + 1j,
        lambda: [10**30 if s else 1 for s in some],
        lambda: [object() if s else None for s in some],
        lambda: rng.choice(["a", "b", ""], n),
        lambda: np.where(some, "12", "3.5").astype(object),
    ]
    return choices[int(rng.integers(len(choices)))]()


@pytest.mark.parametrize("seed", range(8))
def test_malformed_frames_raise_nothing_else_and_hide_no_change(seed: int) -> None:
    """2,000 pairs, each with a column that moved by ten standard deviations: it is found whatever stands beside it."""
    rng = np.random.default_rng(seed)
    for _ in range(250):
        frames = []
        for moved in (0.0, 10.0):
            n = int(rng.choice([0, 1, 2, 40, 200]))
            columns = {f"odd{i}": _odd_column(rng, n) for i in range(int(rng.integers(0, 4)))}
            columns |= {"good": rng.normal(size=n), "moved": rng.normal(moved, 1.0, size=n)}
            frames.append(pd.DataFrame(columns, index=pd.RangeIndex(n)))
        if rng.random() < 0.05:
            frames[1].columns = ["moved", *frames[1].columns[1:]]
        if frames[1].columns.has_duplicates:
            with pytest.raises(InputError, match="several columns named"):
                af.compare(*frames)
            continue
        report = af.compare(*frames)
        if min(len(f) for f in frames) >= 40:
            assert any(f.column == "moved" and f.drifted for f in report.findings)
        report.to_dict()
