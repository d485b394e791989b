"""Settings that were changed while nothing was running reach the gateways, without an event."""

from __future__ import annotations

from pathlib import Path

import pytest

from afterfit.config import parse
from afterfit.errors import InputError
from afterfit.home import Home
from afterfit.lifecycle import Happening
from afterfit.loop import Loop
from afterfit.loop.status import status
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


def test_a_version_that_will_take_too_much_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    world = World(tmp_path, {"worker_memory": 150, "lane": "python"})
    try:
        first = world.register()
        for happening in (Happening.PROMOTED, Happening.DEPLOYED):
            with pytest.raises(InputError, match=r"expected to take 20. MB.*lets it take 150 MB"):
                world.say(happening, version=first.version)
        assert world.home.board.current().models == {}
        assert "version 1 20" in status(world.loop, world.now)["models"]["m"]["expected_memory"]
    finally:
        world.close()
