"""Journals of the format before are drained, and written on."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from afterfit.adapters.delta_lake import DeltaLake
from afterfit.adapters.journal_rows import FIELDS, PREDICTION, json_text
from afterfit.records import Window
from tests.adapters.log_rows import MODEL, hour, prediction, write

EVER = Window(hour(-1000), hour(1000))


def as_format_1(path: Path) -> None:
    """Features as text, as they were."""
    at = FIELDS[PREDICTION].index("features")
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for seq, body in db.execute("SELECT seq, body FROM entries WHERE kind = ?", (PREDICTION,)).fetchall():
            fields = msgspec.msgpack.decode(body)
            fields[at] = json_text(fields[at])
            db.execute("UPDATE entries SET body = ? WHERE seq = ?", (msgspec.msgpack.encode(fields), seq))
        db.execute("ALTER TABLE ids DROP COLUMN day")
        db.execute("DROP TABLE runs")
        db.execute("PRAGMA user_version = 1")


@pytest.mark.parametrize("written_on", [False, True])
def test_a_journal_of_format_1_is_drained(tmp_path: Path, written_on: bool) -> None:
    path = tmp_path / "journal" / "gateway-1.db"
    write(path, [prediction("old"), prediction("null", features={"x": None, "é": float("nan")})])
    as_format_1(path)
    if written_on:
        write(path, [prediction("new")])
    lake = DeltaLake(tmp_path / "lake")
    assert lake.drain(path.parent).predictions == 2 + written_on
    table = lake.predictions(MODEL, EVER).to_pylist()
    told = {row["prediction_id"]: row["features"] for row in table}
    plain = '{"distance":1.5,"carrier":"UA"}'
    assert told == {"old": plain, "null": '{"x":null,"é":null}'} | ({"new": plain} if written_on else {})
