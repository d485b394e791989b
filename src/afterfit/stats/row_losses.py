"""Losses of single rows of a classifier: realised where the class is known, expected where its chances are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from afterfit.stats.score_bins import SMALLEST, Floats, Ints


def row_losses(p: Floats, scores: Floats, predicted: Ints, cost: Floats | None) -> dict[str, Floats]:
    """The metrics that are means over rows, row by row: accuracy, log_loss, brier and, with a matrix, cost.

    Args:
        p: chance of each class, shape (n_rows, n_classes); 0 and 1 where the outcome is known.
        scores: what the model said of each class, shape (n_rows, n_classes), in [0, 1].
        predicted: index of the predicted class, shape (n_rows,).
        cost: cost[true][predicted] of one row, n_classes by n_classes.

    Returns:
        Arrays of shape (n_rows,), linear in `p`. Brier is half the sum over classes.

    >>> found = row_losses(np.array([[0.0, 1.0], [0.5, 0.5]]), np.array([[0.2, 0.8], [0.2, 0.8]]), np.array([1, 1]), None)
    >>> {name: values.round(3).tolist() for name, values in found.items()}
    {'accuracy': [1.0, 0.5], 'log_loss': [0.223, 0.916], 'brier': [0.04, 0.34]}
    """
    found: dict[str, Floats] = {
        "accuracy": p[np.arange(len(p)), predicted],
        "log_loss": -(p * np.log(np.maximum(scores, SMALLEST))).sum(axis=1),
        "brier": 0.5 * (scores**2 + p * (1.0 - 2.0 * scores)).sum(axis=1),
    }
    if cost is not None:
        found["cost"] = _costs(p, predicted, cost)
    return found


def rest_factors(hits: Floats, others: Floats, n: Floats) -> Floats:
    """By what the chances of the other classes are multiplied, so that with the hits they make up n. All (n_classes,).

    Each class was calibrated alone: the rows of a predicted label that are no hits are shared among the others.
    """
    return np.divide(n - hits, others, out=np.ones(len(n)), where=others > 0.0)


def scattered(losses: Mapping[str, Floats], fine: NDArray[np.bool_]) -> dict[str, Floats]:
    """Losses of the fine rows in their places among all rows, NaN for the others.

    >>> scattered({"mae": np.array([2.0])}, np.array([False, True]))["mae"].tolist()
    [nan, 2.0]
    """
    found = {}
    for name, values in losses.items():
        found[name] = np.full(len(fine), np.nan)
        found[name][fine] = values
    return found


def _costs(p: Floats, predicted: Ints, cost: Floats) -> Floats:
    """Cost of each row, from the same confusion matrix as the cost of the window."""
    own, k = p[np.arange(len(p)), predicted], len(cost)
    n, hits, others = (np.bincount(predicted, w, k).astype(float) for w in (None, own, p.sum(axis=1) - own))
    shared = p * rest_factors(hits, others, n)[predicted][:, None]
    shared[np.arange(len(p)), predicted] = own
    return np.asarray((shared * cost.T[predicted]).sum(axis=1))
