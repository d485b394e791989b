"""What a soak must show, and the table of its samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import theilslopes

from tests.soak.clients import Counts
from tests.soak.lake import Log
from tests.soak.watch import Rest, Sample

GROWTH = 0.05  # of its memory, that a process may gain in an hour by the slope of the second half
NOISE = 8.0  # MB that a slope over the second half may make up, whatever it comes to in an hour
WARM = 3  # rounds after which memory, descriptors and threads are those that stay
LOOKED_AT = ("gateway", "controller", "up")


@dataclass(frozen=True)
class Soak:
    """All that was seen."""

    samples: Sequence[Sample]
    rests: Sequence[Rest]  # after each round, under load
    after: Rest  # once the callers are gone
    connections: int  # that they had
    counts: Counts
    served: int  # rows, by the gateway's own report
    log: Log
    swaps: int
    by_itself: int
    exit_code: int
    left: Sequence[str]  # processes that outlived `afterfit up`


def problems(soak: Soak) -> list[str]:
    """What failed, whatever the clock: counts only. Empty where nothing did."""
    found = [f"{n} answers: {what}" for what, n in soak.counts.failures.items()]
    told, log = sum(soak.counts.acknowledged.values()), soak.log
    if not told == soak.served == log.predictions:
        found.append(f"rows: {told:,} acknowledged, {soak.served:,} logged, {log.predictions:,} in the lake")
    if log.outcomes != sum(soak.counts.outcomes.values()):
        found.append(f"outcomes: {sum(soak.counts.outcomes.values()):,} stored, {log.outcomes:,} in the lake")
    for what, n in (("twice", log.twice), ("outcomes twice", log.outcomes_twice), ("of nobody", log.strangers)):
        if n:
            found.append(f"in the lake {what}: {n:,}")
    found += [f"zombies at rest {i}: {r.zombies}" for i, r in enumerate(soak.rests) if r.zombies]
    found += [
        f"versions that left are still open at rest {i}: {r.dropped}" for i, r in enumerate(soak.rests) if r.dropped
    ]
    found += _unequal("descriptors", [r.fds for r in soak.rests]) + _unequal("threads", [_own(r) for r in soak.rests])
    if soak.rests and (kept := soak.after.fds["gateway"] + soak.connections - soak.rests[-1].fds["gateway"]) > 0:
        found.append(f"descriptors of the gateway that {soak.connections} connections left open: {kept}")
    if soak.exit_code:
        found.append(f"`afterfit up` ended with code {soak.exit_code}")
    return found + [f"left behind: {process}" for process in soak.left]


def growth(soak: Soak) -> dict[str, tuple[float, float, float]]:
    """(MB in the middle, MB an hour, share an hour) by process: the Theil-Sen slope over the second half of the samples."""
    late = soak.samples[len(soak.samples) // 2 :]
    found: dict[str, tuple[float, float, float]] = {}
    for name in LOOKED_AT:
        points = [(s.seconds / 3600.0, s.parts[name].rss) for s in late if name in s.parts]
        if len(points) >= 4:
            hours, megabytes = zip(*points, strict=True)
            slope, _, _, _ = theilslopes(megabytes, hours)
            middle = sorted(megabytes)[len(megabytes) // 2]
            found[name] = (middle, float(slope), float(slope) / middle)
    return found


def grew(soak: Soak) -> list[str]:
    """Processes whose memory grows by more than a share GROWTH an hour, and by more than noise in what was seen."""
    late = soak.samples[len(soak.samples) // 2 :]
    hours = (late[-1].seconds - late[0].seconds) / 3600.0
    return [
        f"memory of {name}: {slope:+.1f} MB an hour, {share:+.1%} of {middle:.0f} MB"
        for name, (middle, slope, share) in growth(soak).items()
        if share > GROWTH and slope * hours > NOISE
    ]


def table(samples: Sequence[Sample]) -> str:
    """One line a sample."""
    names = sorted({name for s in samples for name in s.folders})
    head = ["min", "requests", "swaps", *(f"{p} MB/fd/thr" for p in LOOKED_AT), "workers", "zomb", "behind s"]
    lines = [[*head, *(f"{name} files/MB" for name in names)]]
    for s in samples:
        part = [f"{p.rss:.0f}/{p.fds}/{p.threads}" if (p := s.parts.get(n)) else "-" for n in LOOKED_AT]
        workers = f"{w.n}: {w.rss:.0f}" if (w := s.parts.get("workers")) else "0"
        kept = [f"{files}/{size:.1f}" for files, size in (s.folders.get(name, (0, 0.0)) for name in names)]
        first = [f"{s.seconds / 60:.1f}", f"{s.requests:,}", str(s.swaps)]
        lines.append([*first, *part, workers, str(s.zombies), f"{s.behind:.1f}", *kept])
    wide = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(cell.rjust(w) for cell, w in zip(line, wide, strict=True)) for line in lines)


def _own(rest: Rest) -> dict[str, int]:
    """Threads but the controller's: delta-rs and DuckDB have some for as long as they have work, and some seconds more."""
    return {name: n for name, n in rest.threads.items() if name != "controller"}


def _unequal(what: str, seen: Sequence[object]) -> list[str]:
    """Counts that differ between the first round that is warm and the last."""
    if len(seen) <= WARM or seen[WARM - 1] == seen[-1]:
        return []
    return [f"{what} after round {WARM}: {seen[WARM - 1]}, after round {len(seen)}: {seen[-1]}"]
