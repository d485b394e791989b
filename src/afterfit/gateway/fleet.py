"""The versions a gateway runs: takes over a routes snapshot by loading aside, probing, and switching at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from afterfit.adapters.model_folder import read_version
from afterfit.errors import AfterfitError
from afterfit.gateway.signature import Signature
from afterfit.gateway.workers import Worker
from afterfit.records import ModelRoutes, ModelVersion, Role, Routes, Target
from afterfit.rollout.assignment import choose

log = logging.getLogger("afterfit.gateway")
Place = tuple[str, int]  # (model, version)


@dataclass(frozen=True)
class Lane:
    """One model as this gateway serves it now: routes, signature, workers. Replaced whole, never changed."""

    routes: ModelRoutes
    version: ModelVersion  # of the champion
    signature: Signature
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
        self._seen_deaths: dict[str, int] = {}
        self.lanes: dict[str, Lane] = {}
        self.number = 0  # of the routes in force
        self.refused: dict[str, str] = {}  # champions that could not be loaded

    async def apply(self, routes: Routes) -> bool:
        """Load what is new, switch, drain what is gone. True when every champion answers, so the number may be
        acknowledged; a model whose new champion can't be loaded stays on its old routes."""
        wanted = {(name, t.version): t for name, model in routes.models.items() for t in model.targets}
        for place, target in wanted.items():
            if place not in self._workers:
                self._workers[place] = self._start(place, target)
        await asyncio.gather(*(self._workers[place].settled() for place in wanted))
        lanes: dict[str, Lane] = {}
        self.refused = {}
        for name, model in routes.models.items():
            try:
                lanes[name] = self._lane(model)
            except AfterfitError as error:
                self.refused[f"{name}/{_champion(model).version}"] = str(error)
                if name in self.lanes:
                    lanes[name] = self.lanes[name]
        self.lanes = lanes  # the switch: requests that began before keep the lane they have
        if not self.refused:
            self.number = routes.number
        keep = {(name, t.version) for name, lane in lanes.items() for t in lane.routes.targets}
        await self._drain({place for place in self._workers if place not in keep})
        return not self.refused

    def problems(self) -> dict[str, str]:
        """Why a version does not answer, by "model/version"."""
        found = {f"{m}/{v}": w.problem for (m, v), w in self._workers.items() if w.problem}
        return {**found, **self.refused}

    def restarts(self) -> dict[str, int]:
        """Deaths of worker processes since start, by "model/version", also of versions that are gone."""
        for (model, version), worker in self._workers.items():
            if worker.deaths:
                self._seen_deaths[f"{model}/{version}"] = worker.deaths
        return dict(self._seen_deaths)

    def champions_answer(self) -> bool:
        """Whether every routed champion answers right now."""
        return all(not lane.workers[lane.champion].problem for lane in self.lanes.values())

    async def stop(self) -> None:
        """End all worker processes."""
        await asyncio.gather(*(worker.stop() for worker in self._workers.values()))
        self._workers.clear()

    def _start(self, place: Place, target: Target) -> Worker:
        name, version = place
        return Worker(f"{name}/{version}", target.folder, self._log_folder / f"worker-{name}-{version}.log")

    def _lane(self, model: ModelRoutes) -> Lane:
        champion = _champion(model)
        worker = self._workers[(model.model, champion.version)]
        serves = model.model in self.lanes and self.lanes[model.model].workers.get(champion.version) is worker
        if worker.problem and not serves:  # a champion that answered before and is being restarted stays routed
            raise AfterfitError(worker.problem)
        version = read_version(champion.folder)
        workers = {t.version: self._workers[(model.model, t.version)] for t in model.targets}
        return Lane(model, version, Signature(version.features), workers)

    async def _drain(self, places: set[Place]) -> None:
        gone = [self._workers.pop(place) for place in places]
        self.restarts()
        await asyncio.gather(*(worker.finish() for worker in gone))


def _champion(model: ModelRoutes) -> Target:
    return next(t for t in model.targets if t.role is Role.CHAMPION)
