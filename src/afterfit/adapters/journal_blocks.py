"""How the predictions of one request are packed: a few row by row, many together, column by column. No file is touched here.

A block is a msgpack map. `rows` is their number; `columns` are those of FIELDS, each a list with one value a row, or with
one value that all rows share. The ids are a text where they are that text and `/0`, `/1` and so on; the keys are null
where they are the ids. `names` are the features' where all rows have the same, and a row of features is then a list.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any

import msgspec

from afterfit.adapters.journal_rows import FIELDS, PREDICTION, json_text, micros, pack, pack_prediction, pack_rows
from afterfit.adapters.packed_row import PackedRows
from afterfit.records import Prediction, column

LEAST = 8  # rows of a block; fewer are packed one by one
_AT = {name: i for i, name in enumerate(FIELDS[PREDICTION])}
_ID, _KEY, _FEATURES, _PREDICTION = (_AT[name] for name in ("prediction_id", "key", "features", "prediction"))
_TIMES = (_AT["time"], _AT["logged_at"])
_OWN = (_ID, _KEY, _FEATURES, _PREDICTION)  # hardly ever the same in two rows
_unpack = msgspec.msgpack.Decoder().decode


@dataclass(frozen=True, slots=True)
class Packed:
    """Predictions of one request and one model, ready to be written together."""

    model: str
    ids: Sequence[str]
    base: str | None  # the ids are `base/0`, `base/1` and so on
    bodies: Sequence[bytes]  # one a row, or one for all


def pack_predictions(rows: Sequence[Prediction]) -> list[Packed]:
    """Pack all rows, in their order; raises InputError that says which row can't be stored and why."""
    if len(rows) == 1:  # most requests
        return [Packed(rows[0].model, [rows[0].id], None, pack_rows(rows, pack_prediction))]
    models = column(rows, "model")
    if len(set(models)) == 1:
        return [_pack_group(rows)]
    return [_pack_group(list(some)) for _, some in groupby(rows, key=attrgetter("model"))]


def unpack_predictions(bodies: Iterable[bytes]) -> list[list[Any]]:
    """The columns of FIELDS, of rows and blocks; features and predictions are JSON text."""
    columns: list[list[Any]] = [[] for _ in FIELDS[PREDICTION]]
    for is_block, found in groupby(map(_unpack, bodies), key=lambda body: isinstance(body, dict)):
        for part in map(_of_block, found) if is_block else [_of_rows(found)]:
            for values, more in zip(columns, part, strict=True):
                values.extend(more)
    return columns


def base_of(ids: Sequence[str]) -> str | None:
    """What ids begin with that count on from it; None for others.

    >>> base_of(["a/0", "a/1"]), base_of(["a/0"]), base_of(["a/1", "a/0"])
    ('a', None, None)
    """
    base = ids[0][:-2]
    return base if len(ids) > 1 and all(id == f"{base}/{i}" for i, id in enumerate(ids)) else None


def _pack_group(rows: Sequence[Prediction]) -> Packed:
    ids = column(rows, "id")
    base = base_of(ids)
    if len(rows) >= LEAST:
        features = column(rows, "features")
        for names, values in _ways(features):
            try:
                return Packed(rows[0].model, ids, base, [_block(rows, ids, base, names, values)])
            except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
                continue  # one by one they say which of them is wrong, or fit as text
    return Packed(rows[0].model, ids, base, pack_rows(rows, pack_prediction))


def _ways(features: Sequence[Any]) -> Iterator[tuple[list[str] | None, list[Any]]]:
    """Names and lists of values, which a value that is not there keeps from being packed; and the features as they are."""
    if isinstance(features, PackedRows):
        yield features.names, features.values
    yield None, list(features)


def _block(
    rows: Sequence[Prediction], ids: Sequence[str], base: str | None, names: list[str] | None, features: list[Any]
) -> bytes:
    """A value that is UNSET raises TypeError."""
    columns: list[Any] = []
    for i, name in enumerate(FIELDS[PREDICTION]):
        values = [] if i in (_ID, _FEATURES) else column(rows, name)
        if i not in _OWN and values.count(values[0]) == len(values):
            values = values[:1]
        columns.append([micros(time) for time in values] if i in _TIMES else values)
    columns[_ID], columns[_FEATURES] = ids if base is None else base, features
    if columns[_KEY] == ids:
        columns[_KEY] = None
    return pack({"rows": len(rows), "names": names, "columns": columns})


def _of_block(block: dict[str, Any]) -> list[list[Any]]:
    n_rows, names, columns = block["rows"], block["names"], block["columns"]
    if isinstance(columns[_ID], str):
        columns[_ID] = [f"{columns[_ID]}/{i}" for i in range(n_rows)]
    if columns[_KEY] is None:
        columns[_KEY] = columns[_ID]
    rows = columns[_FEATURES]
    columns[_FEATURES] = [json_text(row if names is None else dict(zip(names, row, strict=True))) for row in rows]
    columns[_PREDICTION] = [json_text(value) for value in columns[_PREDICTION]]
    return [column if len(column) == n_rows else column * n_rows for column in columns]


def _of_rows(rows: Iterable[list[Any]]) -> list[list[Any]]:
    columns = [list(column) for column in zip(*rows, strict=True)]
    columns[_FEATURES] = [f if isinstance(f, str) else json_text(f) for f in columns[_FEATURES]]  # format 1 has text
    return columns
