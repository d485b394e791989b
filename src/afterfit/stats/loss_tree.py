"""A regression tree over binned columns: cells of rows with alike losses. Plain arrays, no randomness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from afterfit.stats.score_bins import Floats, Ints

STEPS = 32  # bins of equal reference mass a column; one more for missing values
DEEPEST = 12
GAIN = 12.0  # least reduction of the squared loss by a split, in variances of the node: noise gains about 1


@dataclass(frozen=True, slots=True)
class Tree:
    """Nodes in the order they were made; a node whose `column` is -1 is a leaf, and `child` is then its number."""

    edges: tuple[Floats, ...]  # inner edges of the bins of each column
    column: Ints
    cut: Ints  # rows with a bin up to this go to `child`, the others to `child` + 1; missing values are the last bin
    child: Ints
    leaves: int

    @classmethod
    def grow(cls, x: Floats, loss: Floats, fewest: int) -> Self:
        """Split where that lowers the squared deviation of the loss most.

        Args:
            x: shape (n_rows, n_columns), NaN where missing; one row at least.
            loss: finite, shape (n_rows,).
            fewest: rows that a leaf must have.

        References:
            Breiman, Friedman, Olshen, Stone (1984), Classification and regression trees.

        >>> x = np.repeat([[0.0], [1.0]], 50, axis=0)
        >>> Tree.grow(x, x[:, 0], 10).leaf(np.array([[0.0], [1.0]])).tolist()
        [0, 1]
        """
        edges = tuple(_edges(column) for column in x.T)
        bins = _bins(x, edges)
        column, cut, child = [-1], [0], [0]
        leaves = 0
        queue = [(0, np.arange(len(x)), 0)]
        while queue:
            node, rows, depth = queue.pop(0)
            split = _best(bins[rows], loss[rows], fewest) if depth < DEEPEST else None
            if split is None:
                child[node] = leaves
                leaves += 1
                continue
            column[node], cut[node], child[node] = *split, len(column)
            left = bins[rows, split[0]] <= split[1]
            for part in (rows[left], rows[~left]):
                queue.append((len(column), part, depth + 1))
                column.append(-1)
                cut.append(0)
                child.append(0)
        return cls(edges, np.array(column), np.array(cut), np.array(child), leaves)

    def leaf(self, x: Floats) -> Ints:
        """Number of the leaf of each row, shape (n_rows,), for x as in :meth:`grow`."""
        bins = _bins(x, self.edges)
        node = np.zeros(len(x), dtype=np.int64)
        for _ in range(DEEPEST):
            column = self.column[node]
            inner = np.flatnonzero(column >= 0)
            if not inner.size:
                break
            at = node[inner]
            node[inner] = self.child[at] + (bins[inner, column[inner]] > self.cut[at])
        return np.asarray(self.child[node])


def _edges(column: Floats) -> Floats:
    seen = column[np.isfinite(column)]
    return np.unique(np.quantile(seen, np.arange(1, STEPS) / STEPS)) if seen.size else np.zeros(0)


def _bins(x: Floats, edges: tuple[Floats, ...]) -> NDArray[np.uint8]:
    """Bin of each value, `STEPS` where missing."""
    each = [np.searchsorted(inner, column, side="left") for inner, column in zip(edges, x.T, strict=True)]
    return np.where(np.isfinite(x), np.stack(each, axis=1), STEPS).astype(np.uint8)


def _best(bins: NDArray[np.uint8], loss: Floats, fewest: int) -> tuple[int, int] | None:
    """(column, last bin of the left part) of the best split, None if none is worth it."""
    n = len(loss)
    if n < 2 * fewest:
        return None
    centred = loss - loss.mean()
    best, found = GAIN * float((centred**2).mean()), None
    for j in range(bins.shape[1]):
        count = np.cumsum(np.bincount(bins[:, j], minlength=STEPS + 1))[:-1]
        total = np.cumsum(np.bincount(bins[:, j], centred, STEPS + 1))[:-1]
        allowed = (count >= fewest) & (n - count >= fewest)
        gain = np.where(allowed, total**2 * n / np.maximum(count * (n - count), 1), 0.0)
        if gain.max() > best:
            best, found = float(gain.max()), (j, int(gain.argmax()))
    return found
