"""Copies of served rows for the other version: nobody waits for them, and what is dropped is counted by reason."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from afterfit.errors import InputError, StoreError, WorkerError
from afterfit.gateway.breaker import Breaker
from afterfit.gateway.fleet import Fleet, Lane
from afterfit.gateway.ladder import costs_time
from afterfit.gateway.signature import Columns
from afterfit.gateway.workers import SHADOW, AbsentError, Answer, CrashError, Worker
from afterfit.ports import Journal
from afterfit.records import Prediction, ShadowScore, Status, column

log = logging.getLogger("afterfit.gateway")
MOST_WAITING = 20_000  # rows that may wait for their shadow, per version; the oldest go first
MOST_COPIES = 32  # requests that they come from; more fall out of the processor's cache, which slows callers down
THINNED = 256  # once all that waits was replaced before the version took any of it, one request in so many is let in
TOGETHER = 16  # rows put to the version at once; callers wait while its answers to them are recorded
REASONS = ("queue full", "version gone", "breaker open", "not there", "journal refused")  # of rows that are dropped
SPARE = 0.03  # of an idle process's time, which copies may take; by the square of what callers leave it, less
LEAST = 0.001  # of its time that they may take where callers leave it nothing, so that some are always scored


@dataclass(slots=True)
class _Copy:
    lane: Lane  # that the rows were read by; their columns are made when they are sent, for most never are
    version: int
    worker: Worker
    rows: Sequence[Prediction]
    probe: bool = False  # of a version whose breaker is open: does it answer again?


@dataclass(slots=True)
class _Line:
    """What waits for one version."""

    copies: deque[_Copy] = field(default_factory=deque)
    n_rows: int = 0
    replaced: int = 0  # copies that went for newer ones since the version took some
    asker: asyncio.Task[None] | None = None

    def lets_in(self) -> bool:
        """Whether the next one may wait; keeping what will be replaced anyway costs callers time."""
        if self.replaced < MOST_COPIES:
            return True
        self.replaced += 1
        return self.replaced % THINNED == 0

    def put(self, copy: _Copy) -> int:
        """Let one wait; how many rows had to go for it."""
        gone = 0
        while self.copies and (self.n_rows + len(copy.rows) > MOST_WAITING or len(self.copies) >= MOST_COPIES):
            gone += len(self._take().rows)
            self.replaced += 1
        self.copies.append(copy)
        self.n_rows += len(copy.rows)
        return gone

    def together(self) -> list[_Copy]:
        """The one that waited longest, and those after it that can go with it in one call."""
        self.replaced = 0
        some = [self._take()]
        n_rows = len(some[0].rows)
        while self.copies and self.copies[0].lane is some[0].lane:
            n_rows += len(self.copies[0].rows)
            if n_rows > TOGETHER:
                break
            some.append(self._take())
        return some

    def _take(self) -> _Copy:
        copy = self.copies.popleft()
        self.n_rows -= len(copy.rows)
        return copy


class _Leisure:
    """How much of the time since the last question its thread had nothing to do."""

    def __init__(self) -> None:
        self._then, self._ran = time.perf_counter(), time.thread_time()

    def share(self) -> float:
        now, ran = time.perf_counter(), time.thread_time()
        passed, busy = now - self._then, ran - self._ran
        self._then, self._ran = now, ran
        return max(0.0, 1.0 - busy / passed) if passed > 0.0 else 0.0


class Shadows:
    """One bounded queue and one asker per shadowing version."""

    def __init__(self, fleet: Fleet, journal: Journal, logged_at: Callable[[datetime], datetime]) -> None:
        self.dropped: Counter[str] = Counter()  # reason -> rows
        self.scored: Counter[tuple[str, int, str]] = Counter()  # model, version, status -> rows
        self._fleet = fleet
        self._journal = journal
        self._logged_at = logged_at
        self._lines: dict[Worker, _Line] = {}
        self._finishing = False

    def offer(self, lane: Lane, rows: Sequence[Prediction]) -> None:
        """Take copies of rows just answered; returns at once. A version that failed on a row is not asked again.

        One that was skipped gets a copy now and then, as the probe that may close its breaker.
        """
        if len(rows) == 1 and rows[0].status is Status.OK:  # most requests, and the next caller waits
            copied = lane.copied.get(rows[0].version)
            if copied is not None:
                self._queue(lane, *copied, rows)
            return
        self._probe(lane, rows)
        if not lane.shadowed:
            return
        by_shadow: dict[int, list[int]] = {}
        for i, (answered, failed) in enumerate(
            zip(column(rows, "version"), column(rows, "failed_version"), strict=True)
        ):
            shadow = lane.shadow_of(answered)
            if shadow is not None and shadow != failed:
                by_shadow.setdefault(shadow, []).append(i)
        for version, at in by_shadow.items():
            self._queue(lane, version, lane.shadows[version], rows if len(at) == len(rows) else [rows[i] for i in at])

    def _probe(self, lane: Lane, rows: Sequence[Prediction]) -> None:
        """Put one of the rows to the version that was skipped, if its breaker asks for that."""
        i = next((i for i, status in enumerate(column(rows, "status")) if status is Status.SKIPPED), None)
        version = None if i is None else rows[i].failed_version
        worker = None if version is None else lane.shadows.get(version)
        if i is None or version is None or worker is None or not _probe_due(worker):
            return
        self._queue(lane, version, worker, [rows[i]], probe=True)

    def waiting(self, worker: Worker) -> int:
        """Rows that wait for a version."""
        line = self._lines.get(worker)
        return 0 if line is None else line.n_rows

    async def finish(self, patience: float = 5.0) -> None:
        """Let what waits be scored, for a while and without regard for callers."""
        self._finishing = True
        askers = [line.asker for line in self._lines.values() if line.asker is not None]
        if askers:
            await asyncio.wait(askers, timeout=patience)
        for asker in askers:
            asker.cancel()

    def _queue(
        self, lane: Lane, version: int, worker: Worker, rows: Sequence[Prediction], *, probe: bool = False
    ) -> None:
        line = self._lines.get(worker)
        if line is None:
            line = self._lines[worker] = _Line()
            line.asker = asyncio.create_task(self._work(worker, line))
        gone = line.put(_Copy(lane, version, worker, rows, probe)) if line.lets_in() else len(rows)
        if gone:
            self.dropped["queue full"] += gone

    async def _work(self, worker: Worker, line: _Line) -> None:
        """Score what waits, some rows in one call, and leave the callers their time between two calls."""
        leisure = _Leisure()
        try:
            while line.copies:
                some = line.together()
                if not self._fleet.runs(some[0].rows[0].model, some[0].version, worker):
                    self.dropped["version gone"] += sum(len(copy.rows) for copy in some)
                    continue
                if worker.breaker.open and not (some[0].probe or _probe_due(worker)):
                    self.dropped["breaker open"] += sum(len(copy.rows) for copy in some)
                    continue
                recording = await self._score(worker, some)
                if not self._finishing:  # to put the rows to the process takes as long as to record its answer
                    await asyncio.sleep(2 * recording / max(LEAST, SPARE * leisure.share() ** 2))
        finally:
            del self._lines[worker]

    async def _score(self, worker: Worker, some: list[_Copy]) -> float:
        """Ask for some copies at once, or one by one where they have no answer together; seconds spent on recording."""
        began = time.perf_counter()
        answer, failure, probing = None, "", worker.breaker.open
        lane, version, rows = some[0].lane, some[0].version, [row for copy in some for row in copy.rows]
        try:
            columns = _columns(lane, version, rows)
        except WorkerError as error:
            if len(some) > 1:
                return sum([await self._score(worker, [copy]) for copy in some])
            failure = str(error)
        else:
            try:
                answer = await worker.predict(columns, lane.seconds(version), priority=SHADOW, alone=True)
                _hear(worker.breaker, probing, None)
            except AbsentError as error:  # it was not asked, so nothing is said about it
                _hear(worker.breaker, probing, error)
                self.dropped["not there"] += len(rows)
                return 0.0
            except CrashError as error:
                _hear(worker.breaker, probing, error)
                failure = str(error)
            except WorkerError as error:
                _hear(worker.breaker, probing, error)
                if len(some) > 1:
                    return sum([await self._score(worker, [copy]) for copy in some])
                failure = str(error)
        answered = time.perf_counter()
        self._record(rows, version, answer, failure, answered - began)
        return time.perf_counter() - answered

    def _record(
        self, rows: list[Prediction], version: int, answer: Answer | None, failure: str, seconds: float
    ) -> None:
        status = Status.OK if answer else Status.TIMEOUT if failure.startswith("timeout") else Status.ERROR
        self.scored[rows[0].model, version, status] += len(rows)
        predictions, scores = answer or ([None] * len(rows), None)
        try:
            self._journal.shadows(
                [
                    ShadowScore(
                        prediction_id=row.id,
                        model=row.model,
                        version=version,
                        time=row.time,
                        logged_at=self._logged_at(row.time),
                        prediction=predictions[i],
                        scores=None if scores is None else tuple(scores[i]),
                        rollout=row.rollout,
                        status=status,
                        failure=None if answer else failure,
                        latency_ms=seconds * 1000.0,
                    )
                    for i, row in enumerate(rows)
                ]
            )
        except (StoreError, InputError) as error:
            log.warning("shadow rows of version %d were not logged: %s", version, error)
            self.dropped["journal refused"] += len(rows)


def _probe_due(worker: Worker) -> bool:
    """Whether a row should be put to a version that is skipped; not while its process is away, which would prove nothing."""
    return not worker.problem and worker.breaker.probe_due(time.monotonic())


def _hear(breaker: Breaker, probing: bool, error: WorkerError | None) -> None:
    """Tell a breaker how a call went. A version that refuses a row at once is alive."""
    now = time.monotonic()
    if probing:
        breaker.probed(not (isinstance(error, AbsentError) or costs_time(error)) if error else True, now, str(error))
    elif error is None or costs_time(error):
        breaker.record(error is None, now, str(error))


def _columns(lane: Lane, version: int, rows: Sequence[Prediction]) -> Columns:
    sent = [row.features for row in rows]
    return lane.columns(version, sent, {} if version in lane.others else lane.signature.known(sent))
