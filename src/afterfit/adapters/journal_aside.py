"""A journal found damaged at the start is moved aside, so that a new one can take rows; it is never deleted."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from afterfit.adapters.journal_file import DamagedError

FOLDER = "damaged"  # beside the journals; no drain looks into it
_BESIDE = ("", "-wal", "-shm", ".drained")  # ends of the names of a journal's files

J = TypeVar("J")


def open_journal(path: Path, make: Callable[[Path], J], at: datetime) -> tuple[J, str]:
    """(journal, what was wrong with the file that was there; empty if nothing).

    Raises:
        StoreError: it can't be opened for another reason, or the damaged file can't be moved.
    """
    try:
        return make(path), ""
    except DamagedError as error:
        aside = set_aside(path, at)
        what = str(error).partition(". ")[0]
        return make(
            path
        ), f"{what}. It was moved to {aside}; rows of it that are not in the lake are lost unless it is mended"


def set_aside(path: Path, at: datetime) -> Path:
    """Move a journal's files into the folder `damaged` beside it, under the time; gives the new place.

    >>> import tempfile
    >>> from datetime import UTC
    >>> path = Path(tempfile.mkdtemp()) / "g.db"
    >>> _ = path.write_text("no database")
    >>> set_aside(path, datetime(2026, 1, 5, tzinfo=UTC)).name, path.exists()
    ('g.db-20260105T000000.000000', False)
    """
    folder = path.parent / FOLDER
    folder.mkdir(exist_ok=True)
    aside = folder / f"{path.name}-{at:%Y%m%dT%H%M%S.%f}"
    for end in _BESIDE:
        file = path.with_name(path.name + end)
        if file.exists():
            file.rename(aside.with_name(aside.name + end))
    return aside
