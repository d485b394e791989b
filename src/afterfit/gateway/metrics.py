"""`GET /metrics`: what this gateway counted, and what the controller told last, as Prometheus reads it (text, 0.0.4).

`docs/telemetry.md` lists the names. They stay: another meaning gets another name.
"""

from __future__ import annotations

import logging
import math
import os
import platform
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import psutil

from afterfit import __version__
from afterfit.adapters.journal import SqliteJournal
from afterfit.adapters.routes_board import FileRoutesBoard
from afterfit.errors import StoreError
from afterfit.gateway.fleet import Fleet, Runner
from afterfit.gateway.memory import memory_of
from afterfit.gateway.protocols.reply import Reply
from afterfit.gateway.service import Service
from afterfit.gateway.shadows import REASONS, Shadows
from afterfit.gateway.tally import BOUNDS, Tally
from afterfit.gateway.workers import Worker
from afterfit.monitoring.completeness import share
from afterfit.records import Family, Sample, Target

log = logging.getLogger("afterfit.gateway")
CONTENT_TYPE = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")
_MB = 2.0**20


async def metrics(service: Service, _body: bytes) -> Reply:
    """GET /metrics."""
    families = [
        *_of_process(),
        *_of_requests(service.tally),
        *_of_versions(service.fleet, service.shadows),
        *_of_shadows(service.shadows),
        *service.more_metrics(),
    ]
    return 200, rendered(families), [CONTENT_TYPE]


def rendered(families: Iterable[Family]) -> bytes:
    """The text of the page.

    >>> print(rendered([_counter("rows_total", "Rows.", [Sample(3, {"model": "a"})])]).decode(), end="")
    # HELP afterfit_rows_total Rows.
    # TYPE afterfit_rows_total counter
    afterfit_rows_total{model="a"} 3
    """
    lines = []
    for family in families:
        lines += [f"# HELP {family.name} {family.help}", f"# TYPE {family.name} {family.kind}"]
        lines += [f"{family.name}{s.suffix}{_labels(s.labels)} {_number(s.value)}" for s in family.samples]
    return "\n".join([*lines, ""]).encode()


def of_journal(journal: SqliteJournal, served: Mapping[str, int]) -> Iterator[Family]:
    """The log of this gateway: what waits for it, what it lost, and the disk that it is on."""
    lost = {**dict.fromkeys(served, 0), **journal.losses.by_model}
    files = [journal.path, journal.path.with_name(f"{journal.path.name}-wal")]
    kept = {model: share(served.get(model, 0), lost[model]) for model in lost}
    yield _gauge("journal_queue_rows", "Rows that wait to be written to the journal.", [Sample(journal.waiting)])
    yield _gauge("journal_bytes", "Size of the journal on disk.", [Sample(sum(_size(file) for file in files))])
    free = shutil.disk_usage(journal.path.parent).free
    yield _gauge("journal_disk_free_bytes", "Space that is left where the journal is.", [Sample(free)])
    yield _counter("lost_rows_total", "Rows that were answered and are not in the log.", _by("model", lost))
    yield _counter("lost_shadow_rows_total", "Shadow rows that the journal dropped.", [Sample(journal.lost_shadows)])
    yield _gauge("log_completeness_ratio", "Logged by answered rows since the start.", _by("model", kept))


def of_controller(board: FileRoutesBoard) -> Sequence[Family]:
    """What the controller told after its last look; whether that could be read."""
    told: Sequence[Family] = ()
    try:
        told, readable = board.told(), 1
    except (StoreError, OSError) as error:
        log.error("%s", error)
        readable = 0
    return [
        _gauge("controller_readable", "1 where what the controller told can be read.", [Sample(readable)]),
        *told,
    ]


def _of_process() -> Iterator[Family]:
    about = {"version": __version__, "python": platform.python_version()}
    yield _gauge("build_info", "Always 1; the labels say what runs.", [Sample(1, about)])
    start = psutil.Process().create_time()
    yield Family("process_start_time_seconds", "gauge", "When the gateway started, since 1970.", (Sample(start),))
    taken = memory_of(os.getpid()).now * _MB
    yield Family("process_resident_memory_bytes", "gauge", "Memory of the gateway process.", (Sample(taken),))


def _of_requests(tally: Tally) -> Iterator[Family]:
    names = ("operation", "model", "version", "role", "lane", "status")
    places = [(dict(zip(names, place, strict=True)), series) for place, series in tally.requests.items()]
    totals = [Sample(sum(series[:-1]), labels) for labels, series in places]
    yield _counter("requests_total", "Requests that were answered, by status of the reply.", totals)
    buckets = [sample for labels, series in places for sample in _histogram(labels, series)]
    yield Family(
        "afterfit_request_seconds", "histogram", "From the head of a request to the end of its reply.", tuple(buckets)
    )
    errors = _pairs(("model", "reason"), tally.errors)
    yield _counter("errors_total", "Requests that were refused or failed, by reason.", errors)
    rows = _pairs(("model", "version", "role", "lane", "status"), {who: n for who, (n,) in tally.rows.items()})
    yield _counter("rows_total", "Rows that were predicted, by who answered and how that went.", rows)
    outcomes = _pairs(("model", "result"), tally.outcomes)
    yield _counter("outcomes_total", "Outcomes that were told, by what became of them.", outcomes)


def _histogram(labels: Mapping[str, str], series: Sequence[float]) -> Iterator[Sample]:
    *counts, seconds = series
    for bound, n in zip([*BOUNDS, math.inf], accumulate(counts), strict=True):
        yield Sample(n, {**labels, "le": _number(bound)}, "_bucket")
    yield Sample(seconds, labels, "_sum")
    yield Sample(sum(counts), labels, "_count")


def _of_versions(fleet: Fleet, shadows: Shadows) -> Iterator[Family]:
    """The routes in force, and how each routed version does."""
    yield _gauge("routes_number", "Number of the routes that are in force here.", [Sample(fleet.number)])
    yield _gauge("ready", "1 while published routes are in force and every champion answers.", [Sample(fleet.ready())])
    weights, up, open_, calls, waiting = [], [], [], [], []
    for model, target, kind, runners in _routed(fleet):
        place = {"model": model, "version": str(target.version)}
        part = {**place, "role": target.role.value, "lane": kind}
        weights.append(Sample(target.weight, part))
        up.append(Sample(not any(runner.problem for runner in runners), place))
        open_.append(Sample(any(r.breaker is not None and r.breaker.open for r in runners), place))
        calls.append(Sample(sum(runner.waiting for runner in runners), place))
        waiting.append(Sample(sum(shadows.waiting(r) for r in runners if isinstance(r, Worker)), place))
    yield _gauge("version_weight", "Share of the traffic of each routed version; role says which is live.", weights)
    yield _gauge("version_up", "1 while a routed version answers.", up)
    yield _gauge("breaker_open", "1 while a version is skipped because it failed.", open_)
    yield _gauge("queue_calls", "Calls that wait for a version.", calls)
    yield _gauge("shadow_queue_rows", "Copies of rows that wait for a version.", waiting)
    deaths = {tuple(place.rsplit("/", 1)): n for place, n in fleet.restarts().items()}
    names = ("model", "version")
    yield _counter("worker_deaths_total", "Worker processes that died; each was started again.", _pairs(names, deaths))
    peaks = {tuple(place.rsplit("/", 1)): most * _MB for place, most in fleet.memory().items()}
    yield _gauge("worker_memory_peak_bytes", "The most that a version's processes took.", _pairs(names, peaks))


def _routed(fleet: Fleet) -> Iterator[tuple[str, Target, str, list[Runner]]]:
    """(model, target, lane, who runs it here) of each routed version."""
    for model, lane in fleet.lanes.items():
        for target in lane.routes.targets:
            version = target.version
            runners = {r for r in (lane.workers[version], lane.shadows.get(version)) if r is not None}
            yield model, target, lane.kind(version), list(runners)


def _of_shadows(shadows: Shadows) -> Iterator[Family]:
    scored = _pairs(("model", "version", "status"), shadows.scored)
    yield _counter("shadow_rows_total", "Copies of rows that a version scored, by how that went.", scored)
    dropped = _by("reason", {**dict.fromkeys(REASONS, 0), **shadows.dropped})
    yield _counter("shadow_dropped_rows_total", "Copies of rows that were not scored, by reason.", dropped)


def _counter(name: str, help: str, samples: Iterable[Sample]) -> Family:
    return Family(f"afterfit_{name}", "counter", help, tuple(samples))


def _gauge(name: str, help: str, samples: Iterable[Sample]) -> Family:
    return Family(f"afterfit_{name}", "gauge", help, tuple(samples))


def _by(label: str, values: Mapping[str, float]) -> list[Sample]:
    return [Sample(value, {label: name}) for name, value in values.items()]


def _pairs(names: Sequence[str], values: Mapping[Any, float]) -> list[Sample]:
    return [Sample(value, dict(zip(names, map(str, place), strict=True))) for place, value in values.items()]


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    if math.isfinite(value):
        return str(int(value)) if value == int(value) else repr(float(value))
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # SQLite removes the second file when it likes
        return 0
