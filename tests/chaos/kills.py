"""`kill -9` of the gateway at random instants under many connections: acknowledged and lost, and logged twice, are 0."""

from __future__ import annotations

import random
import time
from pathlib import Path

from sklearn.linear_model import LogisticRegression

from tests.chaos.load import Load, address
from tests.chaos.rooms import Toll, toll
from tests.world import World, wait_for

CONNECTIONS = 32


def run(folder: Path, kills: int, seed: int = 0) -> Toll:
    """Kill and start again so many times; each life answers before it ends."""
    rng = random.Random(seed)
    world = World(folder)
    world.live(LogisticRegression())
    world.start()
    load = Load(lambda: address(world.url), CONNECTIONS, name="k-")
    try:
        for _ in range(kills):
            start = len(load.seen)
            wait_for(lambda start=start: any(s.status == 200 for s in load.since(start)), 60, "nobody was served")  # type: ignore[misc]
            time.sleep(rng.uniform(0.0, 0.5))
            assert world.gateway is not None
            world.gateway.kill()
            world.gateway.wait(10)
            world.start()
        start = len(load.seen)
        wait_for(lambda: any(s.status == 200 for s in load.since(start)), 60, "nobody was served again")
        load.stop()
        world.stop()
        return toll(world, load.seen)
    finally:
        load.stop()
        world.close()
