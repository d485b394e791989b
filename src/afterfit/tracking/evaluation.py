"""How good a version is on its hold-out, beside a baseline that knows nothing but the training targets."""

from __future__ import annotations

from typing import Any

import numpy as np

from afterfit.records import Task, Value
from afterfit.stats.losses import bounded_loss, reported_loss
from afterfit.tracking.scoring import Answers

SCALE_QUANTILE = 0.95  # share of the baseline's errors below the error that costs 1


def loss_scale(task: Task, trained_on: np.ndarray, held_out: np.ndarray) -> float:
    """Absolute error at which a regression's bounded loss is 1: the baseline's 95th percentile; 1 for classification.

    >>> loss_scale(Task.REGRESSION, np.array([0.0, 0.0]), np.array([-2.0, 2.0]))
    2.0
    """
    if task is not Task.REGRESSION:
        return 1.0
    scale = float(np.quantile(np.abs(held_out.astype(float) - np.median(trained_on.astype(float))), SCALE_QUANTILE))
    return scale if scale > 0 else 1.0


def evaluate(
    task: Task,
    classes: tuple[Value, ...] | None,
    scale: float,
    *,
    trained_on: np.ndarray,
    outcome: np.ndarray,
    answers: Answers,
) -> dict[str, float]:
    """holdout_loss, its standard deviation and n, baseline_loss, and the metrics that people of the field report."""
    loss = bounded_loss(task, outcome, answers.prediction, answers.scores, classes, scale)
    naive = _baseline(task, classes, trained_on, len(outcome))
    metrics = {
        "holdout_loss": float(loss.mean()),
        "holdout_loss_sd": float(loss.std(ddof=1)) if len(loss) > 1 else 0.0,
        "holdout_n": float(len(loss)),
        "baseline_loss": float(bounded_loss(task, outcome, naive.prediction, naive.scores, classes, scale).mean()),
    }
    reported = reported_loss(task, outcome, answers.prediction, answers.scores, classes)
    if task is Task.REGRESSION:
        return metrics | {"mae": float(reported.mean())}
    metrics |= {"log_loss": float(reported.mean()), "accuracy": float(np.mean(answers.prediction == outcome))}
    return metrics | _roc_auc(classes or (), outcome, answers.scores)


def _baseline(task: Task, classes: tuple[Value, ...] | None, trained_on: np.ndarray, n: int) -> Answers:
    """The median, or the share of each class."""
    if task is Task.REGRESSION or classes is None:
        return Answers(np.full(n, np.median(trained_on.astype(float))), None)
    shares = np.array([np.mean(trained_on == c) for c in classes])
    label = np.array(classes, dtype=object)[int(shares.argmax())]
    return Answers(np.full(n, label, dtype=object), np.tile(shares, (n, 1)))


def _roc_auc(classes: tuple[Value, ...], outcome: np.ndarray, scores: Any) -> dict[str, float]:
    """Area under the ROC curve (several classes: mean of one against the rest); none where a class is missing."""
    from sklearn.metrics import roc_auc_score

    found = [outcome == c for c in classes]
    if not all(hit.any() for hit in found):
        return {}
    if len(classes) == 2:
        return {"roc_auc": float(roc_auc_score(found[1], scores[:, 1]))}
    return {"roc_auc": float(np.mean([roc_auc_score(hit, scores[:, i]) for i, hit in enumerate(found)]))}
