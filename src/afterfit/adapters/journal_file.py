"""The SQLite file of a journal: its tables, how it is opened, and how another process reads and empties it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from uuid import uuid4

from afterfit.adapters.journal_ids import today
from afterfit.adapters.journal_room import delete_some, is_open, leave_mark, mark_of
from afterfit.errors import StoreError

FORMAT = 4  # many rows of one request are one entry, and one row of `runs`
READABLE = (
    1,
    2,
    3,
    FORMAT,
)  # in format 1 features were text, in 2 ids had no day; whoever writes to such a file makes it one of today's
_MOST_BYTES = 16 << 20  # of packed rows that are read at once
_WAIT = 30.0  # seconds one process waits for the other's write
_MOST_PAGES = (
    16_000  # of the write-ahead log (64 MB); beyond it the writer itself makes room (journal_checkpoint is late)
)
# A power cut can take back the newest commits (synchronous NORMAL) after their rows reached the lake. Numbers must not
# be given twice even then, so each opening skips more numbers than one checkpoint interval can hold.
_SKIP = 1 << 20

_RUNS = """CREATE TABLE runs (model TEXT NOT NULL, base TEXT NOT NULL, day INTEGER NOT NULL, rows INTEGER NOT NULL,
                   PRIMARY KEY (model, base)) WITHOUT ROWID"""
_TABLES = f"""
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE entries (seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, model TEXT NOT NULL,
                      body BLOB NOT NULL);
CREATE TABLE ids (model TEXT NOT NULL, prediction_id TEXT NOT NULL, day INTEGER NOT NULL,
                  PRIMARY KEY (model, prediction_id)) WITHOUT ROWID;
{_RUNS};
CREATE TABLE newest (model TEXT NOT NULL, identity TEXT NOT NULL, source TEXT NOT NULL, state TEXT NOT NULL,
                     known_time INTEGER NOT NULL, PRIMARY KEY (model, identity, source)) WITHOUT ROWID;
"""


class DamagedError(StoreError):
    """The file is damaged, and no journal any more."""


@contextmanager
def teach(path: Path) -> Iterator[None]:
    """Turn what SQLite says about this file into a StoreError that says what to do."""
    try:
        yield
    except sqlite3.Error as error:
        kind = DamagedError if type(error) is sqlite3.DatabaseError else StoreError
        raise kind(explain(path, error)) from error


def explain(path: Path, error: Exception) -> str:
    """One sentence of what happened to the journal, one of what to do."""
    if type(error) is sqlite3.DatabaseError:  # its subclasses mean something else: full disk, lock, ...
        return damaged(path, str(error))
    if isinstance(error, sqlite3.Error):
        return (
            f"the journal {path} can't be used: {error}. Look for a full disk, a folder that is not writable, or "
            "another process that holds the file"
        )
    return f"the journal {path} failed on {type(error).__name__}: {error}. This is a defect of Afterfit; report it"


def damaged(path: Path, reason: str) -> str:
    return (
        f"the journal {path} is damaged: {reason}. Move the file (and its -wal and -shm neighbours) aside and start "
        "again: a new journal is made, and the rows already in the lake are safe"
    )


def open_for_writing(path: Path, *, fsync: bool = False) -> tuple[sqlite3.Connection, str]:
    """Open or make the journal of this process; gives the connection and the journal's id.

    Args:
        path: the file, made if absent.
        fsync: let each commit wait for the disk, so that it survives a power cut.

    Raises:
        StoreError: the file is damaged, is no journal, or the folder can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"the folder {path.parent} for the journal can't be made: {error}. Choose a writable `home`"
        ) from error
    with teach(path):
        db = sqlite3.connect(path, _WAIT, isolation_level=None, check_same_thread=False, cached_statements=256)
        try:
            journal_id = _prepare(db, path)
            db.execute(f"PRAGMA synchronous = {'FULL' if fsync else 'NORMAL'}")
            db.execute("PRAGMA busy_timeout = 0")  # from here on the writer itself decides how long it waits
            return db, journal_id
        except BaseException:
            db.close()
            raise


def _prepare(db: sqlite3.Connection, path: Path) -> str:
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute(f"PRAGMA wal_autocheckpoint = {_MOST_PAGES}")
    db.execute("BEGIN IMMEDIATE")
    (found,) = db.execute("PRAGMA user_version").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if (found, tables) == (0, 0):
        for statement in _TABLES.split(";"):
            db.execute(statement)
        db.execute("INSERT INTO meta VALUES ('journal_id', ?)", (str(uuid4()),))
        db.execute(f"PRAGMA user_version = {FORMAT}")
    elif found not in READABLE:
        raise StoreError(
            f"{path} is no journal of this Afterfit: wanted format {FORMAT}, found {found} with {tables} tables. "
            "Give the gateway another file, or use the Afterfit that wrote this one"
        )
    else:
        (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise DamagedError(damaged(path, verdict.splitlines()[-1]))
        if found < 3:
            db.execute(f"ALTER TABLE ids ADD COLUMN day INTEGER NOT NULL DEFAULT {today()}")
        if found < 4:
            db.execute(_RUNS)
        db.execute("UPDATE sqlite_sequence SET seq = seq + ? WHERE name = 'entries'", (_SKIP,))
        db.execute(f"PRAGMA user_version = {FORMAT}")
    journal_id = _journal_id(db)
    db.execute("COMMIT")
    if journal_id is None:
        raise DamagedError(damaged(path, "it has no journal id"))
    return journal_id


def _journal_id(db: sqlite3.Connection) -> str | None:
    row = db.execute("SELECT value FROM meta WHERE name = 'journal_id'").fetchone()
    return None if row is None else str(row[0])


class JournalReader:
    """The other end of a journal, for the process that drains it; the gateway may write at the same time.

    A file that was made this instant and has no tables yet reads as empty.

    Raises:
        StoreError: the file is missing, damaged or locked for longer than 30 s.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with teach(path):
            self._db = sqlite3.connect(
                f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=_WAIT, isolation_level=None
            )
            try:
                (found,) = self._db.execute("PRAGMA user_version").fetchone()
                self.journal_id = _journal_id(self._db) if found in READABLE else None
            except BaseException:
                self._db.close()
                raise

    def read(self, after: int, limit: int) -> list[tuple[int, str, bytes]]:
        """At most `limit` entries (number, kind, packed body) numbered above `after`, in order; fewer, but one, where they
        are large."""
        if self.journal_id is None:
            return []
        query = "SELECT seq, kind, body FROM entries WHERE seq > ? ORDER BY seq LIMIT ?"
        with teach(self.path):
            entries, size = [], 0
            for entry in self._db.execute(query, (after, limit)):
                entries.append(entry)
                size += len(entry[2])
                if size >= _MOST_BYTES:
                    break
            return entries

    def newest(self) -> int:
        """The number of the newest entry, 0 when there is none: where a drain ends, however fast a gateway writes on."""
        if self.journal_id is None:
            return 0
        with teach(self.path):
            (seq,) = self._db.execute("SELECT coalesce(max(seq), 0) FROM entries").fetchone()
        return int(seq)

    def waiting(self, model: str) -> int:
        """How many entries of one model no drain has taken yet; those of one request may be one entry."""
        if self.journal_id is None:
            return 0
        query = "SELECT count(*) FROM entries WHERE seq > ? AND model = ?"
        with teach(self.path):
            (n,) = self._db.execute(query, (self.drained(), model)).fetchone()
        return int(n)

    def drained(self) -> int:
        """Up to which entry an earlier drain said that everything is in the lake."""
        return 0 if self.journal_id is None else mark_of(self.path, self.journal_id)

    def delete_through(self, seq: int) -> None:
        """Have the entries up to and with `seq` forgotten: by the process that writes, where there is one; else here.

        Their ids stay known, so a repetition is still noticed.
        """
        if self.journal_id is None:
            return
        if is_open(self.path):
            if self.drained() < seq:
                leave_mark(self.path, self.journal_id, seq)
            return
        with teach(self.path):
            while delete_some(self._db, seq):
                pass

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> JournalReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
