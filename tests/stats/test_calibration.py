"""Calibration: the curve is right, is taken only when it helps, and is less optimistic than plain pooling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from afterfit.stats import calibration
from afterfit.stats.calibration import calibrate, calibration_error, curve, isotonic, says_more
from afterfit.stats.expected import tally
from afterfit.stats.score_bins import CODES, Floats, Grid, code, usable


def reference(n: int, power: float, seed: int = 0) -> tuple[Grid, Floats, Floats]:
    """Blocks of a reference whose scores are the true probability to some power."""
    rng = np.random.default_rng(seed)
    p = rng.random(n)
    s = p**power
    grid = Grid.of(s)
    return grid, *tally(grid.bins(s), s > 0.5, rng.random(n) < p, None, len(grid))


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=60))
def test_codes_and_bins_keep_the_order(values: list[float]) -> None:
    x = np.sort(np.array(values))
    codes = code(x)
    assert codes.min() >= 0
    assert codes.max() < CODES
    assert np.all(np.diff(codes) >= 0)
    grid = Grid.of(x)
    assert np.all(np.diff(grid.bins(x)) >= 0)
    assert np.all(np.diff(grid.score) >= -1e-15)
    # A bin's typical score is near to the scores in it.
    assert np.all(np.abs(grid.score[grid.bins(x)] - x) <= 1e-15 + np.minimum(x, 1 - x) / 15)


def test_a_bin_holds_about_its_share_of_the_reference() -> None:
    x = np.random.default_rng(0).beta(0.2, 30.0, 200_000)  # nearly all scores below 0.05
    mass = np.bincount(Grid.of(x).bins(x)) / len(x)
    assert mass[1:].max() < 2 / 4096  # the first bin holds what is below 1e-15
    assert len(Grid.of(x, bins=64)) < len(Grid.of(x, bins=4096))


def test_few_values_keep_a_bin_each_and_new_scores_find_one() -> None:
    grid = Grid.of(np.round(np.random.default_rng(0).random(5000), 2))
    assert len(np.unique(grid.bins(np.arange(101) / 100))) == 101
    assert grid.bins([0.0, 1.0]).tolist() == [0, len(grid) - 1]


@pytest.mark.parametrize("scores", [[], [np.nan], [1.1], [-0.1]])
def test_a_grid_refuses_what_is_no_score(scores: list[float]) -> None:
    with pytest.raises(ValueError, match="in \\[0, 1\\]"):
        Grid.of(scores)
    assert not usable(scores).any()


def test_a_grid_has_a_sensible_number_of_bins() -> None:
    with pytest.raises(ValueError, match="between 1 and 50000"):
        Grid.of([0.5], bins=0)


def test_without_the_pull_it_is_isotonic_regression(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "PULL", 0.0)
    rng = np.random.default_rng(1)
    n = rng.integers(1, 20, 300).astype(float)
    y = rng.binomial(n.astype(int), np.linspace(0.1, 0.9, 300)).astype(float)
    theirs = IsotonicRegression().fit_transform(np.arange(300.0), y / n, sample_weight=n)
    assert isotonic(n, y) == pytest.approx(theirs)


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0.0, 1.0)), min_size=1, max_size=40))
def test_the_curve_rises_within_0_and_1_and_keeps_the_total(cells: list[tuple[int, float]]) -> None:
    n = np.array([c[0] for c in cells], dtype=float)
    y = np.round(n * [c[1] for c in cells])
    if not n.any():
        with pytest.raises(ValueError, match="no bin has a row"):
            isotonic(n, y)
        return
    p = isotonic(n, y)
    assert np.all(np.diff(p) >= -1e-12)
    assert p.min() >= 0.0
    assert p.max() <= 1.0


def test_calibration_is_taken_only_where_it_helps() -> None:
    grid, rows, positives = reference(20_000, 2.0)
    learned = calibrate(rows, positives, grid.score)
    assert learned.changed
    assert learned.error_after < learned.error_before / 5
    assert np.abs(learned.p[0] - np.sqrt(grid.score))[grid.score > 0.1].max() < 0.12
    fine = 0
    for seed in range(20):
        grid, rows, positives = reference(2000, 1.0, seed)
        learned = calibrate(rows, positives, grid.score)
        assert learned.changed == (learned.error_after < learned.error_before)
        if not learned.changed:
            fine += 1
            assert np.array_equal(learned.p[1], grid.score)
            assert (learned.spread != 0.0).any()  # being calibrated is an observation, not a certainty
    assert fine >= 5


def test_each_block_is_judged_by_a_curve_that_never_saw_it() -> None:
    grid, rows, positives = reference(4000, 1.0)
    twisted = positives.copy()
    twisted[0] = rows[0] - positives[0]
    before, after = (calibrate(rows, y, grid.score) for y in (positives, twisted))
    assert np.array_equal(before.left_out[0], after.left_out[0])
    assert not np.array_equal(before.left_out[1], after.left_out[1])


def test_the_pull_takes_optimism_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spread of the curve about the truth's, over 40 references: mean excess of sum n (p - mean)^2, plain and pulled."""
    excess = {}
    for pull in (0.0, calibration.PULL):
        monkeypatch.setattr(calibration, "PULL", pull)
        found = []
        for seed in range(40):
            grid, rows, positives = reference(5000, 1.0, seed)
            n = rows.sum(axis=(0, 1))
            p = isotonic(n, positives.sum(axis=(0, 1)))
            truth = grid.score
            found.append(np.cov(p, aweights=n, fweights=None) - np.cov(truth, aweights=n, fweights=None))
        excess[pull] = float(np.mean(found))
    assert excess[0.0] > 0.0005
    assert abs(excess[calibration.PULL]) < 0.7 * excess[0.0]


def test_sides_get_curves_of_their_own_only_if_the_label_says_more() -> None:
    grid, rows, positives = reference(20_000, 1.0)
    assert not says_more(rows.sum(axis=0))
    learned = calibrate(rows, positives, grid.score)
    assert np.array_equal(learned.p[0], learned.p[1])
    rng = np.random.default_rng(3)
    s, side = rng.random(20_000), rng.random(20_000) < 0.5
    truth = rng.random(20_000) < np.where(side, 0.8, 0.2)
    grid = Grid.of(s)
    rows, positives = tally(grid.bins(s), side, truth, None, len(grid))
    assert says_more(rows.sum(axis=0))
    p = calibrate(rows, positives, grid.score).p
    assert (np.average(p[0], weights=rows[:, 0].sum(axis=0)), np.average(p[1], weights=rows[:, 1].sum(axis=0))) == (
        pytest.approx(0.2, abs=0.02),
        pytest.approx(0.8, abs=0.02),
    )


def test_a_side_with_few_rows_shares_the_curve() -> None:
    rows = np.array([[500.0, 500.0], [40.0, 40.0]])
    found = curve(rows, rows * [[0.2, 0.4], [0.9, 0.9]], by_side=True)
    assert np.array_equal(found[1], isotonic(rows.sum(axis=0), (rows * [[0.2, 0.4], [0.9, 0.9]]).sum(axis=0)))
    assert not np.array_equal(found[0], found[1])


def test_the_error_of_calibration_depends_on_its_bins() -> None:
    n = np.full(100, 10.0)
    p = np.linspace(0.0, 1.0, 100)
    y = n * np.clip(p + np.where(np.arange(100) % 2, 0.1, -0.1), 0.0, 1.0)
    assert calibration_error(n, y, p, bins=100) > 5 * calibration_error(n, y, p, bins=10)


def test_one_block_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        calibrate(np.ones((1, 2, 3)), np.ones((1, 2, 3)), np.array([0.1, 0.5, 0.9]))
