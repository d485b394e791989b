"""What share of rows with this score came true: a rising curve learned from a reference, and how sure it is."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from afterfit.stats.score_bins import Floats

BLOCKS = 20  # parts of the reference, in its order, that are left out in turn
FEWEST_ROWS = 100  # a predicted label with fewer reference rows than this shares the curve of all rows
ECE_BINS = 10
PULL = 0.5  # rows at the base rate that each step of the curve gets
_TINY = 1e-300


@dataclass(frozen=True, slots=True)
class Calibration:
    """P(outcome is the class | score bin, side), where the side says whether the class was predicted (1) or not (0).

    Blind to concept drift: it is the world of the reference.
    """

    p: Floats  # (2, n_bins)
    left_out: Floats  # (n_blocks, 2, n_bins): the same curve without each block
    changed: bool  # False: the scores were as good as they were, and p is the score itself
    error_before: float  # expected calibration error on blocks not learned from
    error_after: float
    spread: Floats = field(init=False, repr=False)  # jackknife: Var(sum w p) = sum over blocks of (sum w spread)^2

    def __post_init__(self) -> None:
        blocks = len(self.left_out)
        spread = (self.left_out - self.left_out.mean(axis=0)) * np.sqrt((blocks - 1) / blocks)
        object.__setattr__(self, "spread", spread)


def isotonic(rows: Floats, positives: Floats) -> Floats:
    """Rising step curve nearest to the observed shares, weighted by rows; empty bins are interpolated.

    Each step is pulled to the base rate by half a row. Pooling picks its steps where luck was good, so the plain curve
    is too steep: learned from 5 000 rows it expects 0.002 to 0.005 too much AUROC, from 50 000 rows up to 0.001. The
    pull takes a good part of that away (`tests/stats/test_calibration.py`).

    Args:
        rows: rows (or weights) in each bin, shape (n_bins,), in score order, not all 0.
        positives: those of them that came true, shape (n_bins,).

    Returns:
        Shape (n_bins,), in [0, 1], rising.

    Raises:
        ValueError: no bin has a row.

    References:
        Barlow et al. (1972), Statistical inference under order restrictions: pool adjacent violators.

    >>> isotonic(np.array([20.0, 20.0, 0.0, 20.0]), np.array([10.0, 0.0, 0.0, 20.0])).round(3).tolist()
    [0.253, 0.253, 0.62, 0.988]
    """
    full = np.flatnonzero(rows > 0)
    if not full.size:
        raise ValueError("no bin has a row: nothing to learn a curve from")
    n, y = rows[full], positives[full]
    steps = isotonic_regression(y / n, weights=n).blocks[:-1]
    n_step, y_step = np.add.reduceat(n, steps), np.add.reduceat(y, steps)
    pulled = (y_step + PULL * y.sum() / n.sum()) / (n_step + PULL)
    fitted = np.repeat(pulled, np.diff([*steps, len(n)]))
    return np.asarray(np.interp(np.arange(len(rows)), full, np.clip(np.maximum.accumulate(fitted), 0.0, 1.0)))


def curve(rows: Floats, positives: Floats, by_side: bool) -> Floats:
    """The isotonic curve of both sides together, or one for each, shape (2, n_bins).

    A side with fewer than 100 rows takes the curve of both.

    >>> rows = np.full((2, 3), 1e6)
    >>> curve(rows, rows * [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]], by_side=True).round(3).tolist()
    [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]
    """
    both = isotonic(rows.sum(axis=0), positives.sum(axis=0))
    return np.stack(
        [isotonic(n, y) if by_side and n.sum() >= FEWEST_ROWS else both for n, y in zip(rows, positives, strict=True)]
    )


def says_more(rows: Floats) -> bool:
    """Does the predicted label say more than the score? Not if it is the score cut at a threshold.

    With three classes, or when a rule overrides the model, it does; then each side gets a curve of its own, which keeps
    the expected confusion cells of the reference equal to the real ones.

    Args:
        rows: reference rows, shape (2, n_bins), side by score bin.

    >>> says_more(np.array([[500.0, 0.0], [0.0, 500.0]])), says_more(np.array([[500.0, 500.0], [500.0, 500.0]]))
    (False, True)
    """
    cut_above = np.concatenate([[0.0], np.cumsum(rows[1] - rows[0])]) + rows[0].sum()  # rows on the wrong side of it
    return bool(cut_above.min() >= FEWEST_ROWS)


def calibration_error(rows: Floats, positives: Floats, p: Floats, bins: int = ECE_BINS) -> float:
    """Expected calibration error: mean |share expected - share found| over groups of equal size by p, in [0, 1].

    Args:
        rows, positives: weights and outcomes a cell, any one shape.
        p: expected share in each cell, same shape.
        bins: number of groups.

    References:
        Naeini, Cooper, Hauskrecht (2015), Obtaining well calibrated probabilities using Bayesian binning.

    >>> calibration_error(np.array([10.0, 10.0]), np.array([1.0, 9.0]), np.array([0.2, 0.9]))
    0.05
    """
    order = np.argsort(p, axis=None, kind="stable")
    n, y, expected = rows.ravel()[order], positives.ravel()[order], (rows * p).ravel()[order]
    middle = np.cumsum(n) - 0.5 * n
    group = np.minimum((bins * middle / n.sum()).astype(np.int64), bins - 1)
    return float(np.abs(np.bincount(group, expected - y)).sum() / n.sum())


def calibrate(rows: Floats, positives: Floats, score: Floats) -> Calibration:
    """Learn the curve from a reference in blocks; keep the scores as they are unless that lowers the error.

    Each block is judged by the curve that was learned without it: nothing is drawn at random, and no row judges what
    it taught. (Halves were tried: what half of the rows teach is so much worse that scores which needed it were kept.)
    Kept scores still get the uncertainty of the curve: that they are calibrated is an observation and no certainty.

    Args:
        rows: rows (or weights), shape (n_blocks, 2, n_bins): block in time order, side, score bin. Two blocks at least.
        positives: those that came true, same shape.
        score: typical score of each bin, shape (n_bins,).

    Raises:
        ValueError: fewer than two blocks, or the reference without one of its blocks has no row.

    >>> rows = np.full((4, 2, 2), 50.0)
    >>> calibrate(rows, rows * 0.3, np.array([0.1, 0.9])).p.round(3).tolist()
    [[0.3, 0.3], [0.3, 0.3]]
    """
    if len(rows) < 2:
        raise ValueError(f"found {len(rows)} blocks of reference rows, wanted at least 2")
    total, came_true = rows.sum(axis=0), positives.sum(axis=0)
    sides = says_more(total)
    left_out = np.stack([curve(total - n, came_true - y, sides) for n, y in zip(rows, positives, strict=True)])
    kept = np.broadcast_to(score, total.shape)
    unseen = (rows * left_out).sum(axis=0) / np.maximum(total, _TINY)
    before, after = (calibration_error(total, came_true, p) for p in (kept, unseen))
    changed = after < before
    p: NDArray[np.float64] = curve(total, came_true, sides) if changed else np.array(kept)
    return Calibration(p=p, left_out=left_out, changed=changed, error_before=before, error_after=after)
