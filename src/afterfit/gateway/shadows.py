"""Copies of served rows for the other version: nobody waits for them, and what is dropped is counted by reason."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from afterfit.errors import StoreError, WorkerError
from afterfit.gateway.fleet import Lane
from afterfit.gateway.workers import SHADOW, Worker
from afterfit.ports import Journal
from afterfit.records import Prediction, ShadowScore, Status, Value

MOST_BATCHES = 500  # requests that may wait for their shadow, per version; the oldest goes first


@dataclass(frozen=True, slots=True)
class _Copy:
    version: int
    worker: Worker
    columns: list[list[Value]]
    rows: list[Prediction]
    timeout: float


class Shadows:
    """One bounded queue and one asker per shadowing version."""

    def __init__(self, journal: Journal, logged_at: Callable[[datetime], datetime]) -> None:
        self.dropped: Counter[str] = Counter()
        self._journal = journal
        self._logged_at = logged_at
        self._queues: dict[Worker, deque[_Copy]] = {}
        self._tasks: dict[Worker, asyncio.Task[None]] = {}

    def offer(self, lane: Lane, columns: list[list[Value]], rows: list[Prediction]) -> None:
        """Take copies of rows just answered; returns at once."""
        by_shadow: dict[int, list[int]] = {}
        for i, row in enumerate(rows):
            shadow = lane.shadow_of(row.version)
            if shadow is not None:
                by_shadow.setdefault(shadow, []).append(i)
        for version, at in by_shadow.items():
            mine = [[column[i] for i in at] for column in columns] if len(at) < len(rows) else columns
            copy = _Copy(version, lane.workers[version], mine, [rows[i] for i in at], lane.routes.timeout)
            queue = self._queues.setdefault(copy.worker, deque())
            if len(queue) >= MOST_BATCHES:
                self.dropped["queue full"] += len(queue.popleft().rows)
            queue.append(copy)
            task = self._tasks.get(copy.worker)
            if task is None or task.done():
                self._tasks[copy.worker] = asyncio.create_task(self._work(copy.worker))

    async def finish(self, patience: float = 5.0) -> None:
        """Let what waits be scored, for a while."""
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=patience)
        for task in self._tasks.values():
            task.cancel()

    async def _work(self, worker: Worker) -> None:
        queue = self._queues[worker]
        while queue:
            await self._score(queue.popleft())
        del self._queues[worker]

    async def _score(self, copy: _Copy) -> None:
        began = time.perf_counter()
        status, failure, answer = Status.OK, None, None
        try:
            answer = await copy.worker.predict(copy.columns, copy.timeout, priority=SHADOW)
        except WorkerError as error:
            failure = str(error)
            status = Status.TIMEOUT if failure.startswith("timeout") else Status.ERROR
        latency = (time.perf_counter() - began) * 1000.0
        scored = [
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
        try:
            self._journal.shadows(scored)
        except StoreError:
            self.dropped["journal refused"] += len(scored)
