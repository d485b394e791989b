"""Makes room in a journal whose rows are in the lake. Whoever writes to it deletes; the drain only says how far it came.

A drain that deleted rows itself would hold the file's write lock for a moment, and if it were stopped in that moment (a
laptop's Ctrl-Z, a debugger, a hung disk of the lake) every caller of the gateway would wait for it. So it leaves a mark
beside the journal, and deletes only where nobody has the journal open.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path

from afterfit.adapters.atomic_file import cannot_write, read_if_there, write_atomic

STEP, STEP_BYTES = 1024, 1 << 20  # entries a delete, and their size: a few milliseconds in which the writer has to wait


class Hold:
    """Says, as long as the process lives, that a journal is open for writing; several processes may say so at once.

    Raises:
        StoreError: the folder can't be written.
    """

    def __init__(self, journal: Path) -> None:
        self._handle = _open(_beside(journal, "open"))
        fcntl.flock(self._handle, fcntl.LOCK_SH)

    def close(self) -> None:
        os.close(self._handle)


def own_journal(folder: Path, stem: str) -> tuple[Path, int]:
    """`<stem>-<n>.db` with the lowest n that no living process has taken, and the handle that keeps it taken.

    Raises:
        StoreError: the folder can't be written.
    """
    number = 2
    while True:
        path = folder / f"{stem}-{number}.db"
        handle = _open(_beside(path, "taken"))
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            number += 1
        else:
            return path, handle


def is_open(journal: Path) -> bool:
    """Whether some process has the journal open for writing."""
    handle = _open(_beside(journal, "open"))
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def leave_mark(journal: Path, journal_id: str, seq: int) -> None:
    """Say that all rows up to and with `seq` are in the lake."""
    write_atomic(_beside(journal, "drained"), f"{journal_id} {seq}\n")


def mark_of(journal: Path, journal_id: str) -> int:
    """Up to which row everything is in the lake, as far as the drain told; 0 where it told nothing of this journal."""
    told = (read_if_there(_beside(journal, "drained")) or "").split()
    return int(told[1]) if len(told) == 2 and told[0] == journal_id and told[1].isdigit() else 0


def delete_some(db: sqlite3.Connection, seq: int) -> int:
    """Forget the oldest entries up to and with `seq`, a step of them; how many they were. Their ids stay known."""
    query = "SELECT seq, length(body) FROM entries WHERE seq <= ? ORDER BY seq LIMIT ?"
    through, size = 0, 0
    for oldest, length in db.execute(query, (seq, STEP)).fetchall():
        through, size = oldest, size + length
        if size >= STEP_BYTES:
            break
    return db.execute("DELETE FROM entries WHERE seq <= ?", (through,)).rowcount if through else 0


def _beside(journal: Path, what: str) -> Path:
    return journal.with_name(f"{journal.name}.{what}")


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise cannot_write(path, error) from error
