"""What the betting test owes beyond its error rates: order, forecast, speed, refusal."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import beta

from afterfit.stats import bad_events, betting

UNIT = st.floats(0, 1, allow_nan=False)


@given(x=st.lists(UNIT, min_size=1, max_size=40), mean=st.floats(0.01, 0.99), seed=st.integers(0, 99))
def test_what_all_is_worth_does_not_depend_on_order(x: list[float], mean: float, seed: int) -> None:
    """Outcomes become known in another order than they happened; the verdict must not change for that."""
    shuffled = np.random.default_rng(seed).permutation(x)
    for side in ("greater", "less"):
        assert betting.log_e(x, mean, side)[-1] == pytest.approx(betting.log_e(shuffled, mean, side)[-1], abs=1e-9)


@given(p=st.floats(0.01, 0.99))
def test_a_fair_bet_earns_nothing(p: float) -> None:
    """Over the two outcomes of a coin with the null's mean, expected wealth is exactly 1."""
    for side in ("greater", "less"):
        win, lose = (np.exp(betting.log_e([x], p, side)[0]) for x in (1.0, 0.0))
        assert p * win + (1 - p) * lose == pytest.approx(1.0)


@given(x=st.lists(UNIT, min_size=1, max_size=30), low=st.floats(0.05, 0.9), more=st.floats(0.001, 0.09))
def test_a_bolder_null_is_never_easier_to_reject(x: list[float], low: float, more: float) -> None:
    assert betting.log_e(x, low, "greater")[-1] >= betting.log_e(x, low + more, "greater")[-1] - 1e-9


def test_the_forecast_comes_true() -> None:
    rng = np.random.default_rng(1)
    x = rng.beta(5, 5, 20_000)
    told = betting.needed(x[:1000], 0.52, "less", 0.05)
    took = int(np.argmax(betting.log_e(x, 0.52, "less") >= np.log(20)))
    assert told is not None
    assert 0.4 * took < told < 2.5 * took
    assert betting.needed(x[:1000], 0.45, "less", 0.05) is None
    assert betting.needed([], 0.5, "less", 0.05) is None
    sterner = betting.needed(x[:1000], 0.52, "less", 0.001)
    assert sterner is not None
    assert sterner > told


def test_a_hundred_thousand_observations_take_less_than_a_second() -> None:
    x = np.random.default_rng(2).random(100_000)
    began = time.perf_counter()
    betting.log_e(x, 0.5, "greater")
    assert time.perf_counter() - began < 1.0


@pytest.mark.parametrize(("mean", "side", "said"), [(0.0, "less", "mean"), (1.0, "less", "mean"), (0.5, "up", "side")])
def test_a_senseless_question_is_refused(mean: float, side: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        betting.log_e([0.5], mean, side)


@pytest.mark.parametrize(("mine", "theirs", "share", "k"), [(3, 5, 0.1, 50.0), (9, 2, 0.5, 10.0), (0, 4, 0.3, 20.0)])
def test_the_bad_event_value_is_the_likelihood_ratio_under_the_cut_prior(
    mine: int, theirs: int, share: float, k: float
) -> None:
    prior = beta(k * share, k * (1 - share))

    def ratio(p: float) -> float:
        return float((p / share) ** mine * ((1 - p) / (1 - share)) ** theirs * prior.pdf(p) / prior.sf(share))

    wanted = np.log(quad(ratio, share, 1.0)[0])
    assert bad_events.log_e(mine, theirs, share, k) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(("share", "few"), [(0.01, 3), (0.05, 6), (0.1, 8), (0.5, 12), (0.95, 124)])
def test_failures_in_a_row_are_enough_at_every_share(share: float, few: int) -> None:
    assert bad_events.log_e(few, 0, share) >= np.log(40)


def test_a_better_candidate_is_not_blamed_however_many_events() -> None:
    assert bad_events.log_e(0, 10_000, 0.5) < -10
    assert bad_events.log_e(100, 10_000, 0.5) < -10


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_without_two_arms_there_is_no_test(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        bad_events.log_e(1, 1, share)
