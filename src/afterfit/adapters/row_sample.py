"""A seeded sample of the rows of any data set, read span by span."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from afterfit.adapters.column_profile import kind_of, numbers
from afterfit.adapters.frames import to_times
from afterfit.adapters.profiler import Source
from afterfit.stats.row_sample import sample_rows


def sample_of(
    source: Source,
    skip: Collection[str],
    time: str | None,
    what: str,
    cut: Callable[[NDArray[np.float64]], float] | None = None,
) -> tuple[dict[str, Any], NDArray[np.float64] | None, float]:
    """(columns, times in epoch seconds or None, length in seconds) of a sample.

    Args:
        source: is read twice with `time`, once without.
        skip: columns that are not wanted.
        time: column of times.
        what: the data set is called.
        cut: from the times of all rows, the length of the stretches that the rows are drawn from; None: from all rows,
            and the length is that of all times.
    """
    if time is None:
        return read_rows(source, sample_rows(sum(span.rows for span in source.spans())), skip), None, 0.0
    times = read_times(source, time, what)
    seen = times[np.isfinite(times)]
    length = (float(np.ptp(seen)) if cut is None else cut(seen)) if seen.size else 0.0
    rows = sample_rows(times.size, times if cut is not None else None, length)
    return read_rows(source, rows, skip), times[rows], length


def read_times(source: Source, name: str, what: str) -> NDArray[np.float64]:
    """A column of times as epoch seconds, NaN for null, shape (n_rows,).

    Raises:
        InputError: it holds no times.
    """
    parts = [span.read(name).to_pandas() for span in source.spans()]
    found = to_times(pd.concat(parts) if parts else pd.Series(dtype="datetime64[us]"), f"{name!r} of {what}")
    seconds = found.dt.as_unit("us").astype("int64").to_numpy() / 1e6
    return np.where(found.notna(), seconds, np.nan)


def read_rows(source: Source, rows: NDArray[np.int64], skip: Collection[str]) -> dict[str, Any]:
    """Columns of the given rows (rising places): floats with NaN for null, or objects with None.

    Times are left out, and so is what is neither number, truth value nor text.
    """
    parts: dict[str, list[pa.ChunkedArray]] = {name: [] for name in source.names if name not in skip}
    start = 0
    for span in source.spans():
        inside = rows[(rows >= start) & (rows < start + span.rows)] - start
        if inside.size:
            for name, taken in parts.items():
                taken.append(span.read(name).take(pa.array(inside)))
        start += span.rows
    arrays = {name: _array(taken) for name, taken in parts.items()}
    return {name: array for name, array in arrays.items() if array is not None}


def _array(parts: list[pa.ChunkedArray]) -> Any | None:
    kinds = {_kind(part.type) for part in parts if not pa.types.is_null(part.type)}
    if kinds <= {"number"}:
        found = [np.full(len(p), np.nan) if pa.types.is_null(p.type) else numbers(p) for p in parts]
        return np.concatenate([np.empty(0), *found])
    if kinds == {"text"}:
        return np.array([v for part in parts for v in part.to_pylist()] or [None], dtype=object)[: sum(map(len, parts))]
    return None


def _kind(kind: pa.DataType) -> str:
    found = kind_of(kind)
    if found in ("number", "integer"):
        return "number"
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    readable = pa.types.is_boolean(plain) or pa.types.is_string(plain) or pa.types.is_large_string(plain)
    return "text" if found != "time" and (readable or pa.types.is_string_view(plain)) else "other"
