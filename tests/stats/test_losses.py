"""Losses row by row: what each kind of answer costs, nonsense included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afterfit.stats.losses import bounded_loss, reported_loss


@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=20), seed=st.integers(0, 9))
def test_two_classes_give_the_brier_score(p: list[float], seed: int) -> None:
    y = np.random.default_rng(seed).integers(0, 2, len(p))
    found = bounded_loss("binary", y, y, np.column_stack([1 - np.array(p), p]), [0, 1])
    assert found == pytest.approx((np.array(p) - y) ** 2)


@pytest.mark.parametrize(
    ("outcome", "prediction", "scores", "cost"),
    [
        ("b", "b", None, 0.0),
        ("b", "a", None, 1.0),
        ("b", None, None, 1.0),  # no answer
        ("b", "zebra", None, 1.0),  # no class
        ("zebra", "a", None, 1.0),  # came true though nobody knew the class
        ("zebra", "a", [0.5, 0.3, 0.2], 0.69),
        ("b", "b", [0.2, 0.5, 0.3], 0.19),
        ("b", "b", [np.nan, 1.0, 0.0], 1.0),
        ("b", "b", [-0.2, 1.0, 0.2], 1.0),  # no probabilities
        ("b", "b", [0.0, 1.7, 0.0], 1.0),
        ("b", "b", [0.0, 1.0 + 1e-7, 0.0], 0.0),  # single precision
    ],
)
def test_what_an_answer_costs(outcome: Any, prediction: Any, scores: list[float] | None, cost: float) -> None:
    table = None if scores is None else [scores]
    found = bounded_loss("multiclass", [outcome], [prediction], table, ["a", "b", "c"])
    assert found[0] == pytest.approx(cost, abs=1e-6)


@pytest.mark.parametrize("outcome", [True, 1, 1.0])
def test_one_and_true_are_the_same_label(outcome: Any) -> None:
    assert bounded_loss("binary", [outcome], [1], [[0.2, 0.8]], [0, 1]).round(4).tolist() == [0.04]


def test_the_scale_of_a_regression_matters_and_nonsense_pays_all() -> None:
    outcome = [1.0, 1.0, 1.0, 1.0]
    prediction: Any = [1.5, 9.0, np.inf, None]
    assert bounded_loss("regression", outcome, prediction, None, None, 1.0).tolist() == [0.5, 1.0, 1.0, 1.0]
    assert bounded_loss("regression", outcome, prediction, None, None, 16.0).tolist() == [0.03125, 0.5, 1.0, 1.0]


def test_the_reported_losses() -> None:
    scores = [[0.2, 0.8], [1.0, 0.0], [np.nan, np.nan]]
    found = reported_loss("binary", [1, 1, 1], [1, 0, 0], scores, [0, 1])
    assert found[:2] == pytest.approx([-np.log(0.8), -np.log(1e-15)])
    assert np.isnan(found[2])
    assert reported_loss("regression", [1.0, 2.0], [3.5, 2.0], None, None).tolist() == [2.5, 0.0]


def test_no_rows_have_no_losses() -> None:
    assert bounded_loss("binary", [], [], np.empty((0, 2)), [0, 1]).tolist() == []
    assert bounded_loss("regression", [], [], None, None).tolist() == []


def test_scores_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 3\), wanted \(1, 2\)"):
        bounded_loss("binary", [1], [1], [[0.1, 0.2, 0.7]], [0, 1])
    with pytest.raises(ValueError, match="classes"):
        bounded_loss("binary", [1], [1], [[0.1, 0.9]], None)


def test_a_hundred_thousand_rows_leave_the_scores_untouched() -> None:
    scores = np.full((100_000, 2), 0.5)
    scores[0] = 7.0
    bounded_loss("binary", np.ones(100_000), np.ones(100_000), scores, [0, 1])
    assert scores[0].tolist() == [7.0, 7.0]
