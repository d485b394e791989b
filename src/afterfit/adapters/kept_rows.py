"""A sample of the training rows, kept with a version so that later rows can be held against how columns hung together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from afterfit.errors import StoreError

FILE = "rows.parquet"
_TIME, _LENGTH = "time", b"length"  # features are called f:<name>, as in the lake


def rows_file(columns: Mapping[str, Any], times: NDArray[np.float64], length: float) -> bytes:
    """The rows of a sample as a Parquet file.

    Args:
        columns: arrays of shape (n_rows,): floats with NaN for null, or objects with None.
        times: of the rows, epoch seconds, shape (n_rows,).
        length: seconds of the stretches of time that they were drawn from.
    """
    table = pa.table({f"f:{name}": pa.array(np.asarray(values)) for name, values in columns.items()} | {_TIME: times})
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({_LENGTH: str(length).encode()}), sink, compression="zstd")
    return bytes(sink.getvalue())


def read_rows(folder: Path | str) -> tuple[dict[str, Any], NDArray[np.float64], float] | None:
    """(columns, times, length) as they were given; None for a version without times, or of an older release.

    Raises:
        StoreError: the file is there and can't be read.
    """
    path = Path(folder) / FILE
    if not path.exists():
        return None
    try:
        table = pq.read_table(path)
        length = float(table.schema.metadata[_LENGTH])
        columns = {name[2:]: _array(table[name]) for name in table.column_names if name != _TIME}
        return columns, np.asarray(table[_TIME].to_numpy(), dtype=float), length
    except (OSError, ValueError, TypeError, KeyError, pa.ArrowException) as error:
        raise StoreError(f"{path} can't be read: {error}; restore it, or register the version again") from error


def _array(column: pa.ChunkedArray) -> Any:
    if pa.types.is_floating(column.type):
        return column.to_numpy()
    return np.array([*column.to_pylist(), None], dtype=object)[:-1]
