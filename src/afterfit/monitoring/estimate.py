"""Performance before all outcomes are known, from a labelled reference and a window: picks the estimator for the task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from afterfit.errors import InputError, list_known
from afterfit.stats.audit import FEWEST_LABELLED, Blend, blend
from afterfit.stats.density_ratio import density_ratio
from afterfit.stats.expected import Binary, Estimate, Expected
from afterfit.stats.expected_loss import LossModel
from afterfit.stats.expected_multiclass import Multiclass
from afterfit.stats.score_bins import Floats
from afterfit.stats.sensitivity import limits


@dataclass(frozen=True, slots=True)
class Rows:
    """Answers of a model to n rows; None for what is not there, such as the outcome of the window."""

    prediction: Any  # labels or values, shape (n,)
    scores: Any  # of the positive class, shape (n,), or of each class, shape (n, n_classes)
    outcome: Any  # labels or values, shape (n,), None or NaN where it is not known
    features: Any = None  # numbers, shape (n, d): for covariate shift, and for regression


@dataclass(frozen=True, slots=True)
class Learned:
    """What the estimator says of the window: as a whole, and when asked row by row, NaN for rows that it can't use."""

    estimate: Estimate
    expected: Callable[[], Mapping[str, Floats]]
    realised: Callable[[], Mapping[str, Floats]]  # NaN where no outcome is known, too


@dataclass(frozen=True, slots=True)
class Performance:
    """The asked metric of the window, and all others; `value` is None when it is undefined, and `reason` says why.

    All of these are from scores alone. `blended` has the metrics that are means over rows (accuracy, log_loss, brier and
    cost, or mae) from the outcomes that are known and what is expected of the rest. Its intervals are for the mean of the
    population, and hold if the known rows are a random part of all: outcomes that come sooner for one class are not.
    """

    metric: str
    value: float | None
    low: float | None
    high: float | None
    reason: str
    rows: int  # used; `unusable` ones had no probability, or no known label
    unusable: int
    assumption: str
    metrics: Mapping[str, Expected]
    known: int  # usable rows whose outcome is known; 0 if they are fewer than 30, and then nothing is blended
    blended: Mapping[str, Blend]

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
            if cost is not None:
                raise ValueError("cost is of classes, and there are no scores of any")
            learned = _regression(reference, window, level)
        elif np.ndim(reference.scores) == 1:
            learned = _binary(reference, window, labels, level, cost, weights)
        else:
            learned = _multiclass(reference, window, labels or (), level, cost, weights)
    except ValueError as error:
        raise InputError(f"the reference can't be learned from: {error}") from error
    found = learned.estimate
    name = metric or ("mae" if reference.scores is None else "roc_auc")
    if name not in found.metrics:
        raise InputError(f"metric = {name!r}: {list_known(name, sorted(found.metrics))}")
    one = found.metrics[name]
    known, blended = _blended(learned, window.outcome, level)
    return Performance(
        name, one.value, one.low, one.high, one.reason, found.rows, found.unusable, found.assumption, found.metrics,
        known, blended,
    )  # fmt: skip


def _blended(learned: Learned, outcome: Any, level: float) -> tuple[int, dict[str, Blend]]:
    """Number of usable rows with an outcome, and each mean over rows from them and what is expected of the others."""
    told = _told(outcome)
    if told.sum() < FEWEST_LABELLED:
        return 0, {}
    expected, realised = learned.expected(), learned.realised()
    known = np.isfinite(next(iter(realised.values())))  # all metrics of a row can be told, or none
    rest = np.isfinite(next(iter(expected.values()))) & ~told
    if known.sum() < FEWEST_LABELLED:
        return 0, {}
    found = {name: blend(realised[name][known], f[known], f[rest], level) for name, f in expected.items()}
    return int(known.sum()), {name: _within(one, *limits(name)) for name, one in found.items()}


def _within(one: Blend, lowest: float, highest: float) -> Blend:
    if one.value is None or one.low is None or one.high is None:
        return one
    value = min(max(one.value, lowest), highest)
    return replace(one, value=value, low=min(max(one.low, lowest), value), high=max(min(one.high, highest), value))


def _told(outcome: Any) -> Any:
    """Which rows have an outcome, shape (n,); of None, no row."""
    given = () if outcome is None else np.asarray(outcome, dtype=object)
    return np.array([v is not None and v == v for v in given], dtype=bool)  # noqa: PLR0124  NaN


def _binary(
    reference: Rows,
    window: Rows,
    labels: Sequence[Any] | None,
    level: float,
    cost: Sequence[Sequence[float]] | None,
    weights: Any | None,
) -> Learned:
    classes = tuple(labels) if labels is not None else _two(reference.outcome)
    known, sides = _bits(reference.outcome, classes), [_sides(rows, classes) for rows in (reference, window)]
    model = Binary.fit(reference.scores, sides[0], known, weights=weights, cost=cost)
    found = model.estimate(window.scores, sides[1], level=level)

    def realised() -> Mapping[str, Floats]:
        _refuse_strangers(window.outcome, classes, any_one=labels is None)
        return model.realised_rows(window.scores, sides[1], _bits(window.outcome, classes))

    return Learned(found, partial(model.expected_rows, window.scores, sides[1]), realised)


def _multiclass(
    reference: Rows,
    window: Rows,
    labels: Sequence[Any],
    level: float,
    cost: Sequence[Sequence[float]] | None,
    weights: Any | None,
) -> Learned:
    names = np.asarray(labels, dtype=object)
    predicted = [
        rows.prediction if rows.prediction is not None else names[np.nan_to_num(rows.scores).argmax(axis=1)]
        for rows in (reference, window)
    ]
    model = Multiclass.fit(labels, reference.scores, predicted[0], reference.outcome, weights=weights, cost=cost)
    found = model.estimate(window.scores, predicted[1], level=level)

    def realised() -> Mapping[str, Floats]:
        _refuse_strangers(window.outcome, labels, any_one=False)
        return model.realised_rows(window.scores, predicted[1], window.outcome)

    return Learned(found, partial(model.expected_rows, window.scores, predicted[1]), realised)


def _regression(reference: Rows, window: Rows, level: float) -> Learned:
    model = LossModel.fit(reference.prediction, reference.outcome, reference.features)
    found = model.estimate(window.prediction, window.features, level=level)
    return Learned(
        found,
        partial(model.expected_rows, window.prediction, window.features),
        lambda: {"mae": np.abs(window.outcome - window.prediction)},
    )


def _refuse_strangers(outcome: Any, classes: Sequence[Any], *, any_one: bool) -> None:
    """As for the reference: rows of no named class are left out, but some must be of one; unnamed classes are all there are."""
    found = set(np.asarray(outcome, dtype=object)[_told(outcome)])
    strangers = found.difference(classes)
    if strangers and (any_one or strangers == found):
        raise InputError(
            f"the known outcomes in the current data have the values {sorted(map(repr, strangers))[:5]}, which are none of "
            f"the classes {list(classes)}: write them as the reference does, or leave out those rows' outcomes"
        )


def _two(outcome: Any) -> tuple[Any, Any]:
    found = sorted(set(np.asarray(outcome, dtype=object)[_told(outcome)]))
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
