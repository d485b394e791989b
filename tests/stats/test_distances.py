"""The distances from profiles are those of the rows, against scipy; all are zero for equal columns and for empty ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance
from scipy.stats.contingency import association

from afterfit.stats import cells, chi2, cramers_v, hellinger, jensen_shannon, ks, psi, wasserstein
from afterfit.stats.profile import Categorical, Column, Numeric

A, B = ["a"] * 500 + ["b"] * 300 + ["c"] * 200, ["a"] * 300 + ["b"] * 300 + ["c"] * 400
NUMERIC: list[Callable[[Any, Any], float]] = [
    ks.distance, psi.psi, jensen_shannon.distance, hellinger.distance, wasserstein.distance,
]  # fmt: skip
TEXT: list[Callable[[Any, Any], float]] = [
    chi2.total_variation, psi.psi, jensen_shannon.distance, hellinger.distance, cramers_v.effect,
]  # fmt: skip


@pytest.mark.parametrize("distance", NUMERIC)
def test_equal_and_empty_numbers_are_not_apart(distance: Callable[[Any, Any], float]) -> None:
    x = Numeric.of(np.random.default_rng(1).normal(size=5000))
    assert distance(x, x) == pytest.approx(0.0, abs=1e-12)
    assert distance(x, Numeric.of([])) == distance(Numeric.of([np.nan]), x) == 0.0


@pytest.mark.parametrize("distance", TEXT)
def test_equal_and_empty_texts_are_not_apart(distance: Callable[[Any, Any], float]) -> None:
    x = Categorical.of(A)
    assert distance(x, x) == pytest.approx(0.0, abs=1e-12)
    assert distance(x, Categorical.of([])) == distance(Categorical.of([None]), x) == 0.0


def test_against_scipy() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(10, 2, 4000), rng.normal(10.5, 3, 3000)
    mine, theirs = Numeric.of(a), Numeric.of(b)
    assert wasserstein.distance(mine, theirs) == pytest.approx(wasserstein_distance(a, b) / a.std(), rel=0.01)
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.3, 0.3, 0.4])
    old, new = Categorical.of(A), Categorical.of(B)
    assert jensen_shannon.distance(old, new) == pytest.approx(jensenshannon(p, q, base=2))
    assert hellinger.distance(old, new) == pytest.approx(np.sqrt(np.square(np.sqrt(p) - np.sqrt(q)).sum() / 2))
    plain = association(np.array([[500, 300, 200], [300, 300, 400]]), method="cramer")
    assert cramers_v.effect(old, new) == pytest.approx(plain, rel=0.01)


def test_a_new_category_is_a_cell_and_folded_columns_compare() -> None:
    many = Categorical.of([f"n{i}" for i in range(3000)])
    for old, new in ((Categorical.of(["a"]), Categorical.of(["b"])), (many, Categorical.of(["a"] * 3000))):
        p, q = cells.shares(old, new)
        assert p.sum() == pytest.approx(1.0)
        assert q.sum() == pytest.approx(1.0)
        assert jensen_shannon.distance(old, new) > 0.9


def test_numbers_and_texts_do_not_compare() -> None:
    columns: list[Column] = [Numeric.of([1.0]), Categorical.of(["a"])]
    with pytest.raises(TypeError, match="text column"):
        cells.shares(columns[0], columns[1])
