"""The durable buffer of one gateway process: one SQLite file, one writer thread, one commit for all that has gathered.

A commit survives the death of the process at any instant (SIGKILL too). It does not survive a power cut or a crash of
the operating system within the last seconds: SQLite runs in WAL mode with synchronous NORMAL, which then loses the
newest commits but never damages the file. A second thread carries what was committed to the disk, once a second: the
wait for the disk is long, and no caller takes part in it.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from typing import Any

from afterfit.adapters.journal_checkpoint import Checkpoints
from afterfit.adapters.journal_file import explain, open_for_writing
from afterfit.adapters.journal_rows import (
    OUTCOME,
    PREDICTION,
    SHADOW,
    Row,
    micros,
    outcome_identity,
    outcome_state,
    pack_outcome,
    pack_prediction,
    pack_rows,
    pack_shadow,
)
from afterfit.errors import AfterfitError, DuplicateError, StoreError
from afterfit.records import Outcome, Prediction, ShadowScore

STORED, DUPLICATE, WAITING = "stored", "duplicate", "waiting"
_TOGETHER = 64  # rows a statement; each statement is one hand-over of the interpreter between the threads


@dataclass(slots=True)
class _Ticket:
    """Packed rows of one request on their way to the writer, and who waits for them."""

    kind: str
    rows: list[Any]
    future: asyncio.Future[Any] | None = None


@dataclass(frozen=True, slots=True)
class _PackedOutcome:
    """An outcome with what is needed to tell whether it was said before."""

    model: str
    prediction_id: str | None
    identity: str
    source: str
    state: str
    known_time: int  # microseconds since 1970
    body: bytes


class SqliteJournal:
    """Writes predictions, shadow scores and outcomes of one gateway process; implements `ports.Journal`.

    Args:
        path: file of this process, made if absent; the lake empties it (`DeltaLake.drain`).
        max_pending: rows that may wait for the writer; beyond it requests fail and shadows are dropped and counted.

    Raises:
        StoreError: the file is damaged or its folder can't be written.

    >>> import tempfile
    >>> journal = SqliteJournal(Path(tempfile.mkdtemp()) / "gateway-1.db")
    >>> journal.close()
    """

    def __init__(self, path: Path, *, max_pending: int = 100_000) -> None:
        self.path = path
        self._max_pending = max_pending
        self._db, self.journal_id = open_for_writing(path)
        self.lost_shadows = 0  # shadow rows that were dropped: queue full, journal closed or disk full
        self._gathered: list[_Ticket] = []
        self._pending = 0
        self._closing = False
        self._wake = threading.Condition()
        self._asleep = False  # the writer waits for news
        self._checkpoints = Checkpoints(path)
        self._thread = threading.Thread(target=self._run, name=f"journal {path.name}", daemon=True)
        self._thread.start()

    def predictions(self, rows: Sequence[Prediction]) -> asyncio.Future[None]:
        """A future of the running loop, done after the commit; all rows are written or none.

        The future raises DuplicateError (an id was acknowledged before or comes twice), InputError (a row can't be
        stored) or StoreError (disk full, too many rows waiting, journal closed).
        """
        return self._promise(PREDICTION, rows, _pack_prediction)

    def outcomes(self, rows: Sequence[Outcome]) -> asyncio.Future[list[str]]:
        """A future of the running loop for one of `stored`, `duplicate`, `waiting` per row, done after the commit.

        `duplicate`: the newest outcome of the same prediction and source says the same (value, event time, kind); it
        is not written. `waiting`: this journal never saw the prediction id; the outcome is kept and the lake joins it
        once the prediction is there. No index of keys is kept, so an outcome by key and time is never `waiting`.
        The future raises InputError or StoreError; then nothing of the request was written.
        """
        return self._promise(OUTCOME, rows, _pack_outcome)

    def shadows(self, rows: Sequence[ShadowScore]) -> None:
        """Written with the next commit; nobody waits. What can't be written is counted in `lost_shadows`.

        Raises:
            InputError: a row can't be stored; none of them is.
        """
        packed = pack_rows(rows, lambda row: (SHADOW, row.model, pack_shadow(row)))
        if self._put(_Ticket(SHADOW, packed)) is not None:
            self._lose(len(packed))

    def close(self) -> None:
        """Write what has gathered, then close the file. Calling it twice is fine."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()
        self._checkpoints.close()
        self._db.close()

    def _promise(self, kind: str, rows: Sequence[Row], pack: Callable[[Row], Any]) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        try:
            problem: AfterfitError | None = self._put(_Ticket(kind, pack_rows(rows, pack), future))
        except AfterfitError as error:
            problem = error
        if problem is not None:
            future.set_exception(problem)
        return future

    def _put(self, ticket: _Ticket) -> StoreError | None:
        """Hand a ticket to the writer; the reason if it can't take it."""
        with self._wake:
            if self._closing:
                return StoreError(f"the journal {self.path} is closed; the gateway is stopping. Send it to another one")
            if self._pending and self._pending + len(ticket.rows) > self._max_pending:
                return StoreError(
                    f"{self._pending} rows wait for the journal {self.path} (at most {self._max_pending}): the disk "
                    "is slower than the traffic. Nothing of this request was written; send it again later"
                )
            self._gathered.append(ticket)
            self._pending += len(ticket.rows)
            if self._asleep:
                self._asleep = False
                self._wake.notify()
        return None

    def _lose(self, n_rows: int) -> None:
        with self._wake:
            self.lost_shadows += n_rows

    def _run(self) -> None:
        """The writer thread: while one commit runs, the next group gathers."""
        while True:
            with self._wake:
                while not self._gathered and not self._closing:
                    self._asleep = True
                    self._wake.wait()
                tickets, self._gathered = self._gathered, []
                if not tickets:
                    return
            answers = self._commit(tickets)
            with self._wake:
                self._pending -= sum(len(ticket.rows) for ticket in tickets)
            _deliver(tickets, answers)

    def _commit(self, tickets: Sequence[_Ticket]) -> list[Any]:
        """Write a group in one transaction; one answer per ticket, an exception standing for itself."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                answers = self._write_together(tickets)
            except sqlite3.IntegrityError:  # somebody sent an id that is known; whose it is, is found one by one
                self._db.execute("ROLLBACK")
                self._db.execute("BEGIN IMMEDIATE")
                answers = [self._write(ticket) for ticket in tickets]
            self._db.execute("COMMIT")
        except Exception as error:  # noqa: BLE001  end of a thread: whatever happened belongs to those who wait
            self._undo()
            self._lose(sum(len(ticket.rows) for ticket in tickets if ticket.kind == SHADOW))
            answers = [StoreError(f"nothing of this request was written: {explain(self.path, error)}") for _ in tickets]
        return answers

    def _undo(self) -> None:
        """Back to a clean connection; after an I/O error SQLite may have rolled back by itself, or be past use."""
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except sqlite3.Error:
            self._db.close()
        try:
            self._db.execute("SELECT 1")
        except sqlite3.ProgrammingError:  # closed above, now or at an earlier try
            try:
                self._db, _ = open_for_writing(self.path)
            except StoreError:
                return  # still broken: the next group fails on the closed connection and tries again

    def _write_together(self, tickets: Sequence[_Ticket]) -> list[Any]:
        """The tickets in their order; neighbouring requests with predictions share their statements.

        Raises:
            sqlite3.IntegrityError: an id of a prediction is known.
        """
        answers: list[Any] = []
        for kind, group in groupby(tickets, key=lambda ticket: ticket.kind):
            if kind == PREDICTION:
                requests = [ticket.rows for ticket in group]
                self._add_predictions(list(chain.from_iterable(requests)))
                answers += [None] * len(requests)
            else:
                answers += [self._write(ticket) for ticket in group]
        return answers

    def _write(self, ticket: _Ticket) -> Any:
        if ticket.kind == PREDICTION:
            return self._write_predictions(ticket.rows)
        if ticket.kind == OUTCOME:
            return [self._write_outcome(row) for row in ticket.rows]
        return self._insert(ticket.rows)

    def _write_predictions(self, rows: Sequence[tuple[str, str, bytes]]) -> DuplicateError | None:
        seen: set[tuple[str, str]] = set()
        for model, id, _ in rows:
            if (model, id) in seen or self._known(model, id):
                when = "comes twice in this request" if (model, id) in seen else "was acknowledged before"
                return DuplicateError(
                    f"prediction id {id!r} of model {model!r} {when}; nothing of this request was written. "
                    "Give every row an id of its own, or leave `id` out and Afterfit makes one"
                )
            seen.add((model, id))
        self._add_predictions(rows)
        return None

    def _add_predictions(self, rows: Sequence[tuple[str, str, bytes]]) -> None:
        self._add("ids", [(model, id) for model, id, _ in rows])
        self._insert([(PREDICTION, model, body) for model, _, body in rows])

    def _write_outcome(self, row: _PackedOutcome) -> str:
        identity = (row.model, row.identity, row.source)
        query = "SELECT state, known_time FROM newest WHERE model = ? AND identity = ? AND source = ?"
        newest = self._db.execute(query, identity).fetchone()
        if newest is not None and newest[0] == row.state:
            return DUPLICATE
        if newest is None or row.known_time >= newest[1]:
            self._db.execute("REPLACE INTO newest VALUES (?, ?, ?, ?, ?)", (*identity, row.state, row.known_time))
        self._insert([(OUTCOME, row.model, row.body)])
        by_id = row.prediction_id is not None
        return WAITING if by_id and not self._known(row.model, row.prediction_id) else STORED

    def _known(self, model: str, id: str | None) -> bool:
        query = "SELECT 1 FROM ids WHERE model = ? AND prediction_id = ?"
        return self._db.execute(query, (model, id)).fetchone() is not None

    def _insert(self, rows: Sequence[tuple[str, str, bytes]]) -> None:
        self._add("entries (kind, model, body)", rows)

    def _add(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        for start in range(0, len(rows), _TOGETHER):
            some = rows[start : start + _TOGETHER]
            places = f"({', '.join('?' * len(some[0]))})"
            statement = f"INSERT INTO {table} VALUES {', '.join([places] * len(some))}"
            self._db.execute(statement, list(chain.from_iterable(some)))


def _pack_prediction(row: Prediction) -> tuple[str, str, bytes]:
    return row.model, row.id, pack_prediction(row)


def _pack_outcome(row: Outcome) -> _PackedOutcome:
    return _PackedOutcome(
        model=row.model,
        prediction_id=row.prediction_id,
        identity=outcome_identity(row),
        source=row.source,
        state=outcome_state(row),
        known_time=micros(row.known_time),
        body=pack_outcome(row),
    )


def _deliver(tickets: Sequence[_Ticket], answers: Sequence[Any]) -> None:
    """Give the answers to the loops that wait, with one wake-up per loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for ticket, answer in zip(tickets, answers, strict=True):
        if ticket.future is not None:
            by_loop.setdefault(ticket.future.get_loop(), []).append((ticket.future, answer))
    for loop, settled in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle, settled)
        except RuntimeError:
            if not loop.is_closed():
                raise
            # the loop was closed while its rows were written: they are safe, and nobody is left to tell


def _settle(settled: Sequence[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, answer in settled:
        if future.done():  # cancelled: the caller hung up
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
