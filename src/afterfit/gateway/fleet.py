"""The versions a gateway runs: takes over a routes snapshot by loading aside, probing, and switching at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from afterfit.adapters.lane import PYTHON, read_lane
from afterfit.adapters.model_folder import read_version
from afterfit.adapters.routes_board import NO_ROUTES
from afterfit.errors import StoreError, WorkerError
from afterfit.gateway.fallback import Fallback, LastAnswers
from afterfit.gateway.local import Local, has_graph
from afterfit.gateway.memory import most
from afterfit.gateway.signature import Columns, Signature, SignatureError
from afterfit.gateway.workers import Worker
from afterfit.records import Feature, ModelRoutes, ModelVersion, Role, Routes, Target, Value
from afterfit.rollout.assignment import choose

log = logging.getLogger("afterfit.gateway")
PART = (
    0.25  # of the deadline that one call of the champion may take, whatever the timeout: few are left to ask after it
)
GRACE = 5.0  # seconds, beyond the timeout, for which requests that began before a switch may need what is gone
Runner = Worker | Local
HERE, OWN, COPIES = "this process", "a process", "a process to which others go first"
# model, version, folder, hash, and one of the three above: other files are another runner
Place = tuple[str, int, str, str, str]


@dataclass(frozen=True)
class Lane:
    """One model as this gateway serves it now: routes, signatures, workers. Replaced whole, never changed."""

    number: int  # of the routes it comes from
    routes: ModelRoutes
    version: ModelVersion  # of the champion
    signature: Signature  # of the champion; lets pass what other versions want
    others: Mapping[int, Signature]  # of versions that want something else than the champion
    workers: Mapping[int, Runner]  # who answers callers
    kinds: Mapping[int, tuple[str, str]]  # onnx, numpy or python, and why not a faster one
    shadows: Mapping[int, Worker]  # who scores copies; never in this process
    fallback: Fallback  # the answer when no version has one

    @property
    def champion(self) -> int:
        """The version that answers when another one can't."""
        return self.version.version

    def assign(self, key: str) -> tuple[int, float]:
        """(version, its probability) for a key."""
        return choose(self.weights, self.routes.rollout, key)

    @cached_property
    def weights(self) -> list[tuple[int, float]]:
        """(version, share) of those that callers reach, the champion first."""
        served = [t for t in self.routes.targets if t.weight > 0]
        return [(t.version, t.weight) for t in sorted(served, key=lambda t: t.role is not Role.CHAMPION)]

    def kind(self, version: int) -> str:
        """How a version is asked: onnx, numpy or python; `none` for version 0, which is nobody."""
        return self.kinds[version][0] if version else "none"

    def seconds(self, version: int) -> float:
        """How long one call of a version may take, of at most MOST_ROWS rows."""
        timeout = self.routes.timeout
        if self.role(version) in (Role.CHAMPION, Role.STANDBY):
            return max(timeout, PART * self.routes.deadline)
        return timeout

    @property
    def spare(self) -> int | None:
        """The champion before, if it is warm: it answers when the champion can't."""
        version = self._standby
        if version is None:
            return None
        worker = self.workers[version]
        asked = not worker.problem and not (worker.breaker is not None and worker.breaker.open)
        return version if asked else None

    @cached_property
    def _standby(self) -> int | None:
        return next((t.version for t in self.routes.targets if t.role is Role.STANDBY), None)

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
        candidate = self._candidate
        if candidate is None:
            return None
        return self.champion if version == candidate.version else candidate.version

    @cached_property
    def copied(self) -> dict[int, tuple[int, Worker]]:
        """Who scores a copy of a row, by the version that answered it: asked after every request."""
        by = {t.version: self.shadow_of(t.version) for t in self.routes.targets}  # a shadow itself answers nobody
        return {answered: (s, self.shadows[s]) for answered, s in by.items() if s is not None and s in self.shadows}

    @property
    def shadowed(self) -> bool:
        """Whether copies of rows go to another version."""
        return self._candidate is not None

    @cached_property
    def _candidate(self) -> Target | None:
        return next((t for t in self.routes.targets if t.role in (Role.SHADOW, Role.CANARY)), None)

    def role(self, version: int) -> Role:
        """The part that a version plays."""
        return self._roles[version]

    @cached_property
    def _roles(self) -> dict[int, Role]:
        return {t.version: t.role for t in self.routes.targets}


class Fleet:
    """All lanes and all worker processes of one gateway."""

    def __init__(self, log_folder: Path) -> None:
        self._log_folder = log_folder
        self._workers: dict[Place, Runner] = {}
        self._no_local: dict[Place, str] = {}  # whose graph can't be used here, and why
        self._leaving: dict[Place, asyncio.Task[None]] = {}
        self._seen_deaths: dict[str, int] = {}
        self._last: dict[str, LastAnswers] = {}  # model -> what was answered last, whatever the routes
        self.lanes: dict[str, Lane] = {}
        self.number = 0  # of the routes that are in force whole
        self._published = False  # whether those were on the board, and not what stands for an empty one
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
            self._last.pop(name, None)
        old = last_good.models if last_good is not None else {}
        told = await asyncio.gather(*(self._switch(m, routes.number, old.get(n)) for n, m in routes.models.items()))
        self.refused = dict(problem for problem in told if problem is not None)
        await self._settle(routes.models.values(), {Role.STANDBY})
        if not self.refused:
            self.number, self._published = routes.number, routes is not NO_ROUTES
        self._let_go(GRACE + max((m.timeout for m in routes.models.values()), default=0.0))
        return not self.refused

    def models(self) -> set[str]:
        """The models that are routed, also those whose champion could not be loaded."""
        return {*self.lanes, *(place.rpartition("/")[0] for place in self.refused)}

    def problems(self) -> dict[str, str]:
        """Why nobody should count on a version, by "model/version"."""
        found: dict[str, str] = {}
        for name, lane in self.lanes.items():
            for version, runner in [*lane.shadows.items(), *lane.workers.items()]:
                if runner.complaint:
                    found[f"{name}/{version}"] = runner.complaint
            if lane.fallback.problem:
                found[f"{name}/fallback"] = lane.fallback.problem
        return found | self.refused

    def runs(self, model: str, version: int, runner: Runner) -> bool:
        """Whether this runner still has a part in the routes."""
        if model not in self.lanes:
            return False
        lane = self.lanes[model]
        return runner in (lane.workers.get(version), lane.shadows.get(version))

    def restarts(self) -> dict[str, int]:
        """Deaths of worker processes since start, by "model/version", also of versions that are gone."""
        for worker in self._workers.values():
            if worker.deaths:
                self._seen_deaths[worker.name] = worker.deaths
        return dict(self._seen_deaths)

    def memory(self) -> dict[str, float]:
        """Most MB that the process of a version took so far, from its probe on, by "model/version"."""
        found: dict[str, float] = {}
        for worker in self._workers.values():
            if isinstance(worker, Worker) and worker.memory:
                found[worker.name] = round(max(worker.memory, found.get(worker.name, 0.0)), 1)
        return found

    def ready(self) -> bool:
        """Whether published routes were taken over and every routed champion answers right now; there may be none yet."""
        return (
            self._published
            and not self.refused
            and all(not lane.workers[lane.champion].problem for lane in self.lanes.values())
        )

    async def stop(self) -> None:
        """End all worker processes."""
        for task in self._leaving.values():
            task.cancel()
        await asyncio.gather(*self._leaving.values(), return_exceptions=True)
        await asyncio.gather(*(worker.stop() for worker in self._workers.values()))
        self._workers.clear()

    def _start(self, models: Mapping[str, ModelRoutes]) -> None:
        """A worker for each target that has none; one that was about to leave stays."""
        for model in models.values():
            for target in model.targets:
                for place in self._places(model, target):
                    leaving = self._leaving.pop(place, None)
                    if leaving is not None:
                        leaving.cancel()
                    there = self._workers.get(place)
                    if there is None or (isinstance(there, Local) and there.changed):  # somebody may have mended it
                        there = self._workers[place] = self._run(place, target)
                    if isinstance(there, Worker):
                        there.memory_limit = most(model.worker_memory)

    def _run(self, place: Place, target: Target) -> Runner:
        name = f"{place[0]}/{target.version}"
        if place[-1] == HERE:
            return Local(name, target)
        file = self._log_folder / f"worker-{place[0]}-{target.version}.log"
        return Worker(name, target, file, yields=place[-1] == COPIES)

    def _places(self, model: ModelRoutes, target: Target) -> list[Place]:
        """Where a version runs: in this process for callers where it can, in a process of its own to score copies."""
        serving = self._serving(model.model, target)
        apart = serving[-1] == HERE and _scores_copies(model, target)
        return [serving, _place(model.model, target, COPIES)] if apart else [serving]

    def _kind(self, model: str, target: Target) -> tuple[str, str]:
        """The lane that a version is in, and why not in a faster one."""
        runner = self._workers[self._serving(model, target)]
        try:
            record = read_lane(target.folder)
        except StoreError as error:
            return PYTHON, str(error)
        if isinstance(runner, Local) or runner.problem:
            return record.lane, record.why
        lane, why = runner.lane
        return lane, why or self._no_local.get(_place(model, target, HERE), "")

    def _serving(self, model: str, target: Target) -> Place:
        here = _place(model, target, HERE)
        if target.role is Role.SHADOW:
            return _place(model, target, COPIES)
        return here if here not in self._no_local and has_graph(target) else _place(model, target, OWN)

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
        routed = [(m, t) for m in models for t in m.targets if t.role in roles]
        await asyncio.gather(*(self._workers[p].settled() for m, t in routed for p in self._places(m, t)))
        for model, target in routed:
            place = self._serving(model.model, target)
            runner = self._workers[place]
            if isinstance(runner, Local) and runner.problem and not runner.changed:
                self._no_local[place] = runner.problem  # from now on a worker answers
                self._start({model.model: replace(model, targets=(target,))})
                await self._workers[self._serving(model.model, target)].settled()

    def _let_go(self, after: float) -> None:
        kept = {p for lane in self.lanes.values() for t in lane.routes.targets for p in self._places(lane.routes, t)}
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
        worker = self._workers[self._serving(model.model, champion)]
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
        last = self._last.setdefault(model.model, LastAnswers())
        return Lane(
            number=number,
            routes=model,
            version=version,
            signature=signature,
            others={v: s for v, s in others.items() if not s.accepts_all_of(signature)},
            workers={t.version: self._workers[self._serving(model.model, t)] for t in model.targets},
            kinds={t.version: self._kind(model.model, t) for t in model.targets},
            shadows={
                t.version: scorer
                for t in model.targets
                if isinstance(scorer := self._workers[self._places(model, t)[-1]], Worker)
            },
            fallback=Fallback(model.fallback, version, last),
        )


def _place(model: str, target: Target, where: str) -> Place:
    return model, target.version, target.folder, target.sha256, where


def _scores_copies(model: ModelRoutes, target: Target) -> bool:
    """Whether copies of rows are put to a version: to a shadow, and under a canary to both sides."""
    if target.role is Role.CHAMPION:
        return any(t.role is Role.CANARY for t in model.targets)
    return target.role in (Role.SHADOW, Role.CANARY)


def _features(target: Target) -> tuple[Feature, ...]:
    try:
        return read_version(target.folder).features
    except StoreError:
        return ()  # its worker says what is wrong; here it wants nothing


def _champion(model: ModelRoutes) -> Target:
    return next(t for t in model.targets if t.role is Role.CHAMPION)
