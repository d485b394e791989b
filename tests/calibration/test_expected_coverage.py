"""Intervals of label-free estimates hold what windows turn out to be: 95 % nominal, simulated with seeds.

Each history draws a reference and a window of its own, so that the answers are independent. True coverage is wanted in
[0.90, 0.99]. The bounds are exact binomial ones: a metric of true coverage 0.93 falls below the lower bound, and one of
0.985 rises above the upper one (where there is room for one), with a chance of at most 1e-3 each. There are 25 metrics
below: an unlucky seed would fail this file with a chance below 5 %, and the seeds are fixed.
"""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy.stats import binom
from sklearn import metrics as sk

from afterfit.stats.expected import Binary, Estimate
from afterfit.stats.expected_loss import LossModel
from afterfit.stats.expected_multiclass import Multiclass

COST = [[0.0, 1.0], [5.0, 0.0]]


def count(held: dict[str, int], found: Estimate, real: dict[str, float]) -> None:
    """Add one to each metric whose interval holds the truth."""
    for name, truth in real.items():
        e = found.metrics[name]
        assert e.low is not None
        assert e.high is not None
        held[name] = held.get(name, 0) + int(e.low <= truth <= e.high)


def check(held: dict[str, int], n: int) -> None:
    """Every metric was covered about as often as promised."""
    least, most = binom.isf(1 - 1e-3, n, 0.93), binom.isf(1e-3, n, 0.985)
    sys.stdout.write(f"{n} histories: { ({name: k / n for name, k in held.items()}) }\n")
    assert {name: k / n for name, k in held.items() if not least <= k <= most} == {}


@pytest.mark.parametrize(
    ("reference", "window", "power", "shift"),
    [(3000, 3000, 1.5, 0.0), (5000, 1000, 1.0, 0.5)],
    ids=["a small reference", "calibrated scores, shifted window"],
)
def test_binary_intervals_cover(reference: int, window: int, power: float, shift: float) -> None:
    held: dict[str, int] = {}
    for seed in range(200):
        rng = np.random.default_rng([1, seed])
        p = np.concatenate([rng.beta(2.0, 3.0, reference), rng.beta(2.0 + shift, 3.0, window)])
        s, y = p**power, (rng.random(len(p)) < p).astype(int)
        side = (s > 0.4).astype(int)
        found = Binary.fit(s[:reference], side[:reference], y[:reference], cost=COST).estimate(
            s[reference:], side[reference:]
        )
        t, mine, truth = s[reference:], side[reference:], y[reference:]
        cells = sk.confusion_matrix(truth, mine)
        real = {
            "accuracy": (cells[0, 0] + cells[1, 1]) / window,
            "precision": cells[1, 1] / cells[:, 1].sum(),
            "recall": cells[1, 1] / cells[1].sum(),
            "f1": 2 * cells[1, 1] / (cells[:, 1].sum() + cells[1].sum()),
            "roc_auc": sk.roc_auc_score(truth, t),
            "average_precision": sk.average_precision_score(truth, t),
            "log_loss": -np.log(np.where(truth == 1, t, 1.0 - t)).mean(),
            "brier": ((truth - t) ** 2).mean(),
            "cost": (cells * COST).sum() / window,
        }
        count(held, found, real)
    check(held, 200)


def test_multiclass_intervals_cover() -> None:
    held: dict[str, int] = {}
    for seed in range(80):
        rng = np.random.default_rng([2, seed])
        p = rng.dirichlet([1.0, 1.5, 0.7], 5000)
        y = (rng.random((5000, 1)) > p.cumsum(axis=1)).sum(axis=1)
        s = p**1.4 / (p**1.4).sum(axis=1, keepdims=True)
        side = s.argmax(axis=1)
        found = Multiclass.fit([0, 1, 2], s[:4000], side[:4000], y[:4000]).estimate(s[4000:], side[4000:])
        t, mine, truth = s[4000:], side[4000:], y[4000:]
        real = {
            "accuracy": (mine == truth).mean(),
            "f1": sk.f1_score(truth, mine, average="macro"),
            "roc_auc": np.mean([sk.roc_auc_score(truth == k, t[:, k]) for k in range(3)]),
            "log_loss": -np.log(t[np.arange(1000), truth]).mean(),
            "brier": ((t - np.eye(3)[truth]) ** 2).sum(axis=1).mean() / 2.0,
        }
        count(held, found, real)
    check(held, 80)


def test_regression_intervals_cover() -> None:
    held: dict[str, int] = {}
    for seed in range(250):
        rng = np.random.default_rng([3, seed])
        x = rng.random(6000)
        x[5000:] **= 0.7  # the window has more of the hard rows
        outcome = x + (0.2 + x) * rng.normal(size=6000)
        found = LossModel.fit(x[:5000], outcome[:5000]).estimate(x[5000:])
        error = np.abs(x - outcome)[5000:]
        count(held, found, {"mae": error.mean(), "rmse": float(np.sqrt((error**2).mean()))})
    check(held, 250)
