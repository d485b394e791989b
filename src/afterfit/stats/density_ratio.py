"""How much more often a reference row's like occurs in the window: weights that move the reference under the window.

Scores learn nothing from weights over themselves; features can tell that a score means something else in this mix of
rows. With the weights, `expected.Binary.fit` recalibrates under covariate shift. Blind to concept drift all the same:
it assumes that P(outcome | features) is what it was.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from afterfit.stats.score_bins import Floats

FEWEST_EFFECTIVE = 500.0  # weighted reference rows, counted by Kish, that a calibration needs
FEWEST_ROWS = 200
LEARN = 50_000  # rows of each sample, evenly spaced, that the ratio is learned from
RIDGE = 1.0  # penalty on squared coefficients of standardised features
MOST = 100.0  # largest weight before scaling: a row that stands for more is a guess
_STEPS = 25


@dataclass(frozen=True, slots=True)
class Ratio:
    """`weights` of the reference rows, mean 1, shape (n_reference,); None when refused, and `reason` says why."""

    weights: Floats | None
    effective_n: float  # Kish: (sum w)^2 / sum w^2
    reason: str = ""


def kish(weights: ArrayLike) -> float:
    """Effective number of rows, (sum w)^2 / sum w^2; 0 when all weights are 0.

    Args:
        weights: non-negative, any shape.

    References:
        Kish (1965), Survey sampling.

    >>> kish([1.0, 1.0, 1.0, 1.0]), kish([1.0, 0.0, 0.0, 0.0])
    (4.0, 1.0)
    """
    w = np.asarray(weights, dtype=float)
    squares = float((w**2).sum())
    return float(w.sum()) ** 2 / squares if squares > 0.0 else 0.0


def density_ratio(reference: ArrayLike, window: ArrayLike, fewest: float = FEWEST_EFFECTIVE) -> Ratio:
    """Weights window density / reference density, from a logistic regression that tells the two apart.

    The log ratio is linear in the standardised features and their squares; missing values get a column of their own.

    Args:
        reference: features, shape (n_reference, n_features), NaN where missing.
        window: shape (n_window, n_features).
        fewest: effective reference rows below which the answer is no.

    Raises:
        ValueError: the two do not have the same number of columns.

    References:
        Bialek, Kuberski, Perrakis, Bifet (2024), Estimating model performance under covariate shift without labels,
        arXiv 2401.08348 (PAPE; there the ratio comes from boosted trees); Bickel, Brueckner, Scheffer (2009).

    >>> rng = np.random.default_rng(0)
    >>> ratio = density_ratio(rng.normal(0.0, 1.0, (4000, 1)), rng.normal(0.5, 1.0, (4000, 1)))
    >>> bool(2500 < ratio.effective_n < 3700)  # 4000 exp(-0.25) = 3115
    True
    >>> density_ratio(rng.normal(0.0, 1.0, (4000, 1)), rng.normal(9.0, 1.0, (4000, 1))).weights is None
    True
    """
    ref, win = np.asarray(reference, dtype=float), np.asarray(window, dtype=float)
    if ref.ndim != 2 or win.ndim != 2 or ref.shape[1] != win.shape[1]:
        raise ValueError(f"shapes {ref.shape} and {win.shape}: wanted (n_rows, n_features), the same features in both")
    if min(len(ref), len(win)) < FEWEST_ROWS:
        return Ratio(None, 0.0, f"{len(ref)} reference and {len(win)} window rows, wanted {FEWEST_ROWS} of each")
    taught = [x[:: -(-len(x) // LEARN)] for x in (ref, win)]
    centre, scale = _scaling(taught[0])
    design = [_design(x, centre, scale) for x in taught]
    beta = _logistic(np.vstack(design), np.repeat([0.0, 1.0], [len(x) for x in taught]))
    offset = np.log(len(taught[0]) / len(taught[1]))
    weights = np.exp(np.minimum(_design(ref, centre, scale) @ beta + offset, np.log(MOST)))
    effective = kish(weights)
    if effective < fewest:
        return Ratio(None, effective, f"{effective:.0f} effective reference rows, wanted {fewest:.0f}: too unlike")
    return Ratio(weights / weights.mean(), effective)


def _scaling(x: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation of the finite values of each column; 0 and 1 where there is nothing to scale."""
    seen = np.isfinite(x)
    n = np.maximum(seen.sum(axis=0), 1)
    centre = np.where(seen, x, 0.0).sum(axis=0) / n
    spread = np.sqrt((np.where(seen, x - centre, 0.0) ** 2).sum(axis=0) / n)
    return centre, np.where(spread > 0.0, spread, 1.0)


def _design(x: Floats, centre: Floats, scale: Floats) -> Floats:
    """Constant, standardised features (cut at 5), their squares, and whether each is missing."""
    seen = np.isfinite(x)
    z = np.clip(np.where(seen, (x - centre) / scale, 0.0), -5.0, 5.0)
    return np.hstack([np.ones((len(x), 1)), z, z**2, (~seen).astype(float)])


def _logistic(x: Floats, y: Floats) -> Floats:
    """Ridge logistic regression by Newton's method; the constant is not penalised. Shape (n_columns,)."""
    penalty = np.full(x.shape[1], RIDGE)
    penalty[0] = 1e-9
    beta = np.zeros(x.shape[1])
    for _ in range(_STEPS):
        p = expit(x @ beta)
        slope = x.T @ (y - p) - penalty * beta
        step = np.linalg.solve((x * (p * (1.0 - p))[:, None]).T @ x + np.diag(penalty), slope)
        beta = beta + step * min(1.0, 5.0 / float(np.abs(step).max(initial=1e-12)))
        if np.abs(step).max() < 1e-6:
            break
    return np.asarray(beta)
