"""Directions of a column: what they see, what they leave alone, and that parts add up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afterfit.stats.profile import Categorical, Numeric
from afterfit.stats.shares import MOST, Shares
from afterfit.stats.smooth import Directions

RNG = np.random.default_rng(0)
SHAPES = {
    "normal": RNG.normal(60, 15, 20_000),
    "lopsided": RNG.exponential(3, 20_000),
    "heavy": RNG.standard_t(2, 20_000),
    "counts": RNG.poisson(3, 20_000).astype(float),
    "flags": (RNG.random(20_000) < 0.05).astype(float),
    "constant": np.full(20_000, 7.0),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_reference_does_not_deviate_from_itself(shape: str) -> None:
    column = Numeric.of(SHAPES[shape])
    assert np.abs(Directions.of(column).deviations(column)).max() < 1e-9


@pytest.mark.parametrize("shape", ["normal", "heavy"])
def test_a_move_is_a_location_and_little_spread(shape: str) -> None:
    """Less than a third of the move is left as a spread (a lopsided column that moves does change its shape)."""
    values = SHAPES[shape]
    step = 0.4 * (np.quantile(values, 0.75) - np.quantile(values, 0.25))
    location, spread = Directions.of(Numeric.of(values)).deviations(Numeric.of(values + step))
    assert location > 0.3
    assert abs(spread) < location / 3


def test_a_wider_column_spreads_and_stays_where_it_is() -> None:
    values = SHAPES["normal"]
    found = Directions.of(Numeric.of(values))
    for factor, sign in ((1.5, 1), (0.6, -1)):
        location, spread = found.deviations(Numeric.of(60 + factor * (values - 60)))
        assert abs(location) < 0.02
        assert sign * spread > 0.2


def test_one_wild_value_moves_nothing() -> None:
    found = Directions.of(Numeric.of(SHAPES["normal"]))
    calm = found.deviations(Numeric.of(SHAPES["normal"][:1000]))
    wild = found.deviations(Numeric.of(np.append(SHAPES["normal"][:1000], 1e30)))
    assert np.abs(calm - wild).max() < 0.01


def test_columns_in_coarser_bins_are_compared_in_theirs() -> None:
    fine = Numeric.of(SHAPES["normal"])
    coarse = Numeric.of(SHAPES["normal"][:5000] + 3).at_shift(fine.shift + 3)
    exact = Directions.of(fine).deviations(Numeric.of(SHAPES["normal"][:5000] + 3))
    assert Directions.of(fine).deviations(coarse) == pytest.approx(exact, abs=0.02)
    assert Directions.of(coarse).deviations(fine).shape == (2,)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.lists(st.floats(-1e6, 1e6), max_size=30))
def test_whatever_comes_is_finite(reference: list[float], window: list[float]) -> None:
    found = Directions.of(Numeric.of(reference))
    assert np.isfinite(found.deviations(Numeric.of(window))).all()
    assert np.isfinite(found.variances).all()


def test_p_values_are_near_their_nominal_share() -> None:
    """2,000 windows each of 50 and of 500 rows of a lopsided column: at 1 % more than 41 have a chance below 1e-5."""
    rng = np.random.default_rng(1)
    found = Directions.of(Numeric.of(rng.exponential(3, 100_000)))
    for n in (50, 500):
        windows = (Numeric.of(rng.exponential(3, n)) for _ in range(2000))
        p = np.array([found.p_values(found.deviations(w), n) for w in windows])
        assert ((p < 0.01).sum(axis=0) <= 41).all()
        assert ((p < 0.01).sum(axis=0) >= 4).all()


def test_shares_watch_common_names_only() -> None:
    counts: dict[str, int] = {f"n{i}": 1000 - i for i in range(30)} | {"rare": 3}
    found = Shares.of(Categorical.counted(counts))
    assert found.names == tuple(f"n{i}" for i in range(MOST))
    assert Shares.of(Categorical.counted({"yes": 3, "no": 7})).names == ("no",)


def test_shares_leave_new_names_and_nulls_to_others() -> None:
    found = Shares.of(Categorical.counted({"a": 60, "b": 30, "c": 10}))
    window = Categorical.counted({"a": 6, "b": 3, "c": 1, "new": 10}, nulls=5)
    assert found.rows(window) == 10
    assert found.deviations(window) == pytest.approx([0.0, 0.0, 0.0])
    assert found.deviations(Categorical.counted({"new": 3})).tolist() == [0.0, 0.0, 0.0]


def test_a_folded_window_is_compared_by_hash() -> None:
    reference = Categorical.counted({"a": 500, "b": 500, "c": 500})
    many: dict[str, Any] = {"a": 500, "b": 500, "c": 500} | {f"x{i}": 1 for i in range(1200)}
    window = Categorical.counted(many)
    assert window.folded
    assert np.isfinite(Shares.of(reference).deviations(window)).all()
