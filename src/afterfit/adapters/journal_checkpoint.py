"""Carries committed rows of a journal from its write-ahead log to the file, and both to the disk, beside the writer; and
forgets those of which the drain said that they are in the lake."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from afterfit.adapters.journal_ids import Forgetting
from afterfit.adapters.journal_room import delete_some, mark_of
from afterfit.errors import StoreError

log = logging.getLogger("afterfit.journal")
EVERY = 1.0  # seconds between two looks at what there is to do
SOON = 0.03  # the same while much is written: many short checkpoints hold the writer up less than a long one
_MUCH = 100  # pages of 4 kB that came since the last one, from which that is so
_BREATH = 0.002  # seconds between two deletes, in which the writer has its turn


class Checkpoints:
    """Two threads with connections of their own. The one that copies pages waits for nobody and holds nobody up (a PASSIVE
    checkpoint), but takes the core, so it does a little at a time. It must get its turn all the same: what it leaves falls to
    the writer at once. The one that deletes holds the writer's lock."""

    def __init__(self, path: Path, journal_id: str) -> None:
        self._path = path
        self._journal_id = journal_id
        self._ids = Forgetting()
        self._forgotten = 0  # rows up to this one were deleted
        self._pages = 0  # of the write-ahead log at the last checkpoint
        self._closing = threading.Event()
        self.busy = threading.Lock()  # who holds it keeps both threads from SQLite
        self._threads = [
            threading.Thread(target=self._run, args=(what, work), name=f"{what} of {path.name}", daemon=True)
            for what, work in (("a checkpoint", self._copy), ("forgetting", self._forget_some))
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop; the last connection that is closed writes what is left."""
        self._closing.set()
        for thread in self._threads:
            thread.join()

    def _run(self, what: str, work: Callable[[sqlite3.Connection], float]) -> None:
        complained, wait = False, EVERY
        while not self._closing.wait(wait):
            try:
                with self.busy, closing(sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=rw", uri=True)) as db:
                    wait = work(db)
                complained = False
            except (sqlite3.Error, StoreError) as error:  # nothing is lost: the rows stay in the write-ahead log
                wait = EVERY
                if not complained:
                    log.warning("%s of %s failed and will be tried again: %s", what, self._path, error)
                complained = True

    def _copy(self, db: sqlite3.Connection) -> float:
        """Seconds until the next one."""
        _, pages, _ = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        much, self._pages = abs(pages - self._pages) > _MUCH, pages  # the log begins anew at times
        return SOON if much else EVERY

    def _forget_some(self, db: sqlite3.Connection) -> float:
        self._forget(db)
        self._ids.go_on(db, self._closing)
        return EVERY

    def _forget(self, db: sqlite3.Connection) -> None:
        """Delete, in small steps, what is in the lake."""
        mark = mark_of(self._path, self._journal_id)
        if mark <= self._forgotten:
            return
        db.isolation_level = None
        while delete_some(db, mark) and not self._closing.wait(_BREATH):
            pass
        self._forgotten = mark
