"""What is kept of a column and of a frame: counts that merge exactly, and no raw rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
_SHIFT = 11  # low bits of a float32 that a bin forgets: relative width 1/4096, and few-valued columns keep their atoms
MOST_CATEGORIES = 1000  # names kept of a text column; the rest is counted as `other`
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Numeric:
    """A numeric column. `bins` are sorted codes of log-linear buckets, `counts` the finite values in each."""

    n: int  # rows, nulls included
    nulls: int  # null or NaN
    infinite: int
    zeros: int
    low: float  # smallest and largest finite value; NaN when there is none
    high: float
    mean: float
    m2: float  # sum of squared deviations from the mean
    bins: Ints
    counts: Ints

    @classmethod
    def of(cls, values: ArrayLike) -> Self:
        """Profile of values, shape (n,); NaN is null.

        >>> Numeric.of([1.0, 1.0, 2.0, np.nan]).counts.tolist()
        [2, 1]
        """
        x = np.asarray(values, dtype=float)
        finite = x[np.isfinite(x)]
        nulls = int(np.isnan(x).sum())
        bins, counts = np.unique(_code(finite), return_counts=True)
        mean = float(finite.mean()) if finite.size else 0.0
        return cls(
            n=int(x.size),
            nulls=nulls,
            infinite=int(x.size) - nulls - int(finite.size),
            zeros=int((finite == 0).sum()),
            low=float(finite.min()) if finite.size else np.nan,
            high=float(finite.max()) if finite.size else np.nan,
            mean=mean,
            m2=float(((finite - mean) ** 2).sum()),
            bins=bins,
            counts=counts.astype(np.int64),
        )

    @property
    def values(self) -> int:
        """Number of finite values."""
        return int(self.counts.sum())

    @property
    def sd(self) -> float:
        """Standard deviation of the finite values."""
        return float(np.sqrt(self.m2 / self.values)) if self.values else 0.0

    def quantiles(self, shares: ArrayLike) -> Floats:
        """Approximate quantiles (the middle of the bin that holds each), NaN when there is no value."""
        if not self.values:
            return np.full(np.shape(shares), np.nan)
        cumulated = np.cumsum(self.counts)
        at = np.searchsorted(cumulated, np.asarray(shares) * cumulated[-1], side="left")
        return np.clip(_middle(self.bins[np.minimum(at, len(self.bins) - 1)]), self.low, self.high)

    def __add__(self, other: Self) -> Self:
        mine, theirs = self.values, other.values
        total = mine + theirs
        gap = other.mean - self.mean
        bins, place = np.unique(np.concatenate([self.bins, other.bins]), return_inverse=True)
        counts = np.bincount(place, np.concatenate([self.counts, other.counts]), minlength=len(bins))
        return type(self)(
            n=self.n + other.n,
            nulls=self.nulls + other.nulls,
            infinite=self.infinite + other.infinite,
            zeros=self.zeros + other.zeros,
            low=float(np.fmin(self.low, other.low)),
            high=float(np.fmax(self.high, other.high)),
            mean=self.mean + gap * theirs / total if total else 0.0,
            m2=self.m2 + other.m2 + (gap**2 * mine * theirs / total if total else 0.0),
            bins=bins,
            counts=counts.astype(np.int64),
        )


@dataclass(frozen=True, slots=True)
class Categorical:
    """A text or boolean column: how often each category came."""

    n: int
    nulls: int
    counts: Mapping[str, int]
    other: int = 0  # values beyond the kept names

    @classmethod
    def of(cls, values: ArrayLike | Sequence[str | None]) -> Self:
        """Profile of values, shape (n,); None is null.

        >>> Categorical.of(["a", "b", "a", None]).counts
        {'a': 2, 'b': 1}
        """
        x = np.asarray(values, dtype=object)
        known = x[np.array([v is not None and v == v for v in x], dtype=bool)]  # noqa: PLR0124  NaN differs from itself
        names, counts = np.unique(known.astype(str), return_counts=True) if known.size else ((), ())
        return cls._kept(
            int(x.size), int(x.size - known.size), dict(zip(map(str, names), map(int, counts), strict=True))
        )

    @property
    def values(self) -> int:
        """Number of non-null values."""
        return self.n - self.nulls

    def __add__(self, other: Self) -> Self:
        counts = {k: self.counts.get(k, 0) + other.counts.get(k, 0) for k in {**self.counts, **other.counts}}
        return self._kept(self.n + other.n, self.nulls + other.nulls, counts, self.other + other.other)

    @classmethod
    def _kept(cls, n: int, nulls: int, counts: dict[str, int], other: int = 0) -> Self:
        kept = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MOST_CATEGORIES])
        return cls(n, nulls, kept, other + sum(counts.values()) - sum(kept.values()))


Column = Numeric | Categorical


@dataclass(frozen=True, slots=True)
class Profile:
    """All columns of a frame. `a + b` is the profile of the rows of both."""

    n: int
    columns: Mapping[str, Column]

    def __add__(self, other: Profile) -> Profile:
        merged: dict[str, Column] = {}
        for name in {**self.columns, **other.columns}:
            mine, theirs = self.columns.get(name), other.columns.get(name)
            merged[name] = _merge(name, mine, theirs)
        return Profile(self.n + other.n, merged)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able and versioned; holds counts, no rows."""
        return {
            "schema": SCHEMA,
            "n": self.n,
            "columns": {name: column_to_dict(column) for name, column in self.columns.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`."""
        if data.get("schema") != SCHEMA:
            raise ValueError(f"a profile of schema {data.get('schema')!r}; this version reads schema {SCHEMA}")
        return cls(data["n"], {name: column_from_dict(column) for name, column in data["columns"].items()})


def profile(columns: Mapping[str, Any], kinds: Mapping[str, str]) -> Profile:
    """Profile of a frame given as arrays of one length.

    Args:
        columns: arrays of shape (n_rows,).
        kinds: number, integer, boolean or text for each column.

    >>> profile({"a": [1.0, 2.0]}, {"a": "number"}).n
    2
    """
    n = max((len(np.asarray(v)) for v in columns.values()), default=0)
    found: dict[str, Column] = {
        name: Numeric.of(values) if kinds[name] in ("number", "integer") else Categorical.of(values)
        for name, values in columns.items()
    }
    return Profile(n, found)


def column_to_dict(column: Column) -> dict[str, Any]:
    """JSON-able form of one column; NaN becomes null."""
    data = asdict(column)
    if isinstance(column, Numeric):
        data |= {"bins": column.bins.tolist(), "counts": column.counts.tolist()}
        data |= {k: None if np.isnan(data[k]) else data[k] for k in ("low", "high")}
    return data


def column_from_dict(data: Mapping[str, Any]) -> Column:
    """The inverse of :func:`column_to_dict`."""
    if "bins" not in data:
        return Categorical(**data)
    ends = {k: np.nan if data[k] is None else data[k] for k in ("low", "high")}
    arrays = {k: np.asarray(data[k], dtype=np.int64) for k in ("bins", "counts")}
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


def _code(values: Floats) -> Ints:
    """Order-preserving bucket of each finite value: the upper bits of its float32 pattern.

    Values beyond float32 go to the outermost buckets.
    """
    limit = np.finfo(np.float32).max
    bits = np.clip(values, -limit, limit).astype(np.float32).view(np.int32).astype(np.int64)
    magnitude = (bits & 0x7FFFFFFF) >> _SHIFT
    return np.where(bits < 0, -magnitude - 1, magnitude)


def _middle(codes: Ints) -> Floats:
    """A value inside each bucket: its lower edge by magnitude, which keeps atoms such as 5 exact."""
    negative = codes < 0
    magnitude = np.where(negative, -codes - 1, codes).astype(np.int32) << _SHIFT
    value = magnitude.view(np.float32).astype(float)
    return np.where(negative, -value, value)
