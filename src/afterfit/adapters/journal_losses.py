"""Answers that could not be logged, by model and minute: counted, and written down once the journal takes rows again."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from afterfit.adapters.journal_rows import LOSS, pack_loss
from afterfit.records import Prediction

_MINUTE = timedelta(minutes=1)
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
Place = tuple[str, datetime]  # model, and event time or the minute of it


class Losses:
    """May be asked from any thread. What a process has not written down when it is killed is known to nobody.

    >>> losses = Losses()
    >>> losses.add([])
    >>> losses.by_model, losses.rows()
    ({}, [])
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: Counter[str] = Counter()
        self._unwritten: Counter[Place] = Counter()
        self._writing: Counter[Place] = Counter()

    @property
    def by_model(self) -> dict[str, int]:
        """Rows lost since the start."""
        with self._lock:
            return dict(self._all)

    def add(self, rows: Iterable[Prediction]) -> None:
        """These were answered and will not be in the log."""
        self.add_minutes((row.model, row.time) for row in rows)

    def add_minutes(self, places: Iterable[Place]) -> None:
        """The same by model and event time."""
        with self._lock:
            for model, time in places:
                self._all[model] += 1
                self._unwritten[model, _BEGINNING + (time - _BEGINNING) // _MINUTE * _MINUTE] += 1

    def rows(self) -> list[tuple[str, str, bytes]]:
        """What is to be written down, as rows of the journal; say `written` after the commit."""
        if not self._unwritten:
            return []
        with self._lock:
            self._writing = self._unwritten.copy()
            return [
                (LOSS, model, pack_loss(model, minute, minute + _MINUTE, n))
                for (model, minute), n in sorted(self._writing.items())
            ]

    def written(self) -> None:
        """What `rows` gave is in the journal."""
        if not self._writing:
            return
        with self._lock:
            self._unwritten -= self._writing
            self._writing = Counter()
