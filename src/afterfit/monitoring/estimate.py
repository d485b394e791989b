"""Performance before outcomes are known, from a labelled reference and unlabelled rows: picks the estimator for the task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from afterfit.errors import InputError, list_known
from afterfit.stats.density_ratio import density_ratio
from afterfit.stats.expected import Binary, Estimate, Expected
from afterfit.stats.expected_loss import LossModel
from afterfit.stats.expected_multiclass import Multiclass


@dataclass(frozen=True, slots=True)
class Rows:
    """Answers of a model to n rows; None for what is not there, such as the outcome of the window."""

    prediction: Any  # labels or values, shape (n,)
    scores: Any  # of the positive class, shape (n,), or of each class, shape (n, n_classes)
    outcome: Any  # labels or values, shape (n,)
    features: Any = None  # numbers, shape (n, d): for covariate shift, and for regression


@dataclass(frozen=True, slots=True)
class Performance:
    """The asked metric of the window, and all others; `value` is None when it is undefined, and `reason` says why."""

    metric: str
    value: float | None
    low: float | None
    high: float | None
    reason: str
    rows: int  # used; `unusable` ones had no probability, or no known label
    unusable: int
    assumption: str
    metrics: Mapping[str, Expected]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


def estimate(
    reference: Rows,
    window: Rows,
    *,
    metric: str | None,
    labels: Sequence[Any] | None,
    level: float,
    cost: Sequence[Sequence[float]] | None,
    reweight: bool,
) -> Performance:
    """See :func:`afterfit.estimate`."""
    weights = _weights(reference, window) if reweight else None
    try:
        if reference.scores is None:
            found = _regression(reference, window, level)
        elif np.ndim(reference.scores) == 1:
            found = _binary(reference, window, labels, level, cost, weights)
        else:
            found = _multiclass(reference, window, labels or (), level, cost, weights)
    except ValueError as error:
        raise InputError(f"the reference can't be learned from: {error}") from error
    name = metric or ("mae" if reference.scores is None else "roc_auc")
    if name not in found.metrics:
        raise InputError(f"metric = {name!r}: {list_known(name, sorted(found.metrics))}")
    one = found.metrics[name]
    return Performance(
        name, one.value, one.low, one.high, one.reason, found.rows, found.unusable, found.assumption, found.metrics
    )


def _binary(
    reference: Rows,
    window: Rows,
    labels: Sequence[Any] | None,
    level: float,
    cost: Sequence[Sequence[float]] | None,
    weights: Any | None,
) -> Estimate:
    classes = tuple(labels) if labels is not None else _two(reference.outcome)
    known, sides = _bits(reference.outcome, classes), [_sides(rows, classes) for rows in (reference, window)]
    model = Binary.fit(reference.scores, sides[0], known, weights=weights, cost=cost)
    return model.estimate(window.scores, sides[1], level=level)


def _multiclass(
    reference: Rows,
    window: Rows,
    labels: Sequence[Any],
    level: float,
    cost: Sequence[Sequence[float]] | None,
    weights: Any | None,
) -> Estimate:
    names = np.asarray(labels, dtype=object)
    predicted = [
        rows.prediction if rows.prediction is not None else names[np.nan_to_num(rows.scores).argmax(axis=1)]
        for rows in (reference, window)
    ]
    model = Multiclass.fit(labels, reference.scores, predicted[0], reference.outcome, weights=weights, cost=cost)
    return model.estimate(window.scores, predicted[1], level=level)


def _regression(reference: Rows, window: Rows, level: float) -> Estimate:
    model = LossModel.fit(reference.prediction, reference.outcome, reference.features)
    return model.estimate(window.prediction, window.features, level=level)


def _two(outcome: Any) -> tuple[Any, Any]:
    found = sorted({v for v in np.asarray(outcome, dtype=object) if v is not None and v == v})  # noqa: PLR0124  NaN
    if len(found) != 2:
        raise InputError(
            f"the target has the values {found[:5]}: one column of scores is for two classes. For more, give one column of "
            "scores for each class: scores={'a': 'p_a', 'b': 'p_b', 'c': 'p_c'}"
        )
    return found[0], found[1]


def _sides(rows: Rows, classes: tuple[Any, ...]) -> Any:
    """1 where the positive class, the last one, was predicted; by default where it has at least half of the score."""
    if rows.prediction is None:
        return (np.asarray(rows.scores, dtype=float) >= 0.5).astype(float)
    return _bits(rows.prediction, classes)


def _bits(values: Any, classes: tuple[Any, ...]) -> Any:
    given = np.asarray(values, dtype=object)
    return np.where(given == classes[1], 1.0, np.where(given == classes[0], 0.0, np.nan)).astype(float)


def _weights(reference: Rows, window: Rows) -> Any:
    if reference.features is None or window.features is None:
        raise InputError("reweight=True needs numeric features besides target, prediction and scores; found none")
    ratio = density_ratio(reference.features, window.features)
    if ratio.weights is None:
        raise InputError(f"the reference can't be reweighted to the window: {ratio.reason}")
    return ratio.weights
