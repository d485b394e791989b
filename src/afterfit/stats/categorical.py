"""What is kept of a column of text or truth values: how often each category came; bounded, and merged exactly."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

MOST_CATEGORIES = 1000  # distinct names beyond which a column keeps counts by hash instead
BUCKETS = 1024


@dataclass(frozen=True, slots=True)
class Categorical:
    """Counts by category. `a + b` has the values of both.

    A column with more than MOST_CATEGORIES names is `folded`: its names give way to BUCKETS hash values, written
    `#0` to `#1023`. Whether it is depends on the set of names alone, so parts merge into exactly the whole.
    """

    n: int
    nulls: int
    counts: Mapping[str, int]
    folded: bool = False
    kind: str = "text"  # or boolean

    @classmethod
    def of(cls, values: ArrayLike | Sequence[str | None], *, kind: str = "text") -> Self:
        """Profile of values, shape (n,); None and NaN are null.

        >>> Categorical.of(["a", "b", "a", None]).counts
        {'a': 2, 'b': 1}
        """
        x = np.asarray(values, dtype=object)
        known = x[np.array([v is not None and v == v for v in x], dtype=bool)]  # noqa: PLR0124  NaN differs from itself
        names, counts = np.unique(known.astype(str), return_counts=True) if known.size else ((), ())
        found = dict(zip(map(str, names), map(int, counts), strict=True))
        return cls.counted(found, nulls=int(x.size - known.size), kind=kind)

    @classmethod
    def counted(cls, counts: Mapping[str, int], *, nulls: int = 0, folded: bool = False, kind: str = "text") -> Self:
        """From counts by name, or by hash value when `folded`."""
        n = nulls + sum(counts.values())
        if not folded and len(counts) > MOST_CATEGORIES:
            counts, folded = _fold(counts), True
        return cls(n, nulls, dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))), folded, kind)

    @property
    def values(self) -> int:
        """Number of non-null values."""
        return self.n - self.nulls

    def fold(self) -> Self:
        """The same column by hash values."""
        return self if self.folded else replace(self, counts=_fold(self.counts), folded=True)

    def __add__(self, other: Categorical) -> Categorical:
        mine, theirs = alike(self, other)
        counts = {k: mine.counts.get(k, 0) + theirs.counts.get(k, 0) for k in {**mine.counts, **theirs.counts}}
        kind = self.kind if self.kind == other.kind else "text"
        return self.counted(counts, nulls=self.nulls + other.nulls, folded=mine.folded, kind=kind)


def alike(a: Categorical, b: Categorical) -> tuple[Categorical, Categorical]:
    """Both by name, or, when one is folded, both by hash value."""
    return (a.fold(), b.fold()) if a.folded or b.folded else (a, b)


def _fold(counts: Mapping[str, int]) -> dict[str, int]:
    folded: dict[str, int] = {}
    for name, count in counts.items():
        bucket = f"#{zlib.crc32(name.encode('utf-8', 'surrogatepass')) % BUCKETS}"
        folded[bucket] = folded.get(bucket, 0) + count
    return folded
