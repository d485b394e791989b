"""Error of a regression before outcomes are known: a model of the loss itself, learned from a reference.

Rows with alike absolute errors share a leaf of a tree over the prediction and the features; a window is how many of its
rows fall into each. It is blind to concept drift: a leaf is taken to be as hard as it was in the reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from afterfit.stats.calibration import BLOCKS
from afterfit.stats.expected import Estimate, Expected, Parts, unlike_variance
from afterfit.stats.loss_tree import Tree
from afterfit.stats.row_losses import scattered
from afterfit.stats.score_bins import Floats, Ints

FEWEST_ROWS = 200
LEAF_ROWS = 100  # reference rows that a leaf has at least
MOST_LEAVES = 500


@dataclass(frozen=True, slots=True)
class LossModel:
    """Estimator of MAE and RMSE learned from reference rows with outcomes. Blind to concept drift."""

    tree: Tree
    means: Floats  # (n_leaves, 4): mean |e|, e^2, and the variances of both
    left_out: Floats  # (n_blocks, n_leaves, 2): mean |e| and e^2 without each block of the reference
    unlike: Mapping[str, float]  # variance of a block's mean |e| and e^2 that chance does not explain

    @classmethod
    def fit(cls, prediction: ArrayLike, outcome: ArrayLike, features: ArrayLike | None = None) -> Self:
        """Learn from a reference in time order.

        Args:
            prediction: shape (n_rows,).
            outcome: shape (n_rows,), same unit.
            features: numbers, shape (n_rows, n_features), NaN where missing; None: the prediction alone.

        Rows whose prediction or outcome is not finite are left out.

        Raises:
            ValueError: shapes differ; fewer than 200 usable rows.

        References:
            NannyML's direct loss estimation (DLE), there with boosted trees; Quenouille (1956) for the jackknife.

        >>> rng = np.random.default_rng(0)
        >>> x = rng.random(4000)
        >>> model = LossModel.fit(x, x + x * rng.normal(size=4000))
        >>> easy, hard = (model.estimate(x[part]).metrics["mae"] for part in (x < 0.5, x >= 0.5))
        >>> bool(easy.low < 0.25 * 0.798 < easy.high < hard.low < 0.75 * 0.798 < hard.high)
        True
        """
        x, truth = _columns(prediction, features), np.asarray(outcome, dtype=float)
        if truth.shape != (len(x),):
            raise ValueError(f"outcome has shape {truth.shape}, wanted {(len(x),)}")
        fine = np.isfinite(x[:, 0]) & np.isfinite(truth)
        x, error = x[fine], np.abs(truth[fine] - x[fine, 0])
        if len(x) < FEWEST_ROWS:
            raise ValueError(f"{len(x)} usable reference rows, wanted {FEWEST_ROWS}")
        tree = Tree.grow(x, error, max(LEAF_ROWS, len(x) // MOST_LEAVES))
        leaf = tree.leaf(x)
        powers = np.stack([np.ones(len(x)), error, error**2, error**4])
        blocks = int(np.clip(len(x) // 100, 2, BLOCKS))
        edges = np.arange(blocks + 1) * len(x) // blocks
        parts = [slice(edges[b], edges[b + 1]) for b in range(blocks)]
        # (n_blocks, 4, n_leaves)
        sums = np.array([[np.bincount(leaf[part], p[part], tree.leaves) for p in powers] for part in parts])
        total = sums.sum(axis=0)
        first, second, fourth = total[1:] / total[0]
        means = np.stack([first, second, second - first**2, fourth - second**2], axis=1)
        others = np.maximum(total[0] - sums[:, 0], 1.0)
        left_out = np.stack([(total[i] - sums[:, i]) / others for i in (1, 2)], axis=2)
        alone = (total[0] - sums[:, 0]) < 0.5  # a leaf seen in one block only keeps its mean
        left_out[alone] = np.broadcast_to(means[:, :2], left_out.shape)[alone]
        return cls(tree, means, left_out, _unlike(sums, left_out, means))

    def histogram(self, prediction: ArrayLike, features: ArrayLike | None = None) -> Floats:
        """Rows in each leaf, shape (n_leaves,). Histograms of parts add up to that of the whole.

        Args:
            prediction, features: as in :meth:`fit`; rows without a finite prediction are left out.

        Raises:
            ValueError: not the features of the reference.
        """
        leaf, _ = self._leaves(prediction, features)
        return np.bincount(leaf, minlength=self.tree.leaves).astype(float)

    def estimate(self, prediction: ArrayLike, features: ArrayLike | None = None, level: float = 0.95) -> Estimate:
        """Expected `mae` and `rmse` of a window, in the unit of the outcome, with intervals for what it will turn out.

        Args:
            prediction, features: as in :meth:`fit`.
            level: nominal coverage, in (0, 1).
        """
        if not 0.0 < level < 1.0:
            raise ValueError(f"level must lie in (0, 1), found {level}")
        counts, given = self.histogram(prediction, features), np.size(prediction)
        n = int(counts.sum())
        if not n:
            return Estimate(0, given, {m: Expected(m, None, None, None, "no usable row") for m in ("mae", "rmse")})
        share = counts / n
        mean = share @ self.means
        moved = np.einsum("bjt,j->bt", self.left_out, share)
        blocks = len(moved)
        learned = ((moved - moved.mean(axis=0)) ** 2).sum(axis=0) * (blocks - 1) / blocks
        slope = 0.25 / mean[1] if mean[1] > 0.0 else 0.0  # (d root / d square)^2
        mae = Parts(float(mean[0]), float(mean[2]) / n, float(learned[0]), self.unlike["mae"])
        rmse = Parts(
            float(np.sqrt(mean[1])), slope * float(mean[3]) / n, slope * float(learned[1]), slope * self.unlike["mse"]
        )
        found = {"mae": mae.expected("mae", level, blocks), "rmse": rmse.expected("rmse", level, blocks)}
        return Estimate(n, given - n, found)

    def expected_rows(self, prediction: ArrayLike, features: ArrayLike | None = None) -> dict[str, Floats]:
        """Expected absolute error `mae` of each row: that of its leaf. Its mean over rows is the value of :meth:`estimate`.

        Args:
            prediction, features: as in :meth:`fit`.

        Returns:
            One array of shape (n_rows,), NaN for rows without a finite prediction.
        """
        leaf, fine = self._leaves(prediction, features)
        return scattered({"mae": self.means[leaf, 0]}, fine)

    def _leaves(self, prediction: ArrayLike, features: ArrayLike | None) -> tuple[Ints, NDArray[np.bool_]]:
        """Leaf of each usable row, and which of all rows they are."""
        x, wanted = _columns(prediction, features), len(self.tree.edges)
        if x.shape[1] != wanted:
            raise ValueError(f"found {x.shape[1] - 1} features, the reference had {wanted - 1}")
        fine = np.isfinite(x[:, 0])
        return self.tree.leaf(x[fine]), fine


def _columns(prediction: ArrayLike, features: ArrayLike | None) -> Floats:
    """Prediction and features side by side, shape (n_rows, 1 + n_features)."""
    x = np.asarray(prediction, dtype=float)
    if x.ndim != 1:
        raise ValueError(f"prediction has shape {x.shape}, wanted (n_rows,)")
    if features is None:
        return x[:, None]
    more = np.asarray(features, dtype=float)
    if more.ndim != 2 or len(more) != len(x):
        raise ValueError(f"features have shape {more.shape}, wanted ({len(x)}, n_features)")
    return np.hstack([x[:, None], more])


def _unlike(sums: Floats, left_out: Floats, means: Floats) -> dict[str, float]:
    """Variance of a block's mean loss beyond chance, each block against the leaves learned without it."""
    rows = sums[:, 0].sum(axis=1)
    share = sums[:, 0] / rows[:, None]
    expected = np.einsum("bj,bjt->bt", share, left_out)
    real = sums[:, 1:3].sum(axis=2) / rows[:, None]
    chance = share @ means[:, 2:] / rows[:, None] * len(sums) / (len(sums) - 1)
    return {name: unlike_variance(real[:, t] - expected[:, t], chance[:, t]) for t, name in enumerate(("mae", "mse"))}
