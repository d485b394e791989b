"""A journal forgets ids after KEPT_DAYS, and no sooner; a journal of the format before gets its days."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from afterfit.adapters import journal_ids
from afterfit.adapters.journal_ids import KEPT_DAYS, Forgetting, today
from afterfit.errors import DuplicateError
from tests.adapters.log_rows import prediction, write


def ids(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        return [id for (id,) in db.execute("SELECT prediction_id FROM ids ORDER BY 1")]


def test_what_is_older_is_forgotten_and_all_else_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every third id is one day too old; steps of 7 rows, so that many steps end within the table."""
    monkeypatch.setattr(journal_ids, "_STEP", 7)
    path = tmp_path / "g.db"
    names = [f"id-{i:04d}" for i in range(300)]
    write(path, [prediction(name) for name in names])
    old = names[::3]
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE ids SET day = ?", (today() - KEPT_DAYS,))
        db.executemany("UPDATE ids SET day = day - 1 WHERE prediction_id = ?", [(name,) for name in old])
        walk, closing_now = Forgetting(), threading.Event()
        walk.go_on(db, closing_now)
        walk.go_on(db, closing_now)
        assert ids(path) == sorted(set(names) - set(old))
        db.execute("UPDATE ids SET day = 0")
        walk.go_on(db, closing_now)  # once a day
        assert len(ids(path)) == 200
    write(path, [prediction(old[0])])
    with pytest.raises(DuplicateError):
        write(path, [prediction(names[1])])


def test_a_journal_of_format_2_keeps_its_ids_for_as_long_from_now_on(tmp_path: Path) -> None:
    path = tmp_path / "g.db"
    write(path, [prediction("old")])
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("ALTER TABLE ids DROP COLUMN day")
        db.execute("DROP TABLE runs")
        db.execute("PRAGMA user_version = 2")
    with pytest.raises(DuplicateError):
        write(path, [prediction("old")])
    write(path, [prediction("new")])
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT DISTINCT day FROM ids").fetchall() == [(today(),)]
