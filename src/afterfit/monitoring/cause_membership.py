"""How likely is a row to be of the window rather than of the reference, given its features? Out of fold, seeded."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import expit, logit

from afterfit.monitoring.cause_rows import Coded

FOLDS = 3
CUT = 5.0  # standard deviations beyond which a value counts as that far
SURE = 1e-4  # nearest to 0 and 1


def membership(features: Sequence[Coded], answers: Any, is_window: Any, seed: int) -> Any:
    """Chance of being a window row were both samples equally large, shape (n_rows,), in (0, 1).

    An additive logistic regression and boosted trees are asked, and their mean; the one with the best out-of-fold log
    loss answers, and none of them where nothing tells the samples apart. The model's own answers count as features: what moves them moves the loss.

    Args:
        features: of all rows.
        answers: of the model, finite, shape (n_rows, k).
        is_window: truth values, shape (n_rows,).
        seed: of folds and trees.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from threadpoolctl import threadpool_limits

    n = len(is_window)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    trees = HistGradientBoostingClassifier(
        max_iter=40,
        max_leaf_nodes=6,
        min_samples_leaf=max(20, min(200, n // 50)),
        early_stopping=False,
        categorical_features=[f.numbers is None for f in features] + [False] * answers.shape[1],
        random_state=seed,
    )
    raw = np.column_stack([*(f.codes.astype(float) if f.numbers is None else f.numbers for f in features), answers])
    asked = ((LogisticRegression(solver="newton-cholesky"), _design(features, answers)), (trees, raw))
    with threadpool_limits(1), warnings.catch_warnings():  # threads that wait for each other cost more than these fits
        warnings.simplefilter("ignore", ConvergenceWarning)  # it is judged out of fold all the same
        found = [cross_val_predict(m, x, is_window, cv=folds, method="predict_proba")[:, 1] for m, x in asked]
    found = [np.clip(p, SURE, 1.0 - SURE) for p in found]
    found.append(expit((logit(found[0]) + logit(found[1])) / 2.0))
    found.append(np.full(n, is_window.mean()))
    best = min(found, key=lambda p: -float(np.log(np.where(is_window, p, 1.0 - p)).mean()))
    return expit(logit(best) - np.log(is_window.sum() / (~is_window).sum()))


def _design(features: Sequence[Coded], answers: Any) -> Any:
    """Numbers standardised, their squares, and whether they are null; categories as one column each."""
    columns = []
    for f in features:
        if f.numbers is None:
            columns += [(f.codes == code).astype(float) for code in range(len(f.names))]
        else:
            columns += _standard(f.numbers)
    for answer in answers.T:
        columns += _standard(answer)
    return np.column_stack(columns)


def _standard(x: Any) -> list[Any]:
    seen = np.isfinite(x)
    values = x[seen]
    centre, spread = (values.mean(), values.std()) if values.size else (0.0, 0.0)
    z = np.clip(np.where(seen, x - centre, 0.0) / (spread or 1.0), -CUT, CUT)
    return [z, z**2, *([] if seen.all() else [(~seen).astype(float)])]
