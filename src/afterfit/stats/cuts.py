"""Into which segments a column cuts the rows of a data set: its largest values, and one for all the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from afterfit.stats.binning import Ints
from afterfit.stats.heavy_hitters import HeavyHitters

OTHER = "(other)"  # the segment of all names that are none by themselves
NULL = "(null)"
MOST_SEGMENTS = 20  # of one column


@dataclass(frozen=True, slots=True)
class Plan:
    """Which values of a column are segments; the others that the reference knows are pooled as OTHER."""

    kept: tuple[str, ...]
    known: frozenset[str] | None  # all names of the reference; None: too many to know
    said: str = ""  # which are pooled and why; empty when none is

    def segment(self, name: str) -> str | None:
        """The segment of a row; None for a name that the reference does not have, so that nothing can be compared."""
        if name in self.kept:
            return name
        return OTHER if self.known is None or name in self.known else None


def name_of(value: object) -> str:
    """How a value is called as a segment; null and NaN are one of their own.

    >>> name_of("JFK"), name_of(4.0), name_of(4), name_of(float("nan"))
    ('JFK', '4', '4', '(null)')
    """
    if value is None or value != value:  # noqa: PLR0124  NaN differs from itself
        return NULL
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def choose(by: str, reference: HeavyHitters, window: HeavyHitters | None = None, *, least: int, needed: int) -> Plan:
    """The segments of a column: the largest names with enough rows on both sides.

    Args:
        by: the column.
        reference, window: rows by name; without a window only the reference decides.
        least: rows that the reference must have of a segment.
        needed: rows that the window must have of it.

    >>> plan = choose("origin", HeavyHitters({"JFK": 9000, "EWR": 7000, "SWF": 12}), least=300, needed=30)
    >>> plan.kept, plan.said
    (('JFK', 'EWR'), 'origin: judged together as (other) are 1 value with fewer than 300 rows in the reference (SWF)')
    """
    ordered = sorted(reference.counts, key=lambda name: (-reference.counts[name], name))
    small = [n for n in ordered if reference.counts[n] < least]
    there = [n for n in ordered if reference.counts[n] >= least and n != OTHER]
    scarce = [n for n in there if window is not None and window.counts.get(n, 0) < needed]
    enough = [n for n in there if n not in set(scarce)]
    kept, more = enough[:MOST_SEGMENTS], enough[MOST_SEGMENTS:]
    pooled = {
        f"beyond the {MOST_SEGMENTS} largest": more,
        f"with fewer than {least:,} rows in the reference": small,
        f"with fewer than {needed} in the window": scarce,
    }
    reasons = [
        f"{len(names):,} {'value' if len(names) == 1 else 'values'} {why} ({some(names)})"
        for why, names in pooled.items()
        if names
    ]
    if not reference.complete:
        reasons.append("all values that are too rare to count")
    said = f"{by}: judged together as {OTHER} are {', '.join(reasons)}" if reasons else ""
    return Plan(tuple(kept), frozenset(reference.counts) if reference.complete else None, said)


def rows_by_segment(plan: Plan, values: Any) -> dict[str, Ints]:
    """The places of each segment's rows in an array of shape (n_rows,)."""
    found: dict[str, list[int]] = {}
    known: dict[object, str | None] = {}
    for row, value in enumerate(np.asarray(values).tolist()):
        key = (type(value), value) if value == value else None  # noqa: PLR0124  NaN differs from itself, True is 1
        if key not in known:
            known[key] = plan.segment(name_of(value))
        segment = known[key]
        if segment is not None:
            found.setdefault(segment, []).append(row)
    return {segment: np.array(rows, dtype=np.int64) for segment, rows in found.items()}


def some(names: Sequence[str]) -> str:
    """The first three names, cut where they are long."""
    shown = ", ".join(n if len(n) <= 40 else n[:39] + "…" for n in names[:3])
    return f"{shown} ..." if len(names) > 3 else shown
