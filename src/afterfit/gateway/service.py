"""What the gateway does with a request, whatever the protocol: assign, ask, fall back, log, and only then answer."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import uuid_utils

from afterfit.errors import InputError, UnknownNameError, WorkerError
from afterfit.gateway.fleet import CHAMPION_SECONDS, Fleet, Lane
from afterfit.gateway.requests import MOST_ROWS, PredictRequest, outcome
from afterfit.gateway.shadows import Shadows
from afterfit.gateway.signature import Columns, pick
from afterfit.gateway.workers import Answer, CrashError
from afterfit.ports import Journal
from afterfit.records import Prediction, Status, Value

PATIENCE = 20.0  # seconds a caller may wait for the restart of a champion's worker that was killed
CHAMPION_TRIES = 3  # deaths under the same rows, then the rows are to blame


class NobodyAnsweredError(WorkerError):
    """Neither the routed version nor the champion answered; the attempt is logged."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows of one request that go to one version."""

    version: int
    propensity: float
    at: list[int]  # positions in the request


@dataclass(frozen=True, slots=True)
class _Reply:
    """Who answered one part; `failed` and `failure` tell of the version that should have, or of the first try."""

    version: int
    status: Status
    answer: Answer | None
    failed: int | None = None
    failure: str | None = None


class Service:
    """The protocol-free heart of the gateway."""

    def __init__(self, fleet: Fleet, journal: Journal, *, clock: Callable[[], datetime], request_clock: bool) -> None:
        self.fleet = fleet
        self.served: Counter[str] = Counter()
        self._journal = journal
        self._clock = clock
        self._request_clock = request_clock  # replays and demos: the time of the request is the time of the log
        self.shadows = Shadows(fleet, journal, self._logged_at)

    def now(self) -> datetime:
        """The machine's time in UTC."""
        return self._clock()

    def lane(self, model: str) -> Lane:
        """The lane of a model.

        Raises:
            UnknownNameError: it is not routed; lists the known ones.
            WorkerError: it is routed, but its champion could not be loaded.
        """
        lane = self.fleet.lanes.get(model)
        if lane is None:
            for place, problem in self.fleet.refused.items():
                if place.rpartition("/")[0] == model:
                    raise WorkerError(f"the champion of {model}, {place}, can't be loaded: {problem}")
            raise UnknownNameError("model", model, sorted(self.fleet.lanes))
        return lane

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
        failed = [replace(p, id=str(uuid_utils.uuid7())) for p in predictions if p.status is Status.ERROR]
        await self._journal.predictions(failed or predictions)
        if failed:  # logged under ids of their own: the caller may send the same ids again
            raise NobodyAnsweredError(f"version {lane.champion} of {model} could not answer: {failed[0].failure}")
        self.served[model] += len(predictions)
        self.shadows.offer(lane, columns, predictions)
        return predictions

    async def outcomes(self, model: str, items: object) -> list[dict[str, str]]:
        """One result an item: stored, duplicate, waiting (for its prediction), or rejected with an error."""
        lane = self.lane(model)
        if not isinstance(items, list) or not items:
            raise InputError('wanted {"outcomes": [{"prediction_id": ..., "value": ...}, ...]} with at least one item')
        if len(items) > MOST_ROWS:
            raise InputError(f'"outcomes" has {len(items)} items; wanted at most {MOST_ROWS} a request')
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
        self, lane: Lane, part: _Part, columns: Columns, request: PredictRequest
    ) -> list[tuple[int, Prediction]]:
        began = time.perf_counter()
        mine = pick(columns, part.at) if len(part.at) < len(request.rows) else columns
        reply = await _candidate(lane, part, mine, request.rows)
        if reply.answer is None:
            reply = await _champion(lane, mine, reply)
        latency = (time.perf_counter() - began) * 1000.0
        blank = Prediction(
            id="",
            model=lane.routes.model,
            version=reply.version,
            role=lane.role(reply.version),
            time=request.times[0],
            logged_at=self._clock(),
            features={},
            prediction=None,
            propensity=part.propensity,
            rollout=lane.routes.rollout,
            routes=lane.number,
            status=reply.status,
            failed_version=reply.failed,
            failure=reply.failure,
            latency_ms=latency,
        )
        return [(i, _fill(blank, request, i, n, reply.answer, self._logged_at)) for n, i in enumerate(part.at)]

    def _logged_at(self, about: datetime) -> datetime:
        return about if self._request_clock else self._clock()


async def _candidate(lane: Lane, part: _Part, columns: Columns, rows: Sequence[Mapping[str, Value]]) -> _Reply:
    """The answer of a version that is not the champion; without one, why the champion must answer."""
    if part.version == lane.champion:
        return _Reply(lane.champion, Status.OK, None)
    try:
        wanted = lane.columns(part.version, [rows[i] for i in part.at], columns)
        answer = await lane.workers[part.version].predict(wanted, lane.routes.timeout)
    except WorkerError as error:
        return _Reply(lane.champion, Status.FALLBACK, None, part.version, str(error))
    return _Reply(part.version, Status.OK, answer)


async def _champion(lane: Lane, columns: Columns, so_far: _Reply) -> _Reply:
    """The champion's answer, waiting for its restart if it was killed; or why there is none."""
    worker, timeout = lane.workers[lane.champion], max(lane.routes.timeout, CHAMPION_SECONDS)
    deadline = time.monotonic() + PATIENCE + timeout
    problem = ""
    for number in range(CHAMPION_TRIES):
        left = deadline - time.monotonic()
        try:
            return replace(so_far, answer=await worker.predict(columns, timeout, patience=left, alone=number > 0))
        except WorkerError as error:
            problem = str(error)
            if so_far.failed is None:
                so_far = replace(so_far, failed=lane.champion, failure=problem)
            if not isinstance(error, CrashError):
                break
    return replace(so_far, status=Status.ERROR, failure=problem)


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
