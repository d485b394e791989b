"""Has the relation between features and outcome changed? A challenger that learns from each label as it comes bets on it.

The loss of a model says little about a small change: it is the same everywhere but in a narrow band. A second model that
starts as the first and learns from the newest labels finds the band, and its bets against the first win there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit, logit
from scipy.stats import chi2

from afterfit.stats import e_detector
from afterfit.stats.binning import Floats

CLIP = 0.02  # probabilities nearer to 0 or 1 are bets that one row can ruin
HALF_LIFE = 250.0  # rows after which a label counts half to the challenger
KEPT = 4.0  # half-lives of newest rows that the challenger learns from
EVERY = 25  # rows between two fits of the challenger
RIDGE = 5.0  # pull of the challenger towards the model, in rows
TOLERANCE = 0.005  # nats a row by which the model may be worse than the best challenger
SURE = 0.95  # of the bound on what the correction loses because it was learned from few rows
SHARES = np.array([1.0, 0.5])  # of the stake that the bettors put on the challenger
STEPS = 8  # of Newton's method, once, on the reference


@dataclass(frozen=True, eq=False)
class Concept:
    """What is known of the relation so far; :meth:`update` gives the next state."""

    centre: Floats  # of the features in the reference, shape (d,)
    scale: Floats
    base: Floats  # correction of the model's own answers on the reference, shape (d + 2,)
    weights: Floats  # of the challenger, beyond `base`
    rows: Floats  # newest rows: design (d + 2), log-odds, outcome; shape (m, d + 4)
    detector: Floats | None = None
    log_e: float = -np.inf
    half_life: float = HALF_LIFE
    tolerance: float = TOLERANCE  # more where the correction was learned from few rows

    @classmethod
    def untaught(cls, features: Floats, half_life: float = HALF_LIFE) -> Concept:
        """Takes the model's answers as they are, and the features' scales from rows of shape (n, d)."""
        there = np.isfinite(features)
        n = np.maximum(there.sum(axis=0), 1)
        centre = np.where(there, features, 0.0).sum(axis=0) / n
        scale = np.sqrt(np.where(there, np.square(features - centre), 0.0).sum(axis=0) / n)
        width = features.shape[1] + 2
        scale = np.where(scale > 0, scale, 1.0)
        return cls(centre, scale, np.zeros(width), np.zeros(width), np.empty((0, width + 2)), half_life=half_life)

    @classmethod
    def learn(cls, features: Floats, probability: Floats, outcome: Floats, half_life: float = HALF_LIFE) -> Concept:
        """From labelled rows that the model was not trained on, a few hundred at least.

        Args:
            features: shape (n, d), numbers; null is NaN and counts as the mean.
            probability: the model's, of outcome 1, shape (n,).
            outcome: 0 or 1, shape (n,).
            half_life: rows after which a label counts half to the challenger; it learns from four times as many.

        >>> rng = np.random.default_rng(0); x = rng.normal(size=(800, 1)); p = expit(x[:, 0])
        >>> y = (rng.random(800) < p).astype(float)
        >>> known = Concept.learn(x[:400], p[:400], y[:400])
        >>> known.update(x[400:], 1 - p[400:], y[400:]).log_e > 5  # the same rows, told the other way round
        True
        """
        known = cls.untaught(features, half_life)
        design, odds = known._design(features, probability)
        base = np.zeros(design.shape[1])
        for _ in range(STEPS):
            base = base + _step(design, odds + design @ base, outcome, np.ones(len(outcome)), base)
        # Wilks: twice the loss of fitted coefficients, summed over n rows, is chi-squared. A bet of a challenger that knew the
        # truth would grow by E[t / p] = 1 + 2 KL a row, twice what the correction loses in likelihood.
        lost = float(chi2.ppf(SURE, len(base))) / max(len(outcome), 1)
        empty = np.empty((0, design.shape[1] + 2))
        return replace(known, base=base, weights=np.zeros_like(base), rows=empty, tolerance=max(TOLERANCE, lost))

    def update(self, features: Floats, probability: Floats, outcome: Floats) -> Concept:
        """The state after further labelled rows, in time order. Alarm once `log_e` reaches log(average run length).

        Each row is bet on before the challenger learns from it. The run length is that of
        :func:`afterfit.stats.e_detector.run` for a model that, corrected on the reference, is within `tolerance` of calibrated:
        TOLERANCE, or what a correction learned from so few rows may lose.

        References:
            Dawid (1984), Statistical theory: the prequential approach; bets as in Shin, Ramdas, Rinaldo (2024).
        """
        design, odds = self._design(features, probability)
        own = odds + design @ self.base
        fresh = np.column_stack([design, own, outcome])
        weights, rows, highest, state = self.weights, self.rows, self.log_e, self.detector
        for start in range(0, len(fresh), EVERY):
            part = fresh[start : start + EVERY]
            path, state = e_detector.run(_bets(part, weights) - self.tolerance, state)
            highest = max(highest, float(path.max()))
            rows = np.concatenate([rows, part])[-round(KEPT * self.half_life) :]
            age = np.arange(len(rows))[::-1]
            weights = weights + _step(
                rows[:, :-2], rows[:, -2] + rows[:, :-2] @ weights, rows[:, -1], 0.5 ** (age / self.half_life), weights
            )
        return replace(self, weights=weights, rows=rows, detector=state, log_e=highest)

    def taught(self, features: Floats, probability: Floats, outcome: Floats) -> Concept:
        """The state after the rows of a day were learned from all at once, without a bet on any of them."""
        design, odds = self._design(features, probability)
        fresh = np.column_stack([design, odds + design @ self.base, outcome])
        rows = np.concatenate([self.rows, fresh])[-round(KEPT * self.half_life) :]
        weight, weights = 0.5 ** (np.arange(len(rows))[::-1] / self.half_life), self.weights
        for _ in range(2):
            weights = weights + _step(rows[:, :-2], rows[:, -2] + rows[:, :-2] @ weights, rows[:, -1], weight, weights)
        return replace(self, weights=weights, rows=rows)

    def gain(self, features: Floats, probability: Floats, outcome: Floats) -> float:
        """Mean log-likelihood (nats a row) by which the challenger, as it is now, beats the model on the rows of a day.

        Both are first moved by a constant of their own to the day's level: that everything is worse together, as in bad
        weather, is no other relation and gains nothing. Days differ all the same: judge days, not rows.
        """
        design, odds = self._design(features, probability)
        own = odds + design @ self.base
        theirs, mine = (expit(_at_level(o, outcome)) for o in (own + design @ self.weights, own))
        theirs, mine = (np.clip(np.where(outcome > 0, p, 1.0 - p), CLIP, 1.0) for p in (theirs, mine))
        return float(np.log(theirs / mine).mean())

    def _design(self, features: Floats, probability: Floats) -> tuple[Floats, Floats]:
        odds = logit(np.clip(probability, CLIP, 1.0 - CLIP))
        scaled = np.nan_to_num((features - self.centre) / self.scale, posinf=0.0, neginf=0.0)
        return np.column_stack([np.ones(len(odds)), odds / 2.0, scaled]), odds


def _bets(rows: Floats, weights: Floats) -> Floats:
    """Log factors of the bettors, shape (k, n): a share of the stake on the challenger, the rest on the model."""
    chances = [np.clip(expit(odds), CLIP, 1.0 - CLIP) for odds in (rows[:, -2] + rows[:, :-2] @ weights, rows[:, -2])]
    theirs, own = (np.where(rows[:, -1] > 0, p, 1.0 - p) for p in chances)
    return np.asarray(np.log1p(SHARES[:, None] * (theirs / own - 1.0)[None, :]))


def _at_level(odds: Floats, outcome: Floats) -> Floats:
    """Log-odds moved by the constant that fits the outcomes best (half a row of each class is added)."""
    level = 0.0
    for _ in range(STEPS):
        p = expit(odds + level)
        miss = float((outcome - p).sum()) + 0.5 - float(expit(level))
        level += miss / max(float((p * (1.0 - p)).sum()) + 0.25, 0.5)
    return odds + level


def _step(design: Floats, odds: Floats, outcome: Floats, weight: Floats, weights: Floats) -> Floats:
    """One step of Newton's method for ridge logistic regression."""
    p = expit(odds)
    gradient = design.T @ (weight * (outcome - p)) - RIDGE * weights
    curvature = np.maximum(p * (1.0 - p), 1e-3) * weight
    hessian = (design * curvature[:, None]).T @ design + RIDGE * np.eye(design.shape[1])
    return np.asarray(np.linalg.solve(hessian, gradient))
