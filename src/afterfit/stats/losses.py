"""Per-row losses: a bounded one that the tests bet on, and the one that people report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
_TINY = 1e-15


def bounded_loss(
    task: str, outcome: ArrayLike, prediction: ArrayLike, scores: ArrayLike | None,
    classes: Sequence[Any] | None, scale: float = 1.0,
) -> Floats:  # fmt: skip
    """Loss of each row in [0, 1]: Brier (binary), half of it (multiclass), min(|error| / scale, 1) (regression).

    Args:
        task: binary, multiclass or regression.
        outcome: what came true, shape (n_rows,).
        prediction: the answer, shape (n_rows,); used for regression, and for classification without scores.
        scores: class probabilities (n_rows, n_classes) in the order of `classes`, or None.
        classes: labels in the order of the scores; None for regression.
        scale: absolute error at which a regression's loss is 1.

    A row whose answer is missing or not a number pays the maximum, 1.

    References:
        Brier (1950), Verification of forecasts expressed in terms of probability.

    >>> bounded_loss("binary", [1, 0], [1, 1], [[0.2, 0.8], [0.4, 0.6]], [0, 1]).round(2).tolist()
    [0.04, 0.36]
    """
    if task == "regression":
        error = np.abs(np.asarray(outcome, dtype=float) - np.asarray(prediction, dtype=float))
        return np.where(np.isfinite(error), np.minimum(error / scale, 1.0), 1.0)
    probabilities, truth = _probabilities(outcome, prediction, scores, classes)
    loss = ((probabilities - truth) ** 2).sum(axis=1) / 2.0  # for two classes this is (p1 - y)^2
    return np.where(np.isfinite(loss), np.clip(loss, 0.0, 1.0), 1.0)


def reported_loss(
    task: str, outcome: ArrayLike, prediction: ArrayLike, scores: ArrayLike | None, classes: Sequence[Any] | None
) -> Floats:
    """Log loss of each row (classification, natural logarithm) or absolute error (regression), NaN without an answer.

    >>> reported_loss("binary", [1], [1], [[0.2, 0.8]], [0, 1]).round(4).tolist()
    [0.2231]
    """
    if task == "regression":
        error: Floats = np.abs(np.asarray(outcome, dtype=float) - np.asarray(prediction, dtype=float))
        return error
    probabilities, truth = _probabilities(outcome, prediction, scores, classes)
    hit = (probabilities * truth).sum(axis=1)
    return np.asarray(-np.log(np.clip(hit, _TINY, 1.0)))


def _probabilities(
    outcome: ArrayLike, prediction: ArrayLike, scores: ArrayLike | None, classes: Sequence[Any] | None
) -> tuple[Floats, Floats]:
    if classes is None:
        raise ValueError("a classification needs its classes, in the order of the scores")
    truth = _one_hot(outcome, classes)
    found = _one_hot(prediction, classes) if scores is None else np.asarray(scores, dtype=float)
    if found.shape != truth.shape:
        raise ValueError(f"scores have shape {found.shape}, wanted {truth.shape}: one column a class")
    return found, truth


def _one_hot(values: ArrayLike, classes: Sequence[Any]) -> Floats:
    """Rows of 0 and 1; a label that is no class gives zeros, so any answer to it is wrong."""
    labels = np.asarray(values, dtype=object)
    found: Floats = np.stack([(labels == c).astype(float) for c in classes], axis=1)
    return found
