"""Expected performance: exact where it can be, right against scikit-learn on average, states instead of crashes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as sk

from afterfit.stats import sensitivity
from afterfit.stats.expected import BLIND, Binary, Estimate, unlike_variance
from afterfit.stats.expected_multiclass import Multiclass
from afterfit.stats.score_bins import Floats
from afterfit.stats.sensitivity import METRICS, Cells

COST = [[0.0, 1.0], [5.0, -2.0]]
NAMES = ["a", "b", "c"]


def world(n: int, seed: int = 0, power: float = 1.3, cut: float = 0.4) -> tuple[Floats, Floats, Floats]:
    """Scores that are not calibrated, predicted labels, outcomes."""
    rng = np.random.default_rng(seed)
    p = rng.beta(2.0, 3.0, n)
    s = p**power
    return s, (s > cut).astype(float), (rng.random(n) < p).astype(float)


def three(n: int, seed: int = 0) -> tuple[Floats, NDArray[Any], NDArray[Any]]:
    """Sharpened scores of three classes, predicted labels, outcomes."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet([1.0, 1.5, 0.7], n)
    truth = np.array(NAMES)[(rng.random((n, 1)) > p.cumsum(axis=1)).sum(axis=1)]
    s = p**1.5 / (p**1.5).sum(axis=1, keepdims=True)
    return s, np.array(NAMES)[s.argmax(axis=1)], truth


def realised(s: Floats, side: Floats, y: Floats) -> dict[str, float]:
    """The metrics by scikit-learn."""
    return {
        "accuracy": sk.accuracy_score(y, side),
        "precision": sk.precision_score(y, side),
        "recall": sk.recall_score(y, side),
        "f1": sk.f1_score(y, side),
        "roc_auc": sk.roc_auc_score(y, s),
        "average_precision": sk.average_precision_score(y, s),
        "log_loss": sk.log_loss(y, s),
        "brier": sk.brier_score_loss(y, s),
        "cost": float((sk.confusion_matrix(y, side) * COST).sum() / len(y)),
    }


def values(found: Estimate) -> dict[str, float]:
    return {m: e.value for m, e in found.metrics.items() if e.value is not None}


def test_on_its_own_reference_the_estimate_is_the_truth() -> None:
    s, side, y = world(100_000)
    model = Binary.fit(s, side, y, cost=COST)
    assert model.calibration.changed
    found = model.estimate(s, side)
    assert found.assumption == BLIND
    assert values(found) == pytest.approx(realised(s, side, y), abs=0.003)


def test_many_windows_have_no_bias() -> None:
    s, side, y = world(200_000)
    model = Binary.fit(s, side, y, cost=COST)
    gaps = []
    for seed in range(1, 101):
        s, side, y = world(2000, seed)
        real, found = realised(s, side, y), values(model.estimate(s, side))
        gaps.append([found[m] - real[m] for m in real])
    mean, error = np.mean(gaps, axis=0), np.std(gaps, axis=0, ddof=1) / 10.0
    # Four standard errors a metric, and the calibration's own error: 1 chance in 1000 for all nine (seeded anyway).
    assert np.all(np.abs(mean) < 4.0 * error + 0.002), mean


def test_bins_are_fine_enough() -> None:
    """With true probabilities, sums over bins and sums over rows differ by less than 1e-4, also for squeezed scores."""
    rng = np.random.default_rng(5)
    for s in (rng.random(50_000), rng.beta(0.3, 20.0, 50_000), 0.3 + 0.01 * rng.random(50_000)):
        p = np.clip(s, 0.0, 1.0) if s.max() - s.min() > 0.02 else (s - 0.3) * 100.0
        model = Binary.fit(s, s > np.median(s), rng.random(50_000) < p)
        bins = model.grid.bins(s)
        n = np.stack([np.zeros(len(model.grid)), np.bincount(bins, minlength=len(model.grid))])
        y = np.stack([np.zeros(len(model.grid)), np.bincount(bins, p, len(model.grid))])
        order = np.argsort(s)
        below = np.cumsum(1.0 - p[order]) - 0.5 * (1.0 - p[order])
        pairs, own = p.sum() * (1.0 - p).sum(), (p * (1.0 - p)).sum()
        exact = (p[order] @ below - 0.5 * own) / (pairs - own)
        found = sensitivity.roc_auc(Cells(n, y, model.grid.score))
        assert not isinstance(found, str)
        assert abs(found[0] - exact) < 1e-4
        top = p[order[::-1]]
        ranks = np.arange(1, len(p) + 1)
        precise = (top * (np.cumsum(top) - top + 1.0) / ranks).sum() / p.sum()
        found = sensitivity.average_precision(Cells(n, y, model.grid.score))
        assert not isinstance(found, str)
        # Rows of a bin count as ties: a row alone at the top is surer than one of twelve. Squeezed scores share few bins.
        assert abs(found[0] - precise) < (2e-3 if s.max() - s.min() < 0.02 else 1e-4 + 0.5 / p.sum())


@pytest.mark.parametrize("name", [*METRICS, "cost"])
def test_gradients_are_the_slopes_of_the_values(name: str) -> None:
    rng = np.random.default_rng(6)
    n = rng.integers(50, 200, (2, 12)).astype(float)
    y = n * rng.random((2, 12))
    score = np.linspace(0.05, 0.95, 12)

    def at(moved: Floats) -> tuple[float, Floats]:
        cells = Cells(n, moved, score)
        found = sensitivity.cost(cells, np.array(COST)) if name == "cost" else METRICS[name](cells)
        assert not isinstance(found, str)
        return found

    slope = at(y)[1]
    for place in [(0, 0), (0, 11), (1, 5), (1, 11)]:
        step = np.zeros_like(y)
        step[place] = 0.5
        numeric = at(y + step)[0] - at(y - step)[0]
        # Corrections for pairs of a row with itself are left out of the slopes: 1 part in 50 of cells this small.
        assert slope[place] == pytest.approx(numeric, rel=0.03, abs=2e-5)


def test_confusion_cells_add_up() -> None:
    s, side, y = world(20_000)
    model = Binary.fit(s, side, y)
    window = model.histogram(s[:5000], side[:5000])
    cells = model.cells(window)
    assert cells.sum() == pytest.approx(5000)
    assert cells.sum(axis=0) == pytest.approx([5000 - side[:5000].sum(), side[:5000].sum()])
    assert cells == pytest.approx(sk.confusion_matrix(y[:5000], side[:5000]), abs=120)


def test_histograms_of_parts_give_the_estimate_of_the_whole() -> None:
    s, side, y = world(20_000)
    model = Binary.fit(s, side, y)
    parts = model.histogram(s[:3000], side[:3000]) + model.histogram(s[3000:7000], side[3000:7000])
    assert model.estimate_histogram(parts) == model.estimate(s[:7000], side[:7000])


@pytest.mark.parametrize(
    ("score", "label", "undefined"),
    [
        (1e-6, 0.0, {"precision", "recall", "f1", "roc_auc", "average_precision"}),
        (1e-6, 1.0, {"recall", "f1", "roc_auc", "average_precision"}),
        (0.97, 1.0, {"roc_auc", "average_precision"}),
    ],
)
def test_a_window_of_one_class_is_a_state(score: float, label: float, undefined: set[str]) -> None:
    rng = np.random.default_rng(0)
    s = np.concatenate([np.full(5000, 1e-6), np.full(5000, 0.97), rng.random(5000)])
    y = np.concatenate([np.zeros(5000), np.ones(5000), rng.random(5000) < s[10_000:]])
    order = rng.permutation(15_000)
    model = Binary.fit(s[order], s[order] > 0.5, y[order])
    found = model.estimate(np.full(300, score), np.full(300, label)).metrics
    assert {m for m, e in found.items() if e.value is None} == undefined
    for e in found.values():
        assert bool(e.reason) == (e.value is None) == (e.low is None)


def test_an_empty_window_and_unusable_rows_are_states() -> None:
    s, side, y = world(5000)
    model = Binary.fit(s, side, y, cost=COST)
    none = model.estimate([], [])
    assert {e.reason for e in none.metrics.values()} == {"no usable row"}
    assert set(none.metrics) == {*METRICS, "cost"}
    some = model.estimate([*s[:1000], np.nan, 1.2, 0.5], [*side[:1000], 1.0, 0.0, 7.0])
    assert (some.rows, some.unusable) == (1000, 3)
    assert some.metrics == model.estimate(s[:1000], side[:1000]).metrics


def test_what_cannot_be_learned_from_is_refused() -> None:
    s, side, y = world(1000)
    with pytest.raises(ValueError, match="of two classes"):
        Binary.fit(s, side, np.zeros(1000))
    with pytest.raises(ValueError, match="100 usable reference rows"):
        Binary.fit(s[:100], side[:100], y[:100])
    with pytest.raises(ValueError, match="shapes differ"):
        Binary.fit(s, side[:-1], y)
    with pytest.raises(ValueError, match="shapes differ"):
        Binary.fit(s, side, y).histogram(s, side[:-1])
    with pytest.raises(ValueError, match="level"):
        Binary.fit(s, side, y).estimate(s, side, level=1.0)


def test_intervals_follow_level_rows_and_reference() -> None:
    s, side, y = world(20_000)
    large, small = Binary.fit(s, side, y), Binary.fit(s[:1000], side[:1000], y[:1000])

    def width(model: Binary, rows: int, level: float = 0.95) -> float:
        e = model.estimate(s[:rows], side[:rows], level).metrics["roc_auc"]
        assert e.low is not None
        assert e.high is not None
        return e.high - e.low

    assert width(large, 1000) < width(large, 1000, 0.99)
    assert width(large, 5000) < width(large, 1000)
    assert width(large, 5000) < width(small, 5000)


def test_weights_change_what_is_learned() -> None:
    rng = np.random.default_rng(2)
    s, group = rng.random(20_000), rng.random(20_000) < 0.5
    y = rng.random(20_000) < np.where(group, s, s**3)
    plain = Binary.fit(s, s > 0.5, y).estimate(s, s > 0.5).metrics["accuracy"].value
    weighted = Binary.fit(s, s > 0.5, y, weights=np.where(group, 2.0, 0.0)).estimate(s, s > 0.5).metrics["accuracy"]
    assert weighted.value == pytest.approx(float((y == (s > 0.5))[group].mean()), abs=0.01)
    assert plain != pytest.approx(weighted.value, abs=0.01)


def test_blocks_that_differ_widen_the_interval() -> None:
    rng = np.random.default_rng(3)
    s = rng.random(40_000)
    days = np.repeat(rng.normal(0.0, 0.5, 20), 2000)
    odds = np.log(s / (1.0 - s))
    calm = Binary.fit(s, s > 0.5, rng.random(40_000) < s)
    wild = Binary.fit(s, s > 0.5, rng.random(40_000) < 1.0 / (1.0 + np.exp(-odds - days)))
    assert calm.unlike["brier"] == 0.0
    assert wild.unlike["precision"] > 0.0
    a, b = (m.estimate(s[:2000], s[:2000] > 0.5).metrics["precision"] for m in (calm, wild))
    assert a.low is not None
    assert b.low is not None
    assert a.high is not None
    assert b.high is not None
    assert b.high - b.low > 1.5 * (a.high - a.low)
    assert unlike_variance(np.array([9.0]), np.array([1.0])) == 0.0


def test_multiclass_on_its_own_reference() -> None:
    s, side, y = three(60_000)
    price = [[0.0, 1.0, 2.0], [3.0, 0.0, 1.0], [4.0, 2.0, -1.0]]
    model = Multiclass.fit(NAMES, s, side, y, cost=price)
    cells = sk.confusion_matrix(y, side, labels=NAMES)
    assert model.cells(s, side) == pytest.approx(cells, abs=250)
    one_hot = y[:, None] == np.array(NAMES)
    real = {
        "accuracy": sk.accuracy_score(y, side),
        "precision": sk.precision_score(y, side, average="macro"),
        "recall": sk.recall_score(y, side, average="macro"),
        "f1": sk.f1_score(y, side, average="macro"),
        "roc_auc": sk.roc_auc_score(y, s, multi_class="ovr", labels=NAMES),
        "average_precision": sk.average_precision_score(one_hot, s, average="macro"),
        "log_loss": sk.log_loss(y, s, labels=NAMES),
        "brier": float(((s - one_hot) ** 2).sum(axis=1).mean() / 2.0),
        "cost": float((cells * price).sum() / len(y)),
    }
    assert values(model.estimate(s, side)) == pytest.approx(real, abs=0.005)


def test_multiclass_follows_the_order_it_is_told() -> None:
    """The trap of NannyML #346: columns in another order than the sorted labels."""
    s, side, y = three(5000)
    order = [2, 0, 1]
    plain = Multiclass.fit(NAMES, s, side, y)
    turned = Multiclass.fit([NAMES[k] for k in order], s[:, order], side, y)
    a, b = values(plain.estimate(s[:900], side[:900])), values(turned.estimate(s[:900][:, order], side[:900]))
    assert a == pytest.approx(b)
    wrong = values(Multiclass.fit([NAMES[k] for k in order], s, side, y).estimate(s[:900], side[:900]))
    assert wrong["roc_auc"] < a["roc_auc"] - 0.1
    with pytest.raises(ValueError, match="one column a label"):
        Multiclass.fit(NAMES, s[:, :2], side, y)


def test_two_classes_are_the_binary_case() -> None:
    s, side, y = world(20_000)
    binary = Binary.fit(s, side, y).estimate(s[:2000], side[:2000]).metrics
    both = Multiclass.fit([0.0, 1.0], np.stack([1.0 - s, s], axis=1), side, y)
    many = both.estimate(np.stack([1.0 - s, s], axis=1)[:2000], side[:2000]).metrics
    for name in ("accuracy", "roc_auc", "log_loss", "brier"):
        one, other = binary[name], many[name]
        assert one.value is not None
        assert one.low is not None
        assert other.value is not None
        assert other.low is not None
        assert other.value == pytest.approx(one.value, abs=1e-3)
        assert other.value - other.low == pytest.approx(one.value - one.low, rel=0.2)


def test_multiclass_states_and_refusals() -> None:
    s, side, y = three(3000)
    model = Multiclass.fit(NAMES, s, side, y)
    found = model.estimate(s[side == "a"], side[side == "a"]).metrics
    assert found["precision"].value is None
    assert "'b': no row is predicted" in found["precision"].reason
    assert found["accuracy"].value is not None
    assert {e.reason for e in model.estimate(np.zeros((0, 3)), []).metrics.values()} == {"no usable row"}
    mixed = model.estimate(np.vstack([s[:500], [[0.5, 0.2, 0.1]], s[:1]]), [*side[:500], "a", "unknown"])
    assert (mixed.rows, mixed.unusable) == (500, 2)
    with pytest.raises(ValueError, match="some of each class"):
        Multiclass.fit(NAMES, s, side, np.full(3000, "a"))
    with pytest.raises(ValueError, match="different ones"):
        Multiclass.fit(["a", "a", "b"], s, side, y)
    with pytest.raises(ValueError, match="weights have shape"):
        Multiclass.fit(NAMES, s, side, y, weights=[1.0])
    with pytest.raises(ValueError, match="level"):
        model.estimate(s, side, level=0.0)
