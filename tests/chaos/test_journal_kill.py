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
from collections.abc import Iterator
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from afterfit.adapters import delta_lake
from afterfit.adapters.delta_lake import DeltaLake
from afterfit.adapters.journal import SqliteJournal
from afterfit.adapters.journal_file import JournalReader
from afterfit.adapters.journal_rows import PREDICTION, pack_prediction
from afterfit.adapters.lake_schema import TABLES
from afterfit.adapters.lake_table import LakeTable
from tests.adapters.log_rows import MODEL, YEAR, outcome, prediction, shadow

KILLS = 20
CLIENTS = 8
_HELPERS = ["afterfit.adapters.journal", "afterfit.adapters.delta_lake", "tests.adapters.log_rows"]


@pytest.fixture(scope="module")
def processes() -> Iterator[ForkServerContext]:
    """Children that start in a few milliseconds: the server has imported everything already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_HELPERS)
    yield context
    # There is no public way to stop it, and it would live as long as the whole test run.
    forkserver._forkserver._stop()  # type: ignore[attr-defined]


async def _client(
    journal: SqliteJournal, name: str, tell: Any, stop: threading.Event | None = None, pause: float = 0.0
) -> None:
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
        await asyncio.sleep(pause)


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
    warm_up(home / "elsewhere" / str(os.getpid()))
    delta_lake.BATCH = 100
    lake = DeltaLake(home / "lake")
    watcher.send_bytes(b"ready")
    while True:
        lake.drain(home / "journal")


def warm_up(folder: Path) -> None:
    """The first commit of a process takes as long as all that a short life has; make it where it does not matter."""
    row = (1, pack_prediction(prediction("warm")))
    LakeTable(folder, PREDICTION).append("nobody", [row])


def moved_but_not_deleted(home: Path) -> int:
    """Rows that are in the lake and still in the journal: what a drain leaves that dies between commit and delete."""
    with JournalReader(home / "journal" / "g1.db") as journal:
        rows = journal.read(0, 1_000_000)
        id = str(journal.journal_id)
    both = 0
    for kind, name in TABLES.items():
        folder = str(home / "lake" / name)
        done = DeltaTable(folder).transaction_version(id) if DeltaTable.is_deltatable(folder) else None
        both += sum(1 for seq, of, _ in rows if of == kind and done is not None and seq <= done)
    return both


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
    asked = lake.traffic(MODEL, "r", version=2, since=0).asked
    assert counts["shadows"] == asked.get(2, 0), "a shadow was counted twice"


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
    between = 0  # kills that hit between a commit and the deletion
    stop = threading.Event()
    journal = SqliteJournal(tmp_path / "journal" / "g1.db")

    async def clients() -> None:
        await asyncio.gather(*(_client(journal, f"x.{n}", acknowledged.extend, stop, 0.05) for n in range(CLIENTS)))

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
            between += moved_but_not_deleted(tmp_path) > 0
    finally:
        stop.set()
        gateway.join()
        journal.close()
    assert between > 0, "no kill hit the instant that matters"
    check(tmp_path, acknowledged)
