"""One Arrow column becomes one profile, whatever its type; nothing in a column raises."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa

from afterfit.stats.categorical import Categorical
from afterfit.stats.numeric import Numeric
from afterfit.stats.profile import Column
from afterfit.stats.relation import Relation

_SECONDS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
Rename = Callable[[str], str]


def kind_of(kind: pa.DataType) -> str:
    """number, integer, time, boolean or text: how a column of this type is profiled."""
    t = pa.types
    if t.is_dictionary(kind):
        return "text"
    if t.is_boolean(kind):
        return "boolean"
    if t.is_integer(kind):
        return "integer"
    if t.is_floating(kind) or t.is_decimal(kind) or t.is_duration(kind) or t.is_time(kind):
        return "number"
    return "time" if t.is_temporal(kind) else "text"


def column_profile(column: pa.ChunkedArray, rename: Rename = str, before: Column | None = None) -> Column:
    """Profile of a column, added to that of the rows before it.

    Args:
        column: of any type. Text, dictionary and boolean columns are counted by category; times as epoch seconds; what
            can't be read (lists, structs, bytes) as one category that is called by its type.
        rename: applied to each category, to keep names out of the profile.
        before: profile of earlier rows of the same column.
    """
    total = before
    for chunk in column.chunks:
        if len(chunk):
            shift = total.shift if isinstance(total, Numeric) else 0
            part = _chunk(chunk, rename, shift)
            total = part if total is None else joined(total, part)
    return total if total is not None else _empty(column.type)


def numbers(column: pa.ChunkedArray) -> Any | None:
    """A column as float64 of shape (n,) with NaN for null, truth values as 0 and 1; None when it holds no numbers."""
    kind = kind_of(column.type)
    if kind not in ("number", "integer", "boolean"):
        return None
    column = column.cast(pa.int8()) if kind == "boolean" else column
    parts = [_floats(chunk) for chunk in column.chunks]
    return np.concatenate(parts) if parts else np.empty(0)


def relation(column: pa.ChunkedArray, target: Any) -> Relation | None:
    """How a column moves with the target, shape (n,); None when it holds no numbers."""
    values = numbers(column)
    return None if values is None else Relation.of(values, target)


def joined(a: Column, b: Column) -> Column:
    """Both columns' values; where one has none (a column of nulls has no type of its own) it takes the other's kind.

    Raises:
        TypeError: numbers in one and text in the other.
    """
    if isinstance(a, Numeric) != isinstance(b, Numeric):
        if isinstance(a, Categorical) and not a.values:
            a = Numeric.of([], nulls=a.n)
        elif isinstance(b, Categorical) and not b.values:
            b = Numeric.of([], nulls=b.n)
    if isinstance(a, Numeric) and isinstance(b, Numeric):
        return a + b
    if isinstance(a, Categorical) and isinstance(b, Categorical):
        return a + b
    raise TypeError("numbers in some rows and text in others")


def hidden(name: str) -> str:
    """A category's name as a short hash, for profiles that must not hold names."""
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


def _chunk(chunk: pa.Array, rename: Rename, shift: int) -> Column:
    if isinstance(chunk, pa.ExtensionArray):
        chunk = chunk.storage
    kind = kind_of(chunk.type)
    if kind in ("number", "integer", "time"):
        values = chunk.drop_null() if chunk.null_count else chunk
        return Numeric.of(_floats(values), nulls=chunk.null_count, kind=kind, shift=shift)
    if kind == "boolean":
        true = chunk.true_count
        counts = {"True": true, "False": len(chunk) - chunk.null_count - true}
        return Categorical.counted({k: v for k, v in counts.items() if v}, nulls=chunk.null_count, kind="boolean")
    return _categories(chunk, rename)


def _floats(values: pa.Array) -> Any:
    """Numbers as float64 of shape (n,), times and durations in seconds; without a copy where the type allows."""
    t = pa.types
    kind, unit = values.type, 1.0
    if t.is_date32(kind):
        values = values.cast(pa.timestamp("s"))
    if t.is_temporal(values.type):
        unit = _SECONDS[values.type.unit] if hasattr(values.type, "unit") else 1e3
        values = values.cast(pa.int32() if t.is_time32(kind) else pa.int64())
    if not t.is_float64(values.type):
        values = values.cast(pa.float64(), safe=False)
    found = values.to_numpy(zero_copy_only=False)
    return found / unit if unit != 1.0 else found


def _categories(chunk: pa.Array, rename: Rename) -> Categorical:
    t = pa.types
    if not t.is_dictionary(chunk.type):
        if not (t.is_string(chunk.type) or t.is_large_string(chunk.type) or t.is_string_view(chunk.type)):
            known = len(chunk) - chunk.null_count
            return Categorical.counted({f"<{chunk.type}>": known} if known else {}, nulls=chunk.null_count)
        if t.is_string_view(chunk.type):
            chunk = chunk.cast(pa.large_string())
        chunk = chunk.dictionary_encode()
    places = chunk.indices.drop_null() if chunk.indices.null_count else chunk.indices
    counts = np.bincount(places.to_numpy(zero_copy_only=False), minlength=len(chunk.dictionary))
    seen = np.flatnonzero(counts)
    names = chunk.dictionary.take(pa.array(seen)).to_pylist()
    found: dict[str, int] = {}
    nulls = len(chunk) - len(places)
    for name, count in zip(names, counts[seen].tolist(), strict=True):
        if name is None or name != name:  # noqa: PLR0124  a dictionary may hold null or NaN itself
            nulls += count
        else:
            key = rename(str(name))
            found[key] = found.get(key, 0) + count
    return Categorical.counted(found, nulls=nulls)


def _empty(kind: pa.DataType) -> Column:
    found = kind_of(kind)
    if found in ("number", "integer", "time"):
        return Numeric.of([], kind=found)
    return Categorical.counted({}, kind=found)


def arrow_of(values: Any) -> pa.ChunkedArray:
    """A column of any frame as Arrow; mixed Python objects as text. NaN in numbers is left to the profile."""
    try:
        found = pa.array(values, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        found = pa.array([None if _is_null(v) else _text(v) for v in values], type=pa.string())
    return found if isinstance(found, pa.ChunkedArray) else pa.chunked_array([found])


def _text(value: Any) -> str:
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


def _is_null(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)  # noqa: PLR0124  NaN differs from itself
