"""What the gateway does with a request, whatever the protocol: assign, ask, fall back, log, and only then answer."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from typing import Any

import uuid_utils

from afterfit.errors import InputError, UnknownNameError, WorkerError
from afterfit.gateway.fleet import CHAMPION_SECONDS, Fleet, Lane, Runner
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


@dataclass(slots=True)
class _Part:
    """Rows of one request that go to one version."""

    version: int
    propensity: float
    at: Sequence[int]  # positions in the request


@dataclass(slots=True)
class _Reply:
    """Who answered one part; `failed` and `failure` tell of the version that should have, or of the first try."""

    version: int
    status: Status = Status.OK
    answer: Answer | None = None
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

    async def predict(self, lane: Lane, request: PredictRequest) -> list[Prediction]:
        """Answers in the order of the rows, after they are in the journal.

        Raises:
            DuplicateError: an id was acknowledged before; nothing was logged.
            NobodyAnsweredError: the attempt was logged with status error.
        """
        parts = _parts(lane, request.keys)
        if len(parts) == 1:
            predictions = await self._answer(lane, parts[0], request)
        else:
            answers = await asyncio.gather(*(self._answer(lane, part, request) for part in parts))
            at = [i for part in parts for i in part.at]
            by_row = dict(zip(at, chain.from_iterable(answers), strict=True))
            predictions = [by_row[i] for i in range(len(at))]
        failed = [replace(p, id=str(uuid_utils.uuid7())) for p in predictions if p.status is Status.ERROR]
        await self._journal.predictions(failed or predictions)
        model = lane.routes.model
        if failed:  # logged under ids of their own: the caller may send the same ids again
            raise NobodyAnsweredError(f"version {lane.champion} of {model} could not answer: {failed[0].failure}")
        self.served[model] += len(predictions)
        self.shadows.offer(lane, request.columns, predictions)
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

    async def _answer(self, lane: Lane, part: _Part, request: PredictRequest) -> list[Prediction]:
        """The rows of a part as they will be logged, in its order."""
        began = time.perf_counter()
        n_rows, columns = len(part.at), request.columns
        if n_rows < len(request.rows):
            columns = pick(columns, part.at)
        reply = _Reply(part.version)
        if part.version != lane.champion:
            await _candidate(lane, part, columns, request.rows, reply)
        if reply.answer is None:
            await _champion(lane, columns, n_rows, reply)
        latency = (time.perf_counter() - began) * 1000.0
        predictions, scores = reply.answer or ([None] * n_rows, None)
        now, role = self._clock(), lane.role(reply.version)
        return [
            Prediction(
                id=request.ids[i],
                model=lane.routes.model,
                version=reply.version,
                role=role,
                time=request.times[i],
                logged_at=request.times[i] if self._request_clock else now,
                features=request.rows[i],
                prediction=predictions[n],
                scores=None if scores is None else tuple(scores[n]),
                key=request.keys[i],
                propensity=part.propensity,
                rollout=lane.routes.rollout,
                routes=lane.number,
                status=reply.status,
                failed_version=reply.failed,
                failure=reply.failure,
                latency_ms=latency,
            )
            for n, i in enumerate(part.at)
        ]

    def _logged_at(self, about: datetime) -> datetime:
        return about if self._request_clock else self._clock()


async def _ask(worker: Runner, columns: Columns, n_rows: int, timeout: float, **how: Any) -> Answer:
    """The answer of a version; one that answers at once, in this process, costs no switch of tasks."""
    answer = worker.now(columns, n_rows)
    return answer if answer is not None else await worker.predict(columns, timeout, **how)


async def _candidate(
    lane: Lane, part: _Part, columns: Columns, rows: Sequence[Mapping[str, Value]], reply: _Reply
) -> None:
    """Ask the version that is not the champion; where it fails, say so, for the champion must answer."""
    try:
        wanted = lane.columns(part.version, [rows[i] for i in part.at], columns)
        reply.answer = await _ask(lane.workers[part.version], wanted, len(part.at), lane.routes.timeout)
    except WorkerError as error:
        reply.version, reply.status = lane.champion, Status.FALLBACK
        reply.failed, reply.failure = part.version, str(error)


async def _champion(lane: Lane, columns: Columns, n_rows: int, reply: _Reply) -> None:
    """Ask the champion, waiting for its restart if it was killed; or say why there is no answer."""
    worker, timeout = lane.workers[lane.champion], max(lane.routes.timeout, CHAMPION_SECONDS)
    deadline = time.monotonic() + PATIENCE + timeout
    problem = ""
    for number in range(CHAMPION_TRIES):
        left = deadline - time.monotonic()
        try:
            reply.answer = await _ask(worker, columns, n_rows, timeout, patience=left, alone=number > 0)
            return
        except WorkerError as error:
            problem = str(error)
            if reply.failed is None:
                reply.failed, reply.failure = lane.champion, problem
            if not isinstance(error, CrashError):
                break
    reply.status, reply.failure = Status.ERROR, problem


def _parts(lane: Lane, keys: Sequence[str]) -> list[_Part]:
    if len(lane.weights) == 1:
        return [_Part(*lane.weights[0], range(len(keys)))]
    at: dict[tuple[int, float], list[int]] = {}
    for i, key in enumerate(keys):
        at.setdefault(lane.assign(key), []).append(i)
    return [_Part(version, propensity, rows) for (version, propensity), rows in at.items()]
