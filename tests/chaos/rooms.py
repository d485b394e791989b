"""A home with a real gateway under load, whose versions get into trouble on demand; and what its callers noticed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from afterfit.lifecycle import Happening
from afterfit.records import Role, Routes, Target
from tests.chaos.load import Load, Seen, address
from tests.chaos.moods import CALM, Troubled
from tests.world import World, wait_for

CLIENTS = 8
MEMORY = 600  # MB that a worker may take
SETTINGS = {"rollout": {"canary": [0.5], "timeout": "1s"}, "worker_memory": MEMORY}
PATIENCE = 60.0


class Room:
    """Version 1 and version 2, each with a file that says its mood, and clients that never stop asking."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder, SETTINGS)
        self.moods = {n: folder / f"mood-{n}" for n in (1, 2, 3)}
        self.load: Load | None = None

    def canary(self) -> None:
        """Version 1 is champion and version 2 has half of the callers."""
        self.world.live(Troubled(str(self.moods[1])))
        self.world.register(Troubled(str(self.moods[2]), bias=1.0))
        self.world.say(Happening.FAST_TRACKED, version=2, weight=0.5, why="test")
        self.world.start()

    def standby(self) -> None:
        """Version 2 is champion and version 1 is the champion before, kept warm; version 3 is not routed yet."""
        self.world.live(Troubled(str(self.moods[1])))
        self.world.register(Troubled(str(self.moods[2]), bias=1.0))
        self.world.say(Happening.PROMOTED, version=2)
        self.world.register(Troubled(str(self.moods[3]), bias=2.0))
        self.world.start()

    @contextmanager
    def loaded(self, name: str) -> Iterator[Load]:
        """Under load."""
        self.load = Load(self.address, CLIENTS, name=f"{name}-")
        try:
            yield self.load
        finally:
            self.load.stop()

    def address(self) -> tuple[str, int]:
        """Of the gateway."""
        return address(self.world.url)

    def set(self, version: int, mood: str) -> None:
        """Put a version into a mood; the file is there whole or not at all."""
        file = self.moods[version]
        if mood == CALM:
            file.unlink(missing_ok=True)
            return
        aside = file.with_suffix(".new")
        aside.write_text(mood, encoding="ascii")
        aside.rename(file)

    def waits(self, fits: Callable[[Seen], bool], n: int, what: str, patience: float = PATIENCE) -> None:
        """Until so many new answers fit."""
        assert self.load is not None
        load, start = self.load, len(self.load.seen)
        wait_for(lambda: sum(map(fits, load.since(start))) >= n, patience, what)

    def steady(self, version: int) -> None:
        """Until a version has answered often enough that its past is forgotten."""
        self.waits(lambda seen: seen.version == version and not seen.degraded, 30, f"version {version} did not answer")

    def pid(self, version: int) -> int:
        """Of the process of a version; 0 while there is none."""
        told = httpx.get(f"{self.world.url}/v1/models/m", timeout=10.0).json()["versions"]
        found = next(v for v in told if v["version"] == version)
        return 0 if found["problem"] or not found["pid"] else int(found["pid"])

    def kill(self, version: int) -> None:
        """SIGKILL its process, once there is one."""
        wait_for(lambda: self.pid(version) > 0, PATIENCE, "no worker")
        os.kill(self.pid(version), 9)

    def publish(self, champion: int, standby: int, folder: Path | None = None) -> Routes:
        """Routes made by hand, as fast as one likes; the champion may lie in another folder."""
        board, store = self.world.home.board, self.world.home.store
        now = board.current()
        first, second = store.version("m", champion), store.version("m", standby)
        targets = (
            Target(champion, Role.CHAMPION, 1.0, str(folder or first.folder), first.model_sha256),
            Target(standby, Role.STANDBY, 0.0, second.folder, second.model_sha256),
        )
        model = replace(now.models["m"], targets=targets)
        routes = replace(now, number=now.number + 1, models={"m": model})
        board.publish(routes)
        return routes


@dataclass(frozen=True)
class Toll:
    """What callers and the log noticed."""

    requests: int
    errors: int  # answers other than 200
    broken: int  # connections that ended without an answer, as they must where the gateway itself is stopped
    degraded: int
    worst: float  # seconds
    p99: float
    lost: int  # acknowledged and not in the lake
    twice: int


def toll(world: World, seen: Sequence[Seen]) -> Toll:
    """Count, after a drain."""
    logged = world.logged()["prediction_id"].value_counts()
    seconds = sorted(s.seconds for s in seen)
    return Toll(
        requests=len(seen),
        errors=sum(s.status not in (0, 200) for s in seen),
        broken=sum(s.status == 0 for s in seen),
        degraded=sum(bool(s.degraded) for s in seen),
        worst=seconds[-1],
        p99=seconds[int(0.99 * len(seconds))],
        lost=sum(s.acknowledged and s.id not in logged.index for s in seen),
        twice=int((logged > 1).sum()),
    )
