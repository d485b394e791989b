"""The promises of a rollout, simulated: a candidate that is the champion is not rolled back, and nothing passes on nothing.

The bounds are exact: with 1 000 independent rollouts and a true share of at most alpha = 0.05, more than 74 rolled back
happen with a chance below 4e-4 (binomial); that is this file's chance of failing without a reason.
"""

from __future__ import annotations

import sys

import pytest
from scipy.stats import binom

from afterfit.config import RolloutConfig
from tests.calibration.aa import Truth, many

N = 1000
ALPHA = RolloutConfig().alpha
MOST = int(binom.isf(4e-4, N, ALPHA))  # 74


@pytest.mark.parametrize(
    ("truth", "n"),
    [(Truth(same=True), N), (Truth(), 400), (Truth(daily=0.03), 200)],
    ids=["the same model", "an equally good model", "one with days as different as those of the flights"],
)
def test_a_harmless_candidate_is_rarely_rolled_back(truth: Truth, n: int) -> None:
    ends, _ = many(n, truth, seed=1)
    sys.stdout.write(f"{n} rollouts of {truth}: {dict(ends)}\n")
    assert ends["harmed"] <= int(binom.isf(4e-4, n, ALPHA))
    assert ends["confirmed"] > n / 2  # and the test is not vacuous: it does get through


def test_a_candidate_without_outcomes_is_never_promoted() -> None:
    ends, _ = many(N, Truth(outcomes=False), seed=2)
    assert ends["confirmed"] == 0
    assert set(ends) <= {"shadow", "harmed"}
    assert ends["harmed"] <= MOST


def test_a_worse_candidate_is_rarely_promoted() -> None:
    """Worse by twice the margin: promoted with a chance of at most alpha."""
    ends, _ = many(200, Truth(worse=0.01), seed=3)
    assert ends["confirmed"] <= int(binom.isf(4e-4, 200, ALPHA))


def test_a_broken_candidate_is_found() -> None:
    ends, pairs = many(100, Truth(worse=0.08), seed=4)
    assert ends["harmed"] == 100
    assert sorted(pairs)[50] <= 600


def test_a_candidate_that_fails_often_is_found_without_any_outcome() -> None:
    ends, _ = many(100, Truth(outcomes=False, candidate_bad_rate=0.02), seed=5)
    assert ends["harmed"] == 100
