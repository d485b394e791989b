"""The columns of the four tables of the lake, and how packed journal rows become Arrow tables of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import pyarrow as pa

from afterfit.adapters.journal_blocks import unpack_predictions
from afterfit.adapters.journal_rows import FIELDS, LOSS, OUTCOME, PREDICTION, SHADOW

TIME = pa.timestamp("us", tz="UTC")
SEQUENCE = "sequence"  # of an outcome: the number of its journal row, which breaks ties of known_time

# kind of journal row -> folder of its table
TABLES: Mapping[str, str] = {PREDICTION: "predictions", SHADOW: "shadows", OUTCOME: "outcomes", LOSS: "losses"}

_TYPES: Mapping[str, pa.DataType] = {
    **dict.fromkeys(("time", "logged_at", "event_time", "known_time", "until"), TIME),
    **dict.fromkeys(("version", "failed_version", "routes", "rows", SEQUENCE), pa.int64()),
    **dict.fromkeys(("propensity", "latency_ms"), pa.float64()),
    "scores": pa.list_(pa.float64()),
}


def _schema(names: Sequence[str]) -> pa.Schema:
    return pa.schema([(name, _TYPES.get(name, pa.string())) for name in names])


SCHEMAS: Mapping[str, pa.Schema] = {
    PREDICTION: _schema(FIELDS[PREDICTION]),
    SHADOW: _schema(FIELDS[SHADOW]),
    OUTCOME: _schema((*FIELDS[OUTCOME], SEQUENCE)),
    LOSS: _schema(FIELDS[LOSS]),
}

_unpack = msgspec.msgpack.Decoder(list).decode


def to_arrow(kind: str, rows: Sequence[tuple[int, bytes]]) -> pa.Table:
    """Entries (journal number, packed body) of one kind, at least one, as a table with the columns of that kind."""
    if kind == PREDICTION:
        columns = unpack_predictions(body for _, body in rows)
    else:
        columns = [list(column) for column in zip(*(_unpack(body) for _, body in rows), strict=True)]
    if kind == OUTCOME:
        columns.append([seq for seq, _ in rows])
    schema = SCHEMAS[kind]
    return pa.table([pa.array(c, type=f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)
