"""Expected error of a regression: finds what makes rows hard, follows the mix of rows, says how sure it is."""

from __future__ import annotations

import numpy as np
import pytest

from afterfit.stats.expected_loss import LossModel
from afterfit.stats.loss_tree import Tree
from afterfit.stats.score_bins import Floats


def world(n: int, seed: int, hard: float = 0.5) -> tuple[Floats, Floats, Floats]:
    """Prediction, outcome, features: rows are hard when both features are high, which is an interaction."""
    rng = np.random.default_rng(seed)
    x = rng.random((n, 3))
    x[:, 0] = np.where(rng.random(n) < hard, 0.5, 0.0) + 0.5 * x[:, 0]
    prediction = 10.0 * rng.random(n)
    scale = 1.0 + 3.0 * ((x[:, 0] > 0.5) & (x[:, 1] > 0.5)) + 0.2 * prediction
    return prediction, prediction + scale * rng.normal(size=n), x


def test_a_window_of_other_rows_is_followed() -> None:
    model = LossModel.fit(*world(30_000, 0))
    alone = LossModel.fit(*world(30_000, 0)[:2])
    prediction, outcome, x = world(5000, 1, hard=0.95)
    error = np.abs(prediction - outcome)
    found = model.estimate(prediction, x)
    assert (found.rows, found.unusable) == (5000, 0)
    for name, real in (("mae", error.mean()), ("rmse", np.sqrt((error**2).mean()))):
        e = found.metrics[name]
        assert e.low is not None
        assert e.high is not None
        assert e.low < real < e.high
        assert e.high - e.low < 0.12 * real
        blind = alone.estimate(prediction).metrics[name]
        assert blind.high is not None
        assert blind.high < real  # the prediction alone does not know why


def test_on_its_own_reference_the_estimate_is_the_truth() -> None:
    prediction, outcome, x = world(10_000, 2)
    found = LossModel.fit(prediction, outcome, x).estimate(prediction, x).metrics
    error = np.abs(prediction - outcome)
    assert found["mae"].value == pytest.approx(error.mean())
    assert found["rmse"].value == pytest.approx(np.sqrt((error**2).mean()))


def test_histograms_add_up_and_missing_features_have_a_place() -> None:
    prediction, outcome, x = world(10_000, 3)
    x[::3, 1] = np.nan
    model = LossModel.fit(prediction, outcome, x)
    whole = model.histogram(prediction, x)
    assert whole.sum() == 10_000
    assert np.array_equal(
        whole, model.histogram(prediction[:4000], x[:4000]) + model.histogram(prediction[4000:], x[4000:])
    )


def test_states_and_refusals() -> None:
    prediction, outcome, x = world(1000, 4)
    model = LossModel.fit(prediction, outcome, x)
    none = model.estimate([np.nan], [[0.0, 0.0, 0.0]])
    assert (none.rows, none.unusable) == (0, 1)
    assert none.metrics["mae"].reason == "no usable row"
    assert model.estimate([1.0, np.nan], np.zeros((2, 3))).unusable == 1
    perfect = LossModel.fit(prediction, prediction).estimate(prediction).metrics
    assert (perfect["rmse"].value, perfect["rmse"].low, perfect["rmse"].high) == (0.0, 0.0, 0.0)
    for bad, message in [
        ((prediction, outcome[:-1]), "outcome has shape"),
        ((prediction[:100], outcome[:100]), "100 usable reference rows"),
        ((prediction, outcome, x[:, 0]), "features have shape"),
        ((x, outcome), "prediction has shape"),
    ]:
        with pytest.raises(ValueError, match=message):
            LossModel.fit(*bad)
    with pytest.raises(ValueError, match="the reference had 3"):
        model.estimate(prediction)
    with pytest.raises(ValueError, match="level"):
        model.estimate(prediction, x, level=2.0)


def test_intervals_follow_level_and_rows() -> None:
    prediction, outcome, x = world(10_000, 5)
    model = LossModel.fit(prediction, outcome, x)

    def width(n: int, level: float) -> float:
        e = model.estimate(prediction[:n], x[:n], level).metrics["mae"]
        assert e.low is not None
        assert e.high is not None
        return e.high - e.low

    assert width(500, 0.95) < width(500, 0.99)
    assert width(5000, 0.95) < 0.6 * width(500, 0.95)


def test_blocks_that_differ_widen_the_interval() -> None:
    rng = np.random.default_rng(6)
    calm, wild = rng.normal(size=20_000), rng.normal(size=20_000) * np.repeat(rng.uniform(0.5, 1.5, 20), 1000)
    zero = np.zeros(20_000)
    assert LossModel.fit(zero, calm).unlike["mae"] == 0.0
    assert LossModel.fit(zero, wild).unlike["mae"] == pytest.approx((0.798 * 0.289) ** 2, rel=0.6)


def test_a_tree_does_not_split_noise_and_keeps_its_leaves_large() -> None:
    rng = np.random.default_rng(7)
    x = rng.random((20_000, 5))
    assert Tree.grow(x, rng.exponential(size=20_000), 100).leaves <= 3
    tree = Tree.grow(x, x[:, 0] + rng.random(20_000), 400)
    assert tree.leaves > 5
    assert np.bincount(tree.leaf(x), minlength=tree.leaves).min() >= 400
    assert Tree.grow(x, x[:, 0], 10_001).leaves == 1
    assert Tree.grow(np.full((500, 1), np.nan), np.arange(500.0), 10).leaves == 1
