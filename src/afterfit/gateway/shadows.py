"""Copies of served rows for the other version: nobody waits for them, and what is dropped is counted by reason."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from afterfit.errors import InputError, StoreError, WorkerError
from afterfit.gateway.fleet import CHAMPION_SECONDS, Fleet, Lane
from afterfit.gateway.signature import Columns, pick
from afterfit.gateway.workers import SHADOW, Worker
from afterfit.ports import Journal
from afterfit.records import Prediction, ShadowScore, Status

log = logging.getLogger("afterfit.gateway")
MOST_WAITING = 20_000  # rows that may wait for their shadow, per version; the oldest go first
TOGETHER = 16  # requests put to the version at once


@dataclass(frozen=True, slots=True)
class _Copy:
    version: int
    worker: Worker
    columns: Columns | None
    problem: str  # why there are no columns
    rows: list[Prediction]
    timeout: float


class Shadows:
    """One bounded queue and one asker per shadowing version."""

    def __init__(self, fleet: Fleet, journal: Journal, logged_at: Callable[[datetime], datetime]) -> None:
        self.dropped: Counter[str] = Counter()  # reason -> rows
        self._fleet = fleet
        self._journal = journal
        self._logged_at = logged_at
        self._queues: dict[Worker, deque[_Copy]] = {}
        self._waiting: Counter[Worker] = Counter()  # rows in the queue
        self._tasks: dict[Worker, asyncio.Task[None]] = {}

    def offer(self, lane: Lane, columns: Columns, rows: list[Prediction]) -> None:
        """Take copies of rows just answered; returns at once. A version that failed on a row is not asked again."""
        by_shadow: dict[int, list[int]] = {}
        for i, row in enumerate(rows):
            shadow = lane.shadow_of(row.version)
            if shadow is not None and shadow != row.failed_version:
                by_shadow.setdefault(shadow, []).append(i)
        for version, at in by_shadow.items():
            self._queue(_copy(lane, version, pick(columns, at), [rows[i] for i in at]))

    async def finish(self, patience: float = 5.0) -> None:
        """Let what waits be scored, for a while."""
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=patience)
        for task in self._tasks.values():
            task.cancel()

    def _queue(self, copy: _Copy) -> None:
        queue = self._queues.setdefault(copy.worker, deque())
        while queue and self._waiting[copy.worker] + len(copy.rows) > MOST_WAITING:
            self.dropped["queue full"] += len(self._take(queue).rows)
        queue.append(copy)
        self._waiting[copy.worker] += len(copy.rows)
        if copy.worker not in self._tasks:
            self._tasks[copy.worker] = asyncio.create_task(self._work(copy.worker))

    async def _work(self, worker: Worker) -> None:
        """Score what waits, a few requests at a time, so that the worker can take them in one call."""
        queue = self._queues[worker]
        try:
            while queue:
                some = [self._take(queue) for _ in range(min(len(queue), TOGETHER))]
                await asyncio.gather(*(self._score(copy) for copy in some))
        finally:
            del self._queues[worker], self._tasks[worker], self._waiting[worker]

    def _take(self, queue: deque[_Copy]) -> _Copy:
        copy = queue.popleft()
        self._waiting[copy.worker] -= len(copy.rows)
        return copy

    async def _score(self, copy: _Copy) -> None:
        if not self._fleet.runs(copy.rows[0].model, copy.version, copy.worker):
            self.dropped["version gone"] += len(copy.rows)
            return
        began = time.perf_counter()
        status, failure, answer = Status.OK, None, None
        try:
            if copy.columns is None:
                raise WorkerError(copy.problem)
            answer = await copy.worker.predict(copy.columns, copy.timeout, priority=SHADOW)
        except WorkerError as error:
            failure = str(error)
            status = Status.TIMEOUT if failure.startswith("timeout") else Status.ERROR
        latency = (time.perf_counter() - began) * 1000.0
        try:
            self._journal.shadows(
                [
                    ShadowScore(
                        prediction_id=row.id,
                        model=row.model,
                        version=copy.version,
                        time=row.time,
                        logged_at=self._logged_at(row.time),
                        prediction=answer[0][i] if answer else None,
                        scores=tuple(answer[1][i]) if answer and answer[1] is not None else None,
                        rollout=row.rollout,
                        status=status,
                        failure=failure,
                        latency_ms=latency,
                    )
                    for i, row in enumerate(copy.rows)
                ]
            )
        except (StoreError, InputError) as error:
            log.warning("shadow rows of version %d were not logged: %s", copy.version, error)
            self.dropped["journal refused"] += len(copy.rows)


def _copy(lane: Lane, version: int, columns: Columns, rows: list[Prediction]) -> _Copy:
    worker, timeout = lane.shadows[version], lane.routes.timeout
    if version == lane.champion:
        timeout = max(timeout, CHAMPION_SECONDS)
    try:
        wanted = lane.columns(version, [row.features for row in rows], columns)
    except WorkerError as error:
        return _Copy(version, worker, None, str(error), rows, timeout)
    return _Copy(version, worker, wanted, "", rows, timeout)
