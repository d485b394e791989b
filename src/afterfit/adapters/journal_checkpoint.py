"""Carries committed rows of a journal from its write-ahead log to the file, and both to the disk, beside the writer; and
forgets those of which the drain said that they are in the lake."""

from __future__ import annotations

import logging
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

from afterfit.adapters.journal_ids import Forgetting
from afterfit.adapters.journal_room import delete_some, mark_of
from afterfit.errors import StoreError

log = logging.getLogger("afterfit.journal")
EVERY = 1.0  # seconds between two checkpoints
_BREATH = 0.002  # seconds between two deletes, in which the writer has its turn


class Checkpoints:
    """A thread with a connection of its own. A PASSIVE checkpoint waits for nobody and holds nobody up."""

    def __init__(self, path: Path, journal_id: str) -> None:
        self._path = path
        self._journal_id = journal_id
        self._ids = Forgetting()
        self._forgotten = 0  # rows up to this one were deleted
        self._closing = threading.Event()
        self.busy = threading.Lock()  # who holds it keeps this thread from SQLite
        self._thread = threading.Thread(target=self._run, name=f"checkpoints {path.name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop; the last connection that is closed writes what is left."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        complained = False
        while not self._closing.wait(EVERY):
            try:
                with self.busy, closing(sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=rw", uri=True)) as db:
                    self._forget(db)
                    self._ids.go_on(db, self._closing)
                    db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                complained = False
            except (sqlite3.Error, StoreError) as error:  # nothing is lost: the rows stay in the write-ahead log
                if not complained:
                    log.warning("a checkpoint of %s failed and will be tried again: %s", self._path, error)
                complained = True

    def _forget(self, db: sqlite3.Connection) -> None:
        """Delete, in small steps, what is in the lake."""
        mark = mark_of(self._path, self._journal_id)
        if mark <= self._forgotten:
            return
        db.isolation_level = None
        while delete_some(db, mark) and not self._closing.wait(_BREATH):
            pass
        self._forgotten = mark
