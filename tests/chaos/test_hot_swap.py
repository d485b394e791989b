"""Twenty new champions in a row under load: no caller sees an error, and nothing of the old ones is left."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from sklearn.ensemble import RandomForestClassifier

from afterfit.gateway.fleet import GRACE
from afterfit.records import ModelVersion, Role, Routes, Target
from tests.chaos.load import Load, address
from tests.chaos.rooms import toll
from tests.soak.watch import opened_under, stays
from tests.world import World, wait_for

WARM, SWAPS = 3, 20
MOST = 12.0  # MB that may stay; the graphs that were let go take more than twice that
PATIENCE = 60.0
TIMEOUT = 1.0  # seconds


class Swaps:
    """One gateway, whose champion is one copy of a version after the other: each is loaded anew."""

    def __init__(self, world: World, versions: tuple[ModelVersion, ModelVersion]) -> None:
        self.world = world
        self.folders: list[Path] = []
        self._versions = versions

    def copy(self) -> ModelVersion:
        """The next champion, of versions 1 and 2 in turn, in a folder of its own."""
        made = self._versions[len(self.folders) % 2]
        folder = self.world.folder / "copies" / str(len(self.folders))
        shutil.copytree(made.folder, folder)
        self.folders.append(folder)
        return replace(made, folder=str(folder))

    def publish(self, champion: ModelVersion, standby: ModelVersion) -> Routes:
        """Routes in which the champion before stays warm."""
        now = self.world.home.board.current()
        targets = (
            Target(champion.version, Role.CHAMPION, 1.0, champion.folder, champion.model_sha256),
            Target(standby.version, Role.STANDBY, 0.0, standby.folder, standby.model_sha256),
        )
        routes = replace(now, number=now.number + 1, models={"m": replace(now.models["m"], targets=targets)})
        self.world.home.board.publish(routes)
        return routes

    def rest(self) -> tuple[int, int, float]:
        """(worker processes, descriptors, MB) of the gateway once only champion and stand-by are left."""
        assert self.world.gateway is not None
        process, kept = psutil.Process(self.world.gateway.pid), {str(f) for f in self.folders[-2:]}
        time.sleep(GRACE + TIMEOUT + 1.0)  # of a graph that is let go nothing else is to be seen
        wait_for(
            lambda: opened_under(process, self.world.folder / "copies") <= kept, PATIENCE, "the old ones are let go"
        )
        wait_for(lambda: len(process.children()) <= len(kept), PATIENCE, "the old workers are gone")
        return len(process.children()), stays(process), process.memory_info().rss / 2**20


@pytest.mark.timeout(600)
@pytest.mark.parametrize("lane", ["auto", "python"])
def test_twenty_swaps_in_a_row(lane: str, tmp_path: Path) -> None:
    world = World(tmp_path, {"lane": lane, "rollout": {"timeout": "1s"}})
    try:
        first = world.live(RandomForestClassifier(300, random_state=0))
        swaps = Swaps(world, (world.register(RandomForestClassifier(300, random_state=1)), first))
        world.start()
        load = Load(lambda: address(world.url), clients=2, name=f"{lane}-")
        try:
            rests, champion = [], first
            for n in range(SWAPS):
                standby, champion = champion, swaps.copy()
                swaps.publish(champion, standby)
                world.settled(PATIENCE)
                if n + 1 in (WARM, SWAPS):
                    rests.append(swaps.rest())
                for gone in swaps.folders[:-2] if n + 1 == SWAPS else ():
                    shutil.rmtree(gone)
            _never_routed(world, swaps, champion, load)
        finally:
            load.stop()
        found = toll(world, load.seen)
    finally:
        world.close()
    assert {s.version for s in load.seen} == {1, 2}
    assert (found.errors, found.broken, found.degraded, found.lost, found.twice) == (0, 0, 0, 0, 0)
    assert found.requests > 500
    (workers, descriptors, before), (workers_after, descriptors_after, after) = rests
    assert workers == workers_after == (0 if lane == "auto" else 2)
    assert descriptors_after == descriptors
    assert after - before < MOST


def _never_routed(world: World, swaps: Swaps, champion: ModelVersion, load: Load) -> None:
    """A version that loads and answers its golden rows otherwise has no caller; the champion goes on."""
    other = swaps.copy()
    path = Path(other.folder) / "golden.json"
    golden = json.loads(path.read_text(encoding="utf-8"))
    golden["scores"] = [[1.0 - s for s in scores] for scores in golden["scores"]]
    path.write_text(json.dumps(golden), encoding="utf-8")
    number = swaps.publish(other, champion).number
    problems = f"m/{other.version}"
    wait_for(lambda: problems in world.home.board.acknowledgements()[0].problems, PATIENCE, "the problem is told")
    told = world.home.board.acknowledgements()[0]
    assert "golden row" in told.problems[problems]
    assert told.number < number
    start = len(load.seen)
    wait_for(lambda: len(load.seen) > start + 50, PATIENCE, "callers are answered")
    assert {s.version for s in load.since(start)} == {champion.version}
