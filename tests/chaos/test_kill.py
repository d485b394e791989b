"""SIGKILL of the only worker and of the controller, 20 times each, at random moments under load: no acknowledged
prediction is missing in the lake or there twice, and the loop ends in the state it would have had."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from afterfit.lifecycle import Happening, Phase
from afterfit.loop import Loop
from tests.chaos.load import Load, address
from tests.chaos.rooms import toll
from tests.world import World, wait_for

KILLS = 20
CLIENTS = 3
TOML = """
port = 0
tick = "1s"
[models.m]
task = "binary"
outcome_delay = "1h"
"""


def check(world: World, load: Load) -> None:
    """No caller saw an error, and every acknowledged id is in the lake exactly once."""
    found = toll(world, load.stop())
    assert found.requests > 100
    assert (found.errors, found.lost, found.twice) == (0, 0, 0)


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
    load = Load(lambda: address(world.url), CLIENTS)

    def pid() -> int:
        wait_for(lambda: _worker(world) > 0, 60, "no worker")
        return _worker(world)

    kill_often(pid, lambda old: _worker(world) not in (0, old), seed=1)
    wait_for(lambda: world.predict().status_code == 200, 60, "nobody is served")
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
        load = Load(lambda: address(world.url), CLIENTS)
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
