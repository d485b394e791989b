"""What the gateway does with a request, whatever the protocol: assign, ask, fall back, log, and only then answer."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from afterfit.errors import InputError, UnknownNameError, WorkerError
from afterfit.gateway.fleet import Fleet, Lane
from afterfit.gateway.requests import PredictRequest, outcome
from afterfit.gateway.shadows import Shadows
from afterfit.gateway.workers import Answer
from afterfit.ports import Journal
from afterfit.records import Prediction, Status, Value

PATIENCE = 20.0  # seconds a caller may wait for the restart of a champion's worker that was killed


class NobodyAnsweredError(WorkerError):
    """Neither the routed version nor the champion answered; the attempt is logged."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows of one request that go to one version."""

    version: int
    propensity: float
    at: list[int]  # positions in the request


class Service:
    """The protocol-free heart of the gateway."""

    def __init__(self, fleet: Fleet, journal: Journal, *, clock: Callable[[], datetime], request_clock: bool) -> None:
        self.fleet = fleet
        self.served: Counter[str] = Counter()
        self._journal = journal
        self._clock = clock
        self._request_clock = request_clock  # replays and demos: the time of the request is the time of the log
        self.shadows = Shadows(journal, self._logged_at)

    def now(self) -> datetime:
        """The machine's time in UTC."""
        return self._clock()

    def lane(self, model: str) -> Lane:
        """The lane of a model; raises UnknownNameError, listing the known ones."""
        if model not in self.fleet.lanes:
            raise UnknownNameError("model", model, sorted(self.fleet.lanes))
        return self.fleet.lanes[model]

    async def predict(self, model: str, request: PredictRequest) -> list[Prediction]:
        """Answers in the order of the rows, after they are in the journal.

        Raises:
            UnknownNameError, SignatureError, DuplicateError: nothing was logged.
            NobodyAnsweredError: the attempt was logged with status error.
        """
        lane = self.lane(model)
        columns = lane.signature.columns(request.rows)
        answers = await asyncio.gather(
            *(self._answer(lane, part, columns, request) for part in _parts(lane, request.keys))
        )
        rows = sorted((pair for answer in answers for pair in answer), key=lambda pair: pair[0])
        predictions = [prediction for _, prediction in rows]
        await self._journal.predictions(predictions)
        if any(p.status is Status.ERROR for p in predictions):
            raise NobodyAnsweredError(next(p.failure or "" for p in predictions if p.status is Status.ERROR))
        self.served[model] += len(predictions)
        self.shadows.offer(lane, columns, predictions)
        return predictions

    async def outcomes(self, model: str, items: object) -> list[dict[str, str]]:
        """One result an item: stored, duplicate, waiting (for its prediction), or rejected with an error."""
        lane = self.lane(model)
        if not isinstance(items, list) or not items:
            raise InputError('wanted {"outcomes": [{"prediction_id": ..., "value": ...}, ...]} with at least one item')
        now = self._clock()
        results: list[dict[str, str]] = [{} for _ in items]
        rows, places = [], []
        for i, item in enumerate(items):
            try:
                rows.append(outcome(model, item, lane.version, now))
                places.append(i)
            except InputError as error:
                results[i] = {"status": "rejected", "error": str(error)}
        said: Sequence[str] = await self._journal.outcomes(rows) if rows else []
        for i, status in zip(places, said, strict=True):
            results[i] = {"status": status}
        return results

    async def _answer(
        self, lane: Lane, part: _Part, columns: list[list[Value]], request: PredictRequest
    ) -> list[tuple[int, Prediction]]:
        began = time.perf_counter()
        mine = [[column[i] for i in part.at] for column in columns] if len(part.at) < len(request.rows) else columns
        version, status, failed, failure = part.version, Status.OK, None, None
        answer: Answer | None = None
        try:
            answer = await lane.workers[version].predict(mine, lane.routes.timeout)
        except WorkerError as error:
            failed, failure = version, str(error)
            status = Status.OK if version == lane.champion else Status.FALLBACK
            version = lane.champion
            answer, problem = await self._champion(lane, mine, retried=failed == version)
            if answer is None:
                status, failure = Status.ERROR, problem
        latency = (time.perf_counter() - began) * 1000.0
        blank = Prediction(
            id="",
            model=lane.routes.model,
            version=version,
            role=lane.role(version),
            time=request.times[0],
            logged_at=self._clock(),
            features={},
            prediction=None,
            propensity=part.propensity,
            rollout=lane.routes.rollout,
            routes=self.fleet.number,
            status=status,
            failed_version=failed,
            failure=failure,
            latency_ms=latency,
        )
        return [(i, _fill(blank, request, i, n, answer, self._logged_at)) for n, i in enumerate(part.at)]

    async def _champion(self, lane: Lane, columns: list[list[Value]], *, retried: bool) -> tuple[Answer | None, str]:
        """The champion's answer, waiting for its restart if it was killed; or None and why."""
        worker = lane.workers[lane.champion]
        deadline = time.monotonic() + max(PATIENCE, lane.routes.timeout)
        problem = worker.problem
        tries = 2 if retried else 3
        while tries and time.monotonic() < deadline:
            if not await worker.ready(deadline - time.monotonic()):
                return None, f"the champion does not answer: {worker.problem}"
            try:
                return await worker.predict(columns, lane.routes.timeout), ""
            except WorkerError as error:
                problem, tries = str(error), tries - 1
        return None, problem

    def _logged_at(self, about: datetime) -> datetime:
        return about if self._request_clock else self._clock()


def _parts(lane: Lane, keys: Sequence[str]) -> list[_Part]:
    parts: dict[int, _Part] = {}
    for i, key in enumerate(keys):
        version, propensity = lane.assign(key)
        parts.setdefault(version, _Part(version, propensity, [])).at.append(i)
    return list(parts.values())


def _fill(
    blank: Prediction, request: PredictRequest, i: int, n: int, answer: Answer | None, logged_at: Any
) -> Prediction:
    prediction: Value = None
    scores: tuple[float, ...] | None = None
    if answer is not None:
        prediction = answer[0][n]
        scores = tuple(answer[1][n]) if answer[1] is not None else None
    return replace(
        blank,
        id=request.ids[i],
        key=request.keys[i],
        time=request.times[i],
        logged_at=logged_at(request.times[i]),
        features=request.rows[i],
        prediction=prediction,
        scores=scores,
    )
