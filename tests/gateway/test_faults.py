"""A candidate can't hurt a caller, and a worker that dies is replaced."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from afterfit.lifecycle import Happening
from afterfit.loop.judging import Proposed
from tests.world import Moody, World, wait_for, with_trigger


@pytest.fixture
def canary(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[World, Path]]:
    """A champion, and a canary with 90 % of the traffic that misbehaves once its file is there."""
    made = World(tmp_path, {"rollout": {"canary": [0.9], "timeout": "1s"}})
    made.live()
    model, trigger = with_trigger(tmp_path, request.param)
    made.register(model)
    made.say(Happening.FAST_TRACKED, version=2, weight=0.9, why="test")
    made.start()
    yield made, trigger
    made.close()


@pytest.mark.parametrize("canary", ["crash", "hang", "nan", "shape", "raise"], indirect=True)
def test_the_champion_answers_for_a_broken_canary(canary: tuple[World, Path]) -> None:
    world, trigger = canary
    healthy = [world.predict(id=f"before-{i}").json()["predictions"][0] for i in range(10)]
    assert 2 in {p["version"] for p in healthy}  # all ten keys miss it with a chance of 1e-10
    trigger.touch()
    replies = [world.predict(id=f"after-{i}") for i in range(6)]
    assert [r.status_code for r in replies] == [200] * 6
    assert {r.json()["predictions"][0]["version"] for r in replies} == {1}
    logged = world.logged().set_index("prediction_id").loc[[f"after-{i}" for i in range(6)]]
    fell = logged[logged["status"].isin(["fallback", "skipped"])]  # skipped: a copy of a row killed it first
    assert len(fell) >= 1
    assert set(fell["failed_version"]) == {2}
    assert fell["failure"].str.len().min() > 0


def test_a_killed_champion_costs_no_caller_an_error(world: World) -> None:
    world.live()
    world.start()
    statuses: list[int] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            statuses.append(world.predict().status_code)

    clients = [threading.Thread(target=ask) for _ in range(3)]
    for client in clients:
        client.start()
    for _ in range(2):
        wait_for(lambda: _pid(world) is not None, 30, "the worker was not started")
        time.sleep(0.3)
        os.kill(_pid(world) or 0, signal.SIGKILL)
        time.sleep(0.5)
    before = len(statuses)
    wait_for(lambda: len(statuses) > before + 20, 60, "nobody was served again")
    stop.set()
    for client in clients:
        client.join()
    assert set(statuses) == {200}
    wait_for(lambda: world.home.board.acknowledgements()[0].restarts.get("m/1") == 2, 10, "deaths were not reported")
    world.tick()
    died = world.loop.book("m").last("worker_died")
    assert died is not None
    assert died.data["deaths"] == 2


def test_a_slow_shadow_is_not_waited_for(tmp_path: Path) -> None:
    world = World(tmp_path)
    try:
        world.live()
        model, trigger = with_trigger(tmp_path, "slow")
        version = world.register(model)
        world.loop.happen(
            world.loop.book("m"), _proposed(Happening.DEPLOYED, version=version.version), actor="test", now=world.now
        )
        world.loop.happen(world.loop.book("m"), _proposed(Happening.GATE_PASSED), actor="test", now=world.now)
        world.start()
        world.predict()
        trigger.touch()
        took = []
        for i in range(10):
            began = time.monotonic()
            assert world.predict(id=f"s{i}").json()["predictions"][0]["version"] == 1
            took.append(time.monotonic() - began)
        assert max(took) < 0.4  # the shadow alone takes 0.5 s a request
        wait_for(lambda: _shadows(world) >= 3, 20, "no shadow was logged")
    finally:
        world.close()


def test_versions_are_swapped_without_a_failed_request(world: World) -> None:
    world.live()
    world.register(Moody(bias=1.0), seed=5)
    world.start()
    statuses: list[int] = []
    versions: set[str] = set()
    stop = threading.Event()

    def ask() -> None:
        with httpx.Client(timeout=60.0) as client:
            while not stop.is_set():
                reply = client.post(f"{world.url}/v1/models/m/predict", json={"rows": [{"a": 0.1, "b": 1}]})
                statuses.append(reply.status_code)
                versions.add(reply.headers["x-afterfit-version"])

    clients = [threading.Thread(target=ask) for _ in range(2)]
    for client in clients:
        client.start()
    world.say(Happening.PROMOTED, version=2)
    world.settled()
    began = time.monotonic()
    world.say(Happening.ROLLBACK_ASKED)
    world.settled()
    took = time.monotonic() - began
    world.tick()
    stop.set()
    for client in clients:
        client.join()
    assert set(statuses) == {200}
    assert versions == {"1", "2"}
    assert took < 1.0  # promise 6: the champion before was kept warm
    assert world.loop.book("m").state.champion == 1


def test_a_gateway_goes_on_with_the_last_good_routes(world: World) -> None:
    world.live()
    world.start()
    world.stop()
    (world.config.home / "routes.json").write_text("{ damaged", encoding="utf-8")
    for name in ("mlflow.db", "control.db"):  # nothing of the control plane is needed to serve
        (world.config.home / name).rename(world.config.home / f"{name}.gone")
    world.home.close()
    import subprocess
    import sys

    command = [sys.executable, "-m", "afterfit.gateway.server", "--home", str(world.config.home), "--port", "0"]
    world.gateway = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert world.gateway.stdout is not None
    line = world.gateway.stdout.readline().decode()
    world.gateway.stdout.close()
    world.url = line.rsplit(" at ", 1)[1].strip()
    assert world.predict().status_code == 200
    assert "damaged" in str(world.home.board.acknowledgements()[0].problems["routes"])


def test_no_worker_outlives_a_killed_gateway(world: World) -> None:
    world.live()
    world.start()
    worker = psutil.Process(_pid(world) or 0)
    assert world.gateway is not None
    world.gateway.kill()
    world.gateway.wait(10)
    wait_for(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE, 10, "the worker lives on")


def test_a_damaged_model_file_is_not_loaded_and_the_champion_stays(world: World) -> None:
    version = world.live()
    world.start()
    other = world.register(seed=3)
    model = Path(other.folder) / "model" / "model.pkl"
    model.write_bytes(model.read_bytes() + b"x")
    world.say(Happening.FAST_TRACKED, version=other.version, weight=0.2, why="test")
    wait_for(lambda: "m/2" in world.home.board.acknowledgements()[0].problems, 30, "the damage was not reported")
    assert world.predict().json()["predictions"][0]["version"] == version.version
    world.settled()
    world.tick()
    state = world.loop.book("m").state
    assert state.champion == version.version
    assert state.candidate is None
    harmed = world.loop.book("m").last("harmed")
    assert harmed is not None
    assert "not what was registered" in str(harmed.data["verdict"]["reasons"])


def _pid(world: World) -> int | None:
    found = httpx.get(f"{world.url}/v1/models/m", timeout=10.0).json()["versions"][0]["pid"]
    return None if found is None else int(found)


def _shadows(world: World) -> int:
    world.home.lake.drain(world.config.home / "journal")
    return world.home.lake.counts("m")["shadows"]


def _proposed(happening: Happening, **data: object) -> Proposed:

    return Proposed(happening, data)
