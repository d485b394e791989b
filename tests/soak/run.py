"""One soak from an empty folder to its verdict: a home under load, swaps without end, a sample now and then."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path

import psutil

from afterfit.records import Acknowledgement
from tests.soak import lake, watch
from tests.soak.clients import Counts
from tests.soak.place import PATIENCE, Place
from tests.soak.rollouts import Rollouts
from tests.soak.rows import GRAPH, PLAIN
from tests.soak.verdict import Soak
from tests.soak.watch import Part, Sample
from tests.world import wait_for

Say = Callable[[str], None]


def run(
    folder: Path, *, minutes: float, requests: int, swaps: int, connections: int = 16, tick: int = 5,
    every: float = 60.0, say: Say = lambda _text: None,
) -> Soak:  # fmt: skip
    """Go on until all three are reached: minutes, requests and swaps; then stop everything in order and count.

    Args:
        folder: empty; the home is made in it.
        connections: of the callers.
        tick: seconds between two looks of the controller.
        every: seconds between two samples.
        say: takes a line of progress with each sample.
    """
    place = Place(folder, tick)
    clients: Clients | None = None
    rollouts = Rollouts(place)
    try:
        for name in (GRAPH, PLAIN):
            place.register(name, seed=1)
        place.start()
        assert place.up is not None
        clients = Clients(place.port, connections, folder / "clients.log")
        rollouts.start()
        samples: list[Sample] = []
        began = time.monotonic()
        while True:
            parts = watch.usual(place.up.pid, until=began + every * (len(samples) + 1))
            assert clients.process.poll() is None, (folder / "clients.log").read_text(encoding="utf-8")
            assert not rollouts.problem, rollouts.problem
            samples.append(_sample(place, parts, time.monotonic() - began, clients.counts().requests, rollouts.swaps))
            say(_line(samples[-1], clients.counts()))
            if (
                time.monotonic() - began >= minutes * 60
                and rollouts.swaps >= swaps
                and samples[-1].requests >= requests
            ):
                break
        rollouts.stop()
        assert not rollouts.problem, rollouts.problem
        counts = clients.stop()
        return _end(place, rollouts, samples, counts)
    finally:
        if rollouts.is_alive():
            rollouts.stop()
        if clients is not None:
            clients.close()
        place.close()


class Clients:
    """The process of the callers."""

    def __init__(self, port: int, connections: int, log: Path) -> None:
        self._log = log
        with log.open("w") as out, log.with_suffix(".err").open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.soak.clients", str(port), str(connections)],
                stdin=subprocess.PIPE, stdout=out, stderr=err,
            )  # fmt: skip
        wait_for(lambda: bool(self._lines()) or self.process.poll() is not None, PATIENCE, "the callers ask")

    def counts(self) -> Counts:
        """What they counted last."""
        told = json.loads(self._lines()[-1])
        for field in fields(Counts):
            if field.default_factory is Counter:
                told[field.name] = Counter(told[field.name])
        return Counts(**told)

    def stop(self) -> Counts:
        """Let each finish what it asked, and count."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(PATIENCE) == 0
        return self.counts()

    def close(self) -> None:
        """End them, however they stand."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()

    def _lines(self) -> list[bytes]:
        """The newest whole lines; the file may have thousands."""
        with self._log.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - 200_000))
            return file.read().split(b"\n")[:-1]


def _sample(place: Place, parts: Mapping[str, Part], seconds: float, requests: int, swaps: int) -> Sample:
    assert place.up is not None
    home = place.home.config.home
    return Sample(
        seconds=seconds,
        requests=requests,
        parts=parts,
        zombies=watch.zombies(place.up.pid),
        folders=watch.folders(home),
        behind=watch.behind(home),
        swaps=swaps,
    )


def _end(place: Place, rollouts: Rollouts, samples: list[Sample], counts: Counts) -> Soak:
    """All rows reach the lake; then `afterfit up` stops, and nothing of it is left."""
    assert place.up is not None
    home, acknowledged = place.home.config.home, sum(counts.acknowledged.values())
    wait_for(lambda: lake.n_predictions(home) >= acknowledged, PATIENCE, f"{acknowledged:,} rows are in the lake")
    wait_for(lambda: _served(place.home.board.acknowledgements()) >= acknowledged, PATIENCE, "the gateway told all")
    served = _served(place.home.board.acknowledgements())
    after = rollouts.at_rest()
    children = psutil.Process(place.up.pid).children(recursive=True)
    code = place.stop()
    place.home.lake.drain(home / "journal")  # what came with the last requests
    _, alive = psutil.wait_procs(children, timeout=15)
    return Soak(
        samples=samples,
        rests=rollouts.rests,
        after=after,
        connections=len(counts.issued),
        counts=counts,
        served=served,
        log=lake.counted(home, counts.issued, counts.unacknowledged),
        swaps=rollouts.swaps,
        by_itself=rollouts.by_itself,
        exit_code=code,
        left=[" ".join(process.cmdline()) for process in alive],
    )


def _served(told: list[Acknowledgement]) -> int:
    return sum(sum(one.served.values()) for one in told)


def _line(sample: Sample, counts: Counts) -> str:
    memory = ", ".join(f"{name} {part.n}x {part.rss:.0f} MB" for name, part in sorted(sample.parts.items()))
    failed = f", FAILED {dict(counts.failures)}" if counts.failures else ""
    return (
        f"{sample.seconds / 60:5.1f} min  {sample.requests:>9,} requests  {sample.swaps:>3} swaps  {memory}  "
        f"lake {sample.behind:.1f} s behind  slowest {counts.worst:.2f} s  degraded {counts.degraded.total()}{failed}"
    )
