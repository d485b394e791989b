"""The troubles, in one table: what happens, in which room, and how often. No caller may notice any of them."""

from __future__ import annotations

import json
import resource
import shutil
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

from tests.chaos.load import UNLOGGED, Seen, ask
from tests.chaos.moods import CALM, DEADLY, ODD
from tests.chaos.rooms import MEMORY, PATIENCE, Room, Toll, toll
from tests.world import wait_for

TOGETHER = 32


@dataclass(frozen=True)
class Case:
    """One trouble. `happen` brings it about once, and returns when it is over."""

    name: str
    setting: str  # canary | standby
    happen: Callable[[Room], None]
    restarts: bool = False  # the gateway itself is stopped, so connections break


def candidate(mood: str) -> Callable[[Room], None]:
    """Half of the callers are assigned to a version in this mood; the champion answers them."""

    def happen(room: Room) -> None:
        room.steady(2)
        room.set(2, mood)
        room.waits(lambda seen: "version 2" in seen.degraded, 8, f"{mood} was not noticed")
        room.set(2, CALM)

    return happen


def candidate_killed(room: Room) -> None:
    room.steady(2)
    room.kill(2)
    room.waits(lambda seen: "version 2" in seen.degraded, 1, "the death was not noticed")


def champion_killed(room: Room) -> None:
    """The champion before answers until the process is back."""
    room.steady(2)
    room.kill(2)
    room.waits(lambda seen: seen.version == 1 and "version 2" in seen.degraded, 1, "the champion before did not answer")


def champion_hangs(room: Room) -> None:
    room.steady(2)
    room.set(2, "sleep 30")
    room.waits(lambda seen: seen.version == 1 and "version 2" in seen.degraded, 8, "the champion before did not answer")
    room.set(2, CALM)


def switched(room: Room) -> None:
    """A hundred snapshots, in each of which champion and stand-by change places."""
    for _ in range(50):
        for champion, standby in ((1, 2), (2, 1)):
            number = room.publish(champion, standby).number
            time.sleep(0.03)
    wait_for(
        lambda: room.world.home.board.acknowledgements()[0].number >= number, PATIENCE, "the last one is not in force"
    )
    room.steady(2)


def loading(seconds: float) -> Callable[[Room], None]:
    """A new champion that takes long to load: callers are answered by the old one until it is there."""

    def happen(room: Room) -> None:
        room.steady(2)
        room.set(3, f"load {seconds}")
        folder = Path(room.world.home.store.version("m", 3).folder)
        fresh = folder.with_name(f"3-{time.monotonic_ns()}")  # another folder is another process
        shutil.copytree(folder, fresh)
        began, number = time.monotonic(), room.publish(3, 2, fresh).number
        while time.monotonic() - began < seconds:
            room.waits(lambda seen: seen.version == 2 and not seen.degraded, 5, "version 2 did not go on")
        assert room.world.home.board.acknowledgements()[0].number < number
        room.steady(3)
        room.set(3, CALM)
        room.publish(2, 1)
        room.steady(2)

    return happen


def bad_row(value: float) -> Callable[[Room], None]:
    """Thirty-one good rows and a bad one at once: only the bad one has no answer."""

    def happen(room: Room) -> None:
        room.steady(2)
        stamp, seen = time.monotonic_ns(), list[Seen]()
        start = threading.Barrier(TOGETHER)

        def client(i: int) -> None:
            connection = HTTPConnection(*room.address(), timeout=PATIENCE)
            connection.connect()
            start.wait()
            seen.append(ask(connection, f"row-{stamp}-{i}", {"a": value if i == 7 else 0.1, "b": 1}))
            connection.close()

        threads = [threading.Thread(target=client, args=(i,)) for i in range(TOGETHER)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        failed = [s.id for s in seen if s.status != 200]
        assert (len(seen), failed) == (TOGETHER, [f"row-{stamp}-7"])

    return happen


def disk_full(room: Room) -> None:
    """No file of the gateway may grow; callers are answered, and what is not logged says so and is counted."""
    assert room.world.gateway is not None
    pid, most = room.world.gateway.pid, resource.RLIM_INFINITY
    counted = _not_logged(room)
    room.steady(2)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, most))
    try:
        room.waits(lambda seen: UNLOGGED in seen.degraded, 20, "nobody was told that the log is full")
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, most))
    room.steady(2)
    wait_for(lambda: _not_logged(room) >= counted + 20, PATIENCE, "the loss was not reported")
    assert "not in the log" in room.world.home.board.acknowledgements()[0].problems["log"]


def _not_logged(room: Room) -> int:
    return room.world.home.board.acknowledgements()[0].dropped.get("m not logged", 0)


def journal_damaged(room: Room) -> None:
    """Found at the start, moved aside, told; the gateway serves with a new one."""
    room.steady(2)
    room.world.stop()
    room.world.home.lake.drain(room.world.config.home / "journal")
    path = room.world.config.home / "journal" / "gateway-1.db"
    with path.open("r+b") as file:
        file.write(b"no database any more")
    room.world.start()
    said = room.world.home.board.acknowledgements()[0].problems["journal"]
    assert "damaged" in said
    room.steady(2)


def candidate_leaks(room: Room) -> None:
    """It is killed for its memory, not for the time that it takes."""
    room.steady(2)
    room.set(2, "leak")  # on a busy machine callers may be answered by the champion before it took much
    wait_for(lambda: room.world.home.board.acknowledgements()[0].memory["m/2"] > MEMORY, PATIENCE, "it took no memory")
    room.waits(lambda seen: "version 2" in seen.degraded, 8, "leak was not noticed")
    room.set(2, CALM)


CASES = (
    Case("candidate crashes", "canary", candidate("crash")),
    Case("candidate hangs", "canary", candidate("sleep 600")),
    Case("candidate sleeps 30 s", "canary", candidate("sleep 30")),
    Case("candidate returns NaN", "canary", candidate("nan")),
    Case("candidate returns a wrong shape", "canary", candidate("shape")),
    Case("candidate leaks until its limit", "canary", candidate_leaks),
    Case("candidate is killed", "canary", candidate_killed),
    Case("champion is killed", "standby", champion_killed),
    Case("champion hangs", "standby", champion_hangs),
    Case("routes are switched 100 times", "standby", switched),
    Case("a champion loads for 20 s", "standby", loading(20.0)),
    Case("a row that the model refuses among 31 good ones", "standby", bad_row(ODD)),
    Case("a row that kills the process among 31 good ones", "standby", bad_row(DEADLY)),
    Case("disk full", "standby", disk_full),
    Case("journal damaged", "standby", journal_damaged, restarts=True),
)


def run(case: Case, room: Room, times: int) -> Toll:
    """A trouble so many times under load, and what it cost."""
    with room.loaded(case.name.replace(" ", "-")) as load:
        room.waits(lambda seen: seen.status == 200, 20, "nobody was served")
        for _ in range(times):
            case.happen(room)
    return toll(room.world, load.seen)


def table(rows: list[tuple[str, int, Toll]]) -> str:
    """For people."""
    head = ("case", "times", "requests", "errors", "broken", "degraded", "p99 s", "worst s", "lost", "twice")
    lines = [head] + [
        (
            name,
            *map(str, (times, t.requests, t.errors, t.broken, t.degraded)),
            f"{t.p99:.3f}",
            f"{t.worst:.2f}",
            str(t.lost),
            str(t.twice),
        )
        for name, times, t in rows
    ]
    wide = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, wide, strict=True)) for line in lines)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def save(path: Path, rows: list[tuple[str, int, Toll]]) -> None:
    """For programs."""
    path.write_text(json.dumps([{"case": n, "times": k, **vars(t)} for n, k, t in rows], indent=1), encoding="utf-8")
