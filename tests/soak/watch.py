"""What a running home takes: memory, descriptors, threads and processes of its parts, files and bytes of its folders."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import psutil
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

PARTS = {
    "afterfit.gateway.server": "gateway",
    "afterfit.controller": "controller",
    "afterfit.job": "job",
    "afterfit.cli": "up",
}
_WORKER = "afterfit.gateway.worker"
_LOOKS, _PAUSE = (
    12,
    0.1,
)  # descriptors come and go (a checkpoint, a report): the fewest of some looks are those that stay
_LOOK_EVERY = 3.0  # seconds between two looks at memory; not a divisor of the controller's tick
_MB = 2.0**20


@dataclass(frozen=True)
class Part:
    """One process, or all worker processes together."""

    n: int  # processes
    rss: float  # MB
    fds: int
    threads: int


@dataclass(frozen=True)
class Sample:
    """A home at one moment, and what its processes took since the last."""

    seconds: float  # since the start
    requests: int
    parts: Mapping[str, Part]  # gateway, controller, up, workers, jobs; the memory is the median since the last sample
    zombies: int
    folders: Mapping[str, tuple[int, float]]  # files and MB
    behind: float  # seconds since the newest row of the lake was answered
    swaps: int = 0


@dataclass(frozen=True)
class Rest:
    """What stays when no rollout is under way."""

    fds: Mapping[str, int] = field(default_factory=dict)
    threads: Mapping[str, int] = field(default_factory=dict)
    rss: Mapping[str, float] = field(default_factory=dict)
    workers: int = 0
    zombies: int = 0
    dropped: tuple[str, ...] = ()  # files of versions that are not routed, and still open or mapped


def parts(up: int) -> dict[str, Part]:
    """The processes of `afterfit up`, by what they are."""
    found: dict[str, Part] = {}
    for process in [psutil.Process(up), *psutil.Process(up).children(recursive=True)]:
        try:
            with process.oneshot():
                name, rss = _part(process), process.memory_info().rss / _MB
                one = Part(1, rss, process.num_fds(), process.num_threads())
        except (
            psutil.NoSuchProcess,
            psutil.AccessDenied,
        ):  # it ended meanwhile, or is a zombie: those are counted apart
            continue
        before = found.get(name, Part(0, 0.0, 0, 0))
        found[name] = Part(before.n + 1, before.rss + one.rss, before.fds + one.fds, before.threads + one.threads)
    return found


def usual(up: int, until: float) -> dict[str, Part]:
    """The processes at `until` (of the monotonic clock), each with the median memory of the looks before it: what the
    controller takes goes up and down with each of its ticks, so that one look says little."""
    looks = [parts(up)]
    while (left := until - time.monotonic()) > 0.0:
        time.sleep(min(_LOOK_EVERY, left))
        looks.append(parts(up))
    return {
        name: replace(part, rss=median(look[name].rss for look in looks if name in look))
        for name, part in looks[-1].items()
    }


def zombies(up: int) -> int:
    """Children that ended and that nobody has asked about."""
    return sum(_is_zombie(process) for process in psutil.Process(up).children(recursive=True))


def folders(home: Path) -> dict[str, tuple[int, float]]:
    """Files and MB of each folder of a home, and of each table of the lake."""
    found: dict[str, tuple[int, float]] = {}
    for path in home.rglob("*"):
        try:
            size = path.stat().st_size / _MB if path.is_file() else None
        except FileNotFoundError:  # compacted away meanwhile
            continue
        if size is not None:
            place = path.relative_to(home).parts
            name = "/".join(place[:2] if place[0] == "lake" else place[:1]) if len(place) > 1 else "."
            files, all_of_it = found.get(name, (0, 0.0))
            found[name] = (files + 1, all_of_it + size)
    return found


def behind(home: Path) -> float:
    """Seconds since the newest row of the lake was answered; inf while there is none."""
    path = home / "lake" / "predictions"
    if not DeltaTable.is_deltatable(str(path)):
        return float("inf")
    actions = pa.table(DeltaTable(str(path)).get_add_actions(flatten=True))
    newest = pc.max(actions["max.time"]).as_py() if actions.num_rows else None
    return float("inf") if newest is None else (datetime.now(UTC) - newest).total_seconds()


def rest(up: int, home: Path, routed: set[str]) -> Rest:
    """What stays, seen in some looks: the fewest descriptors and threads."""
    looks = []
    for _ in range(_LOOKS):
        looks.append(parts(up))
        time.sleep(_PAUSE)
    kept = [name for name in ("gateway", "controller", "up") if all(name in look for look in looks)]
    return Rest(
        fds={name: min(look[name].fds for look in looks) for name in kept},
        threads={name: min(look[name].threads for look in looks) for name in kept},
        rss={name: looks[-1][name].rss for name in kept},
        workers=min(look["workers"].n if "workers" in look else 0 for look in looks),
        zombies=zombies(up),
        dropped=tuple(sorted(_open_versions(up, home / "models") - routed)),
    )


def _part(process: psutil.Process) -> str:
    command = process.cmdline()
    if _WORKER in command:
        return "workers"
    return next((name for module, name in PARTS.items() if module in command), "other")


def _is_zombie(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _open_versions(up: int, models: Path) -> set[str]:
    return {v for model in models.iterdir() for v in opened_under(psutil.Process(up), model)}


def stays(process: psutil.Process) -> int:
    """Descriptors that stay open."""
    fewest: int = process.num_fds()
    for _ in range(_LOOKS):
        time.sleep(_PAUSE)
        fewest = min(fewest, process.num_fds())
    return fewest


def opened_under(process: psutil.Process, folder: Path) -> set[str]:
    """Folders in `folder` of which a process or one of its children has a file open or mapped, or is told to load it."""
    found: set[str] = set()
    for one in [process, *process.children(recursive=True)]:
        try:
            names = [f.path for f in one.open_files()] + [m.path for m in one.memory_maps()] + one.cmdline()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        found |= {str(folder / Path(n).relative_to(folder).parts[0]) for n in names if folder in Path(n).parents}
    return found
