"""Each trouble a few times under load; `python -m tests.chaos --times 20` brings each about 20 times."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos import kills
from tests.chaos.cases import CASES, Case, loading, run
from tests.chaos.rooms import Room

TIMES = 2
SHORT = {"a champion loads for 20 s": Case("a champion loads for 3 s", "standby", loading(3.0))}


def named(case: Case) -> str:
    return case.name.replace(" ", "-")


def of(setting: str) -> list[Case]:
    return [SHORT.get(case.name, case) for case in CASES if case.setting == setting]


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Room]]:
    """One gateway a setting, which meets one trouble after the other."""
    made: dict[str, Room] = {}
    yield made
    for room in made.values():
        room.world.close()


@pytest.mark.parametrize("case", [*of("canary"), *of("standby")], ids=named)
def test_no_caller_notices(case: Case, rooms: dict[str, Room], tmp_path_factory: pytest.TempPathFactory) -> None:
    if case.setting not in rooms:
        rooms[case.setting] = Room(tmp_path_factory.mktemp(case.setting))
        getattr(rooms[case.setting], case.setting)()
    found = run(case, rooms[case.setting], 1 if case.restarts else TIMES)
    assert found.requests > 50
    assert found.errors == 0
    assert found.broken == 0 or case.restarts
    assert (found.lost, found.twice) == (0, 0)
    if case.name.startswith("candidate"):
        assert found.degraded > 0


@pytest.mark.timeout(240)
def test_the_gateway_is_killed(tmp_path: Path) -> None:
    found = kills.run(tmp_path, kills=8)
    assert found.requests > 500
    assert (found.errors, found.lost, found.twice) == (0, 0, 0)
