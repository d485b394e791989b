"""What may happen to a column, in sizes: the changes that the power report makes in healthy rows.

A larger change takes the rows of a smaller one and more, so sizes can be compared; and a moved value stays one that the
column could have: whole numbers remain whole, and a column with a limit keeps it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from afterfit.stats.profile import Categorical, Column, Numeric

Floats = NDArray[np.float64]
SIZES: Mapping[str, tuple[float, ...]] = {
    "mean": (0.1, 0.2, 0.5, 1.0),  # standard deviations of the reference
    "scale": (1.2, 1.5, 2.0),  # factor
    "nulls": (0.01, 0.05, 0.2),  # share of all rows, as all below
    "stuck": (1.0,),
    "°F→°C": (1.0,),
    "×1000": (1.0,),
    "new category": (0.01, 0.05),
    "shares": (0.05, 0.1, 0.2),  # from the most frequent category to the next
}
NEW = "(a category never seen)"
DECIMALS = 3  # up to which values are seen to be rounded
PILE = 0.01  # share of the rows at the smallest or largest value that makes it a limit
STEEP, HALVINGS = 50.0, 40  # of the search for a tilt
FAHRENHEIT = (-130.0, 212.0)  # from the coldest air to boiling water


@dataclass(frozen=True, slots=True)
class Change:
    """A kind of change and its size, in the unit that SIZES says."""

    kind: str
    size: float

    @property
    def said(self) -> str:
        """In words.

        >>> Change("mean", 0.2).said, Change("shares", 0.05).said
        ('mean +0.2 sd', '5 % change category')
        """
        number = f"{self.size:.0%}".replace("%", " %")
        return {
            "mean": f"mean +{self.size:g} sd",
            "scale": f"scale ×{self.size:g}",
            "nulls": f"nulls +{number}",
            "stuck": "stuck at one value",
            "°F→°C": "unit °F→°C",
            "×1000": "unit ×1000",
            "new category": f"new category {number}",
            "shares": f"{number} change category",
        }[self.kind]


def changes_of(column: Column) -> dict[str, tuple[Change, ...]]:
    """The changes that a column can have, by kind, smallest first.

    >>> [c.size for c in changes_of(Categorical.of(list("abcdefghij")))["shares"]]  # there is no fifth that could move
    [0.05]
    """
    if not column.values:
        return {}
    if isinstance(column, Numeric):
        kinds, room = _of_numbers(column), (column.high - column.mean) / column.sd if column.sd else 0.0
        limit = {"mean": room}
    else:
        kinds = _of_text(column)
        limit = {"shares": max(column.counts.values()) / column.n}
    found = {kind: [size for size in SIZES[kind] if size < limit.get(kind, np.inf)] for kind in kinds}
    return {kind: tuple(Change(kind, size) for size in sizes) for kind, sizes in found.items() if sizes}


def _of_numbers(column: Numeric) -> list[str]:
    if column.low == column.high:
        return ["nulls"]
    if len(column.bins) == 2:
        return ["mean", "nulls", "stuck"]
    scale = [] if _piled(column)[1] else ["scale"]  # what ends at a limit can't grow wider
    free = column.kind == "number" and not any(_piled(column))  # no hour, no count
    warm = free and FAHRENHEIT[0] <= column.low and column.high <= FAHRENHEIT[1]
    return ["mean", *scale, "nulls", "stuck", *(["°F→°C"] if warm else []), "×1000"]


def _of_text(column: Categorical) -> list[str]:
    several = len(column.counts) > 1
    return [
        "nulls",
        *(["stuck"] if several else []),
        *(["new category"] if column.kind != "boolean" else []),
        *(["shares"] if several and not column.folded else []),
    ]


def grain(values: Floats) -> float:
    """The power of ten that all values are whole multiples of; 0 when there is none down to DECIMALS.

    >>> grain(np.array([1.0, 2.5])), grain(np.array([1.0, np.nan])), grain(np.array([1 / 3]))
    (0.1, 1.0, 0.0)
    """
    known = values[np.isfinite(values)]
    for decimals in range(DECIMALS + 1):
        scaled = known * 10.0**decimals
        if (np.abs(scaled - np.round(scaled)) < 1e-3).all():
            return float(10.0**-decimals)
    return 0.0


def changed(change: Change, values: Any, reference: Column, draws: Floats, step: float = 0.0) -> Any:
    """The values of a window after the change; a window that has too few rows to change has all of them changed.

    Args:
        change: one of `changes_of(reference)`.
        values: shape (n_rows,), as `columns_of` gives them.
        reference: the column that sizes refer to.
        draws: uniform in [0, 1), shape (n_rows,): which rows are taken, and to which side values are rounded.
        step: that values are rounded to (:func:`grain`).
    """
    if isinstance(reference, Numeric):
        return _numbers(change, np.asarray(values, dtype=float), reference, draws, step)
    x = np.asarray(values, dtype=object)
    known = np.array([v is not None and v == v for v in x], dtype=bool)  # noqa: PLR0124  NaN differs from itself
    names = list(reference.counts)
    if change.kind == "nulls":
        return _put(x, known, change.size, draws, None)
    if change.kind == "stuck":
        return np.full(x.size, names[0], dtype=object)
    if change.kind == "new category":
        return _put(x, known, change.size, draws, NEW)
    most = np.array([str(v) == names[0] for v in x], dtype=bool)
    return _put(x, most, change.size, draws, names[1])


def _numbers(change: Change, x: Floats, reference: Numeric, draws: Floats, step: float) -> Floats:
    middle = float(reference.quantiles([0.5])[0])
    known = np.isfinite(x)
    if change.kind == "nulls":
        return np.asarray(_put(x, known, change.size, draws, np.nan))
    if change.kind == "stuck":
        usual = x[known][np.abs(x[known] - middle).argmin()] if known.any() else middle
        return np.full(x.size, usual)
    if change.kind == "mean":
        by = change.size * reference.sd
        return _tilted(x, by) if any(_piled(reference)) else _rounded(x + by, draws, step)
    if change.kind == "scale":
        centre = 0.0 if _piled(reference)[0] else middle  # what begins at a limit grows away from it
        return _rounded(centre + change.size * (x - centre), draws, step)
    return x * 1000.0 if change.kind == "×1000" else _rounded((x - 32.0) / 1.8, draws, step)


def _piled(column: Numeric) -> tuple[bool, bool]:
    """Whether many rows have the smallest, and the largest value: limits of flags, counts, rain, days of the week."""
    ends = column.counts[[0, -1]] >= PILE * column.values
    return bool(ends[0]), bool(ends[1])


def _tilted(x: Floats, by: float) -> Floats:
    """Larger values come more often and smaller ones less, until the mean has moved; no value is new."""
    known = np.flatnonzero(np.isfinite(x))
    order = known[np.argsort(x[known], kind="stable")]
    ordered = x[order]
    made = x.copy()
    if not ordered.size or ordered[0] == ordered[-1]:
        return made
    ranks = (np.arange(ordered.size) + 0.5) / ordered.size
    reach = (ordered - ordered[-1]) / ordered.std()
    low, high = 0.0, STEEP
    for _ in range(HALVINGS):
        tilt = (low + high) / 2.0
        share = np.cumsum(np.exp(tilt * reach))
        made[order] = ordered[np.searchsorted(share, ranks * share[-1])]
        low, high = (tilt, high) if made[order].mean() < ordered.mean() + by else (low, tilt)
    return made


def _rounded(x: Floats, draws: Floats, step: float) -> Floats:
    """Up or down to a multiple of the step, by a chance that keeps the mean."""
    return np.asarray(np.floor(x / step + draws) * step) if step else x


def _put(x: Any, where: NDArray[np.bool_], share: float, draws: Floats, value: Any) -> Any:
    """`value` in that share of all rows, taken from those of `where`."""
    free = np.flatnonzero(where)
    made = x.copy()
    made[free[np.argsort(draws[free])][: round(share * x.size)]] = value
    return made
