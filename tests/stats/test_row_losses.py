"""Row by row: expected losses add up to the estimate of the window, realised ones to scikit-learn's metrics."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from sklearn import metrics as sk

from afterfit.stats.expected import Binary, Estimate
from afterfit.stats.expected_loss import LossModel
from afterfit.stats.expected_multiclass import Multiclass
from afterfit.stats.row_losses import row_losses
from afterfit.stats.score_bins import Floats
from tests.stats.test_expected import COST, NAMES, three, world

COST_OF_THREE = [[0.0, 1.0, 2.0], [5.0, -2.0, 1.0], [3.0, 4.0, 0.0]]


def check_means(rows: Mapping[str, Floats], found: Estimate, unusable: list[int]) -> None:
    """The mean over the usable rows is the value, and the others are NaN."""
    for name, losses in rows.items():
        assert np.flatnonzero(np.isnan(losses)).tolist() == unusable
        assert np.nanmean(losses) == pytest.approx(found.metrics[name].value, rel=0.0, abs=1e-9), name


def test_two_classes() -> None:
    s, side, y = world(12_000)
    model = Binary.fit(s[:8000], side[:8000], y[:8000], cost=COST)
    t, mine, truth = s[8000:].copy(), side[8000:], y[8000:].copy()
    t[[0, 7]], truth[9] = [np.nan, 1.5], np.nan
    rows = model.expected_rows(t, mine)
    assert list(rows) == ["accuracy", "log_loss", "brier", "cost"]
    check_means(rows, model.estimate(t, mine), [0, 7])
    real = model.realised_rows(t, mine, truth)
    good = ~np.isnan(real["accuracy"])
    assert np.flatnonzero(~good).tolist() == [0, 7, 9]
    t, mine, truth = t[good], mine[good], truth[good]
    assert {name: losses[good].mean() for name, losses in real.items()} == pytest.approx(
        {
            "accuracy": sk.accuracy_score(truth, mine),
            "log_loss": sk.log_loss(truth, t),
            "brier": sk.brier_score_loss(truth, t),
            "cost": (sk.confusion_matrix(truth, mine) * COST).sum() / len(truth),
        }
    )
    assert list(Binary.fit(s, side, y).expected_rows(s, side)) == ["accuracy", "log_loss", "brier"]


def test_the_score_of_a_bin_moves_log_loss_and_brier_little() -> None:
    """The bin's typical score stands for each row's: less than 1e-4 of the mean, with p left as it is."""
    s, side, y = world(20_000, seed=3)
    model = Binary.fit(s, side, y)
    bins = model.grid.bins(s)
    p = model.calibration.p[side.astype(int), bins]
    exact = row_losses(np.stack([1 - p, p], axis=1), np.stack([1 - s, s], axis=1), side.astype(int), None)
    for name, losses in model.expected_rows(s, side).items():
        assert losses.mean() == pytest.approx(exact[name].mean(), rel=1e-4)


def test_three_classes() -> None:
    s, side, y = three(12_000)
    model = Multiclass.fit(NAMES, s[:8000], side[:8000], y[:8000], cost=COST_OF_THREE)
    t, mine, truth = s[8000:].copy(), side[8000:].copy(), y[8000:].copy()
    t[2], mine[5], truth[11] = np.nan, "d", "d"
    check_means(model.expected_rows(t, mine), model.estimate(t, mine), [2, 5])
    real = model.realised_rows(t, mine, truth)
    good = ~np.isnan(real["cost"])
    assert np.flatnonzero(~good).tolist() == [2, 5, 11]
    t, mine, truth = t[good], mine[good], truth[good]
    assert {name: losses[good].mean() for name, losses in real.items()} == pytest.approx(
        {
            "accuracy": sk.accuracy_score(truth, mine),
            "log_loss": sk.log_loss(truth, t, labels=NAMES),
            "brier": ((t - (truth[:, None] == np.array(NAMES))) ** 2).sum(axis=1).mean() / 2,
            "cost": (sk.confusion_matrix(truth, mine, labels=NAMES) * COST_OF_THREE).sum() / len(truth),
        }
    )


def test_a_number() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((6000, 2))
    outcome = x[:, 0] + x[:, 1] * rng.normal(size=6000)
    model = LossModel.fit(x[:4000, 0], outcome[:4000], x[:4000])
    given = x[4000:, 0].copy()
    given[3] = np.nan
    check_means(model.expected_rows(given, x[4000:]), model.estimate(given, x[4000:]), [3])
    with pytest.raises(ValueError, match="found 0 features"):
        model.expected_rows(given)


def test_rows_that_are_all_unusable() -> None:
    s, side, y = world(1000)
    rows = Binary.fit(s, side, y, cost=COST).expected_rows(np.full(4, np.nan), np.ones(4))
    assert all(np.isnan(losses).all() and losses.shape == (4,) for losses in rows.values())
