"""The durable buffer of one gateway process: one SQLite file, one writer at a time, one commit for all that has gathered.

A commit of few rows takes some ten microseconds, less than the hand-over to another thread and back. So the loop itself
commits what gathered in one of its turns, unless it is much or the file is locked: then a thread does, which may wait.

A commit survives the death of the process at any instant (SIGKILL too). It does not survive a power cut or a crash of
the operating system within the last seconds: SQLite runs in WAL mode with synchronous NORMAL, which then loses the
newest commits but never damages the file. A second thread carries what was committed to the disk, once a second: the
wait for the disk is long, and no caller takes part in it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from afterfit.adapters.journal_blocks import Packed, pack_predictions
from afterfit.adapters.journal_checkpoint import Checkpoints
from afterfit.adapters.journal_file import explain, open_for_writing
from afterfit.adapters.journal_losses import Losses
from afterfit.adapters.journal_room import Hold
from afterfit.adapters.journal_rows import (
    OUTCOME,
    PREDICTION,
    SHADOW,
    micros,
    outcome_identity,
    outcome_state,
    pack_outcome,
    pack_rows,
    pack_shadow,
)
from afterfit.adapters.journal_statements import add_ids, insert, is_known, repeated
from afterfit.adapters.redaction import Redaction
from afterfit.errors import AfterfitError, DuplicateError, StoreError
from afterfit.records import Outcome, Prediction, ShadowScore, column

STORED, DUPLICATE, WAITING = "stored", "duplicate", "waiting"
_MOST_AT_ONCE = 200  # rows that the loop commits itself, in a millisecond or two
_RETRY = 0.002  # seconds between two tries
_LOCKED = 30.0  # seconds that the thread waits for another process's write


@dataclass(slots=True)
class _Ticket:
    """Packed rows of one request on their way to the writer, and who waits for them."""

    kind: str
    rows: Sequence[Any]
    size: int
    future: asyncio.Future[Any] | concurrent.futures.Future[Any] | None = None
    minutes: list[tuple[str, datetime]] | None = (
        None  # durability async: model and event time of rows that were acknowledged already
    )
    turn: asyncio.AbstractEventLoop | None = (
        None  # of shadow rows: nobody waits, but another thread would be in the way
    )

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """Whose turn it is to commit; None where a thread or nobody waits."""
        if self.future is None:
            return self.turn
        if isinstance(self.future, concurrent.futures.Future):
            return None
        return self.future.get_loop()


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
        durability: `commit`: a ticket is done after the commit, which the death of the process can't take back; `fsync`:
            it is done once the rows are on the disk, and a power cut can't either; `async`: it is done at once, and what
            can't be written later is counted in `losses`.
        redact: how rows of a model are redacted before they are packed; None: not at all.

    Raises:
        StoreError: the file is damaged or its folder can't be written.

    >>> import tempfile
    >>> journal = SqliteJournal(Path(tempfile.mkdtemp()) / "gateway-1.db")
    >>> journal.close()
    """

    def __init__(
        self,
        path: Path,
        *,
        max_pending: int = 100_000,
        durability: str = "commit",
        redact: Callable[[str], Redaction | None] = lambda _model: None,
    ) -> None:
        self.path = path
        self._max_pending = max_pending
        self._durability = durability
        self._redact = redact
        self._db, self.journal_id = self._open()
        self._hold = Hold(path)
        self.losses = Losses()  # predictions that were acknowledged, or answered all the same, and are not in the log
        self.lost_shadows = 0  # shadow rows that were dropped: queue full, journal closed or disk full
        self._gathered: list[_Ticket] = []
        self._pending = 0
        self._closing = self._closed = False
        self._wake = threading.Condition()
        self._asleep = False  # the thread waits for news
        self._planned: asyncio.AbstractEventLoop | None = None  # which is about to commit what has gathered
        self._writing = threading.Lock()  # who holds it uses the connection
        self._checkpoints = Checkpoints(path, self.journal_id)
        self._thread = threading.Thread(target=self._run, name=f"journal {path.name}", daemon=True)
        self._thread.start()

    def predictions(self, rows: Sequence[Prediction]) -> asyncio.Future[None]:
        """A future of the running loop, done after the commit; all rows are written or none.

        The future raises DuplicateError (an id was acknowledged before or comes twice), InputError (a row can't be
        stored) or StoreError (disk full, too many rows waiting, journal closed). With durability `async` it is done
        already, and raises InputError only.
        """
        done: asyncio.Future[None] = self._promise(PREDICTION, rows, self._pack_predictions)
        return done

    def predictions_now(self, rows: Sequence[Prediction]) -> None:
        """As `predictions`, for a thread that waits for the commit; raises what the future would.

        Called on an event loop it would hold everybody up for as long as the disk takes.
        """
        self._promise(PREDICTION, rows, self._pack_predictions, concurrent.futures.Future()).result()

    def outcomes_now(self, rows: Sequence[Outcome]) -> list[str]:
        """As `outcomes`, for a thread that waits for the commit."""
        told: list[str] = self._promise(OUTCOME, rows, _pack_outcomes, concurrent.futures.Future()).result()
        return told

    def outcomes(self, rows: Sequence[Outcome]) -> asyncio.Future[list[str]]:
        """A future of the running loop for one of `stored`, `duplicate`, `waiting` per row, done after the commit.

        `duplicate`: the newest outcome of the same prediction and source says the same (value, kind, and event time where
        one was told); it is not written. `waiting`: this journal never saw the prediction id; the outcome is kept and the lake joins it
        once the prediction is there. No index of keys is kept, so an outcome by key and time is never `waiting`.
        The future raises InputError or StoreError; then nothing of the request was written.
        """
        told: asyncio.Future[list[str]] = self._promise(OUTCOME, rows, _pack_outcomes)
        return told

    def lost(self, rows: Sequence[Prediction]) -> None:
        """Count rows that were answered although they are not in the log; the next commit writes down how many."""
        self.losses.add(rows)

    def shadows(self, rows: Sequence[ShadowScore]) -> None:
        """Written with the next commit; nobody waits. What can't be written is counted in `lost_shadows`.

        Raises:
            InputError: a row can't be stored; none of them is.
        """
        packed = pack_rows(rows, lambda row: (SHADOW, row.model, pack_shadow(row)))
        ticket = _Ticket(SHADOW, packed, len(packed), turn=_running())
        if self._put(ticket) is not None:
            self._lose([ticket])

    @property
    def waiting(self) -> int:
        """Rows that wait for the writer."""
        return self._pending

    def before_fork(self) -> None:
        """Wait until no thread is in SQLite: a child inherits its locks as they are, and nobody who would give them back.

        Call `after_fork` in the parent. A child never touches this object; it opens another file.
        """
        self._writing.acquire()
        self._checkpoints.busy.acquire()

    def after_fork(self) -> None:
        """In the parent, after `before_fork`."""
        self._checkpoints.busy.release()
        self._writing.release()

    def close(self) -> None:
        """Write what has gathered, then close the file. Calling it twice is fine."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()
        self._checkpoints.close()
        if not self._closed:
            self._closed = True
            self._commit([], patience=1.0)  # what was lost since the last commit
            self._db.close()
            self._hold.close()

    def _promise(self, kind: str, rows: Sequence[Any], pack: Callable[[Any], Any], future: Any = None) -> Any:
        """A future, of the running loop unless one is given, for what becomes of the rows."""
        future = asyncio.get_running_loop().create_future() if future is None else future
        at_once = self._durability == "async" and kind == PREDICTION
        try:
            ticket = _Ticket(kind, pack(rows), len(rows), None if at_once else future)
            if at_once:
                ticket.minutes = list(zip(column(rows, "model"), column(rows, "time"), strict=True))
            problem: AfterfitError | None = self._put(ticket)
        except AfterfitError as error:
            future.set_exception(error)
            return future
        if at_once:
            if problem is not None:
                self._lose([ticket])
            future.set_result(None)
        elif problem is not None:
            future.set_exception(problem)
        return future

    def _open(self) -> tuple[sqlite3.Connection, str]:
        return open_for_writing(self.path, fsync=self._durability == "fsync")

    def _pack_predictions(self, rows: Sequence[Prediction]) -> list[Packed]:
        models = {rows[0].model} if len(rows) == 1 else set(column(rows, "model"))
        if any(self._redact(model) for model in models):
            rows = [_redacted(row, self._redact(row.model)) for row in rows]
        return pack_predictions(rows)

    def _put(self, ticket: _Ticket) -> StoreError | None:
        """Hand a ticket to the writer; the reason if it can't take it."""
        with self._wake:
            if self._closing:
                return StoreError(f"the journal {self.path} is closed; the gateway is stopping. Send it to another one")
            if self._pending and self._pending + ticket.size > self._max_pending:
                return StoreError(
                    f"{self._pending} rows wait for the journal {self.path} (at most {self._max_pending}): the disk "
                    "is slower than the traffic. Nothing of this request was written; send it again later"
                )
            self._gathered.append(ticket)
            self._pending += ticket.size
            loop = None if self._durability == "fsync" else ticket.loop
            if loop is None or self._pending > _MOST_AT_ONCE or self._planned not in (None, loop):
                self._rouse()
            elif self._planned is None and self._asleep:
                self._planned = loop
                loop.call_soon(self._commit_here)
        return None

    def _rouse(self) -> None:
        """Have the thread write what has gathered."""
        if self._asleep:
            self._asleep = False
            self._wake.notify()

    def _commit_here(self) -> None:
        """Write what gathered in this turn of the loop, or leave it to the thread where that may take long."""
        if not self._writing.acquire(blocking=False):
            with self._wake:
                self._planned = None
                self._rouse()
            return
        try:
            with self._wake:
                self._planned = None
                if self._pending > _MOST_AT_ONCE or not self._gathered:
                    self._rouse()
                    return
                tickets, self._gathered = self._gathered, []
            answers = self._commit(tickets, patience=0.0)
        finally:
            self._writing.release()
        with self._wake:
            if answers is None:
                self._gathered = [*tickets, *self._gathered]
                self._rouse()
                return
            self._pending -= sum(ticket.size for ticket in tickets)
        _deliver(tickets, answers, here=asyncio.get_running_loop())

    def _lose(self, tickets: Sequence[_Ticket]) -> None:
        """Count rows for which nobody waits, and which are not written."""
        for ticket in tickets:
            if ticket.kind == SHADOW:
                with self._wake:
                    self.lost_shadows += ticket.size
            elif ticket.minutes is not None:
                self.losses.add_minutes(ticket.minutes)

    def _run(self) -> None:
        """The thread: while one commit runs, the next group gathers."""
        while True:
            with self._wake:
                while not self._gathered and not self._closing:
                    self._asleep = True
                    self._wake.wait()
                tickets, self._gathered = self._gathered, []
                if not tickets:
                    return
            with self._writing:
                answers = self._commit(tickets, patience=_LOCKED) or []
            with self._wake:
                self._pending -= sum(ticket.size for ticket in tickets)
            _deliver(tickets, answers)

    def _commit(self, tickets: Sequence[_Ticket], *, patience: float) -> list[Any] | None:
        """Write a group in one transaction; one answer per ticket, an exception standing for itself.

        None where another process holds the file, and there is no patience to wait for it.
        """
        try:
            if not self._begin(patience):
                return None
            try:
                answers = self._write_together(tickets)
            except sqlite3.IntegrityError:  # somebody sent an id that is known; whose it is, is found one by one
                self._db.execute("ROLLBACK")
                if not self._begin(patience):
                    return None
                answers = [self._write(ticket) for ticket in tickets]
            self._insert(self.losses.rows())
            self._db.execute("COMMIT")
            self.losses.written()
            self._lose([t for t, answer in zip(tickets, answers, strict=True) if isinstance(answer, DuplicateError)])
        except Exception as error:  # noqa: BLE001  end of a thread: whatever happened belongs to those who wait
            self._undo()
            self._lose(tickets)
            answers = [StoreError(f"nothing of this request was written: {explain(self.path, error)}") for _ in tickets]
        return answers

    def _begin(self, patience: float) -> bool:
        """Take the write lock of the file; false where it is taken and there is no patience."""
        end = time.monotonic() + patience
        while True:
            try:
                self._db.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                    raise
                if time.monotonic() >= end:
                    if patience:
                        raise
                    return False
                time.sleep(_RETRY)
            else:
                return True

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
                self._db, _ = self._open()
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
                asked = [ticket.rows for ticket in group]
                self._add_predictions([request for requests in asked for request in requests])
                answers += [None] * len(asked)
            else:
                answers += [self._write(ticket) for ticket in group]
        return answers

    def _write(self, ticket: _Ticket) -> Any:
        if ticket.kind == PREDICTION:
            return self._write_predictions(ticket.rows)
        if ticket.kind == OUTCOME:
            return [self._write_outcome(row) for row in ticket.rows]
        return self._insert(ticket.rows)

    def _write_predictions(self, requests: Sequence[Packed]) -> DuplicateError | None:
        for model, id, how in repeated(self._db, requests):
            return DuplicateError(
                f"prediction id {id!r} of model {model!r} {how}; nothing of this request was written. "
                "Give every row an id of its own, or leave `id` out and Afterfit makes one"
            )
        self._add_predictions(requests)
        return None

    def _add_predictions(self, requests: Sequence[Packed]) -> None:
        add_ids(self._db, requests)
        self._insert([(PREDICTION, r.model, body) for r in requests for body in r.bodies])

    def _write_outcome(self, row: _PackedOutcome) -> str:
        identity = (row.model, row.identity, row.source)
        query = "SELECT state, known_time FROM newest WHERE model = ? AND identity = ? AND source = ?"
        newest = self._db.execute(query, identity).fetchone()
        if newest is not None and newest[0] == row.state:
            return DUPLICATE
        if newest is None or row.known_time >= newest[1]:
            self._db.execute("REPLACE INTO newest VALUES (?, ?, ?, ?, ?)", (*identity, row.state, row.known_time))
        self._insert([(OUTCOME, row.model, row.body)])
        id = row.prediction_id
        return STORED if id is None or is_known(self._db, row.model, id) else WAITING

    def _insert(self, rows: Sequence[tuple[str, str, bytes]]) -> None:
        insert(self._db, "entries (kind, model, body)", rows)


def _redacted(row: Prediction, how: Redaction | None) -> Prediction:
    return row if how is None else replace(row, features=how.row(row.features), failure=how.failure(row.failure))


def _pack_outcomes(rows: Sequence[Outcome]) -> list[_PackedOutcome]:
    return pack_rows(rows, _pack_outcome)


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


def _deliver(tickets: Sequence[_Ticket], answers: Sequence[Any], here: asyncio.AbstractEventLoop | None = None) -> None:
    """Give the answers to the loops that wait, with one wake-up per loop, and none to the one that runs `here`."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Any, Any]]] = {}
    for ticket, answer in zip(tickets, answers, strict=True):
        if ticket.future is None:  # nobody waits
            continue
        loop = ticket.loop
        if loop is not None:
            by_loop.setdefault(loop, []).append((ticket.future, answer))
        else:
            _settle([(ticket.future, answer)])  # a thread waits
    for loop, settled in by_loop.items():
        if loop is here:
            _settle(settled)
            continue
        try:
            loop.call_soon_threadsafe(_settle, settled)
        except RuntimeError:
            if not loop.is_closed():
                raise
            # the loop was closed while its rows were written: they are safe, and nobody is left to tell


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _settle(settled: Sequence[tuple[Any, Any]]) -> None:
    for future, answer in settled:
        if future.done():  # cancelled: the caller hung up
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
