"""What is kept of a frame: counts by column that merge exactly, and no raw rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np

from afterfit.stats.binning import Floats, Ints
from afterfit.stats.categorical import Categorical
from afterfit.stats.numeric import Numeric
from afterfit.stats.relation import Relation

__all__ = [
    "Categorical",
    "Column",
    "Floats",
    "Ints",
    "Numeric",
    "Profile",
    "column_from_dict",
    "column_to_dict",
    "profile",
]
SCHEMA = 2
Column = Numeric | Categorical


@dataclass(frozen=True, slots=True)
class Profile:
    """All columns of a frame. `a + b` is the profile of the rows of both."""

    n: int
    columns: Mapping[str, Column]
    relations: Mapping[str, Relation] = field(
        default_factory=dict
    )  # of numeric columns with the target, if one was named

    def __add__(self, other: Profile) -> Profile:
        merged: dict[str, Column] = {}
        for name in {**self.columns, **other.columns}:
            mine, theirs = self.columns.get(name), other.columns.get(name)
            merged[name] = _merge(name, mine, theirs)
        names = {**self.relations, **other.relations}
        related = {name: self.relations.get(name, Relation()) + other.relations.get(name, Relation()) for name in names}
        return Profile(self.n + other.n, merged, related)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able and versioned; holds counts, no rows."""
        return {
            "schema": SCHEMA,
            "n": self.n,
            "columns": {name: column_to_dict(column) for name, column in self.columns.items()},
            "relations": {name: asdict(relation) for name, relation in self.relations.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`."""
        if data.get("schema") != SCHEMA:
            raise ValueError(f"a profile of schema {data.get('schema')!r}; this version reads schema {SCHEMA}")
        return cls(
            data["n"],
            {name: column_from_dict(column) for name, column in data["columns"].items()},
            {name: Relation(**relation) for name, relation in data["relations"].items()},
        )


def profile(columns: Mapping[str, Any], kinds: Mapping[str, str]) -> Profile:
    """Profile of a frame given as arrays of one length.

    Args:
        columns: arrays of shape (n_rows,).
        kinds: number, integer, time (epoch seconds), boolean or text for each column.

    >>> profile({"a": [1.0, 2.0]}, {"a": "number"}).n
    2
    """
    n = max((len(np.asarray(v)) for v in columns.values()), default=0)
    found: dict[str, Column] = {
        name: Numeric.of(values, kind=kinds[name])
        if kinds[name] in ("number", "integer", "time")
        else Categorical.of(values, kind=kinds[name])
        for name, values in columns.items()
    }
    return Profile(n, found)


def column_to_dict(column: Column) -> dict[str, Any]:
    """JSON-able form of one column; NaN becomes null, and a bin is told as its distance from the one before."""
    if isinstance(column, Categorical):
        return asdict(column)
    data = {name: getattr(column, name) for name in Numeric.__slots__}
    data |= {k: None if np.isnan(data[k]) else data[k] for k in ("low", "high")}
    return data | {"bins": np.diff(column.bins, prepend=0).tolist(), "counts": column.counts.tolist()}


def column_from_dict(data: Mapping[str, Any]) -> Column:
    """The inverse of :func:`column_to_dict`."""
    if "bins" not in data:
        return Categorical(**data)
    ends = {k: np.nan if data[k] is None else data[k] for k in ("low", "high")}
    arrays = {"bins": np.cumsum(data["bins"], dtype=np.int64), "counts": np.asarray(data["counts"], dtype=np.int64)}
    return Numeric(**{**data, **ends, **arrays})


def _merge(name: str, mine: Column | None, theirs: Column | None) -> Column:
    if isinstance(mine, Numeric) and isinstance(theirs, Numeric):
        return mine + theirs
    if isinstance(mine, Categorical) and isinstance(theirs, Categorical):
        return mine + theirs
    if mine is not None and theirs is not None:
        raise TypeError(f"column {name!r} is numeric in one profile and text in the other; they can't be merged")
    only = mine if theirs is None else theirs
    if only is None:
        raise AssertionError(f"column {name!r} is in neither profile")
    return only
