"""Values taken from two profiles are those that went in, up to the width of a bin, and equal ones stay equal."""

from __future__ import annotations

import numpy as np
import pytest

from afterfit.stats.expand import expanded, weighted
from afterfit.stats.profile import Categorical, Numeric


def test_few_distinct_values_come_back_as_they_were() -> None:
    x, y = expanded(Numeric.of([3.0, 1.0, np.nan, 1.0]), Numeric.of([2.0, np.inf, 3.0]))
    assert x.tolist() == [1.0, 1.0, 3.0]
    assert y.tolist() == [2.0, 3.0]


def test_bins_of_unlike_width_are_made_alike() -> None:
    """A reference of many values has coarser bins than a small window; the same values must not look moved."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=100_000)
    reference, window = Numeric.of(values), Numeric.of(values[:50])
    assert reference.shift > window.shift
    x, y = expanded(reference, window, most=100_000)
    assert set(y) <= set(x)
    assert np.abs(x - np.sort(values)).max() < 0.1
    _, counts = weighted(reference, window)
    assert counts.sum(axis=1).tolist() == [100_000, 50]


def test_more_than_most_are_drawn_by_the_seed() -> None:
    """A mean of 1,000 draws of 50,000 lies within five standard errors: wrong once in a million seeds."""
    values = np.random.default_rng(1).normal(size=50_000)
    column = Numeric.of(values)
    x, y = expanded(column, column, most=1000)
    assert len(x) == len(y) == 1000
    assert not np.array_equal(x, y)
    assert abs(x.mean() - values.mean()) < 5 / np.sqrt(1000)
    assert np.array_equal(x, expanded(column, column, most=1000)[0])
    assert not np.array_equal(x, expanded(column, column, most=1000, seed=1)[0])
    with pytest.raises(ValueError, match="most"):
        expanded(column, column, most=0)


def test_categories_are_places_among_the_names() -> None:
    values, counts = weighted(Categorical.of(["b", "b", "a", None]), Categorical.of(["c", "a"]))
    assert values.tolist() == [0.0, 1.0, 2.0]
    assert counts.tolist() == [[2, 1, 0], [0, 1, 1]]
    folded = Categorical.of([f"user-{i}" for i in range(2000)])
    _, counts = weighted(folded, Categorical.of(["user-1"]))
    assert counts.sum(axis=1).tolist() == [2000, 1]


def test_columns_of_two_kinds_and_empty_ones() -> None:
    with pytest.raises(TypeError, match="text column"):
        weighted(Numeric.of([1.0]), Categorical.of(["a"]))
    for empty in (Numeric.of([]), Categorical.of([])):
        x, y = expanded(empty, empty)
        assert (len(x), len(y)) == (0, 0)
