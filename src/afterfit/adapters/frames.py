"""Any frame a user has (pandas, Polars, Arrow, numpy, DuckDB, a file) as a pandas frame; lake tables as typed frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from afterfit.errors import InputError
from afterfit.records import Feature

_WANTED = (
    "a pandas, Polars or Arrow frame, a DuckDB relation, a numpy array (n_rows, n_columns), or a .parquet/.csv path"
)


def to_pandas(frame: Any, what: str = "the frame") -> pd.DataFrame:
    """A pandas frame with text column names and rows numbered from 0; the given one is never changed.

    Columns of a bare numpy array are named x0, x1, ... as scikit-learn does.

    Raises:
        InputError: none of the known frames, an unreadable file, or two columns with one name.

    >>> to_pandas(np.array([[1.0, 2.0]])).columns.tolist()
    ['x0', 'x1']
    """
    found = _convert(frame, what)
    names = [str(c) for c in found.columns]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise InputError(f"{what} has several columns named {twice}; wanted one name a column")
    return found.set_axis(names, axis="columns").reset_index(drop=True)


def as_lists(frame: pd.DataFrame) -> dict[str, list[Any]]:
    """Plain Python values by column name, None for null.

    >>> as_lists(pd.DataFrame({"a": [1, 2], "b": [0.5, None]}))
    {'a': [1, 2], 'b': [0.5, None]}
    """
    return {str(n): frame[n].astype(object).where(frame[n].notna(), None).tolist() for n in frame.columns}


def to_series(values: Any, what: str = "y") -> pd.Series:
    """One column as a pandas Series, rows numbered from 0; keeps its name if it has one."""
    if isinstance(values, pd.Series):
        found = values
    elif isinstance(values, pd.Index):
        found = values.to_series()
    elif isinstance(values, pa.Array | pa.ChunkedArray):
        found = values.to_pandas()
    elif isinstance(values, np.ndarray | list | tuple):
        found = _from_array(np.asarray(values), what)
    else:
        native = nw.from_native(values, allow_series=True, eager_only=True, pass_through=True)
        if isinstance(native, nw.DataFrame) and native.shape[1] == 1:
            native = native.get_column(native.columns[0])
        if not isinstance(native, nw.Series):
            raise InputError(
                f"{what} is a {type(values).__name__}: wanted one column, that is a Series, an array or a list"
            )
        found = native.to_pandas()
    if isinstance(found.dtype, pd.CategoricalDtype):
        found = found.astype(found.cat.categories.dtype)
    return found.reset_index(drop=True)


def to_floats(values: pd.Series, what: str) -> np.ndarray:
    """Numbers of a column, shape (n_rows,), NaN for null.

    Raises:
        InputError: not numbers.

    >>> to_floats(pd.Series([1, None]), "y")
    array([ 1., nan])
    """
    if values.dtype.kind in "mM":  # else times become nanoseconds, and missing ones a number
        values = values.astype(object)
    try:
        return values.to_numpy(dtype=float, na_value=np.nan)
    except (ValueError, TypeError) as error:
        raise InputError(f"{what}: column {values.name!r} holds no numbers: {error}") from error


def to_times(values: Any, what: str = "time") -> pd.Series:
    """Event times in UTC; times without a zone are taken for UTC.

    Raises:
        InputError: not times.
    """
    found = to_series(values, what)
    if pd.api.types.is_numeric_dtype(found.dtype):
        raise InputError(
            f"{what} holds numbers such as {found.iloc[0] if len(found) else None}: wanted times. "
            "Convert seconds with pandas.to_datetime(values, unit='s')"
        )
    try:
        return pd.to_datetime(found, utc=True)
    except (ValueError, TypeError) as error:
        raise InputError(f"{what} can't be read as times: {error}") from error


def typed_frame(table: pa.Table, features: Sequence[Feature]) -> pd.DataFrame:
    """Columns `f:<name>` of a lake table as the frame a model was fitted on: same names, order and dtypes.

    A column of whole numbers that holds nulls, which its dtype can't, becomes float64.

    Raises:
        InputError: a feature is missing, or a value does not fit its dtype.
    """
    missing = [f.name for f in features if f"f:{f.name}" not in table.column_names]
    if missing:
        raise InputError(f"the rows lack the features {missing}; they have {table.column_names}")
    return pd.DataFrame({f.name: _typed(table[f"f:{f.name}"], f) for f in features})


def _typed(column: pa.ChunkedArray, feature: Feature) -> Any:
    values = column.to_pandas()
    try:
        if feature.categories is not None:
            known = values.where(values.isin(feature.categories))  # another one is a null to the model
            return pd.Series(pd.Categorical(known, categories=list(feature.categories)))
        if column.null_count and feature.dtype.startswith(("int", "uint", "bool")):
            return values.astype("float64" if feature.kind == "integer" else "object")
        return values.astype(feature.dtype)
    except (TypeError, ValueError) as error:
        raise InputError(f"feature {feature.name!r}: values do not fit the type {feature.dtype}: {error}") from error


def _convert(frame: Any, what: str) -> pd.DataFrame:
    if isinstance(frame, pd.DataFrame):
        return frame
    if isinstance(frame, str | Path):
        return _read(Path(frame), what)
    if isinstance(frame, np.ndarray):
        if frame.ndim != 2:
            raise InputError(
                f"{what} has shape {frame.shape}: wanted (n_rows, n_columns), such as array.reshape(-1, 1)"
            )
        return pd.DataFrame(frame, columns=[f"x{i}" for i in range(frame.shape[1])])
    native = nw.from_native(frame, pass_through=True)
    if isinstance(native, nw.LazyFrame):
        native = native.collect("pyarrow")
    if not isinstance(native, nw.DataFrame):
        raise InputError(f"{what} is a {type(frame).__module__}.{type(frame).__name__}: wanted {_WANTED}")
    return native.to_pandas()


def _read(path: Path, what: str) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(f"{what}: no such file: {path}")
    try:
        if path.suffix == ".parquet":
            table: pd.DataFrame = pq.read_table(path).to_pandas()
            return table
        if path.suffix == ".csv":
            return pd.read_csv(path)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{what}: {path} can't be read: {error}") from error
    raise InputError(f"{what}: {path} ends in {path.suffix!r}; wanted .parquet or .csv")


def _from_array(array: np.ndarray, what: str) -> pd.Series:
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise InputError(f"{what} has shape {array.shape}: wanted one value a row, shape (n_rows,)")
    return pd.Series(array)
