"""What each durability promises, what is counted as lost, and who deletes what the drain has moved."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from afterfit.adapters import journal_checkpoint
from afterfit.adapters.delta_lake import DeltaLake
from afterfit.adapters.journal import SqliteJournal
from afterfit.adapters.journal_file import JournalReader
from afterfit.adapters.journal_room import is_open, mark_of, own_journal
from afterfit.errors import DuplicateError
from afterfit.records import Window
from tests.adapters.log_rows import MODEL, START, hour, outcome, prediction, write

pytestmark = pytest.mark.anyio
EVER = Window(datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal" / "g1.db"


def ids(path: Path) -> list[str]:
    lake = DeltaLake(path.parents[1] / "lake")
    lake.drain(path.parent)
    found: list[str] = lake.predictions(MODEL, EVER)["prediction_id"].to_pylist()
    return found


@pytest.mark.parametrize(("durability", "level"), [("commit", 1), ("fsync", 2), ("async", 1)])
async def test_sqlite_waits_for_the_disk_only_where_it_must(path: Path, durability: str, level: int) -> None:
    journal = SqliteJournal(path, durability=durability)
    assert journal._db.execute("PRAGMA synchronous").fetchone() == (level,)  # 1: NORMAL, 2: FULL
    await journal.predictions([prediction("a")])
    assert await journal.outcomes([outcome("a", 1)]) == ["stored"]
    journal.close()
    assert ids(path) == ["a"]


async def test_async_is_done_before_the_commit_and_commit_is_not(path: Path) -> None:
    """Another process holds the write lock, so that nothing can be committed meanwhile."""
    for durability in ("commit", "fsync", "async"):
        journal = SqliteJournal(path, durability=durability)
        blocker = sqlite3.connect(path, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        told = asyncio.ensure_future(journal.predictions([prediction(durability)]))
        await asyncio.sleep(0.1)
        assert told.done() == (durability == "async")
        blocker.execute("ROLLBACK")
        blocker.close()
        await told
        journal.close()
    assert sorted(ids(path)) == ["async", "commit", "fsync"]


async def test_async_counts_what_its_queue_could_not_hold(path: Path) -> None:
    journal = SqliteJournal(path, durability="async", max_pending=10)
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    for n in range(30):
        await journal.predictions([prediction(f"p{n}", at=n / 10)])
    assert journal.losses.by_model == {MODEL: 20}
    blocker.execute("ROLLBACK")
    blocker.close()
    journal.close()
    assert ids(path) == [f"p{n}" for n in range(10)]
    lake = DeltaLake(path.parents[1] / "lake")
    assert lake.lost(MODEL, EVER) == 20
    assert lake.lost("another", EVER) == 0
    assert lake.lost(MODEL, Window(hour(1), hour(2))) == 10  # by event time, to the minute
    assert lake.lost(MODEL, Window(hour(0), hour(1))) == 0


async def test_async_counts_an_id_that_was_known(path: Path) -> None:
    journal = SqliteJournal(path, durability="async")
    await journal.predictions([prediction("a")])
    await journal.predictions([prediction("a")])
    journal.close()
    assert (ids(path), journal.losses.by_model) == (["a"], {MODEL: 1})


async def test_a_loss_is_written_down_once_with_the_next_commit(path: Path) -> None:
    journal = SqliteJournal(path)
    journal.lost([prediction("x"), prediction("y"), prediction("z", model="m")])
    await journal.predictions([prediction("a")])
    await journal.predictions([prediction("b")])
    journal.lost([prediction("v")])
    journal.close()  # no commit follows
    lake = DeltaLake(path.parents[1] / "lake")
    lake.drain(path.parent)
    assert (lake.lost(MODEL, EVER), lake.lost("m", EVER)) == (3, 1)
    assert lake.lost(MODEL, Window(START - timedelta(hours=1), START)) == 0
    assert journal.losses.by_model == {MODEL: 3, "m": 1}


def test_a_thread_waits_for_its_commit(path: Path) -> None:
    journal = SqliteJournal(path)
    journal.predictions_now([prediction("a")])
    with pytest.raises(DuplicateError):
        journal.predictions_now([prediction("a")])
    assert journal.outcomes_now([outcome("a", 1), outcome("b", 1)]) == ["stored", "waiting"]
    journal.close()
    assert ids(path) == ["a"]


# --- who deletes -------------------------------------------------------------------------------------------------


def left(path: Path) -> int:
    with JournalReader(path) as reader:
        return len(reader.read(0, 1_000_000))


async def test_the_writer_deletes_what_the_drain_has_moved(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_checkpoint, "EVERY", 0.01)
    journal = SqliteJournal(path)
    await journal.predictions([prediction(f"p{n}") for n in range(3000)])
    assert is_open(path)
    assert len(ids(path)) == 3000
    assert mark_of(path, journal.journal_id) > 0
    assert mark_of(path, "of a journal that lay here before") == 0
    for _ in range(1000):
        if left(path) == 0:
            break
        await asyncio.sleep(0.01)
    assert left(path) == 0
    await journal.predictions([prediction("later")])
    assert len(ids(path)) == 3001
    journal.close()
    assert not is_open(path)


def test_the_drain_deletes_where_nobody_writes(path: Path) -> None:
    write(path, [prediction("a")])
    assert ids(path) == ["a"]
    assert left(path) == 0


async def test_rows_that_were_moved_and_not_deleted_are_not_moved_again(path: Path) -> None:
    """The gateway died before it made room; the next drain does."""
    journal = SqliteJournal(path)
    await journal.predictions([prediction("a")])
    assert ids(path) == ["a"]
    journal._checkpoints.close()
    journal.close()
    assert left(path) == 1
    assert ids(path) == ["a"]
    assert left(path) == 0


def test_each_process_takes_a_journal_of_its_own(tmp_path: Path) -> None:
    import os

    first, one = own_journal(tmp_path, "recorder-m")
    second, two = own_journal(tmp_path, "recorder-m")
    assert (first.name, second.name) == ("recorder-m-2.db", "recorder-m-3.db")
    os.close(one)
    again, three = own_journal(tmp_path, "recorder-m")
    assert again == first
    os.close(two)
    os.close(three)
