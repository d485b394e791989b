"""The lake: Delta tables of predictions, shadow scores and outcomes, filled from the journals exactly once."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path

import msgspec
import pyarrow as pa

from afterfit.adapters.feature_columns import typed_features
from afterfit.adapters.journal_file import DamagedError, JournalReader, damaged
from afterfit.adapters.journal_rows import KINDS, LOSS, OUTCOME, PREDICTION, SHADOW
from afterfit.adapters.lake_queries import LakeQueries
from afterfit.adapters.lake_table import LakeTable
from afterfit.errors import ConflictError, SetupError, StoreError
from afterfit.ports import Drained
from afterfit.records import Feature, Traffic, Window

BATCH = 50_000  # entries of a journal held in memory, and at most that many a commit
_REFUSED = "[]^|\\"  # signs in a path on which delta-rs 1.6 panics, which would take the process along
_PATIENCE = 120.0  # seconds to wait for another process that drains


class DeltaLake:
    """All predictions, shadow scores and outcomes in one folder; implements `ports.Lake`.

    Readers and one drain at a time may work at once, in any number of processes.

    Raises:
        SetupError: the path of the folder has a sign that Delta tables can't have.

    >>> import tempfile
    >>> DeltaLake(Path(tempfile.mkdtemp())).counts("flight-delay")
    {'predictions': 0, 'outcomes': 0, 'shadows': 0, 'waiting': 0}
    """

    def __init__(self, folder: Path) -> None:
        found = sorted(set(_REFUSED) & set(folder.absolute().as_posix()))
        if found:
            raise SetupError(
                f"the lake folder {folder.absolute()} has {' '.join(found)} in its path, which Delta tables can't have. "
                "Rename that folder, or set `home` in afterfit.toml to another one"
            )
        self.folder = folder
        self._tables = {kind: LakeTable(folder, kind) for kind in KINDS}
        self._queries = LakeQueries()

    def drain(self, journal_folder: Path) -> Drained:
        """Move what the journals (`*.db`) hold into the lake, exactly once, and compact where it is due.

        A journal row is deleted only after it is committed to its table; a drain that died in between is finished by
        the next one, which reads how far each table has come. Where a process writes to the journal, that process
        deletes (`journal_room`). A second drain waits for the first.

        Raises:
            StoreError: a journal is damaged or the lake can't be written; the other journals were drained all the same.
            ConflictError: another process has been draining for two minutes.
        """
        moved = dict.fromkeys(KINDS, 0)
        problems: list[StoreError] = []
        with self._turn():
            for path in sorted(journal_folder.glob("*.db")):
                try:
                    with JournalReader(path) as journal:
                        self._empty(journal, moved)
                except StoreError as error:
                    problems.append(error)
            for table in self._tables.values():
                table.compact_if_due()
        if problems:
            raise StoreError("; ".join(str(problem) for problem in problems)) from problems[0]
        return Drained(predictions=moved[PREDICTION], shadows=moved[SHADOW], outcomes=moved[OUTCOME])

    def predictions(
        self,
        model: str,
        window: Window,
        *,
        features: Sequence[Feature] = (),
        as_of: datetime | None = None,
        most: int | None = None,
    ) -> pa.Table:
        """Served rows whose `time` lies in the window and that were logged by `as_of`, ordered by time and id.

        With `features`, the JSON text column `features` gives way to one column `f:<name>` each: number float64,
        integer int64, boolean bool, text string. A cell that is absent, null or of another type is null. Where there
        are more rows than `most`, a share of them that has about as many at the most, drawn by a hash of the id: the
        same rows whoever asks.
        """
        files = self._files(PREDICTION, model, window)
        every = self._every(most, model, window, as_of)
        return typed_features(self._queries.predictions(files, model, window, as_of, every), features)

    def labelled(
        self,
        model: str,
        window: Window,
        *,
        features: Sequence[Feature] = (),
        as_of: datetime | None = None,
        known: bool = False,
        most: int | None = None,
    ) -> pa.Table:
        """The rows of `predictions` plus `outcome` (JSON text), `outcome_time`, `known_time`: one row per prediction.

        The outcome known by `as_of` with the latest `known_time` wins, then the one that was written last. All three
        are null where none is known, it was retracted, or its value is null; with `known` those rows are left out.
        """
        files, outcomes = self._files(PREDICTION, model, window), self._files(OUTCOME, model)
        every = self._every(most, model, window, as_of, known=known)
        return typed_features(self._queries.labelled(files, outcomes, model, window, as_of, known, every), features)

    def served(self, model: str, window: Window, *, as_of: datetime | None = None, known: bool = False) -> int:
        """How many rows `predictions` has, or with `known` the rows of `labelled` with an outcome; holds none of them."""
        files, outcomes = self._files(PREDICTION, model, window), self._files(OUTCOME, model) if known else None
        return self._queries.served(files, outcomes, model, window, as_of)

    def delays(self, model: str, window: Window, *, as_of: datetime | None = None, most: int | None = None) -> pa.Table:
        """`time` and `known_time` of the rows of `labelled`, in no order; `known_time` is null where no outcome is known.

        Sixteen bytes a row, where a whole row has some hundred: this is asked of months.
        """
        files, outcomes = self._files(PREDICTION, model, window), self._files(OUTCOME, model)
        every = self._every(most, model, window, as_of)
        return self._queries.delays(files, outcomes, model, window, as_of, every)

    def pairs(self, model: str, rollout: str, *, as_of: datetime | None = None) -> pa.Table:
        """Served rows of one rollout that another version answered too, and whose outcome is known, ordered by time and id.

        Columns: prediction_id, time, routes, served_version, prediction, scores, shadow_version, shadow_prediction,
        shadow_scores, outcome, known_time. Predictions and outcomes are JSON text.
        """
        served, shadows, outcomes = (self._files(kind, model) for kind in (PREDICTION, SHADOW, OUTCOME))
        return self._queries.pairs(served, shadows, outcomes, model, rollout, as_of)

    def traffic(self, model: str, rollout: str, *, version: int, since: int, as_of: datetime | None = None) -> Traffic:
        """What the rows of one rollout count to; holds none of them.

        Args:
            version: whose requests and keys are told apart from the others'.
            since: number of the routes from which on these are counted.
        """
        served, shadows = self._files(PREDICTION, model), self._files(SHADOW, model)
        attempts = self._queries.attempts(served, shadows, model, rollout, as_of).to_pylist()
        return Traffic(
            asked={row["version"]: row["asked"] for row in attempts},
            failed={row["version"]: row["failed"] for row in attempts},
            **self._queries.stage(served, model, rollout, version, since, as_of),
        )

    def counts(self, model: str) -> dict[str, int]:
        """Rows of one model: predictions, outcomes, shadows; `waiting` are outcomes whose prediction is not there."""
        waiting = self._queries.waiting(self._files(PREDICTION, model), self._files(OUTCOME, model), model)
        named = {"predictions": PREDICTION, "outcomes": OUTCOME, "shadows": SHADOW}
        return {name: self._tables[kind].count(model) for name, kind in named.items()} | {"waiting": waiting}

    def lost(self, model: str, window: Window) -> int:
        """Rows with event times in the window (to the minute) that were answered and could not be logged."""
        return self._queries.lost(self._files(LOSS, model), model, window)

    def release(self) -> None:
        """Return the memory that answers took to the system, for a process that will not ask for a while."""
        self._queries.release()
        pa.default_memory_pool().release_unused()

    def _every(
        self, most: int | None, model: str, window: Window, as_of: datetime | None, *, known: bool = False
    ) -> int:
        """Of how many rows one is taken, so that about `most` are."""
        return 1 if most is None else max(1, -(-self.served(model, window, as_of=as_of, known=known) // most))

    def _files(self, kind: str, model: str, window: Window | None = None) -> list[str]:
        return self._tables[kind].files(model, window)

    def _empty(self, journal: JournalReader, moved: dict[str, int]) -> None:
        """Move what a journal holds now, batch by batch; only a batch that is in all its tables is deleted.

        A gateway may write faster than rows are moved; what comes after the start is left for the next drain.
        """
        if journal.journal_id is None:
            return
        last, end = journal.drained(), journal.newest()
        if last:
            journal.delete_through(last)  # of a journal that nobody writes to any more
        while last < end and (rows := journal.read(last, BATCH)):
            for kind, table in self._tables.items():
                mine = [(seq, body) for seq, of, body in rows if of == kind]
                if mine:
                    try:
                        moved[kind] += table.append(journal.journal_id, mine)
                    except msgspec.MsgspecError as error:
                        reason = f"a row of entries {mine[0][0]} to {mine[-1][0]} can't be unpacked: {error}"
                        raise DamagedError(damaged(journal.path, reason)) from error
            last = rows[-1][0]
            journal.delete_through(last)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One drain at a time on this lake. The lock is an SQLite file's, so it ends with the process that holds it."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = sqlite3.connect(self.folder / "drain.lock", timeout=_PATIENCE, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(
                f"the lake folder {self.folder} can't be written: {error}. Make it writable, or choose another `home`"
            ) from error
        with closing(lock):
            try:
                lock.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError as error:
                raise ConflictError(
                    f"another process has been draining into {self.folder} for {_PATIENCE:.0f} s ({error}). Its rows "
                    "are safe; try again, or stop that process if it hangs"
                ) from error
            yield
