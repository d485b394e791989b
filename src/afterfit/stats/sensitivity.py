"""Metrics of expected outcomes, and how each moves when one more row comes true: values with their gradients.

A window is cells (side, score bin) with n rows, of which y = n p are expected to come true. Side 1 are the rows for
which the class was predicted. Every function returns (value, gradient by y) or, where the metric is undefined, a reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from afterfit.stats.score_bins import SMALLEST, Floats

FEWEST = 5.0  # expected rows of each class below which the window may well hold one class only (e^-5 < 1 %)
Found = tuple[float, Floats] | str


@dataclass(frozen=True, slots=True)
class Cells:
    """Expected outcomes of a window, in score order. Arrays have shape (2, n_bins), `score` (n_bins,).

    >>> cells = Cells(np.array([[50.0, 0.0], [0.0, 50.0]]), np.array([[10.0, 0.0], [0.0, 40.0]]), np.array([0.2, 0.8]))
    >>> [round(metric(cells)[0], 4) for metric in (accuracy, precision, recall, f1, roc_auc, average_precision)]
    [0.8, 0.8, 0.8, 0.8, 0.8019, 0.7448]
    >>> [round(metric(cells)[0], 4) for metric in (log_loss, brier)]
    [0.5004, 0.16]
    >>> round(cost(cells, np.array([[0.0, 1.0], [5.0, 0.0]]))[0], 4)
    0.6
    >>> recall(Cells(np.array([[9.0], [0.0]]), np.array([[0.1], [0.0]]), np.array([0.01])))
    'one class only is likely: 0.1 positives and 8.9 negatives expected'
    """

    n: Floats
    y: Floats
    score: Floats
    rows: float = field(init=False)
    positives: float = field(init=False)
    predicted: float = field(init=False)  # rows on side 1

    def __post_init__(self) -> None:
        for name, value in (("rows", self.n.sum()), ("positives", self.y.sum()), ("predicted", self.n[1].sum())):
            object.__setattr__(self, name, float(value))

    @property
    def hits(self) -> float:
        """Expected true positives."""
        return float(self.y[1].sum())

    @property
    def one_class(self) -> str:
        """Why metrics that need both classes are undefined; empty if they are not."""
        negatives = self.rows - self.positives
        if min(self.positives, negatives) >= FEWEST:
            return ""
        return f"one class only is likely: {self.positives:.1f} positives and {negatives:.1f} negatives expected"

    def by_side(self, zero: float, one: float) -> Floats:
        """A gradient that depends on the side alone."""
        return np.repeat(np.array([[zero], [one]]), self.n.shape[1], axis=1)


def accuracy(c: Cells) -> Found:
    """Share of rows whose predicted side comes true."""
    wrong_side = c.y[0].sum()
    return float((c.hits + c.n[0].sum() - wrong_side) / c.rows), c.by_side(-1.0 / c.rows, 1.0 / c.rows)


def precision(c: Cells) -> Found:
    """True positives over predicted positives."""
    if c.predicted <= 0.0:
        return "no row is predicted to be of this class"
    return c.hits / c.predicted, c.by_side(0.0, 1.0 / c.predicted)


def recall(c: Cells) -> Found:
    """True positives over positives."""
    if c.positives < FEWEST:
        return c.one_class or f"{c.positives:.1f} positives expected, fewer than {FEWEST:g}"
    value = c.hits / c.positives
    return value, c.by_side(-value / c.positives, (1.0 - value) / c.positives)


def f1(c: Cells) -> Found:
    """Harmonic mean of precision and recall: 2 TP / (predicted + positives)."""
    if c.positives < FEWEST:
        return c.one_class or f"{c.positives:.1f} positives expected, fewer than {FEWEST:g}"
    both = c.predicted + c.positives
    value = 2.0 * c.hits / both
    return value, c.by_side(-value / both, (2.0 - value) / both)


def roc_auc(c: Cells) -> Found:
    """Area under the ROC curve: share of (positive, negative) pairs in the right order, ties half."""
    if c.one_class:
        return c.one_class
    n, y = c.n.sum(axis=0), c.y.sum(axis=0)
    negatives = n - y
    below = np.cumsum(negatives) - 0.5 * negatives
    above = c.positives - np.cumsum(y) + 0.5 * y
    no, yes = float(negatives.sum()), c.positives
    # A row is no pair with itself: take those pairs out of both counts.
    self_pairs = float((c.y * (1.0 - c.y / np.maximum(c.n, SMALLEST))).sum())
    value = float((y @ below - 0.5 * self_pairs) / (yes * no - self_pairs))
    slope = (below - above) / (yes * no) - value * (1.0 / yes - 1.0 / no)
    return value, np.broadcast_to(slope, c.n.shape)


def average_precision(c: Cells) -> Found:
    """Sum over positives of the precision at their score, over the positives (scikit-learn's definition).

    Rows of one bin count as ties. Where scores have bins enough that matters less than 1e-4 (and 0.5 / positives); for
    a model whose scores all lie within 3 % of each other it was 0.0015.
    """
    if c.one_class:
        return c.one_class
    n, y = c.n.sum(axis=0)[::-1], c.y.sum(axis=0)[::-1]
    ranks, found = np.maximum(np.cumsum(n), SMALLEST), np.cumsum(y)
    share = y / np.maximum(n, SMALLEST)
    value = float((y * (found + 1.0 - share) / ranks).sum() / c.positives)
    later = np.cumsum((y / ranks)[::-1])[::-1]
    slope = (found / ranks + later - value) / c.positives
    return value, np.broadcast_to(slope[::-1], c.n.shape)


def log_loss(c: Cells) -> Found:
    """Mean log loss of the scores as served (natural logarithm, cut at 1e-15)."""
    yes = -np.log(np.maximum(c.score, SMALLEST))
    no = -np.log(np.maximum(1.0 - c.score, SMALLEST))
    return float((c.y * yes + (c.n - c.y) * no).sum() / c.rows), np.broadcast_to((yes - no) / c.rows, c.n.shape)


def brier(c: Cells) -> Found:
    """Mean squared difference of score and outcome, the scores as served."""
    value = (c.y * (1.0 - c.score) ** 2 + (c.n - c.y) * c.score**2).sum() / c.rows
    return float(value), np.broadcast_to((1.0 - 2.0 * c.score) / c.rows, c.n.shape)


def cost(c: Cells, matrix: Floats) -> Found:
    """Mean cost a row; matrix[true class, predicted class]."""
    price = matrix[1] - matrix[0]
    value = (c.n.sum(axis=1) @ matrix[0] + c.y.sum(axis=1) @ price) / c.rows
    return float(value), c.by_side(float(price[0]) / c.rows, float(price[1]) / c.rows)


def costs(given: Sequence[Sequence[float]] | None, classes: int) -> Floats | None:
    """The matrix for :func:`cost`, shape (classes, classes).

    Raises:
        ValueError: another shape, or a number that is not finite.

    >>> costs([[0, 1], [float("nan"), 0]], 2)
    Traceback (most recent call last):
    ValueError: cost: wanted 2 rows (the true class) of 2 finite numbers (the predicted one), found [[0, 1], [nan, 0]]
    """
    if given is None:
        return None
    try:
        matrix = np.asarray(given, dtype=float)
    except (TypeError, ValueError):  # rows of different lengths, or no numbers
        matrix = np.empty(0)
    if matrix.shape != (classes, classes) or not np.isfinite(matrix).all():
        raise ValueError(
            f"cost: wanted {classes} rows (the true class) of {classes} finite numbers (the predicted one), found {given!r}"
        )
    return matrix


METRICS: dict[str, Callable[[Cells], Found]] = {
    "accuracy": accuracy,
    "precision": precision,
    "recall": recall,
    "f1": f1,
    "roc_auc": roc_auc,
    "average_precision": average_precision,
    "log_loss": log_loss,
    "brier": brier,
}
_SHARES = {"accuracy", "precision", "recall", "f1", "roc_auc", "average_precision", "brier"}


def limits(metric: str) -> tuple[float, float]:
    """Least and greatest value that a metric can have; a cost may be a gain.

    >>> limits("brier"), limits("mae"), limits("cost")
    ((0.0, 1.0), (0.0, inf), (-inf, inf))
    """
    return -np.inf if metric == "cost" else 0.0, 1.0 if metric in _SHARES else np.inf
