"""What the gateway does with a request, whatever the protocol: assign, ask, fall back, log, and only then answer."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from typing import Any

import uuid_utils

from afterfit.adapters.redaction import without_row
from afterfit.errors import InputError, StoreError, UnknownNameError, WorkerError
from afterfit.feedback.told import outcome
from afterfit.gateway.fleet import Fleet, Lane
from afterfit.gateway.ladder import Reply, Rows, any_degraded, descend, time_for
from afterfit.gateway.limits import Limits
from afterfit.gateway.requests import PredictRequest
from afterfit.gateway.shadows import Shadows
from afterfit.gateway.signature import Columns
from afterfit.gateway.tally import Tally
from afterfit.ports import Journal
from afterfit.records import Family, Prediction, Predictions, Role, Status

log = logging.getLogger("afterfit.gateway")
_NOT_YET = "A registered model is known here once a version passed its gate; `afterfit status` says how far each one is"
_TICK = 1e-9  # seconds; below it latencies differ by chance, for evidence counts requests by their latencies
TELL_EVERY = 10.0  # seconds between two lines in the log about answers that could not be logged


class NobodyAnsweredError(WorkerError):
    """No version answered, and no fallback is configured; the attempt is logged."""


@dataclass(slots=True)
class Part:
    """Rows of one request that go to one version."""

    version: int
    propensity: float
    at: Sequence[int]  # positions in the request


class Service:
    """The protocol-free heart of the gateway."""

    def __init__(
        self,
        fleet: Fleet,
        journal: Journal,
        *,
        clock: Callable[[], datetime],
        request_clock: bool,
        limits: Limits = Limits(),  # noqa: B008  frozen
    ) -> None:
        self.fleet = fleet
        self.limits = limits
        self.tally = Tally(fleet.models)
        self.more_metrics: Callable[[], Sequence[Family]] = tuple  # for the page, of what this object does not know
        self.served: Counter[str] = Counter()
        self.degraded: Counter[str] = Counter()  # "model/role that answered instead, or nobody" -> rows
        self._journal = journal
        self._clock = clock
        self.unlogged: Counter[str] = Counter()  # model -> rows that were answered and are not in the log
        self.log_problem = ""  # what was lost, and why
        self._tell_at = 0.0
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
            raise UnknownNameError("model", model, sorted(self.fleet.lanes), why=_NOT_YET)
        return lane

    async def predict(self, lane: Lane, request: PredictRequest) -> Sequence[Prediction]:
        """Answers in the order of the rows, after they are in the journal.

        Raises:
            DuplicateError: an id was acknowledged before; nothing was logged.
            NobodyAnsweredError: the attempt was logged with status error.
        """
        parts = _parts(lane, request.keys)
        if len(parts) == 1:
            predictions = await self._answer(lane, parts[0], request)
        else:
            answers = await asyncio.gather(*(self._answer(lane, part, request.only(part.at)) for part in parts))
            at = [i for part in parts for i in part.at]
            by_row = dict(zip(at, chain.from_iterable(answers), strict=True))
            predictions = [by_row[i] for i in range(len(at))]
        model = lane.routes.model
        if any_degraded(predictions):
            await self._tell(lane, predictions)
        try:
            await self._commit(predictions)
        except StoreError as error:
            self._lose(predictions, error)
            predictions = [replace(p, status=Status.UNLOGGED) for p in predictions]
            self.tally.answered(lane, predictions, alike=len(parts) == 1)
            return predictions
        self.served[model] += len(predictions)
        self.tally.answered(lane, predictions, alike=len(parts) == 1)
        self.shadows.offer(lane, predictions)
        return predictions

    async def outcomes(self, model: str, items: object) -> list[dict[str, str]]:
        """One result an item: stored, duplicate, waiting (for its prediction), or rejected with an error."""
        lane = self.lane(model)
        if not isinstance(items, list) or not items:
            raise InputError('wanted {"outcomes": [{"prediction_id": ..., "value": ...}, ...]} with at least one item')
        if len(items) > self.limits.rows:
            raise InputError(f'"outcomes" has {len(items)} items; wanted at most {self.limits.rows} a request')
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
        self.tally.outcomes.update((model, result["status"]) for result in results)
        return results

    async def _commit(self, predictions: Sequence[Prediction]) -> None:
        await self._journal.predictions(predictions)

    async def _tell(self, lane: Lane, predictions: Sequence[Prediction]) -> None:
        """Count answers that are not the routed version's own; where nobody answered, log that and say so."""
        model = lane.routes.model
        failed = [replace(p, id=str(uuid_utils.uuid7())) for p in predictions if p.status is Status.ERROR]
        if not failed:
            self.degraded.update(f"{model}/{p.role.value}" for p in predictions if p.status is not Status.OK)
            return
        self.degraded[f"{model}/nobody"] += len(failed)
        self.tally.answered(lane, failed, alike=True)
        try:  # under ids of their own: the caller may send the same ids again
            await self._commit(failed)
        except StoreError as error:
            self._lose(failed, error)
        failure = failed[0].failure or ""
        told = without_row(failure)
        if told != failure:  # the model said something itself, so it is there
            told += " (the row may be to blame: `failure` of the logged prediction says more)"
        raise NobodyAnsweredError(f"version {lane.champion} of {model} could not answer: {told}")

    def _lose(self, rows: Sequence[Prediction], why: StoreError) -> None:
        """Callers are answered although the log takes nothing: that is counted, and told."""
        self._journal.lost(rows)
        model, now = rows[0].model, time.monotonic()
        self.unlogged[model] += len(rows)
        self.log_problem = (
            f"{self.unlogged.total()} answers are not in the log, the newest of {self.now():%F %T}: {why}"
        )
        if now >= self._tell_at:
            self._tell_at = now + TELL_EVERY
            log.error("%s", self.log_problem)

    async def _answer(self, lane: Lane, part: Part, request: PredictRequest) -> Sequence[Prediction]:
        """The rows of a part, which are those of the request, as they will be logged."""
        began = time.perf_counter()
        n_rows = len(request.rows)
        reply = _at_once(lane, part, request.columns)
        if reply is None:
            until = time.monotonic() + time_for(lane, n_rows)
            reply = await descend(lane, part.version, Rows(request.rows, request.columns, request.keys, until))
        if lane.fallback.last is not None and reply.answer is not None and reply.role is not Role.FALLBACK:
            lane.fallback.last.remember(request.keys, reply.answer)
        latency = (time.perf_counter() - began + random.random() * _TICK) * 1000.0
        predictions, scores = reply.answer or ([None] * n_rows, None)
        first = Prediction(
            id=request.ids[0],
            model=lane.routes.model,
            version=reply.version,
            role=reply.role,
            time=request.times[0],
            logged_at=self._logged_at(request.times[0]),
            features=request.rows[0],
            prediction=predictions[0],
            scores=None if scores is None else tuple(scores[0]),
            key=request.keys[0],
            propensity=part.propensity,
            rollout=lane.routes.rollout,
            routes=lane.number,
            status=reply.status,
            failed_version=reply.failed,
            failure=reply.failure,
            latency_ms=latency,
        )
        return [first] if n_rows == 1 else self._rows(first, request, predictions, scores)

    def _rows(self, first: Prediction, request: PredictRequest, predictions: Any, scores: Any) -> Predictions:
        """All rows of a request with many; what they share is in the first one."""
        own: dict[str, Sequence[Any]] = {"id": request.ids, "key": request.keys, "time": request.times}
        own |= {"features": request.rows, "prediction": predictions}
        if scores is not None:
            own["scores"] = list(map(tuple, scores))
        if self._request_clock:
            own["logged_at"] = request.times
        return Predictions(first, own)

    def _logged_at(self, about: datetime) -> datetime:
        return about if self._request_clock else self._clock()


def _at_once(lane: Lane, part: Part, columns: Columns) -> Reply | None:
    """The champion's answer where it has one in this process; None sends the rows down the ladder."""
    if part.version != lane.champion:
        return None
    try:
        answer = lane.workers[part.version].now(columns, len(part.at))
    except WorkerError:
        return None
    return None if answer is None else Reply(part.version, Role.CHAMPION, answer=answer)


def _parts(lane: Lane, keys: Sequence[str]) -> list[Part]:
    if len(lane.weights) == 1:
        return [Part(*lane.weights[0], range(len(keys)))]
    at: dict[tuple[int, float], list[int]] = {}
    for i, key in enumerate(keys):
        at.setdefault(lane.assign(key), []).append(i)
    return [Part(version, propensity, rows) for (version, propensity), rows in at.items()]
