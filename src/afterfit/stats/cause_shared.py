"""A change of mean loss, features first: how much because rows like these became more common, how much at equal rows.

Reference and window are brought to the distribution of features that they share. There their losses differ only if
P(outcome | features) does (concept); the ways from the reference to the shared rows, and on to the window, are covariate
shift. No row gets a weight above that of one row, so nothing explodes where the two hardly meet.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from afterfit.stats.binning import Floats
from afterfit.stats.cause_mean import Mean, weighted
from afterfit.stats.density_ratio import kish


@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """covariate + concept = mean loss of the window less that of the reference, whatever the membership says."""

    covariate: Mean
    concept: Mean
    residual: Mean  # change of each residual at equal features; 0 unless P(outcome | features) moved
    n_reference: float  # effective rows (Kish) that the shared distribution keeps of each
    n_window: float


def shared(losses: Floats, reference: Floats, window: Floats, membership: Floats, residuals: Floats) -> Shared:
    """Split the change of mean loss.

    Args:
        losses: of all rows of both samples, shape (n_rows,).
        reference, window: weight of each row in its sample, 0 in the other, shape (n_rows,).
        membership: chance that a row with these features is of the window, were both samples equally large; out of
            fold, in [0, 1], shape (n_rows,).
        residuals: outcome less answer, shape (n_rows, k).

    References:
        Cai, Namkoong, Yadlowsky (2023), Diagnosing model performance under distribution shift, arXiv 2303.02011 (DISDE);
        the shared density pq / (p + q) gives weights of Li, Morgan, Zaslavsky (2018), overlap weights.

    >>> rng = np.random.default_rng(0)
    >>> x = np.concatenate([rng.random(4000), np.sqrt(rng.random(4000))])  # the window has more of the large x
    >>> was = np.repeat([1.0, 0.0], 4000)
    >>> found = shared(x + 0.1 * (1 - was), was, 1 - was, 2 * x / (1 + 2 * x), x[:, None])
    >>> found.covariate.value.round(2).tolist(), found.concept.value.round(2).tolist()  # 2/3 - 1/2, and 0.1
    ([0.17], [0.1])
    """
    mine, theirs = reference * membership, window * (1.0 - membership)
    seen = kish(mine), kish(theirs)
    if min(seen) == 0.0:
        zero = weighted(losses, reference) - weighted(losses, reference)
        return Shared(zero, zero, zero, *seen)
    before, after = weighted(losses, mine), weighted(losses, theirs)
    way_in = before - weighted(losses, reference)
    way_out = weighted(losses, window) - after
    residual = weighted(residuals, theirs) - weighted(residuals, mine)
    return Shared(way_in + way_out, after - before, residual, *seen)


def alike(losses: Floats, reference: Floats, odds: Floats) -> Mean:
    """Mean loss of reference rows weighted to lie as other rows do, by the odds of being one of those, shape (n_rows,)."""
    return weighted(losses, reference * np.asarray(odds))
