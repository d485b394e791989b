"""What is kept of a numeric column: counts in log-linear bins and moments; no raw rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from afterfit.stats import binning
from afterfit.stats.binning import Floats, Ints

KINDS = ("integer", "number", "time")  # of two that are merged, the later of the first two wins
BLOCK = 1 << 13  # values that stay in the cache, and are too few for a BLAS to wake its threads


@dataclass(frozen=True, slots=True, eq=False)
class Numeric:
    """A column of numbers, or of times in epoch seconds (`kind` says which). `a + b` has the values of both."""

    n: int  # rows, nulls included
    nulls: int  # null or NaN
    infinite: int
    zeros: int
    low: float  # smallest and largest finite value; NaN when there is none
    high: float
    mean: float
    m2: float  # sum of squared deviations from the mean
    shift: int  # bits that a bin forgets (:mod:`afterfit.stats.binning`)
    bins: Ints
    counts: Ints  # finite values in each bin
    kind: str = "number"

    @classmethod
    def of(cls, values: ArrayLike, *, nulls: int = 0, kind: str = "number", shift: int = 0) -> Self:
        """Profile of values, shape (n,), and of `nulls` rows more that have none; NaN is null.

        `shift` is that of rows already counted, to which these will be added.

        >>> Numeric.of([1.0, 1.0, 2.0, np.nan]).counts.tolist()
        [2, 1]
        """
        x = np.asarray(values, dtype=float)
        n, missing, infinite = x.size + nulls, nulls, 0
        low, high = (float(x.min()), float(x.max())) if x.size else (np.nan, np.nan)
        if x.size and not (np.isfinite(low) and np.isfinite(high)):
            nan = int(np.isnan(x).sum())
            x = x[np.isfinite(x)]
            missing, infinite = nulls + nan, n - nulls - nan - x.size
            low, high = (float(x.min()), float(x.max())) if x.size else (np.nan, np.nan)
        mean, m2 = _moments(x)
        shift, bins, counts = binning.count(x, low, high, shift)
        return cls(
            n=int(n), nulls=int(missing), infinite=int(infinite), zeros=int(x.size - np.count_nonzero(x)),
            low=low, high=high, mean=mean, m2=m2, shift=shift, bins=bins, counts=counts, kind=kind,
        )  # fmt: skip

    @property
    def values(self) -> int:
        """Number of finite values."""
        return self.n - self.nulls - self.infinite

    @property
    def sd(self) -> float:
        """Standard deviation of the finite values."""
        return float(np.sqrt(self.m2 / self.values)) if self.values else 0.0

    @property
    def middles(self) -> Floats:
        """The middle of each bin, shape of `bins`."""
        first, last = binning.edges(self.bins, self.shift)
        return np.asarray(np.clip((first + last) / 2.0, self.low, self.high))

    def quantiles(self, shares: ArrayLike) -> Floats:
        """Quantiles, shape of `shares`, evenly spread within a bin; NaN when there is no value."""
        if not self.values:
            return np.full(np.shape(shares), np.nan)
        cumulated = self.counts.cumsum()
        rank = np.asarray(shares, dtype=float) * cumulated[-1]
        at = np.minimum(cumulated.searchsorted(rank, side="left"), len(self.bins) - 1)
        first, last = binning.edges(self.bins[at], self.shift)
        within = np.minimum(np.maximum((rank - cumulated[at] + self.counts[at]) / self.counts[at], 0.0), 1.0)
        return np.asarray(np.minimum(np.maximum(first + within * (last - first), self.low), self.high))

    def cdf(self, x: ArrayLike) -> Floats:
        """Share of the finite values at or below each x, evenly spread within a bin; 0 when there is no value."""
        at = np.asarray(x, dtype=float)
        if not self.values:
            return np.zeros(at.shape)
        first, last = binning.edges(self.bins, self.shift)
        known = np.concatenate([[0.0], np.cumsum(self.counts)]) / self.counts.sum()
        place = np.searchsorted(first, at, side="right") - 1  # the last bin that begins at or below x
        inside = np.maximum(place, 0)
        width = last[inside] - first[inside]
        with np.errstate(invalid="ignore", divide="ignore"):
            within = np.where(width > 0, np.clip((at - first[inside]) / width, 0.0, 1.0), 1.0)
        share = known[inside] + within * (known[inside + 1] - known[inside])
        return np.asarray(np.where(at >= self.high, 1.0, np.where((at < self.low) | (place < 0), 0.0, share)))

    def at_shift(self, shift: int) -> Self:
        """The same column in bins at least that coarse."""
        if shift <= self.shift:
            return self
        shift, bins, counts = binning.coarsen(self.shift, self.bins, self.counts, least=shift)
        return replace(self, shift=shift, bins=bins, counts=counts)

    def __add__(self, other: Self) -> Self:
        mine, theirs = self.values, other.values
        total = mine + theirs
        gap = other.mean - self.mean
        shift, bins, counts = binning.merge(
            (self.shift, self.bins, self.counts), (other.shift, other.bins, other.counts)
        )
        return replace(
            self,
            n=self.n + other.n,
            nulls=self.nulls + other.nulls,
            infinite=self.infinite + other.infinite,
            zeros=self.zeros + other.zeros,
            low=float(np.fmin(self.low, other.low)),
            high=float(np.fmax(self.high, other.high)),
            mean=self.mean + gap * (theirs / total) if total else 0.0,
            m2=self.m2 + other.m2 + (gap * (mine / total) * gap * theirs if total else 0.0),
            shift=shift,
            bins=bins,
            counts=counts,
            kind=self.kind if self.kind == other.kind else max(self.kind, other.kind, key=KINDS.index),
        )


def _moments(x: Floats) -> tuple[float, float]:
    """(mean, sum of squared deviations); deviations are taken from a value near the mean, so that nothing cancels."""
    if not x.size:
        return 0.0, 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        near = float(x[:1024].mean())
        if not np.isfinite(near):
            near = 0.0
        total = squares = 0.0
        room = np.empty(min(BLOCK, x.size))
        for start in range(0, x.size, BLOCK):
            part = x[start : start + BLOCK]
            d = np.subtract(part, near, out=room[: part.size])
            total += float(d.sum())
            squares += float(d @ d)
        return near + total / x.size, max(0.0, squares - total * (total / x.size))
