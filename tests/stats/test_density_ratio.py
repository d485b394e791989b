"""Density ratio: right where the answer is known, honest about how few rows are left, and of use to the estimator."""

from __future__ import annotations

import numpy as np
import pytest

from afterfit.stats.density_ratio import MOST, density_ratio, kish
from afterfit.stats.expected import Binary


def test_a_shifted_normal_has_the_known_ratio() -> None:
    rng = np.random.default_rng(0)
    x, w = rng.normal(0.0, 1.0, (20_000, 1)), rng.normal(0.7, 1.0, (10_000, 1))
    found = density_ratio(x, w).weights
    assert found is not None
    truth = np.exp(0.7 * x[:, 0] - 0.245)
    assert found.mean() == pytest.approx(1.0)
    assert np.corrcoef(np.log(found), np.log(truth))[0, 1] > 0.99
    assert np.average(x[:, 0], weights=found) == pytest.approx(0.7, abs=0.05)


def test_a_narrower_window_is_seen_too() -> None:
    rng = np.random.default_rng(1)
    x, w = rng.normal(0.0, 1.0, (20_000, 1)), rng.normal(0.0, 0.6, (20_000, 1))
    found = density_ratio(x, w).weights
    assert found is not None
    assert np.average(x[:, 0] ** 2, weights=found) == pytest.approx(0.36, abs=0.04)


def test_missing_values_and_constants_are_features_too() -> None:
    rng = np.random.default_rng(2)
    x, w = (np.stack([rng.normal(size=5000), np.ones(5000)], axis=1) for _ in range(2))
    x[rng.random(5000) < 0.1, 0] = np.nan
    w[rng.random(5000) < 0.4, 0] = np.nan
    found = density_ratio(x, w).weights
    assert found is not None
    missing = np.isnan(x[:, 0])
    assert found[missing].mean() / found[~missing].mean() == pytest.approx(4.0 / (0.6 / 0.9), rel=0.1)


def test_too_few_effective_rows_are_refused_with_a_reason() -> None:
    rng = np.random.default_rng(3)
    x, w = rng.normal(0.0, 1.0, (5000, 1)), rng.normal(2.0, 1.0, (5000, 1))
    refused = density_ratio(x, w)
    assert refused.weights is None
    assert refused.effective_n < 500.0
    assert "effective reference rows, wanted 500" in refused.reason
    allowed = density_ratio(x, w, fewest=20.0)
    assert allowed.weights is not None
    assert allowed.effective_n == refused.effective_n
    assert allowed.weights.max() / allowed.weights.min() <= MOST * 1e9
    short = density_ratio(x, w[:10])
    assert short.weights is None
    assert "10 window rows" in short.reason


def test_unlike_columns_are_an_error() -> None:
    with pytest.raises(ValueError, match="same features"):
        density_ratio(np.zeros((300, 2)), np.zeros((300, 1)))


def test_kish() -> None:
    assert kish([2.0, 2.0, 0.0]) == 2.0
    assert kish([0.0, 0.0]) == 0.0


def test_recalibration_under_covariate_shift_beats_the_plain_estimate() -> None:
    """The score does not know a feature that decides what it means; the window has more rows where it means less."""
    rng = np.random.default_rng(4)

    def draw(n: int, centre: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        s, z = rng.random(n), rng.normal(centre, 1.0, n)
        return s, z[:, None], (rng.random(n) < 0.5 + (s - 0.5) / (1.0 + np.exp(2.0 * z))).astype(float)

    s, z, y = draw(40_000, 0.0)
    t, u, truth = draw(20_000, 0.8)
    real = float(((t > 0.5) == truth).mean())
    ratio = density_ratio(z, u)
    plain = Binary.fit(s, s > 0.5, y).estimate(t, t > 0.5).metrics["accuracy"].value
    moved = Binary.fit(s, s > 0.5, y, weights=ratio.weights).estimate(t, t > 0.5).metrics["accuracy"]
    assert plain is not None
    assert moved.value is not None
    assert moved.low is not None
    assert moved.high is not None
    assert abs(moved.value - real) < 0.3 * abs(plain - real)
    assert moved.low < real < moved.high
