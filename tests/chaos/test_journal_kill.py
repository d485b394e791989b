"""Promise 4: the gateway's journal or the drain dies by SIGKILL at any instant, and every acknowledged id is kept once."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
import threading
import time
from collections import Counter
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import pytest

from afterfit.adapters import delta_lake
from afterfit.adapters.delta_lake import DeltaLake
from afterfit.adapters.journal import SqliteJournal
from tests.adapters.log_rows import MODEL, YEAR, outcome, prediction, shadow

KILLS = 20
CLIENTS = 8
_HELPERS = ["afterfit.adapters.journal", "afterfit.adapters.delta_lake", "tests.adapters.log_rows"]


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Children that start in a few milliseconds: the server has imported everything already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_HELPERS)
    return context


async def _client(journal: SqliteJournal, name: str, tell: Any, stop: threading.Event | None = None) -> None:
    """Write requests of a few rows, tell each acknowledged one, and never stop by itself."""
    dice = random.Random(name)
    number = 0
    while stop is None or not stop.is_set():
        rows = [prediction(f"{name}-{number}-{i}", rollout="r") for i in range(dice.randrange(1, 20))]
        number += 1
        await journal.predictions(rows)
        tell([row.id for row in rows])
        journal.shadows([shadow(row.id, rollout="r") for row in rows])
        answers = await journal.outcomes([outcome(row.id, 1) for row in rows])
        assert answers == ["stored"] * len(rows)


def append_until_killed(path: Path, life: int, caller: Connection) -> None:
    """A gateway that acknowledges to its caller through a pipe, one short (so whole) write per acknowledgement."""

    def tell(ids: list[str]) -> None:
        os.write(caller.fileno(), (" ".join(ids) + "\n").encode())

    async def clients() -> None:
        await asyncio.gather(*(_client(journal, f"{life}.{n}", tell) for n in range(CLIENTS)))

    journal = SqliteJournal(path)
    asyncio.run(clients())


def drain_until_killed(home: Path, watcher: Connection) -> None:
    """A controller that does nothing but drain, in small batches so that there are many instants to die in."""
    delta_lake.BATCH = 50
    lake = DeltaLake(home / "lake")
    watcher.send_bytes(b"ready")
    while True:
        lake.drain(home / "journal")


def listen(gateway: Connection, acknowledged: list[str]) -> None:
    """Collect acknowledged ids until the gateway is dead; a reply that was cut in half was not received."""
    with os.fdopen(os.dup(gateway.fileno()), encoding="ascii") as replies:
        for line in replies:
            if line.endswith("\n"):
                acknowledged.extend(line.split())
    gateway.close()


def kill(process: ForkServerProcess) -> None:
    assert process.is_alive(), f"the child ended by itself with {process.exitcode}"
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL


def check(home: Path, acknowledged: list[str]) -> None:
    lake = DeltaLake(home / "lake")
    lake.drain(home / "journal")
    table = lake.labelled(MODEL, YEAR)
    found = Counter(table["prediction_id"].to_pylist())
    assert len(acknowledged) == len(set(acknowledged))
    assert [id for id in acknowledged if id not in found] == [], "acknowledged and lost"
    assert [id for id, times in found.items() if times > 1] == [], "counted twice"
    counts = lake.counts(MODEL)
    assert counts["predictions"] == len(found)
    assert counts["waiting"] == 0
    known = table.filter(table["outcome"].is_valid()).num_rows
    assert counts["outcomes"] == known, "an outcome was counted twice"
    pairs = lake.pairs(MODEL, "r")
    assert counts["shadows"] == pairs.filter(pairs["shadow_version"].is_valid()).num_rows, "a shadow was counted twice"


def test_the_gateway_dies(tmp_path: Path, processes: ForkServerContext) -> None:
    dice = random.Random(4)
    path, lake = tmp_path / "journal" / "g1.db", DeltaLake(tmp_path / "lake")
    acknowledged: list[str] = []
    for life in range(KILLS):
        ours, theirs = multiprocessing.Pipe(duplex=False)
        child = processes.Process(target=append_until_killed, args=(path, life, theirs), daemon=True)
        child.start()
        theirs.close()
        listener = threading.Thread(target=listen, args=(ours, acknowledged))
        listener.start()
        try:
            before = len(acknowledged)
            while len(acknowledged) == before:
                lake.drain(path.parent)
            until = time.monotonic() + dice.uniform(0.0, 0.25)
            while time.monotonic() < until:
                lake.drain(path.parent)
        finally:
            kill(child)
            listener.join()
    assert len({id.split(".")[0] for id in acknowledged}) == KILLS
    check(tmp_path, acknowledged)


def test_the_drain_dies(tmp_path: Path, processes: ForkServerContext) -> None:
    dice = random.Random(5)
    acknowledged: list[str] = []
    stop = threading.Event()
    journal = SqliteJournal(tmp_path / "journal" / "g1.db")

    async def clients() -> None:
        await asyncio.gather(*(_client(journal, f"x.{n}", acknowledged.extend, stop) for n in range(CLIENTS)))

    gateway = threading.Thread(target=lambda: asyncio.run(clients()))
    gateway.start()
    try:
        for _ in range(KILLS):
            ours, theirs = multiprocessing.Pipe(duplex=False)
            child = processes.Process(target=drain_until_killed, args=(tmp_path, theirs), daemon=True)
            child.start()
            try:
                assert ours.recv_bytes() == b"ready"
                time.sleep(dice.uniform(0.0, 0.3))
            finally:
                kill(child)
    finally:
        stop.set()
        gateway.join()
        journal.close()
    moved = DeltaLake(tmp_path / "lake").counts(MODEL)["predictions"]
    assert moved > 0, "no drain lived long enough to move anything"
    assert moved < len(acknowledged), "nothing was left in the journal to be lost"
    check(tmp_path, acknowledged)
