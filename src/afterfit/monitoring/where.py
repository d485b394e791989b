"""Where did a column change: in the whole, in every segment, or in one of them only? Said in the words of a finding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from afterfit.records import Finding

NAMED = 3
NOTE = "segment"  # check of findings that tell how rows were cut, or how a segment came off: `statistic` columns judged


@dataclass(frozen=True, slots=True)
class Segment:
    """How one segment came off."""

    name: str  # such as `origin=JFK`
    judged: int  # columns; 0 with too few rows
    drifted: tuple[str, ...]  # columns, worst first
    n_reference: int
    n_window: int
    said: str  # as a sentence

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


def by_segment(findings: Sequence[Finding]) -> list[Segment]:
    """Each segment: those with most drifted columns first, those that were not judged last."""
    found = [_segment(note, findings) for note in findings if note.check == NOTE and note.segment is not None]
    return sorted(found, key=lambda s: (not s.judged, -len(s.drifted), -s.n_window))


def gathered(findings: Sequence[Finding]) -> list[Finding]:
    """The drifted findings; of those of a column and check in several segments one, whose message says where it happened.

    Args:
        findings: of one window, with how each segment came off.
    """
    judged: dict[str, int] = {}
    for f in findings:
        if f.check == NOTE and f.segment is not None and f.statistic:
            judged[f.column] = judged.get(f.column, 0) + 1
    if not judged:
        return [f for f in findings if f.drifted]
    groups: dict[tuple[str, str], list[Finding]] = {}
    for f in findings:
        if f.drifted:
            groups.setdefault((f.column, f.check), []).append(f)
    return [one for group in groups.values() for one in _told(group, judged)]


def worst_first(f: Finding) -> tuple[int, float, float]:
    """To sort by. Distances are capped, for that of a unit counts widths and all others are shares."""
    return -f.severity.rank, -min(f.distance, 1.0), f.p_value


def _segment(note: Finding, findings: Sequence[Finding]) -> Segment:
    mine = (f for f in findings if f.segment == note.segment and f.drifted)
    columns = dict.fromkeys(f.column for f in sorted(mine, key=_urgency))
    return Segment(
        note.segment or "", int(note.statistic), tuple(columns), note.n_reference, note.n_window, note.message
    )


def _told(group: Sequence[Finding], judged: Mapping[str, int]) -> list[Finding]:
    whole, parts = [f for f in group if f.segment is None], sorted((f for f in group if f.segment), key=_urgency)
    worst = min(group, key=_urgency)
    if not whole:
        where = f"only {_places(parts, judged)}, not in the whole"
        return [replace(worst, message=f"{worst.message}; {where}")]
    if whole[0].method == "schema":  # a missing column is missing everywhere
        return whole
    where = _places(parts, judged) if parts else "in no single segment"
    return [replace(f, severity=worst.severity, message=f"{f.message}; {where}") for f in whole]


def _places(parts: Sequence[Finding], judged: Mapping[str, int]) -> str:
    """Such as `in 1 of 3 segments of origin (JFK), in all 4 segments of carrier`."""
    said = []
    for by, total in judged.items():
        names = [f.segment.removeprefix(f"{by}=") for f in parts if f.segment and f.segment.startswith(f"{by}=")]
        if len(names) == total > 1:
            said.append(f"in all {total} segments of {by}")
        elif names:
            more = " ..." if len(names) > NAMED else ""
            said.append(f"in {len(names)} of {total} segments of {by} ({', '.join(names[:NAMED])}{more})")
    return ", ".join(said)


def _urgency(f: Finding) -> tuple[int, float]:
    return -f.severity.rank, f.p_value
