"""JSON texts of features become typed Arrow columns; a cell of another type than its feature's becomes null."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from afterfit.records import Feature

_TYPES = {"number": pa.float64(), "integer": pa.int64(), "boolean": pa.bool_(), "text": pa.string()}
_CHUNK = 32_768  # rows parsed at once; one cell of a wrong type slows down only its chunk


def typed_features(table: pa.Table, features: Sequence[Feature]) -> pa.Table:
    """Replace the column `features` by one column `f:<name>` per feature, at its place; no features: no change."""
    if not features:
        return table
    schema = pa.schema([(feature.name, _TYPES[feature.kind]) for feature in features])
    texts = table["features"].combine_chunks()
    parts = [_parse(texts.slice(at, _CHUNK), schema) for at in range(0, len(texts), _CHUNK)]
    parsed = pa.concat_tables(parts) if parts else schema.empty_table()
    place = table.schema.get_field_index("features")
    table = table.remove_column(place)
    for offset, name in enumerate(schema.names):
        table = table.add_column(place + offset, f"f:{name}", parsed[name])
    return table


def _parse(texts: pa.StringArray, schema: pa.Schema) -> pa.Table:
    lines = pc.binary_join(pa.ListArray.from_arrays([0, len(texts)], texts), "\n")[0].as_buffer()
    try:
        return pj.read_json(
            pa.BufferReader(lines),
            read_options=pj.ReadOptions(block_size=max(lines.size, 1)),
            parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        ).select(schema.names)
    except pa.ArrowInvalid:  # a cell is not of its feature's type; which one is found cell by cell
        rows = [msgspec.json.decode(text) for text in texts.to_pylist()]
        return pa.table([_column(rows, field) for field in schema], schema=schema)


def _column(rows: Sequence[Mapping[str, Any]], field: pa.Field) -> pa.Array:
    fits = _FITS[field.type]
    return pa.array([fits(row.get(field.name)) for row in rows], type=field.type)


def _number(cell: object) -> float | None:
    return float(cell) if isinstance(cell, int | float) and not isinstance(cell, bool) else None


def _integer(cell: object) -> int | None:
    number = _number(cell)
    if number is None or not number.is_integer() or not -(2.0**63) <= number < 2.0**63:
        return None
    return int(cell)  # type: ignore[call-overload,no-any-return]  # not int(number): 2^53 + 1 is no float


def _boolean(cell: object) -> bool | None:
    return cell if isinstance(cell, bool) else None


def _text(cell: object) -> str | None:
    return cell if isinstance(cell, str) else None


_FITS: Mapping[pa.DataType, Callable[[object], Any]] = {
    pa.float64(): _number,
    pa.int64(): _integer,
    pa.bool_(): _boolean,
    pa.string(): _text,
}
