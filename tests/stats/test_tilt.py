"""Tails of means beside exact binomial ones, down to a chance of 1e-12."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, norm

from afterfit.stats import tilt


@pytest.mark.parametrize(("n", "share"), [(50, 0.1), (500, 0.01), (1000, 0.5), (30, 0.9)])
def test_counts_are_within_a_third_of_the_exact_chance(n: int, share: float) -> None:
    counts = np.arange(n + 1)
    one_sided = np.where(counts > n * share, binom.sf(counts - 1, n, share), binom.cdf(counts, n, share))
    exact = np.minimum(1.0, 2.0 * one_sided)
    found = tilt.share_p_value(counts, np.full(n + 1, n), np.full(n + 1, share))
    inner = (exact < 0.2) & (exact > 1e-12) & (counts > 0) & (counts < n)
    assert inner.sum() > 5
    assert found[inner] / exact[inner] == pytest.approx(np.ones(inner.sum()), rel=0.35)


def test_means_of_symmetric_values_are_near_normal() -> None:
    values = np.linspace(-1, 1, 201)
    shares = np.full(201, 1 / 201)
    sd = float(np.sqrt(values**2 @ shares))
    for z in (0.5, 2.0, 4.0):
        assert tilt.p_value(z * sd / 20, 400, values, shares) == pytest.approx(2 * norm.sf(z), rel=0.15)


def test_a_lopsided_mean_has_two_different_tails() -> None:
    share = 0.05
    values, shares = np.array([-share, 1 - share]), np.array([1 - share, share])
    up, down = tilt.p_value(0.1, 50, values, shares), tilt.p_value(-0.04, 50, values, shares)
    assert up == pytest.approx(2 * binom.sf(7, 50, share), rel=0.6)  # 7.5 of 50: between 7 and 8
    assert down > 0.05


@pytest.mark.parametrize("mean", [-1.0, 1.0, 5.0])
def test_the_end_of_the_range_and_beyond(mean: float) -> None:
    values, shares = np.array([-1.0, 1.0]), np.array([0.5, 0.5])
    assert tilt.p_value(mean, 10, values, shares) == pytest.approx(2 * 0.5**10)


def test_a_constant_column_that_moved_has_no_chance() -> None:
    assert tilt.p_value(0.1, 10, np.zeros(1), np.ones(1)) == 0.0
    assert tilt.p_value(0.0, 10, np.zeros(1), np.ones(1)) == 1.0
