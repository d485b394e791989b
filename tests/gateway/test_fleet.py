"""Routes are taken over model by model, and a rollback waits for nothing that does not serve."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from afterfit.errors import UnknownNameError, WorkerError
from afterfit.gateway import fleet as fleet_module
from afterfit.gateway.fleet import Fleet
from afterfit.gateway.service import Service
from afterfit.records import ModelVersion, Role, Routes
from tests.gateway.kit import NOW, MemoryJournal, Scripted, both, routes, save, target, with_fleet


class Lazy(Scripted):
    """Takes three seconds to be loaded."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        time.sleep(3.0)
        self.__dict__.update(state)


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> dict[int, ModelVersion]:
    home = tmp_path_factory.mktemp("fleet")
    return {n: save(home, Lazy() if n == 3 else Scripted(), number=n) for n in (1, 2, 3)}


def broken(version: ModelVersion) -> Any:
    """A target whose hash is not that of the files."""
    from dataclasses import replace

    return replace(target(version), sha256="0" * 64)


def test_a_rollback_does_not_wait_for_what_does_not_serve(versions: dict[int, ModelVersion], tmp_path: Path) -> None:
    """Back to version 1, whose own predecessor (slow to load) must be warm again before the number is acknowledged."""

    async def act(fleet: Fleet) -> None:
        standby = target(versions[1], Role.STANDBY, 0.0)
        assert await fleet.apply(routes(1, target(versions[2]), standby))
        pid = fleet.lanes["m"].workers[1].pid
        began = time.monotonic()
        back = asyncio.create_task(fleet.apply(routes(2, target(versions[1]), target(versions[3], Role.STANDBY, 0.0))))
        while fleet.lanes["m"].champion != 1:
            await asyncio.sleep(0.005)
        assert time.monotonic() - began < 0.5
        assert fleet.number == 1  # in force, but not whole
        assert "m/3" in fleet.problems()
        assert await back
        assert (fleet.number, fleet.problems(), fleet.lanes["m"].workers[1].pid) == (2, {}, pid)

    with_fleet(tmp_path, act)


def test_a_newer_snapshot_does_not_wait_for_one_that_loads(versions: dict[int, ModelVersion], tmp_path: Path) -> None:
    async def act(fleet: Fleet) -> None:
        await fleet.apply(routes(1, target(versions[1])))
        loading = asyncio.create_task(fleet.apply(routes(2, target(versions[3]))))
        await asyncio.sleep(0.1)
        loading.cancel()
        began = time.monotonic()
        assert await fleet.apply(routes(3, target(versions[1])))
        assert time.monotonic() - began < 0.5
        assert (fleet.lanes["m"].champion, fleet.number) == (1, 3)

    with_fleet(tmp_path, act)


def test_one_model_does_not_wait_for_another(versions: dict[int, ModelVersion], tmp_path: Path) -> None:
    async def act(fleet: Fleet) -> None:
        other = routes(1, target(versions[1]), name="other")
        await fleet.apply(both(routes(1, target(versions[1]), target(versions[2], Role.STANDBY, 0.0)), other))
        slow = routes(2, target(versions[3]), name="other")
        applying = asyncio.create_task(fleet.apply(both(routes(2, target(versions[2])), slow)))
        await asyncio.sleep(0.2)
        assert fleet.lanes["m"].champion == 2
        assert fleet.lanes["other"].champion == 1
        assert await applying
        assert fleet.lanes["other"].champion == 3
        await fleet.apply(routes(3, target(versions[2])))
        assert list(fleet.lanes) == ["m"]

    with_fleet(tmp_path, act)


def test_what_is_gone_stays_for_those_who_began_before_and_then_ends(
    versions: dict[int, ModelVersion], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_module, "GRACE", 0.2)

    async def act(fleet: Fleet) -> None:
        await fleet.apply(routes(1, target(versions[1]), timeout=0.2))
        before = fleet.lanes["m"]
        process = psutil.Process(before.workers[1].pid)
        await fleet.apply(routes(2, target(versions[2]), timeout=0.2))
        assert (await before.workers[1].predict({"a": [0.5]}, 5.0))[0] == [0]
        await asyncio.sleep(0.1)
        await fleet.apply(routes(3, target(versions[2]), target(versions[1], Role.STANDBY, 0.0), timeout=0.2))
        await asyncio.sleep(0.6)
        assert fleet.lanes["m"].workers[1].pid == process.pid  # wanted again before it had left
        await fleet.apply(routes(4, target(versions[2]), timeout=0.2))
        await asyncio.sleep(0.8)
        assert not process.is_running()
        assert fleet.lanes["m"].champion == 2

    with_fleet(tmp_path, act)


def test_a_champion_that_can_not_be_loaded_does_not_replace_one_that_serves(
    versions: dict[int, ModelVersion], tmp_path: Path
) -> None:
    async def act(fleet: Fleet) -> None:
        await fleet.apply(routes(1, target(versions[1])))
        assert not await fleet.apply(routes(2, broken(versions[2])))
        assert (fleet.lanes["m"].champion, fleet.number) == (1, 1)
        assert "not what was registered" in fleet.problems()["m/2"]
        assert not fleet.ready()

    with_fleet(tmp_path, act)


def test_without_one_that_serves_the_last_good_routes_do(versions: dict[int, ModelVersion], tmp_path: Path) -> None:
    async def act(fleet: Fleet) -> None:
        good = routes(1, target(versions[1]))
        assert not await fleet.apply(routes(2, broken(versions[2])), good)
        assert (fleet.lanes["m"].champion, fleet.number) == (1, 0)
        assert "m/2" in fleet.problems()

    with_fleet(tmp_path, act)


def test_a_model_whose_champion_never_loaded_is_not_unknown(versions: dict[int, ModelVersion], tmp_path: Path) -> None:
    async def act(fleet: Fleet) -> None:
        service = Service(fleet, MemoryJournal(), clock=lambda: NOW, request_clock=False)
        assert not await fleet.apply(routes(2, broken(versions[2])))
        with pytest.raises(WorkerError, match="not what was registered"):
            service.lane("m")
        with pytest.raises(UnknownNameError):
            service.lane("n")
        await fleet.apply(Routes(3, NOW))
        with pytest.raises(UnknownNameError):
            service.lane("m")

    with_fleet(tmp_path, act)


def test_a_candidate_that_can_not_be_loaded_is_told_and_the_routes_are_in_force(
    versions: dict[int, ModelVersion], tmp_path: Path
) -> None:
    from dataclasses import replace

    async def act(fleet: Fleet) -> None:
        bad = replace(broken(versions[2]), role=Role.CANARY, weight=0.5)
        assert await fleet.apply(routes(1, replace(target(versions[1]), weight=0.5), bad))
        assert fleet.number == 1
        assert list(fleet.problems()) == ["m/2"]
        assert fleet.ready()

    with_fleet(tmp_path, act)
