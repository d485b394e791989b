"""Frames of every library become the same pandas frame; lake tables get the dtypes of training back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from afterfit.adapters.frames import to_pandas, to_series, to_times, typed_frame
from afterfit.errors import InputError
from afterfit.records import Feature

WANTED = pd.DataFrame({"a": [1.5, 2.5], "t": ["x", "y"]})


@pytest.mark.parametrize("kind", ["pandas", "polars", "lazy", "arrow", "duckdb", "parquet", "csv"])
def test_each_kind_of_frame(kind: str, tmp_path: Path) -> None:
    table = pa.Table.from_pandas(WANTED)
    given: Any = {
        "pandas": WANTED.set_axis([5, 6], axis=0),
        "polars": pl.DataFrame({"a": [1.5, 2.5], "t": ["x", "y"]}),
        "lazy": pl.LazyFrame({"a": [1.5, 2.5], "t": ["x", "y"]}),
        "arrow": table,
        "duckdb": duckdb.sql("SELECT * FROM (VALUES (1.5::DOUBLE, 'x'), (2.5, 'y')) v(a, t)"),
        "parquet": tmp_path / "f.parquet",
        "csv": str(tmp_path / "f.csv"),
    }[kind]
    pq.write_table(table, tmp_path / "f.parquet")
    WANTED.to_csv(tmp_path / "f.csv", index=False)
    pd.testing.assert_frame_equal(to_pandas(given), WANTED)


def test_columns_get_text_names_and_the_given_frame_stays() -> None:
    given: Any = pd.DataFrame({0: [1.0]}, index=[9])
    assert to_pandas(given).columns.tolist() == ["0"]
    assert list(given.columns) == [0]
    assert to_pandas(np.ones((2, 3))).columns.tolist() == ["x0", "x1", "x2"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"a": [1]}, "is a builtins.dict: wanted a pandas"),
        (np.ones(3), "shape (3,)"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "several columns named ['a']"),
        ("nowhere.parquet", "no such file"),
        (__file__, "ends in '.py'"),
    ],
)
def test_other_things_are_refused(given: Any, words: str) -> None:
    with pytest.raises(InputError) as caught:
        to_pandas(given, "X")
    assert str(caught.value).startswith("X")
    assert words in str(caught.value)


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "bad.parquet"
    path.write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match=r"bad\.parquet can't be read"):
        to_pandas(path)


@pytest.mark.parametrize(
    "given",
    [
        [0, 1],
        (0, 1),
        np.array([0, 1]),
        np.array([[0], [1]]),
        pd.Series([0, 1], index=[4, 5]),
        pd.Series([0, 1], dtype="category"),
        pl.Series([0, 1]),
        pl.DataFrame({"y": [0, 1]}),
        pa.array([0, 1]),
        pa.chunked_array([[0], [1]]),
        pd.Index([0, 1]),
    ],
)
def test_each_kind_of_column(given: Any) -> None:
    found = to_series(given)
    assert found.tolist() == [0, 1]
    assert found.dtype == np.dtype("int64")
    assert found.index.tolist() == [0, 1]


def test_two_columns_are_no_target() -> None:
    with pytest.raises(InputError, match=r"y has shape \(2, 2\)"):
        to_series(np.ones((2, 2)))
    with pytest.raises(InputError, match="y is a dict: wanted one column"):
        to_series({"a": 1})


def test_times_become_utc() -> None:
    wanted = pd.Timestamp("2024-01-01 11:00", tz="UTC")
    for given in (
        ["2024-01-01T12:00+01:00"],
        pd.Series([wanted.tz_localize(None)]),
        pl.Series([wanted.to_pydatetime()]),
    ):
        assert to_times(given).tolist() == [wanted]


@pytest.mark.parametrize(("given", "words"), [([1.0], "unit='s'"), (["soon"], "can't be read as times")])
def test_what_is_no_time_is_refused(given: Any, words: str) -> None:
    with pytest.raises(InputError) as caught:
        to_times(given)
    assert words in str(caught.value)


def test_a_lake_table_gets_names_order_and_dtypes_of_training() -> None:
    table = pa.table(
        {
            "time": [1, 2],
            "f:i": pa.array([1, None], pa.int64()),
            "f:n": pa.array([1.5, None], pa.float64()),
            "f:b": pa.array([True, None], pa.bool_()),
            "f:c": ["y", "z"],
            "f:j": pa.array([1, 2], pa.int64()),
            "f:t": ["x", None],
        }
    )
    features = (
        Feature("n", "number", "float32"),
        Feature("i", "integer", "int64"),
        Feature("j", "integer", "int16"),
        Feature("b", "boolean", "bool"),
        Feature("c", "text", "category", categories=("x", "y")),
        Feature("t", "text", "object"),
    )
    found = typed_frame(table, features)
    assert found.columns.tolist() == ["n", "i", "j", "b", "c", "t"]
    assert [str(d) for d in found.dtypes] == ["float32", "float64", "int16", "object", "category", "object"]
    assert found["c"].cat.categories.tolist() == ["x", "y"]
    assert found["c"].isna().tolist() == [False, True]  # a category that training did not know is a null to the model
    with pytest.raises(InputError, match=r"lack the features \['zz'\]"):
        typed_frame(table, (Feature("zz", "number", "float64"),))
    with pytest.raises(InputError, match="'c': values do not fit the type float64"):
        typed_frame(table, (Feature("c", "number", "float64"),))
