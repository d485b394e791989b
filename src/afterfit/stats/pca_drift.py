"""Do rows still lie where the reference's columns move together? The part of a row that its main components don't explain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import rankdata

from afterfit.stats import null_tail
from afterfit.stats.binning import Floats

EXPLAINED = 0.8  # of the variance: less leaves what columns share among the errors, more leaves no errors to look at
FEW = 20  # rows of each half of the reference


@dataclass(frozen=True, slots=True)
class Errors:
    """`chance` that a row of the window has a larger error than one of the reference (0.5: alike), and its p-value;
    `by_column` how much more of each column's variance is unexplained, shape (k,)."""

    chance: float
    p_value: float
    by_column: Floats


def errors(reference: Floats, window: Floats, blocks: NDArray[np.int64] | None = None) -> Errors | None:
    """Two-sided: errors of the window beside those of reference rows that the components were not fitted on; None when
    there are too few rows or columns.

    Each half of the reference is scored by the components of the other half. A rank test, since errors are lopsided; the
    mean of both halves varies no more than they do on average, however they depend. With blocks of time the p-value is
    the larger of that for rows and of the chance among blocks.

    Args:
        reference, window: normal scores, shapes (n_reference, k) and (n_window, k).
        blocks: the block of each reference row, shape (n_reference,), or None for independent rows.

    References:
        Jackson, Mudholkar (1979), Control procedures for residuals associated with principal component analysis.

    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.normal(size=(2, 400, 1))
    >>> flat, round_ = np.hstack([x, x + 0.1 * y, x - 0.1 * y]), rng.normal(size=(400, 3))
    >>> found = errors(flat, round_)
    >>> found.chance > 0.9, found.p_value < 1e-9
    (True, True)
    """
    half = np.arange(len(reference)) % 2 if blocks is None else np.unique(blocks, return_inverse=True)[1] % 2
    if min((half == 0).sum(), (half == 1).sum(), len(window)) < FEW or reference.shape[1] < 2:
        return None
    found, null, more = [], list[float](), np.zeros(reference.shape[1])
    for side in (0, 1):
        fitted = _main_components(reference[half != side])
        known, new = _unexplained(reference[half == side], *fitted), _unexplained(window, *fitted)
        of_known, of_new = known.mean(axis=1), new.mean(axis=1)
        found.append(_larger(of_new, of_known))
        more += (new.mean(axis=0) - known.mean(axis=0)) / 2.0
        if blocks is not None:
            null += _among(of_known, blocks[half == side])
    chance, variance = np.mean(found, axis=0).tolist()
    p = float(2.0 * ndtr(-abs(chance - 0.5) / np.sqrt(variance))) if variance > 0.0 else 1.0
    if blocks is not None:
        rows = len(reference) / max(len(null), 1)
        fewer = max(0.0, 1.0 / len(window) - 1.0 / rows) / 12.0
        p = max(p, null_tail.squared_p_value(chance - 0.5, null, 1.0, fewer))
    return Errors(chance, p, more)


def _main_components(rows: Floats) -> tuple[Floats, Floats]:
    """(middle (k,), directions (k, q)) that explain EXPLAINED; never all of them."""
    values, vectors = np.linalg.eigh(np.cov(rows, rowvar=False))
    share = np.cumsum(values[::-1]) / max(float(values.sum()), 1e-12)
    kept = min(int(np.searchsorted(share, EXPLAINED)) + 1, len(values) - 1)
    return rows.mean(axis=0), vectors[:, ::-1][:, :kept]


def _unexplained(rows: Floats, middle: Floats, main: Floats) -> Floats:
    """Squared, column by column, shape (n, k)."""
    moved = rows - middle
    return np.asarray((moved - moved @ main @ main.T) ** 2)


def _larger(window: Floats, reference: Floats) -> tuple[float, float]:
    """(chance that a value of the window is the larger one, its variance when nothing changed): Mann and Whitney's test."""
    n, m = len(reference), len(window)
    ranks = rankdata(np.concatenate([reference, window]))
    chance = float((ranks[n:].sum() - m * (m + 1) / 2.0) / (n * m))
    return chance, float(ranks.var()) / (n * m * (n + m - 1))


def _among(values: Floats, blocks: NDArray[np.int64]) -> list[float]:
    """How far each block lies from the others."""
    inside = [blocks == b for b in np.unique(blocks)]
    return [_larger(values[rows], values[~rows])[0] - 0.5 for rows in inside if not rows.all()]
