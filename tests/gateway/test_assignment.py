"""Assignment is uniform, sticky, and a ramp only adds keys."""

from __future__ import annotations

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from afterfit.rollout.assignment import choose, share

KEYS = [f"key-{i}" for i in range(20_000)]


@given(st.text(), st.text())
def test_a_share_lies_in_the_half_open_unit_interval_and_stays(salt: str, key: str) -> None:
    found = share(salt, key)
    assert 0.0 <= found < 1.0
    assert share(salt, key) == found


@pytest.mark.parametrize("digest", [0, 2**64 - 1, 2**64 - 1024])
def test_even_the_largest_hash_stays_below_one(monkeypatch: pytest.MonkeyPatch, digest: int) -> None:
    monkeypatch.setattr(xxhash, "xxh3_64_intdigest", lambda _data: digest)
    assert 0.0 <= share("s", "k") < 1.0


@given(st.text(), st.text(), st.floats(0.001, 0.999), st.floats(0.001, 0.999))
def test_a_ramp_only_adds_keys(salt: str, key: str, one: float, other: float) -> None:
    low, high = sorted((one, other))
    if choose([(1, 1 - low), (2, low)], salt, key)[0] == 2:
        assert choose([(1, 1 - high), (2, high)], salt, key)[0] == 2


@pytest.mark.parametrize("weight", [0.01, 0.05, 0.25, 0.5, 0.95])
def test_the_candidate_gets_its_share(weight: float) -> None:
    """Exact binomial, two-sided; fixed keys and salt, so it either always passes or never. Chance of a bad salt 1e-4."""
    got = sum(choose([(1, 1 - weight), (2, weight)], "rollout-7", key) == (2, weight) for key in KEYS)
    assert stats.binomtest(got, len(KEYS), weight).pvalue > 1e-4


def test_shares_are_uniform_and_independent_between_salts() -> None:
    """Kolmogorov's test, and a rank correlation; each fails for one salt in 10 000."""
    first, second = (np.array([share(salt, key) for key in KEYS]) for salt in ("a", "b"))
    assert stats.kstest(first, "uniform").pvalue > 1e-4
    assert stats.spearmanr(first, second).pvalue > 1e-4


def test_several_candidates_share_from_the_bottom_and_the_rest_is_the_champions() -> None:
    weights = [(1, 0.7), (2, 0.1), (3, 0.2)]
    for key in KEYS[:500]:
        point = share("s", key)
        wanted = (2, 0.1) if point < 0.1 else (3, 0.2) if point < 0.30000000000000004 else (1, 0.7)
        assert choose(weights, "s", key) == wanted


def test_salt_and_key_are_kept_apart() -> None:
    assert share("ab", "c") != share("a", "bc")
