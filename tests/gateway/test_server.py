"""The gateway as a process: it starts whole or says why not, follows the board, and stops in order."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from afterfit.adapters.routes_board import FileRoutesBoard, GatewayDesk
from afterfit.records import Role
from tests.gateway.kit import Scripted, routes, save, target
from tests.world import wait_for


class Lazy(Scripted):
    """Takes four seconds to be loaded."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        time.sleep(4.0)
        self.__dict__.update(state)


class Sleepy(Scripted):
    """Hangs while it is loaded."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        time.sleep(600.0)


def start(home: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "afterfit.gateway.server", "--home", str(home), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


def ask(url: str, **more: Any) -> httpx.Response:
    return httpx.post(f"{url}/v1/models/m/predict", json={"rows": [{"a": 0.5}], **more}, timeout=60.0)


def refused(home: Path, *more: str) -> str:
    """What a gateway says that can't start."""
    process = start(home, *more)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (3, b"")
    assert b"Traceback" not in err
    return err.decode()


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = refused(tmp_path, "--port", str(port))
    assert f"port {port}" in said
    assert "AFTERFIT_PORT" in said
    assert not list(tmp_path.rglob("*.db"))  # it did not start half


def test_a_home_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("a file where a folder should be", encoding="utf-8")
    assert "journal" in refused(tmp_path, "--port", "0")


def test_a_damaged_journal_is_moved_aside_and_told_and_callers_are_served(
    tmp_path: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    path = tmp_path / "journal" / "gateway-1.db"
    path.parent.mkdir()
    path.write_bytes(b"no database at all" * 500)
    FileRoutesBoard(tmp_path).publish(routes(1, target(save(tmp_path, Scripted()))))
    port = free_port()
    processes.append(start(tmp_path, "--port", str(port)))
    wait_for(lambda: bool(FileRoutesBoard(tmp_path).acknowledgements()), 60.0, "no gateway")
    assert ask(f"http://127.0.0.1:{port}").status_code == 200
    (aside,) = (tmp_path / "journal" / "damaged").iterdir()
    assert aside.read_bytes().startswith(b"no database")
    (said,) = FileRoutesBoard(tmp_path).acknowledgements()
    assert str(aside) in said.problems["journal"]
    assert "is damaged" in said.problems["journal"]


def test_who_comes_while_versions_are_loaded_waits(tmp_path: Path, processes: list[subprocess.Popen[bytes]]) -> None:
    """So a restart of the gateway, too, costs a caller time and not an error, once it listens."""
    FileRoutesBoard(tmp_path).publish(routes(1, target(save(tmp_path, Lazy()))))
    port = free_port()
    processes.append(start(tmp_path, "--port", str(port)))
    url = f"http://127.0.0.1:{port}"
    began = time.monotonic()
    while True:
        try:
            assert ask(url).status_code == 200
            break
        except httpx.ConnectError:
            assert time.monotonic() - began < 30.0
            time.sleep(0.02)


def test_a_signal_while_versions_are_loaded_ends_it(tmp_path: Path, processes: list[subprocess.Popen[bytes]]) -> None:
    FileRoutesBoard(tmp_path).publish(routes(1, target(save(tmp_path, Lazy()))))
    process = start(tmp_path, "--port", "0")
    processes.append(process)
    wait_for(lambda: bool(psutil.Process(process.pid).children()), 30, "no worker")
    children = psutil.Process(process.pid).children()
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert not any(child.is_running() for child in children)


def test_a_worker_that_starts_while_its_gateway_is_killed_ends_too(
    tmp_path: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    """The kernel kills the children of a gateway only once they have asked for it."""
    FileRoutesBoard(tmp_path).publish(routes(1, target(save(tmp_path, Sleepy()))))
    process = start(tmp_path, "--port", "0")
    processes.append(process)
    wait_for(lambda: bool(psutil.Process(process.pid).children()), 30, "no worker")
    (worker,) = psutil.Process(process.pid).children()
    process.kill()
    process.wait(10)
    wait_for(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE, 20, "the worker lives on")


def test_it_follows_the_board_and_stops_in_order(tmp_path: Path, processes: list[subprocess.Popen[bytes]]) -> None:
    versions = {n: save(tmp_path, Lazy() if n == 3 else Scripted(), number=n) for n in (1, 2, 3)}
    board = FileRoutesBoard(tmp_path)
    board.publish(routes(1, target(versions[1]), target(versions[2], Role.STANDBY, 0.0)))
    process = start(tmp_path, "--port", "0")
    processes.append(process)
    assert process.stdout is not None
    url = process.stdout.readline().decode().rsplit(" at ", 1)[1].strip()

    def number() -> int:
        return board.acknowledgements()[0].number

    wait_for(lambda: number() == 1, 30, "routes 1 were not acknowledged")
    board.publish(routes(2, target(versions[3])))  # loads for seconds ...
    time.sleep(0.3)
    began = time.monotonic()
    board.publish(routes(3, target(versions[2])))  # ... and is overtaken
    wait_for(lambda: ask(url).json()["predictions"][0]["version"] == 2, 10, "the newer routes were not taken over")
    assert time.monotonic() - began < 1.0
    wait_for(lambda: number() == 3, 10, "routes 3 were not acknowledged")
    board.publish(routes(4, replace(target(versions[1]), sha256="0" * 64)))
    wait_for(lambda: "m/1" in board.acknowledgements()[0].problems, 30, "the problem was not reported")
    assert number() == 3
    assert httpx.get(f"{url}/readyz").status_code == 503
    good = GatewayDesk(tmp_path, "gateway-1").last_good()
    assert good is not None
    assert good.number == 3
    served = board.acknowledgements()[0].served["m"]
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask, url, id=f"last-{i}") for i in range(20)]
        wait_for(lambda: any(a.done() for a in asked), 30, "no answer")
        process.send_signal(signal.SIGTERM)
        replies = [a for a in asked if a.exception() is None]
    assert process.wait(20) == 0
    assert replies
    assert {a.result().status_code for a in replies} == {200}
    assert served > 0
    assert not [p for p in psutil.process_iter(["ppid"]) if p.info["ppid"] == os.getpid() and p.pid == process.pid]
