"""Ours beside MLServer, BentoML, `mlflow models serve` and FastAPI by hand, on the same models. See README.md.

`python benchmarks/gateway/run.py` takes about 40 minutes on two cores and writes RESULTS.md; `--quick` takes one short
round and writes nothing; `--shadow` measures only what a slow shadow costs callers of ours, and writes SHADOW.md.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import load  # noqa: E402
import psutil  # noqa: E402
import report  # noqa: E402
from bodies import Dialect  # noqa: E402
from environments import cache  # noqa: E402
from models import BATCH, DISTINCT, NAMES, Model, build  # noqa: E402
from ours import Ours  # noqa: E402
from peers import PEERS, Start  # noqa: E402
from score import MANY, ONE, OURS, Bare, Round, log_is_right  # noqa: E402
from servers import (  # noqa: E402
    TOLERANCE,
    FailedError,
    Running,
    await_answer,
    env_with,
    free_port,
    running,
)

TITLES = {OURS: "**Afterfit**", **{name: peer.title for name, peer in PEERS.items()}}
BATCHES = 5  # large requests a round; the median counts
CHECKED = 20  # rows whose answers are compared with the model's own


def main() -> None:
    asked = _arguments()
    client, server = load.cores()
    load.wrk()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that no server is left behind
    if client:
        os.sched_setaffinity(0, client)  # this process too keeps out of the server's way
    folder = cache() / "gateway"
    folder.mkdir(exist_ok=True)
    if asked.shadow:
        import shadow

        text = shadow.measure(folder, runs=2 if asked.quick else 7, seconds=2 if asked.quick else 10)
    else:
        rounds, seconds = (1, 2.0) if asked.quick else (asked.rounds, 5.0)
        text = Benchmark(folder, asked.only, client, server, seconds).run(rounds)
    print(text)
    if not asked.quick and not asked.only:
        (HERE / ("SHADOW.md" if asked.shadow else "RESULTS.md")).write_text(text, encoding="utf-8")


def _arguments() -> argparse.Namespace:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--quick", action="store_true", help="one short round; writes no file")
    arguments.add_argument(
        "--rounds", type=int, default=5, help="rounds of all servers (default: 5, eight minutes each)"
    )
    arguments.add_argument("--shadow", action="store_true", help="what a slow shadow costs the champion's callers")
    arguments.add_argument("--only", nargs="+", choices=list(TITLES), metavar="NAME", help=f"some of {list(TITLES)}")
    return arguments.parse_args()


class Benchmark:
    """All contestants on all models; who fails once is left out of later rounds of that model, and said so."""

    def __init__(self, folder: Path, only: list[str] | None, client: list[int], server: list[int], seconds: float):
        self._folder = folder
        self._names = [name for name in TITLES if not only or name in only]
        self._client, self._server, self._seconds = client, server, seconds
        self._pythons = {}
        self._failed: dict[str, dict[str, str]] = {model: {} for model in NAMES}
        self._lanes: dict[str, str] = {}
        self._acknowledged: dict[str, int] = dict.fromkeys(NAMES, 0)
        self._cut: dict[str, int] = dict.fromkeys(NAMES, 0)
        for name in self._names:
            if name in PEERS:
                try:
                    _say(f"environment of {name}")
                    self._pythons[name] = PEERS[name].python(name)
                except RuntimeError as error:
                    for failed in self._failed.values():
                        failed[name] = str(error)

    def run(self, rounds: int) -> str:
        """The whole text."""
        shutil.rmtree(self._folder / "peers", ignore_errors=True)
        models = {name: build(name, self._folder / "models" / name) for name in NAMES}
        _say("registering the models")
        ours = {name: Ours(model, self._folder / "homes" / name) for name, model in models.items()}
        for mine in ours.values():
            mine.publish()
        results: dict[str, dict[str, list[Round]]] = {name: {} for name in NAMES}
        bare: dict[str, list[Bare]] = {name: [] for name in NAMES}
        for number in range(rounds):
            for name, model in models.items():
                bare[name].append(_bare(model, self._server))
                turn = number % len(self._names)  # nobody always comes first
                for contestant in [*self._names[turn:], *self._names[:turn]]:
                    if contestant not in self._failed[name]:
                        _say(f"round {number + 1}, {name}: {contestant}")
                        self._once(model, contestant, ours[name], results[name])
        return self._text(results, bare, ours, rounds)

    def _once(self, model: Model, name: str, mine: Ours, results: dict[str, list[Round]]) -> None:
        try:
            found = self._round(model, name, mine)
        except (FailedError, RuntimeError, OSError, http.client.HTTPException, psutil.Error) as error:
            _say(f"{name} failed: {error}")
            self._failed[model.name][name] = str(error)
            results.pop(name, None)
        else:
            results.setdefault(name, []).append(found)

    def _round(self, model: Model, name: str, mine: Ours) -> Round:
        port, place = free_port(), self._folder / "peers" / name / model.name
        place.mkdir(parents=True, exist_ok=True)
        start = mine.start(port) if name == OURS else self._start_peer(name, model, place, port)
        bodies, log = place / "bodies.jsonl", place / "server.log"
        bodies.write_bytes(b"\n".join(start.dialect.body([r]) for r in model.records[:DISTINCT]) + b"\n")
        how = {"port": port, "path": start.path, "env": start.env, "cwd": place, "core": self._server, "log": log}
        with running(start.command, **how) as server:
            asked = _check(server, start.dialect, model, log)
            if name == OURS:
                self._lanes[model.name] = mine.versions(port)[0]["lane"]
            loads = {}
            for connections, seconds in ((MANY, 1.0), (ONE, self._seconds), (MANY, self._seconds)):  # first: warm-up
                said = load.run(server.url, bodies, connections=connections, seconds=seconds, core=self._client)
                asked += said.answered + _settle(server, start.dialect.body(model.records[:1]))
                if not said.answered:
                    raise FailedError(f"no good answer on {connections} connections within {seconds:g} s: {said}")
                loads[connections] = said
                self._cut[model.name] += connections if name == OURS else 0
            peak = server.peak_mb()
            batch, problem, rows = _batch(server, start.dialect, model)
        if name == OURS:
            self._acknowledged[model.name] += asked + rows
            mine.logged()  # leaves the next round an empty journal, as the control loop would
        return Round(loads, peak, batch, problem)

    def _start_peer(self, name: str, model: Model, place: Path, port: int) -> Start:
        if not any(place.iterdir()):
            PEERS[name].prepare(self._pythons[name], model, place)
        return PEERS[name].start(self._pythons[name], model, place, port)

    def _text(
        self,
        results: dict[str, dict[str, list[Round]]],
        bare: dict[str, list[Bare]],
        ours: dict[str, Ours],
        rounds: int,
    ) -> str:
        parts = [_head(rounds, self._seconds, self._client, self._server)]
        asked = {name: found for name, found in results.items() if OURS in found}
        parts += ["## What was asked\n", report.asked(asked, bare)]
        for name, found in results.items():
            lane = self._lanes.get(name, "-")
            parts += [f"## {name} (ours in the lane `{lane}`)\n", report.measured(found, TITLES, self._failed[name])]
            if OURS in found:
                parts += [report.ratios(found, TITLES), report.overhead(found, bare[name])]
            parts.append(report.batches(found, TITLES, bare[name], BATCH))
            if OURS in found:
                parts.append(self._log_line(name, ours[name]))
        return "\n".join(parts)

    def _log_line(self, name: str, mine: Ours) -> str:
        logged, least, cut = mine.logged(), self._acknowledged[name], self._cut[name]
        fine = log_is_right(least, cut, logged.rows, logged.ids)
        return (
            f"Log: {least:,} rows acknowledged, {logged.rows:,} logged, {logged.ids:,} different ids; the client hung "
            f"up on at most {cut:,} that may be logged without having been read: {'right' if fine else '**wrong**'}.\n"
        )


def _check(server: Running, dialect: Dialect, model: Model, log: Path) -> int:
    """Whether it says what the model says; how many rows it answered.

    Raises:
        FailedError: it does not.
    """
    reply = await_answer(server, dialect.body(model.records[:1]), log)
    for i in range(CHECKED):
        if i:
            status, reply = server.post(dialect.body(model.records[i : i + 1]))
            if status != 200:
                raise FailedError(f"answered {status} {reply[:300]!r} to row {i}")
        try:
            (found,) = dialect.answers(reply)
        except ValueError as error:
            raise FailedError(str(error)) from error
        if abs(found - model.expected[i]) > TOLERANCE:
            raise FailedError(f"answered {found} to row {i}, the model says {model.expected[i]}")
    return CHECKED


def _settle(server: Running, body: bytes) -> int:
    """Let it work off what the client hung up on, which it may not have noticed; how many rows it answered meanwhile.

    Raises:
        FailedError: it answers no more.
    """
    for _ in range(2):  # the second finds an empty queue even where the first overtook somebody
        status, reply = server.post(body)
        if status != 200:
            raise FailedError(f"answered {status} {reply[:300]!r} after a load")
    return 2


def _batch(server: Running, dialect: Dialect, model: Model) -> tuple[float | None, str, int]:
    """(median seconds of a request with all rows, or why there is none, rows acknowledged)."""
    body, took = dialect.body(model.records), []
    for _ in range(BATCHES):
        began = time.perf_counter()
        try:
            status, reply = server.post(body)
        except (OSError, http.client.HTTPException) as error:
            return None, str(error), len(took) * BATCH
        if status != 200:
            return None, f"{status} {reply[:200].decode(errors='replace')}", len(took) * BATCH
        took.append(time.perf_counter() - began)
        try:
            found = dialect.answers(reply)
        except ValueError as error:
            return None, str(error), len(took) * BATCH
        if len(found) != BATCH or max(abs(a - b) for a, b in zip(found, model.expected, strict=True)) > TOLERANCE:
            return None, "answered something else than the model", len(took) * BATCH
    return median(took), "", len(took) * BATCH


def _bare(model: Model, core: list[int]) -> Bare:
    command = [sys.executable, str(HERE / "bare.py"), str(model.folder)]
    command += [str(model.link)] if model.link.exists() else []
    said = subprocess.run(load.pinned(command, core), capture_output=True, text=True, check=False, env=env_with({}))
    if said.returncode != 0:
        raise SystemExit(f"bare.py failed: {said.stderr[-1500:]}")
    found = json.loads(said.stdout.strip().splitlines()[-1])
    return Bare(found["python"]["p50_ms"], found.get("graph", {}).get("p50_ms"), found["batch_s"])


def _head(rounds: int, seconds: float, client: list[int], server: list[int]) -> str:
    ours = ", ".join(f"{n} {version(n)}" for n in ("scikit-learn", "pandas", "numpy", "uvicorn"))
    pins = "; ".join(" ".join(p.packages[:2]) for p in PEERS.values() if p.packages)
    where = (
        f"client on core {client[0]}, server on core {server[0]}" if client != server else "client and server unpinned"
    )
    return (
        f"# Gateway, measured\n\n{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; {where}; "
        f"rounds: {rounds}, {seconds:g} s a load. {ours}; {pins}. Medians over the rounds; what the columns mean: README.md.\n"
    )


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
