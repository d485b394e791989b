"""Settings that were changed while nothing was running reach the gateways, without an event."""

from __future__ import annotations

from pathlib import Path

from afterfit.config import parse
from afterfit.home import Home
from afterfit.loop import Loop
from tests.world import SETTINGS, World


def test_new_settings_are_published_under_the_number_of_the_last_event(world: World, tmp_path: Path) -> None:
    world.live()
    before = world.home.board.current()
    world.loop.actor.publish(world.now)
    assert world.home.board.current() == before
    told = {**SETTINGS, "deadline": "7s", "fallback": "prior", "worker_memory": 900}
    home = Home.open(parse({"models": {"m": told}, "port": 0}, root=tmp_path))
    try:
        Loop(home).actor.publish(world.now)
    finally:
        home.close()
    after = world.home.board.current()
    assert after.number == before.number
    model = after.models["m"]
    assert (model.deadline, model.fallback, model.worker_memory) == (7.0, "prior", 900.0)
    assert model.targets == before.models["m"].targets
