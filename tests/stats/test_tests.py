"""The tests keep their promises, simulated with a seed and an exact binomial bound (chance of failing 1e-4 each)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, kstest

from afterfit.rollout.assignment import choose, share
from afterfit.stats import bad_events, betting, kaplan_meier, losses, null_tail

ALPHA = 0.05


@pytest.mark.parametrize("side", ["greater", "less"])
@pytest.mark.parametrize("p", [0.5, 0.05])
def test_betting_rejects_a_true_mean_rarely_at_any_time(side: str, p: float) -> None:
    rng = np.random.default_rng(7)
    n = 400
    wrong = sum(
        betting.log_e((rng.random(1000) < p).astype(float), p, side).max() >= np.log(1 / ALPHA) for _ in range(n)
    )
    assert wrong <= binom.isf(1e-4, n, ALPHA)


def test_betting_has_power() -> None:
    rng = np.random.default_rng(8)
    hits = [betting.log_e(rng.beta(6, 4, 300), 0.5, "greater").max() >= np.log(20) for _ in range(100)]
    assert sum(hits) >= 99


def test_the_confidence_sequence_covers() -> None:
    rng = np.random.default_rng(9)
    covered = 0
    for _ in range(100):
        low, high = betting.interval(rng.beta(2, 3, 300), ALPHA)
        covered += low <= 0.4 <= high
    assert covered >= binom.isf(1 - 1e-4, 100, 1 - ALPHA) - 1
    assert high - low < 0.12


@pytest.mark.parametrize("bad", [[1.5], [-0.1], [np.nan]])
def test_betting_refuses_what_is_not_bounded(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="lie in"):
        betting.log_e(bad, 0.5, "greater")


def test_bad_events_are_blamed_rarely_on_an_innocent_candidate() -> None:
    rng = np.random.default_rng(10)
    n, wrong = 500, 0
    for _ in range(n):
        mine = (rng.random(200) < 0.1).cumsum()
        seen = np.arange(1, 201)
        wrong += any(
            bad_events.log_e(int(m), int(s - m), 0.1) >= np.log(1 / ALPHA) for m, s in zip(mine, seen, strict=True)
        )
    assert wrong <= binom.isf(1e-4, n, ALPHA)


@pytest.mark.parametrize(("factor", "within"), [(10, 400), (4, 1500)])
def test_a_worse_candidate_is_blamed_soon(factor: int, within: int) -> None:
    """Median candidate requests at 10 % share and a base rate of 0.5 %: about 160 for 10x, 510 for 4x."""
    rng = np.random.default_rng(11)
    needed = []
    for _ in range(60):
        mine = theirs = asked = 0
        while bad_events.log_e(mine, theirs, 0.1) < np.log(1 / ALPHA) and asked < 5000:
            asked += 10
            mine += int(rng.binomial(10, 0.005 * factor))
            theirs += int(rng.binomial(90, 0.005))
        needed.append(asked)
    assert np.median(needed) <= within


def test_kaplan_meier_is_not_fooled_by_young_rows() -> None:
    rng = np.random.default_rng(12)
    delay, age = rng.exponential(10.0, 20_000), rng.uniform(0, 40, 20_000)
    ages, known_share = kaplan_meier.known_by(np.minimum(delay, age), delay <= age)
    at_ten = known_share[np.searchsorted(ages, 10.0) - 1]
    assert abs(at_ten - (1 - np.exp(-1))) < 0.015


def test_losses_are_bounded_and_nonsense_pays_the_maximum() -> None:
    found = losses.bounded_loss("binary", [1, 0, 1], [1, 1, 1], [[0.1, 0.9], [0.5, 0.5], [np.nan, np.nan]], [0, 1])
    assert found.round(4).tolist() == [0.01, 0.25, 1.0]
    assert losses.bounded_loss("regression", [1.0, 5.0], [2.0, np.nan], None, None, scale=2.0).tolist() == [0.5, 1.0]
    multi = losses.bounded_loss("multiclass", ["a", "c"], ["a", "a"], [[1, 0, 0], [1, 0, 0]], ["a", "b", "c"])
    assert multi.tolist() == [0.0, 1.0]


def test_the_tail_of_the_blocks_never_says_more_than_the_blocks_do() -> None:
    blocks = np.random.default_rng(13).gumbel(size=60)
    assert null_tail.p_value(blocks.max(), blocks) >= 1 / 61
    assert null_tail.p_value(blocks.max() + 20, blocks) < 1e-4
    assert null_tail.p_value(1.0, blocks[:5]) == 0.0  # too few blocks: the test for rows decides alone


def test_assignment_is_uniform() -> None:
    points = [share("salt", f"key-{i}") for i in range(5000)]
    assert kstest(points, "uniform").pvalue > 1e-4


@given(
    key=st.text(min_size=1, max_size=30), salt=st.text(max_size=10), low=st.floats(0.01, 0.4), more=st.floats(0, 0.5)
)
def test_a_ramp_only_adds_keys(key: str, salt: str, low: float, more: float) -> None:
    high = low + more
    before, _ = choose([(1, 1 - low), (2, low)], salt, key)
    after, chance = choose([(1, 1 - high), (2, high)], salt, key)
    assert not (before == 2 and after == 1)
    assert chance == (high if after == 2 else 1 - high)
