"""Settings that were changed while nothing was running reach the gateways, without an event."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import psutil
import pytest
from sklearn.linear_model import LogisticRegression

from afterfit.adapters.lane import GRAPH
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
        assert re.fullmatch(r"version 1 20\d MB; \d+ MB are free", expected(world))
    finally:
        world.close()


def test_of_a_graph_status_says_that_the_gateway_takes_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    try:
        assert expected(world) is None
        world.register(LogisticRegression())
        told = (
            r"version 1 50 MB more in the gateway \(and a process of 250 MB while it scores copies\); \d+ MB are free"
        )
        assert re.fullmatch(told, expected(world))
    finally:
        world.close()


def test_a_graph_whose_copies_will_be_killed_for_their_memory_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path, {"worker_memory": 150})
    try:
        version = world.register(LogisticRegression())
        with pytest.raises(
            InputError, match=r"expected to take 250 MB, in a process of its own while it scores copies"
        ):
            world.say(Happening.DEPLOYED, version=version.version)
    finally:
        world.close()


@pytest.mark.parametrize("lane", ["python", "onnx"])
def test_one_that_takes_more_than_is_free_is_told_before_it_is_loaded(tmp_path: Path, lane: str) -> None:
    """Its file has the size, and holes in place of content."""
    world = World(tmp_path, {} if lane == "onnx" else {"lane": "python"})
    try:
        small, large = world.register(LogisticRegression()), world.register(LogisticRegression())
        world.say(Happening.PROMOTED, version=small.version)
        assert world.loop.book("m").last("memory_short") is None
        with (Path(large.folder) / "model" / (GRAPH if lane == "onnx" else "weights.bin")).open("ab") as file:
            file.truncate(psutil.virtual_memory().total)
        world.say(Happening.PROMOTED, version=large.version)
        entries = world.loop.book("m").entries
        told = next(e for e in entries if e.name == "memory_short")
        published = next(e for e in entries if e.name == "publish" and e.number > told.number)  # then gateways load it
        assert (told.data["version"], published.data["event"]) == (2, entries[told.number - 2].id)
        wanted = {
            "python": r"take \d+ MB, by the size.*may kill its process",
            "onnx": r"take \d+ MB more in the gateway \(and a process of \d+ MB .*may kill the gateway, and with it every model",
        }
        assert re.search(wanted[lane], told.data["title"])
    finally:
        world.close()


def expected(world: World) -> Any:
    """What status says of the memory that will be taken."""
    return status(world.loop, world.now)["models"]["m"]["expected_memory"]
