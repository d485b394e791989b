"""What would be found, and how soon? Changes of stated sizes are made in healthy rows, and the monitor looks at them.

A change comes with a window and stays. The windows are played forward, each beside the last ones before it as the live
monitor has them, until a check of the changed column fires that does not fire in the same window without the change.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import median_high
from typing import Any

import numpy as np

from afterfit.errors import InputError
from afterfit.monitoring.checks import check_columns
from afterfit.monitoring.look import REMEMBERED, Seen
from afterfit.monitoring.power_changes import SIZES, Change, Floats, changed, changes_of, grain
from afterfit.monitoring.power_rows import Healthy
from afterfit.monitoring.reference import Reference
from afterfit.stats.profile import Column, Numeric, Profile, profile

WITHIN = (1, 7, 30)  # windows
HORIZON = max(WITHIN)
STARTS = 3  # moments at which a change is tried to come; the delay is the one in the middle


@dataclass(frozen=True, slots=True)
class Trial:
    """One change of one column."""

    change: Change
    delay: int | None  # windows up to the finding, 1 is the first changed one; None: not within HORIZON

    def found(self, within: int) -> bool:
        """Whether it took no more than so many windows."""
        return self.delay is not None and self.delay <= within


@dataclass(frozen=True, slots=True)
class ColumnPower:
    """What would be found in one column."""

    column: str
    kind: str  # of the reference's column: number, integer, text, boolean
    trials: tuple[Trial, ...]  # by kind of change, smallest first
    alarms: float = 0.0  # share of the healthy windows in which a check fires without any change

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of change that it can have."""
        return tuple(dict.fromkeys(t.change.kind for t in self.trials))

    @property
    def blind(self) -> tuple[Change, ...]:
        """The largest change of each kind that is not found at all."""
        return tuple(t[-1].change for t in map(self._of, self.kinds) if t[-1].delay is None)

    def smallest(self, kind: str, within: int) -> Change | None:
        """The size from which on a change is found within so many windows; None when not even the largest is."""
        least = None
        for trial in reversed(self._of(kind)):
            if not trial.found(within):
                break
            least = trial.change
        return least

    def _of(self, kind: str) -> list[Trial]:
        return [t for t in self.trials if t.change.kind == kind]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        trials = [{**asdict(t.change), "said": t.change.said, "delay": t.delay} for t in self.trials]
        least = {
            kind: {str(w): (c.size if (c := self.smallest(kind, w)) else None) for w in WITHIN} for kind in self.kinds
        }
        return {"column": self.column, "kind": self.kind, "alarms": self.alarms, "smallest": least, "trials": trials}


@dataclass(frozen=True, slots=True)
class Overall:
    """How one change comes off in all columns that can have it."""

    change: Change
    columns: int
    found: Mapping[int, int]  # columns by WITHIN
    delay: int | None  # windows until at least half of the columns have found it; None: more than HORIZON


@dataclass(frozen=True, slots=True)
class Power:
    """What the monitor of one version would find, and how soon."""

    alpha: float  # chance of a false finding in a window, all columns together
    window: float  # seconds
    windows: int  # healthy ones that were played
    rows: int  # of a window, median
    drawn: bool  # from the reference, because there are no windows yet
    columns: tuple[ColumnPower, ...]  # worst first
    skipped: Mapping[str, str] = field(default_factory=dict)  # column -> why nothing is said about it

    @property
    def changes(self) -> tuple[Overall, ...]:
        """Each change that some column can have, in the order of SIZES."""
        trials = [t for c in self.columns for t in c.trials]
        order = list(SIZES)
        tried = sorted({t.change for t in trials}, key=lambda c: (order.index(c.kind), c.size))
        return tuple(_overall(change, [t for t in trials if t.change == change]) for change in tried)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; a delay counts windows, 1 is the first that changed, null is not within HORIZON."""
        return {
            "alpha": self.alpha,
            "window_seconds": self.window,
            "windows": self.windows,
            "rows": self.rows,
            "drawn": self.drawn,
            "within": list(WITHIN),
            "changes": [
                {
                    **asdict(o.change),
                    "said": o.change.said,
                    "columns": o.columns,
                    "found": {str(w): n for w, n in o.found.items()},
                    "median_delay": o.delay,
                }
                for o in self.changes
            ],
            "columns": [c.to_dict() for c in self.columns],
            "skipped": dict(self.skipped),
        }


def _overall(change: Change, trials: Sequence[Trial]) -> Overall:
    middle = median_high(HORIZON + 1 if t.delay is None else t.delay for t in trials)
    found = {w: sum(t.found(w) for t in trials) for w in WITHIN}
    return Overall(change, len(trials), found, middle if middle <= HORIZON else None)


def power_report(
    reference: Reference,
    windows: Sequence[Healthy],
    *,
    alpha: float,
    seed: int = 0,
    drawn: bool = False,
    tell: Callable[[int, int], None] | None = None,
) -> Power:
    """What :func:`check_window` would find in these windows if one column changed.

    Each column is looked at by itself, with the part of `alpha` that it has among all columns and the model's answers.
    When there are fewer windows than HORIZON they come round again.

    Args:
        reference: of the live version.
        windows: healthy ones, oldest first, at least one.
        alpha: chance of any false finding in a window, in (0, 1).
        seed: of the rows that are changed.
        drawn: whether the windows come from :func:`draw_windows`; kept for the reader.
        tell: called with (columns done, columns) as it goes on.

    Raises:
        InputError: there is no window, or no row in them.
    """
    rows = int(np.median([w.rows for w in windows])) if windows else 0
    if not rows:
        raise InputError(f"{len(windows)} healthy windows with {rows} rows: wanted at least one window with rows")
    thresholds = _thresholds(reference, windows[-1], alpha)
    found, skipped = [], {}
    for done, (name, column) in enumerate(reference.profile.columns.items()):
        if tell is not None:
            tell(done, len(reference.profile.columns))
        if why := _unusable(column, name in windows[-1].columns):
            skipped[name] = why
            continue
        found.append(_Stage(reference, name, windows, thresholds[name], seed).power())
    return Power(alpha, reference.window, len(windows), rows, drawn, tuple(sorted(found, key=_worst)), skipped)


def _unusable(column: Column, there: bool) -> str:
    if not column.values:
        return "it has no value in the reference"
    if column.kind == "time":
        return "times always move; only their nulls are watched"
    return "" if there else "its categories are kept by hash only; served rows are needed"


def _worst(column: ColumnPower) -> float:
    """For sorting: the later its changes are found, the further to the front."""
    return -float(np.mean([2 * HORIZON if t.delay is None else t.delay for t in column.trials]))


def _thresholds(reference: Reference, window: Healthy, alpha: float) -> dict[str, float]:
    """What a check with one share has of alpha when the monitor looks at all columns, by column."""
    columns = reference.profile.columns
    there = {n: window.columns[n] for n in columns if n in window.columns}
    whole = {**columns, **profile(there, {n: _kind(columns[n]) for n in there}).columns}
    found = check_columns(reference, whole, alpha=alpha, prediction=reference.prediction)
    return {f.column: f.threshold for f in found if f.check in ("nulls", "no_data")}


def _kind(column: Column) -> str:
    return "number" if isinstance(column, Numeric) else "text"


@dataclass(frozen=True, slots=True)
class _Look:
    """A column in one window: what a check reads of it."""

    values: Any
    column: Column


class _Stage:
    """One column, on which the windows are played."""

    def __init__(
        self, reference: Reference, name: str, windows: Sequence[Healthy], threshold: float, seed: int
    ) -> None:
        self.name, self.windows = name, windows
        self.before = reference.profile.columns[name]
        only = Profile(reference.profile.n, {name: self.before})
        self.reference = replace(reference, profile=only, prediction=None, segments={})
        self.healthy = [self._look(w.columns[name]) for w in windows]
        alone = check_columns(self.reference, {name: self.healthy[0].column}, alpha=1.0)
        self.alpha = threshold / next(f.threshold for f in alone if f.check in ("nulls", "no_data"))
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        self.draws: list[Floats] = [rng.random(w.rows) for w in windows]
        numeric = isinstance(self.before, Numeric)
        self.step = grain(np.concatenate([np.asarray(h.values, dtype=float) for h in self.healthy])) if numeric else 0.0
        self.usual = [self._fires(at, at, self.healthy) for at in range(len(windows))]

    def power(self) -> ColumnPower:
        """Every change, the largest of a kind first: once one is not found, no smaller one is tried."""
        trials: list[Trial] = []
        for ladder in changes_of(self.before).values():
            delay: int | None = HORIZON
            for change in reversed(ladder):
                delay = None if delay is None else self._delay(self._made(change))
                trials.append(Trial(change, delay))
        order = list(SIZES)
        trials.sort(key=lambda t: (order.index(t.change.kind), t.change.size))
        alarms = sum(map(bool, self.usual)) / len(self.usual)
        return ColumnPower(self.name, self.before.kind, tuple(trials), alarms)

    def _look(self, values: Any) -> _Look:
        return _Look(values, profile({self.name: values}, {self.name: _kind(self.before)}).columns[self.name])

    def _made(self, change: Change) -> list[_Look]:
        """The windows with the change."""
        return [
            self._look(changed(change, look.values, self.before, draws, self.step))
            for look, draws in zip(self.healthy, self.draws, strict=True)
        ]

    def _delay(self, made: Sequence[_Look]) -> int | None:
        starts = dict.fromkeys(i * len(made) // STARTS for i in range(STARTS))
        delays: list[int] = []
        for start in starts:
            delays.append(self._play(start, made))
            if len(delays) == 2 and delays[0] == delays[1]:  # then it is the one in the middle of three
                break
        middle = sorted(delays)[len(delays) // 2]
        return middle if middle <= HORIZON else None

    def _play(self, start: int, made: Sequence[_Look]) -> int:
        for day in range(HORIZON):
            at = (start + day) % len(made)
            if self._fires(start + day, start, made) - self.usual[at]:
                return day + 1
        return HORIZON + 1

    def _fires(self, day: int, start: int, made: Sequence[_Look]) -> frozenset[str]:
        """The checks that fire on a day, when windows are as `made` from `start` on and healthy before."""
        count = len(self.windows)
        recent = [
            Seen(self.windows[d % count].start, Profile(look.column.n, {self.name: look.column}))
            for d in range(day - REMEMBERED, day)
            for look in [(made if d >= start else self.healthy)[d % count]]
        ]
        now, window = made[day % count], self.windows[day % count]
        found = check_columns(
            self.reference,
            {self.name: now.column},
            alpha=self.alpha,
            recent=recent,
            rows={self.name: now.values},
            times=window.times,
        )
        return frozenset(f.check for f in found if f.drifted)
