"""The versions a gateway runs: takes over a routes snapshot by loading aside, probing, and switching at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from afterfit.adapters.model_folder import read_version
from afterfit.errors import StoreError, WorkerError
from afterfit.gateway.signature import Columns, Signature, SignatureError
from afterfit.gateway.workers import Worker
from afterfit.records import Feature, ModelRoutes, ModelVersion, Role, Routes, Target, Value
from afterfit.rollout.assignment import choose

log = logging.getLogger("afterfit.gateway")
CHAMPION_SECONDS = 5.0  # least time for the champion, whatever the timeout: nobody is left who could answer instead
GRACE = 5.0  # seconds, beyond the timeout, for which requests that began before a switch may need what is gone
Place = tuple[str, int, str, str]  # model, version, folder, hash: other files are another worker


@dataclass(frozen=True)
class Lane:
    """One model as this gateway serves it now: routes, signatures, workers. Replaced whole, never changed."""

    number: int  # of the routes it comes from
    routes: ModelRoutes
    version: ModelVersion  # of the champion
    signature: Signature  # of the champion; lets pass what other versions want
    others: Mapping[int, Signature]  # of versions that want something else than the champion
    workers: Mapping[int, Worker]

    @property
    def champion(self) -> int:
        """The version that answers when another one can't."""
        return self.version.version

    def assign(self, key: str) -> tuple[int, float]:
        """(version, its probability) for a key."""
        return choose(self._weights, self.routes.rollout, key)

    @property
    def _weights(self) -> list[tuple[int, float]]:
        served = [t for t in self.routes.targets if t.weight > 0]
        return [(t.version, t.weight) for t in sorted(served, key=lambda t: t.role is not Role.CHAMPION)]

    def columns(self, version: int, rows: Sequence[Mapping[str, Value]], checked: Columns) -> Columns:
        """What a version wants of rows that fit the champion, whose columns are `checked`.

        Raises:
            WorkerError: the version wants something that the rows do not have.
        """
        if version not in self.others:
            return checked
        try:
            return self.others[version].columns(rows)
        except SignatureError as error:
            raise WorkerError(f"version {version} wants other rows than the champion: {error}") from error

    def shadow_of(self, version: int) -> int | None:
        """Who scores a copy of a row that `version` answered: under a rollout each side shadows the other."""
        candidate = next((t for t in self.routes.targets if t.role in (Role.SHADOW, Role.CANARY)), None)
        if candidate is None:
            return None
        return self.champion if version == candidate.version else candidate.version

    def role(self, version: int) -> Role:
        """The part that a version plays."""
        return next(t.role for t in self.routes.targets if t.version == version)


class Fleet:
    """All lanes and all worker processes of one gateway."""

    def __init__(self, log_folder: Path) -> None:
        self._log_folder = log_folder
        self._workers: dict[Place, Worker] = {}
        self._leaving: dict[Place, asyncio.Task[None]] = {}
        self._seen_deaths: dict[str, int] = {}
        self.lanes: dict[str, Lane] = {}
        self.number = 0  # of the routes that are in force whole
        self.refused: dict[str, str] = {}  # "model/version" of champions that could not be loaded -> why

    async def apply(self, routes: Routes, last_good: Routes | None = None) -> bool:
        """Load what is new, switch model by model, let go what is gone.

        A model whose new champion can't be loaded stays on its old routes; where it has none, on those in `last_good`.
        May be cancelled at any moment, for a newer snapshot: each model is then on its old or on its new routes.

        Returns:
            Whether every champion of the snapshot answers, so that its number may be acknowledged.
        """
        self._start(routes.models)
        for name in self.lanes.keys() - routes.models.keys():
            del self.lanes[name]
        old = last_good.models if last_good is not None else {}
        told = await asyncio.gather(*(self._switch(m, routes.number, old.get(n)) for n, m in routes.models.items()))
        self.refused = dict(problem for problem in told if problem is not None)
        await self._settle(routes.models.values(), {Role.STANDBY})
        if not self.refused:
            self.number = routes.number
        self._let_go(GRACE + max((m.timeout for m in routes.models.values()), default=0.0))
        return not self.refused

    def problems(self) -> dict[str, str]:
        """Why nobody should count on a version, by "model/version"."""
        routed = {(name, v): w for name, lane in self.lanes.items() for v, w in lane.workers.items()}
        found = {f"{name}/{v}": worker.complaint for (name, v), worker in routed.items()}
        return {place: complaint for place, complaint in found.items() if complaint} | self.refused

    def runs(self, model: str, version: int, worker: Worker) -> bool:
        """Whether this worker still has a part in the routes."""
        return model in self.lanes and self.lanes[model].workers.get(version) is worker

    def restarts(self) -> dict[str, int]:
        """Deaths of worker processes since start, by "model/version", also of versions that are gone."""
        for worker in self._workers.values():
            if worker.deaths:
                self._seen_deaths[worker.name] = worker.deaths
        return dict(self._seen_deaths)

    def champions_answer(self) -> bool:
        """Whether every routed champion answers right now."""
        return not self.refused and all(not lane.workers[lane.champion].problem for lane in self.lanes.values())

    async def stop(self) -> None:
        """End all worker processes."""
        for task in self._leaving.values():
            task.cancel()
        await asyncio.gather(*self._leaving.values(), return_exceptions=True)
        await asyncio.gather(*(worker.stop() for worker in self._workers.values()))
        self._workers.clear()

    def _start(self, models: Mapping[str, ModelRoutes]) -> None:
        """A worker for each target that has none; one that was about to leave stays."""
        for name, model in models.items():
            for target in model.targets:
                place = _place(name, target)
                leaving = self._leaving.pop(place, None)
                if leaving is not None:
                    leaving.cancel()
                if place not in self._workers:
                    log_file = self._log_folder / f"worker-{name}-{target.version}.log"
                    self._workers[place] = Worker(f"{name}/{target.version}", target, log_file)

    async def _switch(self, model: ModelRoutes, number: int, spare: ModelRoutes | None) -> tuple[str, str] | None:
        """Put one model on its new routes once its versions have answered; else tell which champion can't, and why."""
        await self._settle([model], set(Role) - {Role.STANDBY})
        try:
            self.lanes[model.model] = self._lane(
                model, number
            )  # the switch: requests under way keep the lane they have
        except (WorkerError, StoreError) as error:
            if model.model not in self.lanes and spare is not None and spare != model:
                self._start({model.model: spare})
                await self._switch(spare, self.number, None)
            return f"{model.model}/{_champion(model).version}", str(error)
        return None

    async def _settle(self, models: Iterable[ModelRoutes], roles: set[Role]) -> None:
        places = [_place(m.model, t) for m in models for t in m.targets if t.role in roles]
        await asyncio.gather(*(self._workers[place].settled() for place in places))

    def _let_go(self, after: float) -> None:
        kept = {_place(name, target) for name, lane in self.lanes.items() for target in lane.routes.targets}
        for place in self._workers.keys() - kept - self._leaving.keys():
            self._leaving[place] = asyncio.create_task(self._leave(place, after))

    async def _leave(self, place: Place, after: float) -> None:
        worker = self._workers[place]
        await asyncio.sleep(after)
        while worker.busy:
            await asyncio.sleep(0.05)
        self.restarts()
        del self._workers[place], self._leaving[place]
        await worker.stop()

    def _lane(self, model: ModelRoutes, number: int) -> Lane:
        champion = _champion(model)
        worker = self._workers[_place(model.model, champion)]
        now = self.lanes.get(model.model)
        stays = now is not None and now.workers[now.champion] is worker
        restarts = self.runs(model.model, champion.version, worker) and not worker.complaint
        if worker.problem and not (stays or restarts):  # one that answered before may be routed while it is restarted
            raise WorkerError(worker.problem)
        version = read_version(champion.folder)
        wanted = {t.version: _features(t) for t in model.targets}
        also = {f.name for features in wanted.values() for f in features}
        signature = Signature(version.features, also)
        others = {v: Signature(features, signature.names) for v, features in wanted.items()}
        return Lane(
            number=number,
            routes=model,
            version=version,
            signature=signature,
            others={v: s for v, s in others.items() if not s.accepts_all_of(signature)},
            workers={t.version: self._workers[_place(model.model, t)] for t in model.targets},
        )


def _place(model: str, target: Target) -> Place:
    return model, target.version, target.folder, target.sha256


def _features(target: Target) -> tuple[Feature, ...]:
    try:
        return read_version(target.folder).features
    except StoreError:
        return ()  # its worker says what is wrong; here it wants nothing


def _champion(model: ModelRoutes) -> Target:
    return next(t for t in model.targets if t.role is Role.CHAMPION)
