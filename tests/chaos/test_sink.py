"""The lake is away for long: callers are answered, rows wait on the disk, memory stays, and afterwards all rows are there."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from sklearn.linear_model import LogisticRegression

from afterfit.adapters import delta_lake
from afterfit.adapters.delta_lake import DeltaLake
from afterfit.adapters.journal_file import JournalReader
from tests.adapters.log_rows import MODEL, YEAR, prediction, write
from tests.world import World, wait_for

MB = 1 << 20
MORE = 60 * MB  # what a process may take more than at its start; the rows that wait are about that much and more
_DRAIN = """
import sys
from pathlib import Path
from afterfit.adapters.delta_lake import DeltaLake
home = Path(sys.argv[1])
while True:
    DeltaLake(home / "lake").drain(home / "journal")
"""


class Callers:
    """Clients that ask without pause and remember what was acknowledged, and what was not."""

    def __init__(self, world: World, clients: int = 3) -> None:
        self.acknowledged: list[str] = []
        self.failed: list[str] = []
        self.slowest = 0.0
        self._url = f"{world.url}/v1/models/m/predict"
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(i,)) for i in range(clients)]
        for thread in self._threads:
            thread.start()

    def _ask(self, client: int) -> None:
        number = 0
        with httpx.Client(timeout=60.0, trust_env=False) as http:
            while not self._stop.is_set():
                id, number, began = f"{client}-{number}", number + 1, time.monotonic()
                reply = http.post(self._url, json={"rows": [{"a": 0.5, "b": 1}], "id": id})
                self.slowest = max(self.slowest, time.monotonic() - began)
                (self.acknowledged if reply.status_code == 200 else self.failed).append(id)

    def more(self, rows: int = 30) -> None:
        """Wait until so many more were answered."""
        wanted = len(self.acknowledged) + rows
        wait_for(lambda: len(self.acknowledged) >= wanted, 60, "callers are not answered")

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def callers(world: World) -> Iterator[Callers]:
    world.live(LogisticRegression())
    world.start()
    made = Callers(world)
    yield made
    made.stop()


def all_there(world: World, callers: Callers) -> None:
    callers.stop()
    found = world.logged()["prediction_id"].value_counts()
    assert callers.failed == []
    assert set(callers.acknowledged) == set(found.index)
    assert found.max() == 1


def drain(world: World) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _DRAIN, str(world.config.home)])


@pytest.mark.timeout(300)
def test_a_drain_that_is_stopped_in_any_instant_holds_nobody_up(world: World, callers: Callers) -> None:
    """SIGSTOP, as Ctrl-Z or a debugger sends it: whatever lock the drain has just then, it keeps."""
    dice = random.Random(11)
    running = drain(world)
    try:
        callers.more()
        for _ in range(20):
            time.sleep(dice.uniform(0.0, 0.2))
            running.send_signal(signal.SIGSTOP)
            callers.more()
            running.send_signal(signal.SIGCONT)
        running.send_signal(signal.SIGSTOP)  # and it never comes back
        callers.more()
    finally:
        running.kill()
        running.wait()
    assert callers.slowest < 10.0  # a write lock would have been waited for, 30 s long
    all_there(world, callers)


@pytest.mark.timeout(300)
def test_a_file_system_that_hangs_stops_the_drain_and_nothing_else(world: World, callers: Callers) -> None:
    """A pipe in the place of a file of the lake: whoever opens it to read waits until somebody writes."""
    callers.more()
    world.home.lake.drain(world.config.home / "journal")
    pipe = world.config.home / "lake" / "predictions" / "_delta_log" / "_last_checkpoint"
    os.mkfifo(pipe)
    assert world.gateway is not None
    gateway = psutil.Process(world.gateway.pid)
    before = gateway.memory_info().rss
    callers.more()
    running = drain(world)
    try:
        time.sleep(3.0)
        callers.more(300)
        assert waiting(world) > 300
        os.close(_writer(pipe))  # only where somebody hangs in opening it to read
    finally:
        running.kill()
        running.wait()
        pipe.unlink()
    assert gateway.memory_info().rss < before + MORE
    all_there(world, callers)


def _writer(pipe: Path) -> int:
    found: list[int] = []

    def opened() -> bool:
        try:
            found.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:  # nobody waits at the other end
            return False
        return True

    wait_for(opened, 60, "the drain did not reach the pipe")
    return found[0]


def waiting(world: World) -> int:
    with JournalReader(world.config.home / "journal" / "gateway-1.db") as journal:
        return len(journal.read(journal.drained(), 1_000_000))


def test_ten_minutes_of_rows_wait_on_the_disk_and_are_moved_in_small_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """120,000 rows, ten minutes at 200 a second, written without a drain; then the lake is back."""
    path, own = tmp_path / "journal" / "g1.db", psutil.Process()
    write(path, [prediction("warm")])
    before = own.memory_info().rss
    for part in range(24):
        write(path, [prediction(f"{part}-{n}", features={"x": n, "text": "y" * 200}) for n in range(5000)])
    assert path.stat().st_size > 25 * MB
    assert own.memory_info().rss < before + MORE
    monkeypatch.setattr(delta_lake, "BATCH", 5000)
    lake = DeltaLake(tmp_path / "lake")
    moved = lake.drain(path.parent)
    assert moved.predictions == 120_001
    assert lake.counts(MODEL)["predictions"] == 120_001
    assert len(set(lake.predictions(MODEL, YEAR)["prediction_id"].to_pylist())) == 120_001
