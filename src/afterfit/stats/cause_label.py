"""A change of mean loss, outcome first: how much because some outcomes became more common, how much at equal outcomes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from afterfit.stats.binning import Floats, Ints
from afterfit.stats.cause_mean import Mean, less, weighted


@dataclass(frozen=True, slots=True, eq=False)
class ByLabel:
    """label + rest = mean loss of the window less that of the reference."""

    label: Mean
    rest: Mean
    residual: Mean  # change at equal outcomes of each of `others`; 0 unless P(features | outcome) moved


def by_label(losses: Floats, reference: Floats, window: Floats, labels: Ints, others: Floats) -> ByLabel | None:
    """Split the change of mean loss by weighting the reference's outcomes as the window's lie; None for a new outcome.

    Args:
        losses: of all rows of both samples, shape (n_rows,).
        reference, window: weight of each row in its sample, 0 in the other, shape (n_rows,).
        labels: number of the class (or of the bin of a number) of each row's outcome, from 0, shape (n_rows,).
        others: functions of the features such as scores, shape (n_rows, k).

    References:
        Saerens, Latinne, Decaestecker (2002), Adjusting the outputs of a classifier to new a priori probabilities;
        Lipton, Wang, Smola (2018), Detecting and correcting for label shift with black box predictors, arXiv 1802.03916.
        Weights that follow from both samples: poststratification, Holt and Smith (1979).

    >>> rng = np.random.default_rng(0)
    >>> y = np.concatenate([rng.random(4000) < 0.2, rng.random(4000) < 0.5]).astype(int)
    >>> was = np.repeat([1.0, 0.0], 4000)
    >>> found = by_label(0.1 + 0.3 * y, was, 1 - was, y, np.zeros((8000, 1)))
    >>> found.label.value.round(1).tolist(), abs(found.rest.value).round(6).tolist()
    ([0.1], [0.0])
    """
    values = np.column_stack([losses, others])
    size = int(labels.max()) + 1
    was, now = (np.bincount(labels, w, size) for w in (reference, window))
    if (was[now > 0.0] == 0.0).any():
        return None
    sums = np.stack([np.bincount(labels, reference * v, size) for v in values.T], axis=1)
    means = sums / np.where(was > 0.0, was, 1.0)[:, None]
    factor = (now / now.sum()) / np.where(was > 0.0, was / was.sum(), 1.0)
    value = now @ means / now.sum()
    own = (reference * factor[labels])[:, None] * less(values, means[labels]) / reference.sum()
    other = window[:, None] * (means[labels] - value) / window.sum()
    moved = Mean(value, own + other)
    left = weighted(values, window) - moved
    first = Mean(moved.value[:1], moved.influence[:, :1])
    return ByLabel(
        first - weighted(losses, reference),
        Mean(left.value[:1], left.influence[:, :1]),
        Mean(left.value[1:], left.influence[:, 1:]),
    )
