"""Carries committed rows of a journal from its write-ahead log to the file, and both to the disk, beside the writer."""

from __future__ import annotations

import logging
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

log = logging.getLogger("afterfit.journal")
EVERY = 1.0  # seconds between two checkpoints


class Checkpoints:
    """A thread with a connection of its own. A PASSIVE checkpoint waits for nobody and holds nobody up."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._closing = threading.Event()
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
                with closing(sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=rw", uri=True)) as db:
                    db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                complained = False
            except sqlite3.Error as error:  # nothing is lost: the rows stay in the write-ahead log
                if not complained:
                    log.warning("a checkpoint of %s failed and will be tried again: %s", self._path, error)
                complained = True
