"""Which rows to keep of many, so that joint changes can be seen later: seeded, spread over whole stretches of time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from afterfit.stats.binning import Floats

ROWS = 5_000  # of a sample, at most
BLOCKS = 25  # stretches of time that a sample is drawn from
SMALL_BLOCK = 40  # rows of a stretch below which it says nothing about what its rows have in common
SEED = 20170424


def sample_rows(n: int, times: Floats | None = None, length: float = 0.0, most: int = ROWS) -> NDArray[np.int64]:
    """Places of the rows to keep, rising; all of them when they are few.

    With times, of BLOCKS stretches that are spread evenly, and the same number of each: few rows of each of many days
    would not show how alike the rows of a day are.

    Args:
        n: rows there are.
        times: of each, epoch seconds, shape (n,), or None.
        length: seconds of a stretch.
        most: rows to keep.

    >>> sample_rows(3).tolist(), sample_rows(10_000).size
    ([0, 1, 2], 5000)
    """
    if n <= most:
        return np.arange(n)
    rng = np.random.default_rng([SEED, n])
    if times is None or length <= 0.0:
        return np.asarray(np.sort(rng.choice(n, most, replace=False)))
    at = np.floor(np.asarray(times, dtype=float) / length)
    found, rows = np.unique(at[np.isfinite(at)], return_counts=True)
    large = found[rows >= SMALL_BLOCK]
    if not large.size:
        return np.asarray(np.sort(rng.choice(n, most, replace=False)))
    chosen = large[np.unique(np.linspace(0, large.size - 1, BLOCKS).round().astype(int))]
    each = most // chosen.size
    inside = [np.flatnonzero(at == c) for c in chosen]
    kept = [rows if rows.size <= each else rng.choice(rows, each, replace=False) for rows in inside]
    return np.asarray(np.sort(np.concatenate(kept)))
