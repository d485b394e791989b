"""A sha256 over every value of a training frame, the same for pandas, Polars and Arrow frames of the same data."""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from afterfit.tracking.features import kind_of

if TYPE_CHECKING:
    import pandas as pd


def frame_sha256(frame: pd.DataFrame, target: pd.Series | None = None) -> str:
    """Hex digest over all rows of all columns, and of the target where there is one.

    Changes when any value, null, column name, dtype or the order of rows or columns changes. The index, the order of
    categories, the name of the target and how nulls are written (NaN, None, NA) do not count.

    >>> import pandas as pd
    >>> a, b = pd.DataFrame({"x": [1.0, 2.0]}), pd.DataFrame({"x": [1.0, 2.5]})
    >>> frame_sha256(a) == frame_sha256(a.copy()), frame_sha256(a) == frame_sha256(b)
    (True, False)
    """
    digest = hashlib.sha256()
    digest.update(struct.pack(">QQ?", len(frame), frame.shape[1], target is not None))
    for name in frame.columns:
        _add(digest, str(name), frame[name])
    if target is not None:
        _add(digest, "target", target)
    return digest.hexdigest()


def _add(digest: Any, name: str, column: pd.Series) -> None:
    """Name, type, nulls and values, each with its length, so that nothing can flow from one into the next."""
    nulls = column.isna().to_numpy(dtype=bool)
    label, parts = _values(column, nulls)
    for part in (name.encode(), label.encode(), np.packbits(nulls), *parts):
        view = memoryview(part).cast("B") if len(part) else b""
        digest.update(struct.pack(">Q", len(view)))
        digest.update(view)


def _values(column: pd.Series, nulls: np.ndarray) -> tuple[str, tuple[Any, ...]]:
    """(type, buffers): little-endian numbers with 0 under nulls, or lengths and bytes of text."""
    import pandas as pd

    kind = kind_of(column)
    if kind == "text":
        categorical = isinstance(column.dtype, pd.CategoricalDtype)
        return "category" if categorical else "text", _text(column)
    if kind == "boolean":
        return kind, (np.packbits(column.where(~nulls, other=False).to_numpy(dtype=bool)),)
    width = str(column.dtype).lower()
    numbers = column.to_numpy(dtype=width, na_value=0) if nulls.any() else column.to_numpy(dtype=width)
    if kind == "number":
        numbers = numbers + np.zeros((), dtype=numbers.dtype)  # -0.0 becomes 0.0
    return width, (np.ascontiguousarray(numbers.astype(numbers.dtype.newbyteorder("<"), copy=False)),)


def _text(column: pd.Series) -> tuple[Any, ...]:
    import pyarrow as pa
    import pyarrow.compute as pc

    array = pa.array(column.astype("str"), type=pa.large_string(), from_pandas=True)
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    filled = pc.fill_null(array, "")
    _, offsets, data = filled.buffers()
    ends = np.frombuffer(offsets, dtype="<i8")[filled.offset : filled.offset + len(filled) + 1]
    content = memoryview(data)[ends[0] : ends[-1]] if data is not None and len(filled) else b""
    return np.ascontiguousarray(np.diff(ends)), content
