"""Co-moments merge exactly enough, and a flip is said only when both signs are certain."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import binom

from afterfit.stats.relation import Relation, flip

PAIRS = arrays(float, st.tuples(st.integers(0, 30), st.just(2)), elements=st.floats(-1e6, 1e6))


@given(a=PAIRS, b=PAIRS)
def test_relations_merge(a: np.ndarray, b: np.ndarray) -> None:
    merged = Relation.of(a[:, 0], a[:, 1]) + Relation.of(b[:, 0], b[:, 1])
    both = np.concatenate([a, b])
    whole = Relation.of(both[:, 0], both[:, 1])
    assert merged.n == whole.n
    size = 1.0 + float(np.abs(both).max(initial=0.0)) ** 2 * max(len(both), 1)
    assert merged.xy == pytest.approx(whole.xy, abs=1e-9 * size)
    assert merged.xx == pytest.approx(whole.xx, abs=1e-9 * size)


def test_the_correlation_is_numpys_and_nulls_are_left_out() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=500)
    y = x + rng.normal(size=500)
    x[::7] = np.nan
    known = np.isfinite(x)
    assert Relation.of(x, y).correlation == pytest.approx(np.corrcoef(x[known], y[known])[0, 1])
    assert Relation.of([1.0, 1.0], [1.0, 2.0]).correlation == 0.0
    assert Relation.of([np.inf], [1.0]).n == 0


def test_independent_columns_seldom_flip() -> None:
    """At 5 % each of two signs must be significant: 2,000 pairs, more than the bound by chance once in 1e4 seeds."""
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(2, 4000, 100))
    wrong = sum(flip(Relation.of(x[i], y[i]), Relation.of(x[i + 1], y[i + 1])) < 0.05 for i in range(0, 4000, 2))
    assert wrong <= binom.isf(1e-4, 2000, 0.05)
