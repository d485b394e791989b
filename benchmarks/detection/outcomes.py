"""From the answers of a tool to its alarms: as it alarms by default, or with its threshold moved.

An alarm finds a change when it is in the changed column (or about the whole frame, for Evidently's share of columns) and
would not have come without the change: each changed column has a healthy twin, the same rows before the change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from score import Delay, delay, raised
from streams import BEGINS, LASTS, LIVE, Stream, changed_days

Answers = Mapping[str, Mapping[str, Mapping[str, list[Any]]]]  # stream -> column or change -> alarms, strengths
Case = tuple[str, str]  # stream, change
PERIOD = 30  # windows between two alarms of the periodic baseline
MANY = 0.5  # share of drifted columns from which Evidently calls a data set drifted


@dataclass(frozen=True)
class Outcome:
    """Alarms of one tool by window: of each healthy stream, and those that each change causes."""

    healthy: Mapping[str, list[bool]]
    changes: Mapping[Case, list[bool]]

    def delays(self, streams: Sequence[Stream]) -> dict[Case, Delay]:
        """By stream and change."""
        return {
            (s.name, c.name): delay(self.changes[s.name, c.name], changed_days(c.shape))
            for s in streams
            for c in s.changes
        }


def as_told(streams: Sequence[Stream], answers: Answers) -> Outcome:
    """The tool's own alarms; a healthy window alarms with any of its columns."""
    return _outcome(streams, lambda s, column: answers[s.name][column]["alarms"])


def beyond(streams: Sequence[Stream], answers: Answers, threshold: Callable[[Stream], float]) -> Outcome:
    """Alarms where the strength exceeds a threshold of our choice."""
    return _outcome(streams, lambda s, column: [x > threshold(s) for x in answers[s.name][column]["strengths"]])


def strongest(stream: Stream, answers: Answers) -> list[float]:
    """The largest strength of any column, by healthy window."""
    return [max(w) for w in zip(*(answers[stream.name][c]["strengths"] for c in stream.columns), strict=True)]


def equalised(streams: Sequence[Stream], answers: Answers, allowed: Mapping[str, int]) -> Outcome:
    """The threshold raised, in each group of streams, until at most `allowed` healthy windows of the group alarm."""
    pooled: dict[str, list[float]] = {}
    for s in streams:
        pooled.setdefault(s.group, []).extend(strongest(s, answers))
    cut = {group: raised(values, allowed[group]) for group, values in pooled.items()}
    return beyond(streams, answers, lambda s: cut[s.group])


def alarming(streams: Sequence[Stream], outcome: Outcome) -> dict[str, int]:
    """Healthy windows that alarm, by group."""
    found: dict[str, int] = {}
    for s in streams:
        found[s.group] = found.get(s.group, 0) + sum(outcome.healthy[s.name])
    return found


def whole_frame(streams: Sequence[Stream], answers: Answers) -> Outcome:
    """Alarms where at least half of the columns drifted; a change comes with the rest of its frame."""
    healthy, changes = {}, {}
    for s in streams:
        alarms = {c: answers[s.name][c]["alarms"] for c in s.columns}
        healthy[s.name] = _many(list(alarms.values()), s)
        for c in s.changes:
            rest = [a[BEGINS : BEGINS + LASTS] for column, a in alarms.items() if column != c.column]
            now = _many([answers[s.name][c.name]["alarms"], *rest], s)
            changes[s.name, c.name] = _caused(now, healthy[s.name])
    return Outcome(healthy, changes)


def baseline(streams: Sequence[Stream], rule: Callable[[int], bool]) -> Outcome:
    """Alarms by the number of the live day alone. No change causes them: what they find, they find by chance."""
    told = [rule(day) for day in range(LIVE)]
    return Outcome(
        {s.name: told for s in streams},
        {(s.name, c.name): told[BEGINS : BEGINS + LASTS] for s in streams for c in s.changes},
    )


def _outcome(streams: Sequence[Stream], alarms: Callable[[Stream, str], list[bool]]) -> Outcome:
    healthy = {s.name: [any(w) for w in zip(*(alarms(s, c) for c in s.columns), strict=True)] for s in streams}
    changes = {(s.name, c.name): _caused(alarms(s, c.name), alarms(s, c.column)) for s in streams for c in s.changes}
    return Outcome(healthy, changes)


def _caused(alarms: Sequence[bool], healthy: Sequence[bool]) -> list[bool]:
    """Those of the days of a change that its healthy twin does not have."""
    return [now and not anyway for now, anyway in zip(alarms, healthy[BEGINS : BEGINS + LASTS], strict=True)]


def _many(columns: Sequence[Sequence[bool]], stream: Stream) -> list[bool]:
    return [sum(w) >= MANY * stream.features for w in zip(*columns, strict=True)]
