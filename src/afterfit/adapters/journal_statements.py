"""What the writer of a journal says to SQLite: many rows a statement, and which ids were acknowledged before.

A request with many rows has one id, of which its rows count on: `id/0`, `id/1`. Such a run is one row of `runs`, all other
ids are rows of `ids`. The two tables can't see each other, so what is new in one is looked up in the other.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from afterfit.adapters.journal_blocks import Packed
from afterfit.adapters.journal_ids import today

_TOGETHER = 64  # rows a statement; each statement is one hand-over of the interpreter between the threads
_DIGITS = 9  # of the number of a row in its request, at most


def insert(db: sqlite3.Connection, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Add rows to a table, named with its columns."""
    for start in range(0, len(rows), _TOGETHER):
        some = rows[start : start + _TOGETHER]
        places = f"({', '.join('?' * len(some[0]))})"
        db.execute(f"INSERT INTO {table} VALUES {', '.join([places] * len(some))}", list(chain.from_iterable(some)))


def add_ids(db: sqlite3.Connection, requests: Sequence[Packed]) -> None:
    """Remember the ids of all rows.

    Raises:
        sqlite3.IntegrityError: one of them is known, or comes twice.
    """
    day = today()
    runs = [(r.model, r.base, day, len(r.ids)) for r in requests if r.base is not None]
    singles = [(r.model, id, day) for r in requests if r.base is None for id in r.ids]
    if any(_is_begun(db, model, base, n_rows) for model, base, _, n_rows in runs):
        raise sqlite3.IntegrityError("an id of a run is known")
    insert(db, "runs (model, base, day, rows)", runs)
    insert(db, "ids (model, prediction_id, day)", singles)
    if any(_is_in_run(db, model, id) for model, id, _ in singles):
        raise sqlite3.IntegrityError("an id is part of a run")


def is_known(db: sqlite3.Connection, model: str, id: str) -> bool:
    """Whether a prediction with this id was acknowledged."""
    query = "SELECT 1 FROM ids WHERE model = ? AND prediction_id = ?"
    return db.execute(query, (model, id)).fetchone() is not None or _is_in_run(db, model, id)


def repeated(db: sqlite3.Connection, requests: Sequence[Packed]) -> Iterator[tuple[str, str, str]]:
    """(model, id, how) of ids that may not be written: acknowledged before, or twice here."""
    seen: set[tuple[str, str]] = set()
    for request in requests:
        for id in request.ids:
            if (request.model, id) in seen:
                yield request.model, id, "comes twice in this request"
            elif is_known(db, request.model, id):
                yield request.model, id, "was acknowledged before"
            seen.add((request.model, id))


def _is_in_run(db: sqlite3.Connection, model: str, id: str) -> bool:
    base, slash, number = id.rpartition("/")
    if not slash or not _is_number(number):
        return False
    query = "SELECT 1 FROM runs WHERE model = ? AND base = ? AND rows > ?"
    return db.execute(query, (model, base, int(number))).fetchone() is not None


def _is_begun(db: sqlite3.Connection, model: str, base: str, n_rows: int) -> bool:
    """Whether one of `base/0` ... is among the single ids; `0` is the sign after `/`."""
    query = "SELECT prediction_id FROM ids WHERE model = ? AND prediction_id > ? AND prediction_id < ?"
    numbers = (id[len(base) + 1 :] for (id,) in db.execute(query, (model, f"{base}/", f"{base}0")))
    return any(_is_number(number) and int(number) < n_rows for number in numbers)


def _is_number(text: str) -> bool:
    """As a row's number in its request is written: without zeros before it."""
    return text.isascii() and text.isdigit() and len(text) <= _DIGITS and (text[0] != "0" or text == "0")
