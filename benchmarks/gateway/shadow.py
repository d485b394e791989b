"""What a shadow of all traffic, ten times slower than the champion, costs the champion's callers: paired runs, ours only."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import load
from models import DISTINCT, LINEAR, Model, build, data_of
from ours import Ours
from score import Load
from servers import Running, await_answer, free_port, running
from sklearn.ensemble import HistGradientBoostingClassifier

from afterfit.records import ModelVersion

TREES = 200  # a row through so many takes at least ten times as long as through the logistic regression
SETTLE = 9.0  # seconds after a switch until the worker that left has ended
CONNECTIONS = (1, 32)


@dataclass(frozen=True)
class Pair:
    """The same load without and with the shadow, one right after the other."""

    without: Load
    shadowed: Load


def measure(folder: Path, runs: int, seconds: float) -> str:
    """The whole text. Only the client is pinned: a shadow is to use what the machine has left."""
    client, _ = load.cores()
    model = build(LINEAR, folder / "models" / LINEAR)
    mine = Ours(model, folder / "homes" / "shadowed")
    slow = HistGradientBoostingClassifier(max_iter=TREES, early_stopping=False, random_state=0)
    slow.fit(data_of(LINEAR, model.X), model.y)
    slower = _call(slow, model) / _call(model.fitted, model)
    shadow = mine.register(slow, model)
    mine.publish()
    port, place = free_port(), folder / "peers" / "shadowed"
    place.mkdir(parents=True, exist_ok=True)
    start = mine.start(port)
    bodies, log = place / "bodies.jsonl", place / "server.log"
    bodies.write_bytes(b"\n".join(start.dialect.body([r]) for r in model.records[:DISTINCT]) + b"\n")
    how = {"port": port, "path": start.path, "env": {}, "cwd": place, "core": [], "log": log}
    pairs: dict[int, list[Pair]] = {c: [] for c in CONNECTIONS}
    with running(start.command, **how) as server:
        await_answer(server, start.dialect.body(model.records[:1]), log)
        load.run(server.url, bodies, connections=32, seconds=2, core=client)
        for number in range(runs):
            for connections, found in pairs.items():
                found.append(_pair(mine, shadow, server, bodies, connections, seconds, client, first=number % 2 == 1))
        _switch(mine, server)
        dropped = mine.dropped()
    mine.logged()
    return _text(pairs, slower, dropped, mine.shadow_rows(), seconds)


def _pair(
    mine: Ours,
    shadow: ModelVersion,
    server: Running,
    bodies: Path,
    connections: int,
    seconds: float,
    client: list[int],
    *,
    first: bool,
) -> Pair:
    """Both loads; `first`: the one with the shadow comes first."""
    found = {}
    for shadowed in (first, not first):
        _switch(mine, server, *([shadow] if shadowed else []))
        found[shadowed] = load.run(server.url, bodies, connections=connections, seconds=seconds, core=client)
    return Pair(found[False], found[True])


def _switch(mine: Ours, server: Running, *shadows: ModelVersion) -> None:
    """New routes, and patience until the gateway runs them and nothing else."""
    mine.publish(*shadows)
    wanted = {mine.version.version, *(s.version for s in shadows)}
    deadline = time.monotonic() + 60.0
    while {v["version"] for v in mine.versions(server.port)} != wanted:
        if time.monotonic() > deadline:
            raise SystemExit(f"the gateway did not take over versions {sorted(wanted)} within a minute")
        time.sleep(0.05)
    time.sleep(SETTLE)


def _call(fitted: object, model: Model) -> float:
    """Seconds of one row in process, median."""
    rows, took = model.rows.to_numpy(), []
    for i in range(300):
        began = time.perf_counter()
        fitted.predict_proba(rows[i : i + 1])  # type: ignore[attr-defined]
        took.append(time.perf_counter() - began)
    return median(took)


def _text(pairs: dict[int, list[Pair]], slower: float, dropped: dict[str, int], scored: int, seconds: float) -> str:
    lines = [
        "# A slow shadow, measured\n",
        f"Champion: logistic regression. Shadow of all traffic: {TREES} trees, {slower:.0f} x slower in process. "
        f"{len(pairs[CONNECTIONS[0]])} pairs of {seconds:g} s; medians, and the median of the pairs' own ratios.\n",
        "| connections | requests/s | with shadow | p50 ms | with shadow | p99 ms | with shadow | ratio of p99 | errors |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for connections, found in pairs.items():
        cells = []
        for key, digits in (("per_second", 0), ("p50_ms", 3), ("p99_ms", 3)):
            for side in ("without", "shadowed"):
                cells.append(f"{median(getattr(getattr(p, side), key) for p in found):,.{digits}f}")
        of_pairs = [p.shadowed.p99_ms / p.without.p99_ms for p in found]
        ratio = f"{median(of_pairs):.3f} ({min(of_pairs):.3f} to {max(of_pairs):.3f})"
        errors = sum(side.errors for p in found for side in (p.without, p.shadowed))
        lines.append(f"| {connections} | {' | '.join(cells)} | {ratio} | {errors} |")
    served = sum(p.shadowed.answered for found in pairs.values() for p in found)
    told = ", ".join(f"{reason}: {count:,}" for reason, count in sorted(dropped.items())) or "none"
    lines.append(
        f"\n{served:,} requests were answered while the shadow was there: {scored:,} it scored, dropped and counted: "
        f"{sum(dropped.values()):,} ({told}).\n"
    )
    return "\n".join(lines)
