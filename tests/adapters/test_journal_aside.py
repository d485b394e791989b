"""A damaged journal is moved aside whole and a new one takes rows; whatever else is wrong is still told."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from afterfit.adapters.journal import SqliteJournal
from afterfit.adapters.journal_aside import open_journal
from afterfit.adapters.journal_file import DamagedError, JournalReader
from afterfit.errors import StoreError

AT = datetime(2026, 1, 5, 12, tzinfo=UTC)


def test_a_whole_one_is_opened_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "g.db"
    first, _ = open_journal(path, SqliteJournal, AT)
    first.close()
    again, told = open_journal(path, SqliteJournal, AT)
    again.close()
    assert (again.journal_id, told) == (first.journal_id, "")


@pytest.mark.parametrize("damage", [b"no database any more", b""])
def test_a_damaged_one_is_kept_beside(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "g.db"
    first = SqliteJournal(path)
    first.close()
    content = damage or path.read_bytes()[:5000]  # cut off in the middle
    path.write_bytes(content)
    with pytest.raises(DamagedError):
        SqliteJournal(path)
    journal, told = open_journal(path, SqliteJournal, AT)
    journal.close()
    aside = tmp_path / "damaged" / "g.db-20260105T120000.000000"
    assert aside.read_bytes() == content
    assert str(aside) in told
    assert "damaged: " in told
    with JournalReader(path) as reader:
        assert reader.journal_id == journal.journal_id != first.journal_id


def test_a_file_of_somebody_else_is_not_moved(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "g.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE theirs (x)")
    with pytest.raises(StoreError, match="is no journal of this Afterfit"):
        open_journal(path, SqliteJournal, AT)
    assert path.exists()
