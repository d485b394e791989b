"""Columns of any kind as one matrix of normal scores, so that they can be looked at together and no row counts too much.

A number is replaced by the normal quantile of its rank, a null by the middle; frequent nulls and categories become columns
of 0 and 1. Give the rows of both samples at once: then nothing tells the two apart but what is to be tested.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata

from afterfit.stats.binning import Floats

RARE = 0.05  # share of rows: a category or null that is rarer is no column of its own, nor what varies in fewer rows
LEVELS = 5  # most frequent categories of a column
MOST = 100  # columns of the matrix


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """`values` (n_rows, k), each column of mean 0 and variance 1; which column each comes from, and how to call it."""

    values: Floats
    sources: tuple[str, ...]
    labels: tuple[str, ...]
    left_out: int  # that would have been more than MOST


def normal_scores(columns: Mapping[str, Any]) -> Scores:
    """The matrix of columns of shape (n_rows,): floats with NaN for null, or objects with None.

    References:
        van der Waerden (1952), Order tests for the two-sample problem and their power.

    >>> found = normal_scores({"x": np.array([1.0, 5.0, 2.0, np.nan]), "c": np.array(["a", "b", "b", "a"], dtype=object)})
    >>> found.labels, found.values[:, 0].round(2).tolist()
    (('x', 'x is null', 'c = a'), [-1.41, 1.41, 0.0, 0.0])
    """
    whole: list[tuple[str, str, Floats]] = []
    parts: list[tuple[str, str, Floats]] = []
    for name, values in columns.items():
        numbers = values.dtype.kind == "f"
        if numbers and (scores := _ranked(values)) is not None:
            whole.append((name, name, scores))
        parts += [(name, label, v) for label, v in (_null(name, values) if numbers else _levels(name, values))]
    found = [(name, label, (v - v.mean()) / v.std()) for name, label, v in (*whole, *parts)]
    kept = found[:MOST]
    rows = len(next(iter(columns.values()))) if columns else 0
    matrix = np.column_stack([v for _, _, v in kept]) if kept else np.empty((rows, 0))
    return Scores(matrix, tuple(n for n, _, _ in kept), tuple(t for _, t, _ in kept), len(found) - len(kept))


def _ranked(values: Floats) -> Floats | None:
    seen = np.isfinite(values)
    n = int(seen.sum())
    if n < 2:
        return None
    ranks = rankdata(values[seen])
    _, counts = np.unique(ranks, return_counts=True)
    if counts.size < 2 or values.size - int(counts.max()) < RARE * values.size or n < RARE * values.size:
        return None
    scores = np.zeros(values.size)
    scores[seen] = ndtri((ranks - 0.5) / n)
    return scores


def _null(name: str, values: Floats) -> Iterator[tuple[str, Floats]]:
    null = ~np.isfinite(values)
    if RARE <= null.mean() <= 1.0 - RARE:
        yield f"{name} is null", null.astype(float)


def _levels(name: str, values: Any) -> Iterator[tuple[str, Floats]]:
    texts = [None if v is None or v != v else str(v) for v in values.tolist()]  # noqa: PLR0124  NaN differs from itself
    counted = Counter(texts)
    common = [t for t, n in counted.most_common() if RARE <= n / max(len(texts), 1) <= 1.0 - RARE]
    if len(counted) == 2:
        common = sorted(common, key=str)[:1]  # the other one is the same column again
    for text in common[:LEVELS]:
        yield (f"{name} is null" if text is None else f"{name} = {text}"), np.array([float(t == text) for t in texts])
