"""What one look at a window has at hand, and what a check answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from afterfit.monitoring.reference import TRAILING, Reference
from afterfit.records import Severity
from afterfit.stats.levels import Grid, Stretch
from afterfit.stats.profile import Column, Numeric, Profile

LOOKBACKS = (7, 28)  # windows over which small changes add up: of days, a week and four of them
REMEMBERED = max(LOOKBACKS) - 1  # healthy windows worth remembering


@dataclass(frozen=True, slots=True)
class Seen:
    """A window that was looked at before and was healthy."""

    start: float  # epoch seconds
    profile: Profile
    segments: Mapping[str, Mapping[str, Profile]] = field(
        default_factory=dict
    )  # column that cuts -> segment -> its rows


@dataclass(frozen=True, slots=True)
class Look:
    """One look: the reference, the last healthy windows (oldest first), and the chance that each check has."""

    reference: Reference
    recent: tuple[Seen, ...]
    alpha: float  # of one check with one share
    columns: Mapping[str, Any]
    times: Any | None
    grid: Grid = field(init=False)

    def __post_init__(self) -> None:
        places = np.array(self.reference.places, dtype=np.int64)
        rows = self.reference.profile.n / max(places.size, 1)
        object.__setattr__(self, "grid", Grid(places, self.reference.block, max(rows, 1.0)))

    def blocks(self, column: str, check: str) -> tuple[float, ...]:
        """The statistic of that check for each block of the reference; empty without times."""
        return self.reference.blocks.get(column, {}).get(check, ())

    @property
    def chances(self) -> float:
        """How many blocks of the reference the window holds: each of them may set a record or make a step."""
        if self.times is None or not np.isfinite(self.times).any():
            return 1.0
        return max(1.0, float((np.nanmax(self.times) - np.nanmin(self.times)) / self.reference.block))

    def trailing(self, column: str) -> Numeric | None:
        """A column of the last few healthy windows together, against which a changed unit shows best; None before there
        are as many as lie behind the reference's own jumps, for fewer are narrower and make each step look large."""
        if len(self.recent) < TRAILING:
            return None
        total: Numeric | None = None
        for seen in self.recent[-TRAILING:]:
            one = seen.profile.columns.get(column)
            if isinstance(one, Numeric):
                total = one if total is None else total + one
        return total if total is not None and total.values else None

    def now(self, rows: int) -> Stretch:
        """Where in time the window lies."""
        if self.times is None or not np.isfinite(self.times).any() or not self.reference.block:
            return Stretch((), 1.0, rows)
        return self._stretch(float(np.nanmin(self.times)), self.chances, rows)

    def before(self, column: str, kind: type[Column], most: int) -> list[tuple[Column, Stretch]]:
        """A column of at most so many of the last healthy windows, oldest first."""
        if not self.reference.block or not most:
            return []
        blocks = self.reference.window / self.reference.block
        found = ((seen.start, seen.profile.columns.get(column)) for seen in self.recent[-most:])
        return [(c, self._stretch(start, blocks, c.n)) for start, c in found if isinstance(c, kind)]

    def _stretch(self, start: float, blocks: float, rows: int) -> Stretch:
        first = int(start // self.reference.block)
        return Stretch(tuple(range(first, first + max(1, round(blocks)))), blocks, rows)


@dataclass(frozen=True, slots=True)
class Result:
    """What a check found, before its part of the chance is known."""

    method: str
    statistic: float
    distance: float
    p_value: float
    severity: Severity
    message: str


Check = Callable[[Look, str, Column, Column], Result]
