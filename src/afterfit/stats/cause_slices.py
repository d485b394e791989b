"""Which slices of the rows carry a change of mean loss, and which single column's shift moves it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from afterfit.stats.binning import Floats, Ints
from afterfit.stats.cause_mean import Mean, weighted
from afterfit.stats.cause_shared import shared

SURPRISE = 0.01  # chance that any slice is named although all change alike
FEWEST_ROWS = 30  # window rows of a slice


@dataclass(frozen=True, slots=True)
class Slice:
    """One value (or bin) of one column."""

    number: int  # of the column's code
    extra: float  # mean loss of its rows in the window less that of its rows in the reference; NaN when it is new
    part: float  # what it adds to the change of the mean loss: its extra loss, and its growth if it is costly
    of_window: float  # share of the window's rows
    of_reference: float


def slices(losses: Floats, reference: Floats, window: Floats, codes: Ints, tried: int) -> list[Slice]:
    """Slices that carry more of the change than their rows' share of it, surely; the parts of all would add up to it.

    Args:
        losses: of all rows of both samples, shape (n_rows,).
        reference, window: weight of each row in its sample, 0 in the other, shape (n_rows,).
        codes: slice of each row, from 0, shape (n_rows,).
        tried: slices looked at in all columns together; each gets its part of the chance (Bonferroni).

    References:
        The sum within and between groups: Kitagawa (1955), Components of a difference between two rates.

    >>> rng = np.random.default_rng(0)
    >>> jfk, was = rng.integers(0, 4, 8000) == 0, np.repeat([1.0, 0.0], 4000)
    >>> (one,) = slices(0.1 + 0.2 * jfk * (1 - was), was, 1 - was, jfk.astype(int), 2)
    >>> one.number, round(one.extra, 3)
    (1, 0.2)
    """
    before = weighted(losses, reference)
    drop = weighted(losses, window) - before
    sign, found = np.sign(drop.value[0]), []
    least = norm.isf(SURPRISE / max(tried, 1))
    for code in np.unique(codes[window > 0.0]).tolist():
        mine = codes == code
        if np.count_nonzero(mine & (window > 0.0)) < FEWEST_ROWS:
            continue
        inside = mine.astype(float)
        now, was = weighted(inside, window), weighted(inside, reference)
        part = weighted(losses * inside, window) - weighted(losses * inside, reference) - (now - was) * before
        more = part - now * drop
        if more.value[0] * sign > least * more.error and part.value[0] * sign > 0.0:
            known = (reference * mine).any()
            cost = weighted(losses, window * mine).value[0]
            extra = cost - weighted(losses, reference * mine).value[0] if known else np.nan
            found.append(Slice(code, float(extra), float(part.value[0]), float(now.value[0]), float(was.value[0])))
    return found


def moved_by(losses: Floats, reference: Floats, window: Floats, codes: Ints) -> Mean:
    """How much mean loss the shift of one column makes by itself: the covariate part if only it were known.

    Columns that go together share what they move, so those of several columns don't add up.

    Args:
        as :func:`slices`.

    >>> was, new = np.repeat([1.0, 0.0], 400), np.tile([0, 0, 0, 1], 100)
    >>> code = np.concatenate([new, 1 - new])  # a quarter of the rows becomes three quarters, and each costs 1
    >>> moved_by(code.astype(float), was, 1 - was, code).value.tolist()
    [0.5]
    """
    size = int(codes.max()) + 1
    was, now = (np.bincount(codes, w, size) / w.sum() for w in (reference, window))
    membership = now / np.maximum(was + now, 1e-300)
    return shared(losses, reference, window, membership[codes], np.zeros((len(losses), 1))).covariate
