"""Recursive residuals: Student's while nothing changes, also with a memory; and what p-values are worth together."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, kstest

from afterfit.stats.e_detector import of_p_values, run
from afterfit.stats.recursive import FEWEST, residual


def test_the_chance_is_uniform_while_nothing_changes() -> None:
    """Of independent normals, on 2,000 rows of 20 numbers; fails by chance once in 1e4. The memory that is read by mistake
    costs a little: the distance allowed is 0.02 beyond that of chance."""
    rng = np.random.default_rng(1)
    p = [residual(rng.normal(3.0, 2.0, 20)).up for _ in range(2000)]
    assert kstest(p, "uniform").statistic < 0.0498 + 0.02


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.8])
def test_rare_is_rare_with_a_memory_too(memory: float) -> None:
    """Two-sided chances below 1 % in at most 2 % of 3,000 rows of 30 numbers; above the bound by chance once in 1e4."""
    rng = np.random.default_rng(2)
    rare = 0
    for _ in range(3000):
        noise, x = rng.normal(size=30), np.empty(30)
        x[0] = noise[0]
        for t in range(1, 30):
            x[t] = memory * x[t - 1] + np.sqrt(1 - memory**2) * noise[t]
        rare += residual(x).both < 0.01
    assert rare <= binom.isf(1e-4, 3000, 0.02)


def test_a_jump_shows_at_once_and_too_few_or_equal_numbers_say_nothing() -> None:
    rng = np.random.default_rng(3)
    found = residual([*rng.normal(size=20), 8.0])
    assert found.up < 1e-4
    assert found.down > 0.99
    assert found.size > 5
    assert residual([*rng.normal(size=FEWEST - 1), 8.0]).both == 1.0
    assert residual([0.3] * 20 + [0.4]).both == 1.0


def test_the_run_length_of_p_values() -> None:
    """P(alarm within n) <= n / A: 400 runs of 100 uniform p-values at A = 500; by chance once in 1e4 above the bound."""
    rng = np.random.default_rng(4)
    alarms = sum(bool(run(of_p_values(rng.random(100), 1e-9))[0].max() >= np.log(500)) for _ in range(400))
    assert 0 < alarms <= binom.isf(1e-4, 400, 0.2)


def test_one_observation_says_no_more_than_the_rarest() -> None:
    assert run(of_p_values([1e-12], 0.01))[0] == pytest.approx(run(of_p_values([0.01], 0.01))[0])
    assert run(of_p_values([1e-12], 1e-12))[0][0] > run(of_p_values([1e-12], 0.01))[0][0]
