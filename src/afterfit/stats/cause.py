"""Why did the mean loss rise: broken rows, other rows, other outcomes, or another relation between the two?

Two readings of the rows that are not broken compete. Features first: covariate shift, and at equal features a concept that
moved. Outcome first: label shift, and at equal outcomes other features. The one whose second part vanishes fits. Where both
fit the answer is `undecided`; where none does, the features go first and what is left is called concept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from afterfit.stats.binning import Floats, Ints
from afterfit.stats.cause_label import ByLabel, by_label
from afterfit.stats.cause_mean import Mean, nothing, weighted
from afterfit.stats.cause_shared import Shared, alike, shared
from afterfit.stats.density_ratio import kish

QUALITY, COVARIATE, LABEL, CONCEPT, UNDECIDED = "data quality", "covariate shift", "label shift", "concept", "undecided"
CAUSES = (QUALITY, COVARIATE, LABEL, CONCEPT, UNDECIDED)
FEWEST_ROWS = 200  # of each sample with a loss
FEWEST_EFFECTIVE = 100.0  # rows of each sample that the shared distribution must keep
FEWEST_COMMON = 0.05  # share of each sample that it must keep, so that it speaks for more than an odd corner
SURPRISE = 0.01  # a reading is dropped when what it leaves has a smaller chance, and a drop below it is no noise
CLEARLY = (
    10.0  # where both readings leave something, one fits if it leaves this many times less evidence than the other
)
HIGHEST_ODDS = 100.0  # a reference row that stands for more broken ones than this is a guess


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the change of mean loss, with bounds; `share` of the whole change, None where there is none to explain."""

    value: float
    low: float
    high: float
    share: float | None


@dataclass(frozen=True, slots=True)
class Explained:
    """`parts` add up to `drop`, the mean loss of the window less that of the reference."""

    drop: Part
    parts: Mapping[str, Part]  # by cause, in the order of CAUSES
    significant: bool  # whether the change is more than noise
    fits: Mapping[str, float]  # p-value of what a reading leaves: "features first", "outcome first"
    reading: str  # the one that was taken: features first | outcome first | undecided
    effective: tuple[float, float]  # rows of reference and window in the shared distribution (Kish)
    reason: str  # why the answer is undecided, or what it leaves out; empty when there is nothing to say

    @property
    def largest(self) -> str | None:
        """The cause with the largest part in the direction of the change; `undecided` if that part may be noise; None
        without a change to explain."""
        if not self.significant:
            return None
        sign = np.sign(self.drop.value)
        first = max(self.parts, key=lambda cause: self.parts[cause].value * sign)
        part = self.parts[first]
        return first if min(part.low * sign, part.high * sign) > 0.0 else UNDECIDED


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Rows of the reference and then of the window, n_rows in all."""

    losses: Floats  # (n_rows,), finite
    is_window: ArrayLike  # (n_rows,) of truth values
    membership: Floats  # (n_rows,): see `cause_shared.shared`
    labels: Ints  # (n_rows,): see `cause_label.by_label`
    residuals: Floats  # (n_rows, k), outcome less answer
    answers: Floats  # (n_rows, k), scores or predictions
    broken: Floats  # (n_rows,), chance that the row is broken; 0 in the reference
    odds: Floats | None = None  # (n_rows,), of being one of the broken rows, from the columns that are intact


def explain(rows: Samples, level: float = 0.95) -> Explained:
    """Split the change of mean loss into its causes.

    Args:
        rows: both samples, 200 rows with a loss of each at least.
        level: nominal coverage of the bounds, in (0, 1); for rows that are independent of each other.

    Raises:
        ValueError: too few rows.

    References:
        Cai, Namkoong, Yadlowsky (2023), arXiv 2303.02011; Lipton, Wang, Smola (2018), arXiv 1802.03916.

    >>> rng = np.random.default_rng(0)
    >>> x, now = rng.random(8000), np.repeat([False, True], 4000)
    >>> y = rng.random(8000) < np.where(now, 0.9, 0.6) * x  # the relation moved, the features did not
    >>> one = np.full(8000, 0.5)
    >>> rows = Samples((y - 0.6 * x) ** 2, now, one, y.astype(int), (y - 0.6 * x)[:, None], x[:, None], 0 * one)
    >>> explain(rows).largest
    'concept'
    """
    now = np.asarray(rows.is_window, dtype=bool)
    was, all_now = (~now).astype(float), now.astype(float)
    if min(was.sum(), all_now.sum()) < FEWEST_ROWS:
        raise ValueError(f"{was.sum():.0f} reference and {all_now.sum():.0f} window rows, wanted {FEWEST_ROWS} of each")
    drop = weighted(rows.losses, all_now) - weighted(rows.losses, was)
    clean, broken = all_now * (1.0 - rows.broken), all_now * rows.broken
    if clean.sum() < FEWEST_ROWS:
        parts, reason = _all_broken(rows, drop, was, broken)
        return _explained(drop, parts, {}, "features first", (0.0, 0.0), reason, level)
    by_features = shared(rows.losses, was, clean, rows.membership, rows.residuals)
    effective = (by_features.n_reference, by_features.n_window)
    rest = weighted(rows.losses, clean) - weighted(rows.losses, was)
    noise = rest.p_value() > SURPRISE
    kept = min(effective[0] / was.sum(), effective[1] / clean.sum())
    if min(effective) < FEWEST_EFFECTIVE or kept < FEWEST_COMMON:
        parts, reading = {QUALITY: drop - rest, UNDECIDED: rest}, UNDECIDED
        reason = (
            f"reference and window hardly have a row in common ({effective[0]:.0f} and {effective[1]:.0f} effective rows, "
            f"{kept:.1%} of them at least; wanted {FEWEST_EFFECTIVE:.0f} and {FEWEST_COMMON:.0%}): what equal rows cost "
            "can't be compared"
        )
        return _explained(drop, parts, {}, reading, effective, reason, level)
    logit = np.log(np.clip(rows.membership, 1e-6, 1 - 1e-6) / np.clip(1 - rows.membership, 1e-6, 1 - 1e-6))
    by_outcome = by_label(rows.losses, was, clean, rows.labels, np.column_stack([rows.answers, logit]))
    reading, fits = _choose(by_features, by_outcome, noise)
    if reading == "outcome first" and by_outcome is not None:
        parts = {QUALITY: drop - rest, LABEL: by_outcome.label, CONCEPT: by_outcome.rest}
        return _explained(drop, parts, fits, reading, effective, "", level)
    if reading == UNDECIDED:
        parts = {QUALITY: drop - rest, UNDECIDED: rest}
        reason = "other rows (covariate shift) and other outcomes (label shift) explain the window equally well"
        return _explained(drop, parts, fits, reading, effective, reason, level)
    parts = _features_first(rows, drop, was, broken, by_features)
    return _explained(drop, parts, fits, reading, effective, "", level)


def _choose(features: Shared, outcome: ByLabel | None, noise: bool) -> tuple[str, dict[str, float]]:
    """The reading that fits, and the p-value of what each leaves."""
    left = _stack(features.concept, features.residual)
    fits = {"features first": left.p_value()}
    if outcome is None:
        return "features first", fits
    other = _stack(outcome.rest, outcome.residual)
    fits["outcome first"] = other.p_value()
    by_features, by_outcome = (p > SURPRISE for p in fits.values())
    if by_features and by_outcome:
        return ("features first" if noise else UNDECIDED), fits
    if by_outcome or (not by_features and other.wald()[0] * CLEARLY < left.wald()[0]):
        return "outcome first", fits
    return "features first", fits


def _features_first(rows: Samples, drop: Mean, was: Floats, broken: Floats, split: Shared) -> dict[str, Mean]:
    """Concept as clean rows show it, for all rows; broken rows cost more than their like in the reference, plus concept."""
    if not broken.any():
        return {COVARIATE: split.covariate, CONCEPT: split.concept}
    now = np.asarray(rows.is_window, dtype=float)
    share = weighted(rows.broken, now)
    expected = _expected(rows, was) + split.concept
    quality = share * (weighted(rows.losses, broken) - expected)
    return {QUALITY: quality, COVARIATE: drop - quality - split.concept, CONCEPT: split.concept}


def _all_broken(rows: Samples, drop: Mean, was: Floats, broken: Floats) -> tuple[dict[str, Mean], str]:
    """No clean row shows whether the concept moved too: it is taken to be what it was."""
    quality = weighted(rows.losses, np.asarray(rows.is_window, dtype=float)) - _expected(rows, was)
    reason = "nearly every row is broken: whether the relation to the outcome moved too can't be seen behind it"
    return {QUALITY: quality, COVARIATE: drop - quality}, reason


def _expected(rows: Samples, was: Floats) -> Mean:
    """Mean loss in the reference of rows whose intact columns are like those of the broken rows."""
    odds = None if rows.odds is None else np.minimum(rows.odds, HIGHEST_ODDS)
    if odds is None or kish(was * odds) < FEWEST_EFFECTIVE:
        return weighted(rows.losses, was)
    return alike(rows.losses, was, odds)


def _stack(*parts: Mean) -> Mean:
    return Mean(np.concatenate([p.value for p in parts]), np.concatenate([p.influence for p in parts], axis=1))


def _explained(
    drop: Mean,
    found: Mapping[str, Mean],
    fits: Mapping[str, float],
    reading: str,
    effective: tuple[float, float],
    reason: str,
    level: float,
) -> Explained:
    significant = drop.p_value() < SURPRISE
    whole = float(drop.value[0])

    def part(mean: Mean) -> Part:
        value = float(mean.value[0])
        return Part(value, *mean.interval(level), value / whole + 0.0 if significant else None)

    parts = {cause: part(found.get(cause, nothing(drop))) for cause in CAUSES}
    return Explained(part(drop), parts, significant, fits, reading, effective, reason)
