"""Did two columns stop moving together, or begin to? The pair whose correlation changed most, among all pairs.

The chance belongs to the largest change of all pairs, so no pair has to be paid for by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from afterfit.stats import null_tail
from afterfit.stats.binning import Floats

SHUFFLES, ENOUGH = 199, 10  # shuffles at most; once so many show more than the rows as they are, the answer is clear
CLOSE = 0.999  # a correlation nearer to 1 counts as that
LEAST = 0.05  # least variance of Fisher's z times rows: beside correlations near 1 it is estimated badly
FEW = 8  # rows below which a block has no correlations


@dataclass(frozen=True, slots=True)
class Change:
    """The pair that changed most, the chance of so large a change anywhere, and both correlations."""

    pair: tuple[int, int]
    statistic: float
    p_value: float
    before: float
    now: float


def shuffled(reference: Floats, window: Floats, sources: Sequence[str], rng: np.random.Generator) -> Change | None:
    """For independent rows: the largest difference of Fisher's z beside those of shuffled rows; None without a pair.

    Args:
        reference, window: normal scores, shapes (n_reference, k) and (n_window, k).
        sources: the column that each of the k comes from; pairs of one source are left out.

    References:
        Fisher (1921), On the probable error of a coefficient of correlation; Westfall, Young (1993), Resampling-based
        multiple testing (the permutation distribution of the largest statistic); Besag, Clifford (1991), Sequential Monte
        Carlo p-values.

    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.normal(size=(2, 400))
    >>> found = shuffled(np.stack([x, x + y], 1), np.stack([x, y], 1), ["x", "y"], rng)
    >>> found.pair, round(found.before, 1), round(found.now, 1), found.p_value < 1e-4
    ((0, 1), 0.7, 0.1, True)
    """
    pairs = _pairs(sources)
    both = np.vstack([reference, window])
    n, m = len(both), min(len(reference), len(window))
    if not pairs.any() or m < FEW:
        return None
    noise = np.sqrt(_variance(both) * (1.0 / m + 1.0 / (n - m)))
    gram, total = both.T @ both, both.sum(axis=0)

    def changes(rows: Floats) -> Floats:
        part, sums = rows.T @ rows, rows.sum(axis=0)
        z = _fisher(_correlation(part, sums, m)) - _fisher(_correlation(gram - part, total - sums, n - m))
        return np.asarray(np.where(pairs, np.abs(z) / noise, 0.0))

    smaller = window if len(window) == m else reference
    seen = changes(smaller)
    null: list[float] = []
    while len(null) < SHUFFLES and sum(v >= seen.max() for v in null) < ENOUGH:
        null.append(float(changes(both[rng.permutation(n)[:m]]).max()))
    before, now = (_of(rows) for rows in (reference, window))
    return _change(seen, null_tail.p_value(float(seen.max()), null), before, now)


def beside_blocks(
    reference: Floats, blocks: NDArray[np.int64], window: Floats, sources: Sequence[str]
) -> Change | None:
    """For rows of one day that are alike: beside what blocks of the reference did among themselves; None without a pair.

    How far each pair's Fisher z lies from its mean over blocks, in the spread that blocks have; the largest of a window
    beside the largest of each block, measured by the others.

    Args:
        reference, window, sources: as in :func:`shuffled`.
        blocks: the block of each reference row, shape (n_reference,); there must be FEWEST of them.
    """
    pairs = _pairs(sources)
    parts = [reference[blocks == b] for b in np.unique(blocks)]
    parts = [rows for rows in parts if len(rows) >= FEW]
    if not pairs.any() or len(parts) < null_tail.FEWEST or len(window) < FEW:
        return None
    seen = np.stack([_fisher(_of(rows)) for rows in parts])
    rows = len(parts) / sum(1.0 / len(p) for p in parts)
    one = _variance(reference)
    null = []
    for b in range(len(parts)):
        apart = _standardised(seen[b], np.delete(seen, b, axis=0), one / rows)
        null.append(float(apart[pairs].max()))
    fewer = one * max(0.0, 1.0 / len(window) - 1.0 / rows)
    apart = np.where(pairs, _standardised(_fisher(_of(window)), seen, one / rows, fewer), 0.0)
    return _change(apart, null_tail.p_value(float(apart.max()), null), np.tanh(seen.mean(axis=0)), _of(window))


def _standardised(z: Floats, others: Floats, least: Floats, more: Floats | float = 0.0) -> Floats:
    """How far z lies from the blocks, in the spread that they have; never less than rows alone give them."""
    spread = np.maximum(others.var(axis=0, ddof=1), least) * (1.0 + 1.0 / len(others)) + more
    return np.asarray(np.abs(z - others.mean(axis=0)) / np.sqrt(spread))


def _change(seen: Floats, p: float, before: Floats, now: Floats) -> Change:
    i, j = divmod(int(seen.argmax()), len(seen))
    return Change((i, j), float(seen[i, j]), p, float(before[i, j]), float(now[i, j]))


def _pairs(sources: Sequence[str]) -> NDArray[np.bool_]:
    names = np.array(sources)
    return np.asarray(np.triu(names[:, None] != names[None, :], 1))


def _of(rows: Floats) -> Floats:
    return _correlation(rows.T @ rows, rows.sum(axis=0), len(rows))


def _correlation(gram: Floats, sums: Floats, n: int) -> Floats:
    """0 where one of the two does not vary."""
    moments = gram - np.outer(sums, sums) / n
    size = np.sqrt(np.maximum(np.diag(moments), 0.0))
    size[size < 1e-6 * np.sqrt(n)] = np.inf
    return np.asarray(moments / np.outer(size, size))


def _fisher(correlation: Floats) -> Floats:
    return np.asarray(np.arctanh(np.clip(correlation, -CLOSE, CLOSE)))


def _variance(rows: Floats) -> Floats:
    """Of one row's influence on Fisher's z; for two normal columns it is 1."""
    u = rows - rows.mean(axis=0)
    u = u / np.maximum(u.std(axis=0), 1e-6)
    n = len(u)
    squares, cubes = (u**2).T @ u**2 / n, (u**3).T @ u / n
    r = np.clip(u.T @ u / n, -CLOSE, CLOSE)
    fourth = np.diag(squares)
    found = squares - r * (cubes + cubes.T) + r**2 / 4.0 * (fourth[:, None] + fourth[None, :] + 2.0 * squares)
    return np.asarray(np.maximum(found / (1.0 - r**2) ** 2, LEAST))
