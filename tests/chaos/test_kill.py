"""SIGKILL of a worker, of the gateway and of the controller, 20 times each, at random moments under load: no
acknowledged prediction is missing in the lake or there twice, and the loop ends in the state it would have had."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from afterfit.lifecycle import Happening, Phase
from afterfit.loop import Loop
from tests.world import World, wait_for

KILLS = 20
TOML = """
port = 0
tick = "1s"
[models.m]
task = "binary"
outcome_delay = "1h"
"""


class Load:
    """Clients that remember which ids were acknowledged, and what else they got."""

    def __init__(self, world: World, clients: int = 3) -> None:
        self.world = world
        self.acknowledged: list[str] = []
        self.refused: list[int] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(i,)) for i in range(clients)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, client: int) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            id = f"{client}-{number}"
            try:
                reply = self.world.predict(id=id)
            except httpx.HTTPError:
                time.sleep(0.05)  # the gateway is being restarted; what it did not acknowledge may be lost
                continue
            if reply.status_code == 200:
                self.acknowledged.append(id)
            else:
                self.refused.append(reply.status_code)


def check(world: World, load: Load) -> None:
    """Every acknowledged id is in the lake exactly once."""
    logged = world.logged()["prediction_id"].value_counts()
    assert len(load.acknowledged) > 100
    assert [i for i in load.acknowledged if i not in logged.index] == []
    assert logged.max() == 1


def kill_often(victim: Callable[[], int], alive: Callable[[int], bool], seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(KILLS):
        time.sleep(rng.uniform(0.0, 0.4))
        pid = victim()
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda pid=pid: alive(pid), 60, "it was not replaced")  # type: ignore[misc]


@pytest.mark.timeout(400)
def test_workers(world: World) -> None:
    world.live()
    world.start()
    load = Load(world)

    def pid() -> int:
        wait_for(lambda: _worker(world) > 0, 60, "no worker")
        return _worker(world)

    kill_often(pid, lambda old: _worker(world) not in (0, old), seed=1)
    wait_for(lambda: world.predict().status_code == 200, 60, "nobody is served")
    load.stop()
    assert load.refused == []  # no caller saw an error
    check(world, load)


@pytest.mark.timeout(400)
def test_gateways(world: World) -> None:
    world.live()
    world.start()
    load = Load(world)

    def pid() -> int:
        assert world.gateway is not None
        return world.gateway.pid

    def replaced(_old: int) -> bool:
        assert world.gateway is not None
        world.gateway.wait(10)
        world.start()
        return True

    kill_often(pid, replaced, seed=2)
    before = len(load.acknowledged)
    wait_for(lambda: len(load.acknowledged) > before + 20, 60, "nobody is served")
    load.stop()
    check(world, load)


@pytest.mark.timeout(400)
def test_controllers(tmp_path: Path) -> None:
    """The controller drains and carries a rollback through while it is killed again and again."""
    (tmp_path / "afterfit.toml").write_text(TOML, encoding="utf-8")
    world = World(tmp_path)
    try:
        world.live()
        world.register(seed=4)
        world.say(Happening.PROMOTED, version=2)
        world.start()
        load = Load(world)
        running = _controller(tmp_path)
        rng = random.Random(3)
        world.loop.book("m")
        for number in range(KILLS):
            if number == 5:
                world.say(Happening.ROLLBACK_ASKED)
            time.sleep(rng.uniform(0.3, 1.5))
            running.kill()
            running.wait(10)
            running = _controller(tmp_path)
        wait_for(lambda: world.loop.book("m").state.phase is Phase.SERVING, 60, "the rollback was not finished")
        load.stop()
        running.terminate()
        assert running.wait(30) == 0
        check(world, load)
        fresh = Loop(world.home).book("m")
        assert (fresh.state.champion, fresh.state.phase, fresh.pending) == (1, Phase.SERVING, {})
        names = [e.name for e in fresh.entries if e.kind == "event"]
        assert names == ["deployed", "gate_passed", "promoted", "rollback_asked", "rolled_back"]
        assert world.home.store.verify() == []
    finally:
        world.close()


def _controller(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "afterfit.controller", str(folder / "afterfit.toml")]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _worker(world: World) -> int:
    found = httpx.get(f"{world.url}/v1/models/m", timeout=10.0).json()["versions"][0]
    return 0 if found["problem"] or not found["pid"] else int(found["pid"])
