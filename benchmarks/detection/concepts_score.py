"""Counts of the concept benchmark: false alarms, changes found, delays; by default and at equal false-alarm rates."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from score import binomial_bounds, poisson_bounds

LIVE, CHANGE = 10_000, 4_000  # live rows, and the one at which a change begins
DAY = 250  # rows
LATE = 1  # days until the outcomes of a day are known
RUN_LENGTHS = (20_000, 100_000)  # rows, of our detectors as they come
RATES = (5, 1)  # false alarms in 100,000 healthy rows at which all are compared
PERIOD = 30  # days
Alarm = Callable[[Mapping[str, Any], Mapping[str, Any]], int | None]  # (stream, its answers) -> day of the first alarm
Streams = Sequence[Mapping[str, Any]]


def tables(streams: Streams, answers: Mapping[str, Any], ladders: Any) -> str:
    """All tables, as Markdown."""
    told = as_they_come(ladders)
    parts = [
        "# Concept drift, the tables\n\nMade by `concepts.py`; what they mean, and what to think of them: CONCEPTS.md.\n",
        "## What the changes do to the model\n", _means(streams, answers),
        "\n## As they come\n", _overall(streams, answers, told),
        "\n## Healthy rows, false alarms in 100,000 by stream\n", _healthy(streams, answers, told),
        "\n## Found, and median delay, by change, as they come\n", _by_change(streams, answers, told),
    ]  # fmt: skip
    for rate in RATES:
        equal = {name: found for name, found in _equalised(streams, answers, ladders, rate).items() if found}
        chosen = {f"{name} ({said})": alarm for name, (said, alarm) in equal.items()}
        parts += [f"\n## At {rate} false alarms in 100,000 rows of other healthy streams\n"]
        parts += [_overall(streams, answers, chosen), "\n", _by_change(streams, answers, chosen)]
    parts += ["\n## Files: days of 250 rows until the first alarm, less those until the change\n"]
    parts += [_files(streams, answers, told)]
    return "\n".join(parts) + "\n"


def as_they_come(ladders: Any) -> dict[str, Alarm]:
    """Each detector with its defaults, ours at stated run lengths, and the three that do not look."""
    steps, defaults = ladders
    told: dict[str, Alarm] = {
        f"{name}, {length:,}": _crossing(name, math.log(length))
        for name in ("Afterfit concept", "Afterfit losses 0/1", "Afterfit losses log")
        for length in RUN_LENGTHS
    }
    for name, (_, parameter, ladder) in steps.items():
        told[name] = _step(name, ladder.index(defaults[parameter]))
    told["always"] = lambda stream, found: 0
    told["never"] = lambda stream, found: None
    told["periodic"] = lambda stream, found: stream.get("seed", 0) * 7 % PERIOD
    return told


def _step(name: str, step: int) -> Alarm:
    def alarm(stream: Mapping[str, Any], found: Mapping[str, Any]) -> int | None:
        row = found["river"][name][step]
        return None if row is None else row // DAY

    return alarm


def _crossing(name: str, threshold: float) -> Alarm:
    def alarm(stream: Mapping[str, Any], found: Mapping[str, Any]) -> int | None:
        return next((day for day, log_e in enumerate(found["paths"][name]) if log_e >= threshold), None)

    return alarm


def rate_of(streams: Streams, answers: Mapping[str, Any], alarm: Alarm) -> tuple[int, int]:
    """(first alarms, healthy rows watched until then or to the end)."""
    alarms = rows = 0
    for s in streams:
        day = alarm(s, answers[s["name"]])
        alarms += day is not None
        rows += LIVE if day is None else (day + 1) * DAY
    return alarms, rows


def _equalised(
    streams: Streams, answers: Mapping[str, Any], ladders: Any, rate: float
) -> dict[str, tuple[str, Alarm] | None]:
    """The loosest threshold of each at which the streams kept for it give at most `rate` alarms in 100,000 rows."""
    kept = [s for s in streams if s["use"] == "threshold"]
    options: dict[str, list[tuple[str, Alarm]]] = {}
    for name in ("Afterfit concept", "Afterfit losses 0/1", "Afterfit losses log"):
        grid = np.arange(0.0, 30.0, 0.25)
        options[name] = [(f"{math.exp(t):,.0f}", _crossing(name, float(t))) for t in grid]
    for name, (_, parameter, ladder) in ladders[0].items():
        options[name] = [(f"{parameter} {value:g}", _step(name, i)) for i, value in enumerate(ladder)]
    found: dict[str, tuple[str, Alarm] | None] = {}
    for name, choices in options.items():
        found[name] = None
        for said, alarm in choices:
            alarms, rows = rate_of(kept, answers, alarm)
            if alarms * 100_000 <= rate * rows:
                found[name] = (said, alarm)
                break
    return found


def _delay(stream: Mapping[str, Any], day: int | None) -> float:
    """Rows served from the change to the moment the alarm could be read; inf where it never came, NaN where it came before."""
    if day is None:
        return math.inf
    known = (day + 1 + LATE) * DAY
    return math.nan if (day + 1) * DAY <= CHANGE else float(known - CHANGE)


def _overall(streams: Streams, answers: Mapping[str, Any], told: Mapping[str, Alarm]) -> str:
    healthy = [s for s in streams if s["use"] == "healthy"]
    changing = [s for s in streams if s["use"] == "change"]
    rows = []
    for name, alarm in told.items():
        alarms, watched = rate_of(healthy, answers, alarm)
        low, high = (100_000 * b / watched for b in poisson_bounds(alarms))
        delays = np.array([_delay(s, alarm(s, answers[s["name"]])) for s in changing])
        before, seen = int(np.isnan(delays).sum()), int(np.isfinite(delays).sum())
        bounds = binomial_bounds(seen, len(delays))
        clean = delays[~np.isnan(delays)]
        rows.append(
            [
                name,
                f"{100_000 * alarms / watched:.1f} ({low:.1f} to {high:.1f})",
                f"{seen / len(delays):.0%} ({bounds[0]:.0%} to {bounds[1]:.0%})",
                f"{before / len(delays):.0%}",
                *(_rows(clean, share) for share in (0.5, 0.9)),
            ]
        )
    return _table(
        ["detector", "false alarms in 100,000 rows", "found", "rang before", "median delay", "90 % delay"], rows
    )


def _healthy(streams: Streams, answers: Mapping[str, Any], told: Mapping[str, Alarm]) -> str:
    kinds = list(dict.fromkeys(s["kind"] for s in streams if s["use"] == "healthy"))
    rows = []
    for name, alarm in told.items():
        cells = []
        for kind in kinds:
            mine = [s for s in streams if s["use"] == "healthy" and s["kind"] == kind]
            alarms, watched = rate_of(mine, answers, alarm)
            cells.append(f"{100_000 * alarms / watched:.1f}")
        rows.append([name, *cells])
    return _table(["detector", *kinds], rows)


def _by_change(streams: Streams, answers: Mapping[str, Any], told: Mapping[str, Alarm]) -> str:
    changes = list(dict.fromkeys((s["kind"], s["shape"]) for s in streams if s["use"] == "change"))
    rows = []
    for name, alarm in told.items():
        cells = []
        for change in changes:
            mine = [s for s in streams if s["use"] == "change" and (s["kind"], s["shape"]) == change]
            delays = np.array([_delay(s, alarm(s, answers[s["name"]])) for s in mine])
            seen = int(np.isfinite(delays).sum())
            cells.append(f"{seen}/{len(mine)}: {_rows(delays[~np.isnan(delays)], 0.5)}")
        rows.append([name, *cells])
    return _table(["detector", *(f"{kind} {shape}" for kind, shape in changes)], rows)


def _means(streams: Streams, answers: Mapping[str, Any]) -> str:
    rows = []
    for kind, shape in dict.fromkeys((s["kind"], s["shape"]) for s in streams if s["use"] == "change"):
        mine = [answers[s["name"]]["means"] for s in streams if s["use"] == "change" and s["kind"] == kind and s["shape"] == shape]  # fmt: skip
        cells = [np.mean([m[loss] for m in mine], axis=0) for loss in ("error", "log")]
        rows.append([f"{kind} {shape}", *(f"{before:.3f} → {after:.3f}" for before, after in cells)])
    return _table(["change", "share of errors", "log loss"], rows)


def _files(streams: Streams, answers: Mapping[str, Any], told: Mapping[str, Alarm]) -> str:
    files = [s for s in streams if s["use"] == "file"]
    rows = []
    for name, alarm in told.items():
        cells = []
        for s in files:
            day = alarm(s, answers[s["name"]])
            begins = (s["change"] - s["train"] - s["reference"]) / DAY
            cells.append("-" if day is None else f"{day + 1 + LATE - begins:+.0f}")
        rows.append([name, *cells])
    return _table(["detector", *(s["name"] for s in files)], rows)


def _rows(delays: Any, share: float) -> str:
    """A quantile in rows; a missed change counts as endless."""
    if not len(delays):
        return "-"
    found = np.sort(delays)[min(math.ceil(share * len(delays)), len(delays)) - 1]
    return f"{found:,.0f}" if math.isfinite(found) else "-"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])
