"""Log-linear bins from the bit pattern of a float32, as fine as MOST_BINS allow, and the same however rows were split.

The bits of a float32, with those of negative numbers mirrored, are integers in the order of the numbers. A bin is such an
integer without its lowest `shift` bits. `shift` is the smallest for which the column fills at most MOST_BINS bins: that
depends on the values alone, so parts that were binned separately merge into exactly the bins of the whole. A column of
few distinct values keeps each of them as a bin of its own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
MOST_BINS = 1024
_LIMIT = float(np.finfo(np.float32).max)
_MIRROR = np.int32(0x7FFFFFFF)
_LARGEST = 0x7F7FFFFF  # code of the largest float32
_BITS = 32
_DENSE = 1 << 16  # bins between the smallest and largest value up to which counting beats sorting
_FIRST = 1 << 14  # values from which a first shift is found, by sorting


def count(values: Floats, low: float, high: float, shift: int) -> tuple[int, Ints, Ints]:
    """(shift, bins, counts) of finite values, shape (n,), whose smallest and largest are given.

    The answer's shift is the larger of `shift` and of what the values need.

    >>> shift, bins, counts = count(np.array([1.0, 2.0, 2.0]), 1.0, 2.0, 0)
    >>> shift, edges(bins, shift)[0].tolist(), counts.tolist()
    (0, [1.0, 2.0], [1, 2])
    """
    if not values.size:
        return shift, np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    if shift == 0 and high - low < _DENSE and (found := _whole_numbers(values, low)):
        return coarsen(0, *found)
    codes = _codes(values, low, high)
    if shift == 0:
        shift = _needed(codes[:_FIRST])
    first, last = (int(c) >> shift for c in _codes(np.array([low, high]), low, high))
    if shift > 0:
        codes >>= shift
    if last - first < max(_DENSE, 4 * len(codes)):
        codes -= np.int32(first)
        dense = np.bincount(codes)
        at = np.flatnonzero(dense)
        bins, counts = at + first, dense[at]
    else:
        codes.sort()
        bins, counts = _runs(codes.astype(np.int64))
    return coarsen(shift, bins, counts)


def merge(a: tuple[int, Ints, Ints], b: tuple[int, Ints, Ints]) -> tuple[int, Ints, Ints]:
    """(shift, bins, counts) of the values of both; exact."""
    shift = max(a[0], b[0])
    bins = np.concatenate([a[1] >> (shift - a[0]), b[1] >> (shift - b[0])])
    return coarsen(shift, *_summed(bins, np.concatenate([a[2], b[2]])))


def coarsen(shift: int, bins: Ints, counts: Ints, least: int = 0) -> tuple[int, Ints, Ints]:
    """The same values in at most MOST_BINS bins and with at least the shift `least`; nothing changes if that holds."""
    more = max(0, least - shift)
    steps = bins[1:] ^ bins[:-1]  # two neighbours share a bin once the shift passes their highest differing bit
    while 1 + int((steps >> more != 0).sum()) > MOST_BINS:
        more += 1
    return (shift, bins, counts) if more == 0 else (shift + more, *_summed(bins >> more, counts))


def edges(bins: Ints, shift: int) -> tuple[Floats, Floats]:
    """(smallest, largest) float32 in each bin, as float64."""
    low = bins << shift
    return _values(low), _values(low + ((1 << shift) - 1))


def bin_of(values: Floats, shift: int) -> Ints:
    """The bin of each value."""
    return _codes(values, -np.inf, np.inf).astype(np.int64) >> shift


def _codes(values: Floats, low: float, high: float) -> NDArray[np.int32]:
    if low < -_LIMIT or high > _LIMIT:
        values = np.clip(values, -_LIMIT, _LIMIT)  # what float32 can't hold goes to the outermost bins
    short = values.astype(np.float32)
    short += np.float32(0.0)  # -0.0 becomes 0.0
    codes = short.view(np.int32)
    codes ^= (codes >> 31) & _MIRROR
    return codes


def _values(codes: Ints) -> Floats:
    short = np.minimum(np.maximum(codes, -_LARGEST - 1), _LARGEST).astype(np.int32)  # no code of an infinity or NaN
    return (short ^ ((short >> 31) & _MIRROR)).view(np.float32).astype(np.float64)


def _needed(codes: NDArray[np.int32]) -> int:
    ordered = np.sort(codes)
    steps = (ordered[1:] ^ ordered[:-1]).view(np.uint32)
    low, high = 0, _BITS
    while low < high:
        middle = (low + high) // 2
        if 1 + int((steps >= np.uint64(1 << middle)).sum()) > MOST_BINS:
            low = middle + 1
        else:
            high = middle
    return low


def _whole_numbers(values: Floats, low: float) -> tuple[Ints, Ints] | None:
    """(bins, counts) when all values are integers that lie close together, else None. Counting beats sorting."""
    if not float(low).is_integer() or abs(low) > 2**23:  # above, float32 does not tell neighbours apart
        return None
    place = (values - low).astype(np.int32)
    if not np.array_equal(place, values - low):
        return None
    dense = np.bincount(place)
    at = np.flatnonzero(dense)
    return bin_of(at.astype(np.float64) + low, 0), dense[at].astype(np.int64)


def _runs(ordered: Ints) -> tuple[Ints, Ints]:
    starts = np.flatnonzero(np.diff(ordered, prepend=ordered[:1] - 1))
    return ordered[starts], np.diff(starts, append=len(ordered))


def _summed(bins: Ints, counts: Ints) -> tuple[Ints, Ints]:
    order = np.argsort(bins, kind="stable")
    bins, counts = bins[order], counts[order]
    starts = np.flatnonzero(np.diff(bins, prepend=bins[:1] - 1))
    return bins[starts], (np.add.reduceat(counts, starts) if len(starts) else counts)
