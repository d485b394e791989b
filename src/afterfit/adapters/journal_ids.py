"""How long a journal knows an id: KEPT_DAYS, so that the file does not grow for ever.

Within that time a repeated id is refused, an outcome that says nothing new is a duplicate, and an outcome is `stored`
where its prediction came through this journal. After it a repetition is a new row, and an outcome is `waiting` until the
lake has joined it, as for predictions of another gateway.

Callers choose ids, so their order says nothing about their age. Once a day the tables are walked in the order of their
keys, a step at a time, and what is old is deleted; reading locks nobody out, and each delete holds few rows.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from typing import Any

KEPT_DAYS = 30
_DAY = 86_400
_STEP = 5_000  # rows that are looked at together
_STEPS = 50  # at a time, then the checkpoint has its turn
_WALKS = (  # table, key, what is old; all are WITHOUT ROWID, so the key is the order on the disk
    ("ids", ("model", "prediction_id"), "day < :day"),
    ("runs", ("model", "base"), "day < :day"),
    ("newest", ("model", "identity", "source"), "known_time < :day * 86400000000"),
)


def today() -> int:
    """Days since 1970, by the machine's clock."""
    return int(time.time()) // _DAY


class Forgetting:
    """One walk a day through the tables of a journal, in as many turns as it takes."""

    def __init__(self) -> None:
        self._day = 0  # of the last walk that came to its end
        self._table = 0
        self._after: tuple[Any, ...] | None = None  # the key that was looked at last

    def go_on(self, db: sqlite3.Connection, closing: threading.Event) -> None:
        """Walk on for a few steps; nothing on a day whose walk is done."""
        db.isolation_level = None
        for _ in range(_STEPS):
            if self._day == today() or closing.is_set():
                return
            self._step(db)

    def _step(self, db: sqlite3.Connection) -> None:
        table, key, old = _WALKS[self._table]
        names, places = ", ".join(key), ", ".join("?" * len(key))
        where = "" if self._after is None else f"WHERE ({names}) > ({places})"
        query = f"SELECT {names} FROM {table} {where} ORDER BY {names} LIMIT {_STEP}"
        rows = db.execute(query, self._after or ()).fetchall()
        if rows:
            ends = {f"{end}{i}": v for end, row in (("a", rows[0]), ("z", rows[-1])) for i, v in enumerate(row)}
            low, high = (", ".join(f":{end}{i}" for i in range(len(key))) for end in "az")
            within = f"({names}) >= ({low}) AND ({names}) <= ({high}) AND {old}"
            told = ends | {"day": today() - KEPT_DAYS}
            if db.execute(f"SELECT 1 FROM {table} WHERE {within} LIMIT 1", told).fetchone():
                db.execute(f"DELETE FROM {table} WHERE {within}", told)
            self._after = rows[-1]
        if len(rows) < _STEP:
            self._after = None
            self._table = (self._table + 1) % len(_WALKS)
            if self._table == 0:
                self._day = today()
