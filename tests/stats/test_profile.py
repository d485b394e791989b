"""Profiles merge exactly, and the distances computed from them are those of the rows."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import ks_2samp

from afterfit.stats import chi2, ks, psi, units
from afterfit.stats.binning import MOST_BINS
from afterfit.stats.categorical import BUCKETS, MOST_CATEGORIES
from afterfit.stats.profile import Categorical, Numeric, Profile, profile

NUMBERS = arrays(float, st.integers(0, 40), elements=st.floats(allow_nan=True, allow_infinity=True, width=32))
TEXTS = st.lists(st.sampled_from(["a", "b", "c", "d", None]), max_size=40)


@given(a=NUMBERS, b=NUMBERS)
def test_numeric_profiles_merge(a: np.ndarray, b: np.ndarray) -> None:
    merged, whole = Numeric.of(a) + Numeric.of(b), Numeric.of(np.concatenate([a, b]))
    for exact in ("n", "nulls", "infinite", "zeros"):
        assert getattr(merged, exact) == getattr(whole, exact)
    assert np.array_equal(merged.bins, whole.bins)
    assert np.array_equal(merged.counts, whole.counts)
    assert np.array_equal([merged.low, merged.high], [whole.low, whole.high], equal_nan=True)
    assert merged.n == merged.nulls + merged.infinite + merged.values
    if whole.values and np.isfinite([whole.m2, merged.m2]).all():
        assert merged.mean == pytest.approx(whole.mean, rel=1e-6, abs=1e-6 * max(1.0, abs(whole.high), abs(whole.low)))


@given(a=TEXTS, b=TEXTS)
def test_categorical_profiles_merge(a: list[str | None], b: list[str | None]) -> None:
    assert Categorical.of(a) + Categorical.of(b) == Categorical.of([*a, *b])


def test_many_categories_stay_bounded_and_none_is_lost() -> None:
    found = Categorical.of([f"c{i}" for i in range(5000)])
    assert found.folded
    assert len(found.counts) <= BUCKETS
    assert sum(found.counts.values()) == 5000


@given(parts=st.lists(st.lists(st.integers(0, 1500), max_size=600), min_size=1, max_size=5))
@settings(max_examples=25, deadline=None)
def test_folded_profiles_merge(parts: list[list[int]]) -> None:
    merged = functools.reduce(lambda a, b: a + b, (Categorical.of([f"c{i}" for i in part]) for part in parts))
    whole = Categorical.of([f"c{i}" for part in parts for i in part])
    assert merged == whole
    assert merged.folded == (len({i for part in parts for i in part}) > MOST_CATEGORIES)


@given(seed=st.integers(0, 10_000), sizes=st.lists(st.integers(0, 4000), min_size=2, max_size=6))
@settings(max_examples=60, deadline=None)
def test_coarse_bins_merge_however_rows_are_split(seed: int, sizes: list[int]) -> None:
    """Columns with far more values than bins: the bins of the whole come out, in any order and grouping."""
    rng = np.random.default_rng(seed)
    kind = seed % 4
    x = rng.standard_t(2, sum(sizes)) * 10.0 ** rng.integers(-5, 6)
    x = np.round(x, 1) if kind == 1 else rng.integers(-40_000, 70_000, len(x)).astype(float) if kind == 2 else x
    x[rng.random(len(x)) < 0.1 * (kind == 3)] = np.nan
    parts = [Numeric.of(part) for part in np.split(x, np.cumsum(sizes)[:-1])]
    whole = Numeric.of(x)
    for order in (parts, parts[::-1]):
        merged = functools.reduce(lambda a, b: a + b, order)
        assert merged.shift == whole.shift
        assert np.array_equal(merged.bins, whole.bins)
        assert np.array_equal(merged.counts, whole.counts)
        assert merged.zeros == whole.zeros
        assert merged.mean == pytest.approx(whole.mean, rel=1e-9, abs=1e-9 * (whole.sd + 1))
        assert merged.m2 == pytest.approx(whole.m2, rel=1e-9)
    streamed = parts[0]
    for part in np.split(x, np.cumsum(sizes)[:-1])[1:]:
        streamed = streamed + Numeric.of(part, shift=streamed.shift)
    assert np.array_equal(streamed.counts, whole.counts)
    assert len(whole.bins) <= MOST_BINS


def test_a_profile_survives_json() -> None:
    before = profile({"x": [1.0, np.nan, -2.5], "t": ["a", None, "b"]}, {"x": "number", "t": "text"})
    after = Profile.from_dict(json.loads(json.dumps(before.to_dict())))
    assert after.to_dict() == before.to_dict()
    empty = profile({"x": []}, {"x": "number"})
    assert Profile.from_dict(json.loads(json.dumps(empty.to_dict()))).n == 0


def test_the_distance_is_that_of_the_rows() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=3000), rng.normal(0.2, 1.1, size=2000)
    exact = ks_2samp(a, b, method="asymp")
    d = ks.distance(Numeric.of(a), Numeric.of(b))
    assert d == pytest.approx(exact.statistic, abs=1e-3)
    assert np.log(ks.p_value(d, 3000, 2000)) == pytest.approx(np.log(exact.pvalue), rel=0.1)


def test_quantiles_are_close() -> None:
    x = np.random.default_rng(4).lognormal(3, 1, 5000)
    found = Numeric.of(x).quantiles([0.1, 0.5, 0.9])
    assert found == pytest.approx(np.quantile(x, [0.1, 0.5, 0.9]), rel=2e-3)


def test_one_new_category_does_not_make_chi_squared_infinite() -> None:
    before, now = Categorical.of(["a", "b"] * 100), Categorical.of(["a", "b"] * 50 + ["new"])
    assert 0.5 < chi2.p_value(before, now) <= 1.0
    assert 0.0 <= psi.psi(before, now) < 0.05


def test_conversions_undo_each_other() -> None:
    fahrenheit = np.random.default_rng(5).normal(70, 8, 500)
    celsius = Numeric.of((fahrenheit - 32) / 1.8)
    found = units.best(celsius, Numeric.of(fahrenheit), natural=0.0, noise=0.0)
    assert found is not None
    assert found[0].name == "°F→°C"
    assert found[1] < 0.01
