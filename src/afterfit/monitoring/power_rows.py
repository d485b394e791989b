"""Healthy windows to try the monitor on: rows that were served, or, for a model without any, rows drawn from its reference.

A drawn row is none that ever was: its columns are drawn one by one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from afterfit.monitoring.nulls import NULL_ANGLE
from afterfit.monitoring.reference import Reference, directions_of
from afterfit.stats import binning
from afterfit.stats.profile import Categorical, Column, Numeric
from afterfit.stats.shares import Shares
from afterfit.stats.smooth import Directions

Floats = NDArray[np.float64]
DRAWN = 28  # windows that are drawn
ASSUMED_ROWS = 500  # of a window, where neither windows nor times tell
STEPS, FAR = 30, 6.0  # of the search for a tilt, and the largest that is believed


@dataclass(frozen=True, slots=True)
class Healthy:
    """A window in which no feed was broken."""

    start: float  # epoch seconds
    columns: Mapping[str, Any]  # arrays of shape (n_rows,) as `columns_of` gives them
    times: Floats | None  # event times in epoch seconds, shape (n_rows,)

    @property
    def rows(self) -> int:
        """How many."""
        return max((len(v) for v in self.columns.values()), default=0)


def can_be_drawn(column: Column) -> bool:
    """Whether rows can be drawn from what is kept: of a folded column the names are gone."""
    return isinstance(column, Numeric) or not column.folded


def draw_windows(reference: Reference, rng: np.random.Generator, *, rows: int | None = None) -> list[Healthy]:
    """DRAWN windows, oldest first, that go through the last blocks of the reference again: with the nulls and the levels of
    each, where it keeps them. Columns that can't be drawn are left out.

    Args:
        reference: of a version.
        rng: for the rows.
        rows: of a window; default: as many as the reference has in that time, ASSUMED_ROWS when its rows had no times.
    """
    wide = max(1, round(reference.window / reference.block)) if reference.places else 1
    if rows is None:
        rows = round(reference.profile.n / len(reference.places) * wide) if reference.places else ASSUMED_ROWS
    firsts = range(len(reference.places) % wide, len(reference.places) - wide + 1, wide) if reference.places else (0,)
    cycle = [firsts[i % len(firsts)] for i in range(-DRAWN, 0)]
    return [_window(reference, first, wide, max(1, rows), rng) for first in cycle]


def _window(reference: Reference, first: int, wide: int, rows: int, rng: np.random.Generator) -> Healthy:
    parts = [len(p) for p in np.array_split(np.arange(rows), wide)]
    columns = {
        name: np.concatenate([_drawn(reference, name, column, first + i, n, rng) for i, n in enumerate(parts)])
        for name, column in reference.profile.columns.items()
        if can_be_drawn(column)
    }
    if not reference.places:
        return Healthy(0.0, columns, None)
    start = reference.places[first]
    times = np.concatenate([np.sort(rng.uniform(start + i, start + i + 1, n)) for i, n in enumerate(parts)])
    return Healthy(start * reference.block, columns, times * reference.block)


def _drawn(reference: Reference, name: str, column: Column, block: int, n: int, rng: np.random.Generator) -> Any:
    """n values as that block of the reference had them."""
    at = reference.blocks.get(name, {})
    rate, rows = column.nulls / max(column.n, 1), reference.profile.n / max(len(reference.places), 1)
    if angles := at.get("nulls"):
        usual = float(np.arcsin(np.sqrt(rate)))
        rate = float(
            np.sin(np.clip(usual + _level(np.array(angles) - usual, block, NULL_ANGLE / rows), 0, np.pi / 2)) ** 2
        )
    null = rng.random(n) < rate
    if not column.values:
        return np.full(n, np.nan) if isinstance(column, Numeric) else np.full(n, None, dtype=object)
    found = directions_of(column)
    level = np.array(
        [
            _level(np.array(at[d]), block, v / rows) if d in at else 0.0
            for d, v in zip(found.names, found.variances, strict=True)
        ]
    )
    if isinstance(column, Numeric) and isinstance(found, Directions):
        bins = rng.choice(column.bins, n, p=_tilted(found, level))
        low, high = binning.edges(bins, column.shift)
        values = np.clip(rng.uniform(low, high), column.low, column.high)
        return np.where(null, np.nan, np.round(values) if column.kind == "integer" else values)
    if isinstance(column, Categorical) and isinstance(found, Shares):
        names = np.array([*column.counts, None], dtype=object)
        at_random = rng.choice(len(column.counts), n, p=_moved(found, level))
        return names[np.where(null, -1, at_random)]
    raise TypeError("a column is watched in directions of its own kind")


def _level(deviations: Floats, block: int, noise: float) -> float:
    """A block's deviation without the noise of its rows, which is drawn anew: shrunk to what levels vary by."""
    total = float(np.square(deviations).mean())
    return float(deviations[block] * np.sqrt(max(0.0, 1.0 - noise / total))) if total else 0.0


def _tilted(found: Directions, level: Floats) -> Floats:
    """Chances of the reference's bins, shape (k,), such that location and spread deviate by `level`."""
    wanted = level + np.array([0.0, np.interp(level[0], *found.moved)])
    tilt = np.zeros(2)
    for _ in range(STEPS):
        chances = found.shares * np.exp(tilt @ found.values)
        chances /= chances.sum()
        mean = found.values @ chances
        centred = found.values - mean[:, None]
        curvature = (centred * chances) @ centred.T + 1e-6 * np.eye(2)
        tilt = np.clip(tilt + np.clip(np.linalg.solve(curvature, wanted - mean), -1.0, 1.0), -FAR, FAR)
    return np.asarray(chances)


def _moved(found: Shares, level: Floats) -> Floats:
    """Chances of the reference's categories, in their order, when those that are watched deviate by `level`."""
    counts = found.reference.counts
    watched = dict(zip(found.names, np.clip(found.usual + level, 0.0, 1.0), strict=True))
    others = sum(v for k, v in counts.items() if k not in watched)
    left = max(0.0, 1.0 - sum(watched.values()))
    chances = np.array([watched[k] if k in watched else left * v / others for k, v in counts.items()])
    return np.asarray(chances / chances.sum())
