"""Per-row losses: a bounded one that the tests bet on, and the one that people report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
_TINY = 1e-15
_ROUNDING = 1e-6  # shares computed in single precision may end a little above 1


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

    A row whose answer is missing, not a number, no class or no probability pays the maximum, 1. An outcome that is
    no class counts as a further class to which every answer gave 0.

    References:
        Brier (1950), Verification of forecasts expressed in terms of probability.

    >>> bounded_loss("binary", [1, 0], [1, 1], [[0.2, 0.8], [0.4, 0.6]], [0, 1]).round(2).tolist()
    [0.04, 0.36]
    """
    if task == "regression":
        error = np.abs(np.asarray(outcome, dtype=float) - np.asarray(prediction, dtype=float))
        return np.where(np.isfinite(error), np.minimum(error / scale, 1.0), 1.0)
    probabilities, truth = _probabilities(outcome, prediction, scores, classes)
    strange = 1.0 - truth.sum(axis=1)  # 1 where the outcome is no class
    loss = (((probabilities - truth) ** 2).sum(axis=1) + strange) / 2.0  # for two classes this is (p1 - y)^2
    return np.where(np.isfinite(loss), np.minimum(loss, 1.0), 1.0)


def reported_loss(
    task: str, outcome: ArrayLike, prediction: ArrayLike, scores: ArrayLike | None, classes: Sequence[Any] | None
) -> Floats:
    """Log loss of each row (classification, natural logarithm) or absolute error (regression), NaN without an answer.

    Log loss ends at -ln(1e-15), 34.5: what a probability of 0 for what came true costs.

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
    """(probabilities, truth), both (n_rows, n_classes); rows without a usable answer are NaN in the first."""
    if classes is None:
        raise ValueError("a classification needs its classes, in the order of the scores")
    truth = _one_hot(outcome, classes)
    if scores is None:
        found = _one_hot(prediction, classes)
        nonsense = found.sum(axis=1) == 0.0
    else:
        found = np.array(scores, dtype=float)
        if found.shape != truth.shape:
            raise ValueError(f"scores have shape {found.shape}, wanted {truth.shape}: one column a class")
        nonsense = ~((found >= 0.0) & (found <= 1.0 + _ROUNDING)).all(axis=1)
    found[nonsense] = np.nan
    return found, truth


def _one_hot(values: ArrayLike, classes: Sequence[Any]) -> Floats:
    """Rows of 0 and 1, shape (n_rows, n_classes); a label that is no class gives zeros. 1, 1.0 and True are one label."""
    labels = np.asarray(values, dtype=object)
    found: Floats = np.stack([(labels == c).astype(float) for c in classes], axis=1)
    return found
