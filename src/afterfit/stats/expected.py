"""Performance of a binary classifier before outcomes are known: expected confusion cells, each metric with an interval.

It is blind to concept drift: when the same score comes to mean another probability, the estimate does not move.
`audit` finds that out once outcomes mature; `density_ratio` helps when only the mix of rows has changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtri, stdtrit

from afterfit.stats import sensitivity
from afterfit.stats.calibration import BLOCKS, Calibration, calibrate
from afterfit.stats.row_losses import row_losses, scattered
from afterfit.stats.score_bins import Floats, Grid, Ints, usable
from afterfit.stats.sensitivity import METRICS, Cells, costs, limits

BLIND = "assumes that a score means what it meant in the reference: blind to concept drift"
FEWEST_ROWS = 200  # reference rows
UNLIKE = 0.05  # blocks of the reference that are less alike than in this share of like references widen the interval


@dataclass(frozen=True, slots=True)
class Expected:
    """One metric of a window. `value`, `low`, `high` are None when it is undefined, and `reason` says why."""

    metric: str
    value: float | None
    low: float | None
    high: float | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Estimate:
    """All metrics of a window of `rows` usable rows; `unusable` ones had no probability as score or no known label."""

    rows: int
    unusable: int
    metrics: Mapping[str, Expected]
    assumption: str = BLIND


@dataclass(frozen=True, slots=True)
class Parts:
    """A metric and the three parts of its variance: outcomes of the window, calibration, and blocks being unlike."""

    value: float
    sampling: float
    calibration: float
    unlike: float

    def expected(self, metric: str, level: float, blocks: int) -> Expected:
        """Interval for the metric that will be realised on this window, with Satterthwaite's degrees of freedom."""
        learned = self.calibration + self.unlike
        total = self.sampling + learned
        freedom = (blocks - 1) * (total / learned) ** 2 if learned > 0.0 else 1e9
        reach = float(stdtrit(min(freedom, 1e9), 0.5 + level / 2.0)) * float(np.sqrt(total))
        lowest, highest = limits(metric)
        return Expected(metric, self.value, max(self.value - reach, lowest), min(self.value + reach, highest))


@dataclass(frozen=True, slots=True)
class Binary:
    """Estimator learned from reference rows with outcomes. Blind to concept drift."""

    grid: Grid
    calibration: Calibration
    unlike: Mapping[str, float]  # variance between blocks of the reference that chance does not explain, by metric
    cost: Floats | None = None

    @classmethod
    def fit(
        cls, scores: ArrayLike, predicted: ArrayLike, outcome: ArrayLike, *,
        weights: ArrayLike | None = None, cost: Sequence[Sequence[float]] | None = None,
    ) -> Self:  # fmt: skip
        """Learn from a reference.

        Args:
            scores: probability of the positive class as served, in [0, 1], shape (n_rows,), in time order.
            predicted: 1 (or True) where the positive class was predicted, else 0, shape (n_rows,).
            outcome: 1 (or True) where it came true, else 0, shape (n_rows,).
            weights: non-negative weight of each row (see `density_ratio`), shape (n_rows,); None: all 1.
            cost: cost[true][predicted] of one row, 2 by 2; adds the metric `cost`.

        Rows whose score, prediction or outcome cannot be used are left out.

        Raises:
            ValueError: shapes differ; fewer than 200 usable rows; one class only among the outcomes; no such matrix of costs.

        References:
            NannyML's confidence-based performance estimation (CBPE) for the expected cells; Quenouille (1956) and
            Shao and Wu (1989) for the delete-a-block jackknife of the calibration.

        >>> rng = np.random.default_rng(0)
        >>> s = rng.random(4000)
        >>> model = Binary.fit(s, s > 0.5, rng.random(4000) < s)
        >>> found = model.estimate(s[:1000], s[:1000] > 0.5).metrics["accuracy"]
        >>> 0.7 < found.low < 0.75 < found.high < 0.8
        True
        """
        x, side, truth = (np.asarray(a, dtype=float) for a in (scores, predicted, outcome))
        weight = np.ones(len(x)) if weights is None else np.asarray(weights, dtype=float)
        if not x.shape == side.shape == truth.shape == weight.shape or x.ndim != 1:
            raise ValueError(f"shapes differ: {x.shape}, {side.shape}, {truth.shape}, {weight.shape}; wanted (n_rows,)")
        fine = usable(x) & _is_bit(side) & _is_bit(truth)
        if not fine.all():
            x, side, truth, weight = x[fine], side[fine], truth[fine], weight[fine]
        if len(x) < FEWEST_ROWS or not 0.0 < truth.mean() < 1.0:
            raise ValueError(
                f"{len(x)} usable reference rows, {int(truth.sum())} of them positive: wanted {FEWEST_ROWS}, of two classes"
            )
        grid = Grid.of(x)
        rows, positives = tally(grid.bins(x), side == 1.0, truth == 1.0, None if weights is None else weight, len(grid))
        learned = calibrate(rows, positives, grid.score)
        matrix = costs(cost, 2)
        return cls(grid, learned, _unlike(rows, positives, grid, learned, matrix), matrix)

    def histogram(self, scores: ArrayLike, predicted: ArrayLike) -> Floats:
        """Rows by (predicted side, score bin), shape (2, n_bins). Histograms of parts add up to that of the whole.

        Args:
            scores, predicted: as in :meth:`fit`; rows that cannot be used are left out.

        Raises:
            ValueError: shapes differ.
        """
        x, side = np.asarray(scores, dtype=float), np.asarray(predicted)
        if x.shape != side.shape or x.ndim != 1:
            raise ValueError(f"shapes differ: {x.shape} and {side.shape}; wanted (n_rows,)")
        fine = usable(x) & _is_bit(side)
        if not fine.all():
            x, side = x[fine], side[fine]
        width = len(self.grid)
        place = self.grid.bins(x) + np.where(side, width, 0)
        return np.bincount(place, minlength=2 * width).reshape(2, width).astype(float)

    def estimate(self, scores: ArrayLike, predicted: ArrayLike, level: float = 0.95) -> Estimate:
        """Expected metrics of a window without outcomes.

        The interval is for the metric that these rows will turn out to have, not for that of the population: it holds
        the chance of their outcomes, the uncertainty of the calibration, and what blocks of the reference differed by.

        Args:
            scores, predicted: as in :meth:`fit`, shape (n_rows,).
            level: nominal coverage, in (0, 1).
        """
        return self.estimate_histogram(self.histogram(scores, predicted), np.size(scores), level)

    def estimate_histogram(self, histogram: Floats, rows: int | None = None, level: float = 0.95) -> Estimate:
        """:meth:`estimate` from a histogram of :meth:`histogram`; `rows` counts the unusable ones too."""
        if not 0.0 < level < 1.0:
            raise ValueError(f"level must lie in (0, 1), found {level}")
        n = int(histogram.sum())
        unusable = 0 if rows is None else rows - n
        if not n:
            names = [*METRICS, *([] if self.cost is None else ["cost"])]
            return Estimate(0, unusable, {m: Expected(m, None, None, None, "no usable row") for m in names})
        full = np.flatnonzero(histogram.any(axis=0))
        counts, p = np.take(histogram, full, axis=1), np.take(self.calibration.p, full, axis=1)
        metrics = metrics_of(Cells(counts, counts * p, self.grid.score[full]), self.cost)
        good = {name: found for name, found in metrics.items() if not isinstance(found, str)}
        variances = _variances(
            [slope for _, slope in good.values()], counts, p, np.take(self.calibration.spread, full, axis=2)
        )
        found = {m: Expected(m, None, None, None, r) for m, r in metrics.items() if isinstance(r, str)}
        for (name, (value, _)), (sampling, learned) in zip(good.items(), variances, strict=True):
            parts = Parts(value, sampling, learned, self.unlike.get(name, 0.0))
            found[name] = parts.expected(name, level, len(self.calibration.left_out))
        return Estimate(n, unusable, {name: found[name] for name in metrics})

    def expected_rows(self, scores: ArrayLike, predicted: ArrayLike) -> dict[str, Floats]:
        """Expected accuracy, log_loss, brier and cost of each row; their means over rows are the values of :meth:`estimate`.

        As there, the score that log loss and Brier use is the typical one of the row's bin.

        Args:
            scores, predicted: as in :meth:`fit`, shape (n_rows,).

        Returns:
            Arrays of shape (n_rows,) by name, NaN for rows that cannot be used.
        """
        x, side = np.asarray(scores, dtype=float), np.asarray(predicted)
        fine = usable(x) & _is_bit(side)
        bins, at = self.grid.bins(x[fine]), side[fine].astype(np.int64)
        losses = row_losses(_both(self.calibration.p[at, bins]), _both(self.grid.score[bins]), at, self.cost)
        return scattered(losses, fine)

    def realised_rows(self, scores: ArrayLike, predicted: ArrayLike, outcome: ArrayLike) -> dict[str, Floats]:
        """What came true of each row, by the metrics of :meth:`expected_rows`, with its score as served.

        Args:
            scores, predicted, outcome: as in :meth:`fit`, shape (n_rows,).

        Returns:
            Arrays of shape (n_rows,) by name, NaN for rows that cannot be used or have no outcome.
        """
        x, side, truth = np.asarray(scores, dtype=float), np.asarray(predicted), np.asarray(outcome, dtype=float)
        fine = usable(x) & _is_bit(side) & _is_bit(truth)
        losses = row_losses(_both(truth[fine]), _both(x[fine]), side[fine].astype(np.int64), self.cost)
        return scattered(losses, fine)

    def cells(self, histogram: Floats) -> Floats:
        """Expected confusion matrix [true, predicted], in rows, shape (2, 2)."""
        positives = (histogram * self.calibration.p).sum(axis=1)
        return np.stack([histogram.sum(axis=1) - positives, positives])


def tally(
    bins: Ints, side: NDArray[np.bool_], truth: NDArray[np.bool_], weights: Floats | None, width: int
) -> tuple[Floats, Floats]:
    """Reference rows and positives by (block in time, side, bin), both (n_blocks, 2, width); about 100 rows a block.

    >>> yes = np.ones(400, dtype=bool)
    >>> tally(np.zeros(400, dtype=int), yes, yes, None, 1)[0].tolist()[0]
    [[0.0], [100.0]]
    """
    blocks = int(np.clip(len(bins) // 100, 2, BLOCKS))
    rows, positives = np.zeros((blocks, 2, width)), np.zeros((blocks, 2, width))
    edges = np.arange(blocks + 1) * len(bins) // blocks
    for block in range(blocks):  # a block at a time stays in the processor's cache
        part = slice(edges[block], edges[block + 1])
        place = (bins[part] << 2) + (side[part] + 2 * truth[part].astype(np.int64))
        found = np.bincount(place, None if weights is None else weights[part], 4 * width).reshape(width, 2, 2)
        rows[block], positives[block] = found.sum(axis=1).T, found[:, 1].T
    return rows, positives


def metrics_of(cells: Cells, matrix: Floats | None) -> dict[str, sensitivity.Found]:
    """Every metric of the cells, by name, with `cost` if there is a matrix."""
    found = {name: metric(cells) for name, metric in METRICS.items()}
    if matrix is not None:
        found["cost"] = sensitivity.cost(cells, matrix)
    return found


def unlike_variance(residuals: Floats, variances: Floats) -> float:
    """Variance between blocks beyond what chance explains; 0 if a chi-squared test does not see any.

    Args:
        residuals: realised less expected metric of each block, shape (n_blocks,).
        variances: variance of each by chance, shape (n_blocks,), positive.

    >>> unlike_variance(np.array([1.0, -1.0, 1.0]), np.array([1.0, 1.0, 1.0]))
    0.0
    >>> unlike_variance(np.array([4.0, -4.0, 4.0]), np.array([1.0, 1.0, 1.0]))
    15.0
    """
    sure = variances > 0.0
    if sure.sum() < 2 or (residuals[sure] ** 2 / variances[sure]).sum() <= chdtri(int(sure.sum()), UNLIKE):
        return 0.0
    return max(0.0, float((residuals[sure] ** 2 - variances[sure]).mean()))


def _is_bit(values: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Which values are 0 or 1 (or a bool)."""
    return np.asarray((values == 0) | (values == 1))


def _both(positive: Floats) -> Floats:
    """Chances of the negative and the positive class side by side, shape (n_rows, 2)."""
    return np.stack([1.0 - positive, positive], axis=1)


def _variances(slopes: list[Floats], n: Floats, p: Floats, spread: Floats) -> list[tuple[float, float]]:
    """(variance of the outcomes, variance of the calibration) of metrics with these gradients."""
    if not slopes:
        return []
    slope = np.stack(slopes).reshape(len(slopes), -1)
    chance = slope**2 @ (n * p * (1.0 - p)).ravel()
    learned = ((slope * n.ravel()) @ spread.reshape(len(spread), -1).T) ** 2
    return list(zip(chance.tolist(), learned.sum(axis=1).tolist(), strict=True))


def _unlike(
    rows: Floats, positives: Floats, grid: Grid, learned: Calibration, matrix: Floats | None
) -> dict[str, float]:
    """Unlike variance of each metric: every block against the curve that was learned without it."""
    residuals: dict[str, list[float]] = {}
    variances: dict[str, list[float]] = {}
    for n, y, p in zip(rows, positives, learned.left_out, strict=True):
        full = n.any(axis=0)
        counts, share = n[:, full], p[:, full]
        cells = Cells(counts, counts * share, grid.score[full])
        for name, found in metrics_of(cells, matrix).items():
            if isinstance(found, str):
                continue
            slope = found[1]
            residuals.setdefault(name, []).append(float((slope * (y[:, full] - cells.y)).sum()))
            chance = float((slope**2 * counts * share * (1.0 - share)).sum())
            # The curve without the block has a variance of its own, about that of a block over the others.
            variances.setdefault(name, []).append(chance * len(rows) / (len(rows) - 1))
    return {name: unlike_variance(np.array(r), np.array(variances[name])) for name, r in residuals.items()}
