"""Performance of a multiclass classifier before outcomes are known: one calibrated table a class, macro averages.

The order of labels and score columns is explicit, and the same everywhere: column k of the scores belongs to labels[k].
Blind to concept drift, as `expected` is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from afterfit.stats.calibration import Calibration, calibrate
from afterfit.stats.expected import FEWEST_ROWS, Estimate, Expected, Parts, tally, unlike_variance
from afterfit.stats.row_losses import rest_factors, row_losses, scattered
from afterfit.stats.score_bins import SMALLEST, Floats, Grid, Ints, usable
from afterfit.stats.sensitivity import METRICS, Cells, costs

BINS = 2048
THINNED = 10_000  # rows, evenly spaced, that the variance of the outcomes is read from
_MACRO = ("precision", "recall", "f1", "roc_auc", "average_precision")
_ROUNDING = 0.01  # a row's scores may miss a sum of 1 by this much: they are often served rounded


@dataclass(frozen=True, slots=True)
class Rows:
    """Usable rows of a window or a block: score bins (n_rows, n_classes), index of the predicted label (n_rows,)."""

    bins: Ints
    predicted: Ints

    def place(self, k: int, width: int) -> Ints:
        """Flat cell (side, bin) of every row in the table of class k."""
        return self.bins[:, k] + np.where(self.predicted == k, width, 0)

    def thinned(self) -> Rows:
        """At most THINNED rows, evenly spaced."""
        if len(self.predicted) <= THINNED:
            return self
        some = np.linspace(0, len(self.predicted) - 1, THINNED).astype(np.int64)
        return Rows(self.bins[some], self.predicted[some])


@dataclass(frozen=True, slots=True)
class Slopes:
    """Metrics of a window and their gradients: by_class[k] has shape (n_metrics, 2 n_bins of class k)."""

    names: list[str]
    values: list[float]
    by_class: list[Floats]
    undefined: dict[str, str]


@dataclass(frozen=True, slots=True)
class Multiclass:
    """Estimator learned from reference rows with outcomes; per class, as one against the rest. Blind to concept drift."""

    labels: tuple[Any, ...]
    grids: tuple[Grid, ...]
    calibrations: tuple[Calibration, ...]
    unlike: Mapping[str, float]
    cost: Floats | None = None

    @classmethod
    def fit(
        cls, labels: Sequence[Any], scores: ArrayLike, predicted: ArrayLike, outcome: ArrayLike, *,
        weights: ArrayLike | None = None, cost: Sequence[Sequence[float]] | None = None,
    ) -> Self:  # fmt: skip
        """Learn from a reference.

        Args:
            labels: the classes, all different, in the order of the columns of `scores`.
            scores: class probabilities, shape (n_rows, n_classes), rows summing to 1 (to 0.01), in time order.
            predicted, outcome: labels, shape (n_rows,).
            weights: non-negative weight of each row, shape (n_rows,); None: all 1.
            cost: cost[true][predicted] of one row, n_classes by n_classes in the order of `labels`.

        Rows with an unknown label or scores that are no probabilities are left out.

        Raises:
            ValueError: shapes do not fit; labels repeat; fewer than 200 usable rows; a class no usable row belongs to; no
                such matrix of costs.

        >>> rng = np.random.default_rng(0)
        >>> p = rng.dirichlet([1.0, 1.0, 1.0], 3000)
        >>> truth = (rng.random((3000, 1)) > p.cumsum(axis=1)).sum(axis=1)
        >>> model = Multiclass.fit(["a", "b", "c"], p, np.array(list("abc"))[p.argmax(axis=1)], np.array(list("abc"))[truth])
        >>> found = model.estimate(p[:900], np.array(list("abc"))[p[:900].argmax(axis=1)]).metrics["accuracy"]
        >>> 0.56 < found.low < 0.61 < found.high < 0.67
        True
        """
        names = tuple(labels)
        if len(set(names)) != len(names) or len(names) < 2:
            raise ValueError(f"labels must be two or more different ones, found {names!r}")
        x, side, truth, fine = _checked(names, scores, predicted, outcome, weights)
        weight = None if weights is None else np.asarray(weights, dtype=float)[fine]
        counts = np.bincount(truth, minlength=len(names))
        if len(x) < FEWEST_ROWS or not counts.all():
            found = dict(zip(names, counts.tolist(), strict=True))
            raise ValueError(f"{len(x)} usable reference rows {found}: wanted {FEWEST_ROWS}, and some of each class")
        grids = tuple(Grid.of(x[:, k], BINS) for k in range(len(names)))
        rows = Rows(_bins(grids, x), side)
        tallies = [tally(rows.bins[:, k], side == k, truth == k, weight, len(grid)) for k, grid in enumerate(grids)]
        learned = tuple(calibrate(n, y, g.score) for (n, y), g in zip(tallies, grids, strict=True))
        model = cls(names, grids, learned, {}, costs(cost, len(names)))
        return cls(names, grids, learned, model._unlike(rows, truth), model.cost)

    def estimate(self, scores: ArrayLike, predicted: ArrayLike, level: float = 0.95) -> Estimate:
        """Expected metrics of a window without outcomes; precision, recall, F1, AUROC (one against the rest) and
        average precision are macro averages, Brier is half the sum over classes.

        Args:
            scores: shape (n_rows, n_classes), columns in the order of `labels`.
            predicted: labels, shape (n_rows,).
            level: nominal coverage of the intervals for what these rows will turn out to have.
        """
        if not 0.0 < level < 1.0:
            raise ValueError(f"level must lie in (0, 1), found {level}")
        x, side, _, _ = _checked(self.labels, scores, predicted, None, None)
        given = len(np.asarray(predicted))
        if not len(x):
            names = [*METRICS, *([] if self.cost is None else ["cost"])]
            return Estimate(0, given, {m: Expected(m, None, None, None, "no usable row") for m in names})
        rows, curves = Rows(_bins(self.grids, x), side), [c.p for c in self.calibrations]
        slopes = self._slopes(rows, curves)
        sampling = self._sampling(rows, curves, slopes)
        learned = self._learned(rows, slopes)
        found = {m: Expected(m, None, None, None, r) for m, r in slopes.undefined.items()}
        blocks = len(self.calibrations[0].left_out)
        for i, name in enumerate(slopes.names):
            parts = Parts(slopes.values[i], float(sampling[i]), float(learned[i]), self.unlike.get(name, 0.0))
            found[name] = parts.expected(name, level, blocks)
        return Estimate(len(x), given - len(x), {m: found[m] for m in (*METRICS, "cost") if m in found})

    def cells(self, scores: ArrayLike, predicted: ArrayLike) -> Floats:
        """Expected confusion matrix [true, predicted] in rows, shape (n_classes, n_classes), in the order of `labels`."""
        x, side, _, _ = _checked(self.labels, scores, predicted, None, None)
        return self._confusion(Rows(_bins(self.grids, x), side), [c.p for c in self.calibrations])

    def expected_rows(self, scores: ArrayLike, predicted: ArrayLike) -> dict[str, Floats]:
        """Expected accuracy, log_loss, brier and cost of each row; their means over rows are the values of :meth:`estimate`.

        As there, the score that log loss and Brier use is the typical one of the row's bin, class by class, and what
        classes that were calibrated alone do not share out is shared among all rows of a predicted label.

        Args:
            scores, predicted: as in :meth:`estimate`.

        Returns:
            Arrays of shape (n_rows,) by name, NaN for rows that cannot be used.
        """
        x, side, _, fine = _checked(self.labels, scores, predicted, None, None)
        rows = Rows(_bins(self.grids, x), side)
        each = zip(self.calibrations, self.grids, strict=True)
        p = np.stack([c.p.ravel()[rows.place(k, len(grid))] for k, (c, grid) in enumerate(each)], axis=1)
        typical = np.stack([grid.score[rows.bins[:, k]] for k, grid in enumerate(self.grids)], axis=1)
        return scattered(row_losses(p, typical, side, self.cost), fine)

    def realised_rows(self, scores: ArrayLike, predicted: ArrayLike, outcome: ArrayLike) -> dict[str, Floats]:
        """What came true of each row, by the metrics of :meth:`expected_rows`, with its scores as served.

        Args:
            scores, predicted: as in :meth:`estimate`.
            outcome: labels, shape (n_rows,).

        Returns:
            Arrays of shape (n_rows,) by name, NaN for rows that cannot be used or whose outcome is no label.
        """
        x, side, truth, fine = _checked(self.labels, scores, predicted, outcome, None)
        return scattered(row_losses(np.eye(len(self.labels))[truth], x, side, self.cost), fine)

    def _confusion(self, rows: Rows, curves: list[Floats]) -> Floats:
        k = len(self.labels)
        cells: Floats = np.stack(
            [np.bincount(rows.predicted, p.ravel()[rows.place(i, p.shape[1])], k) for i, p in enumerate(curves)]
        )
        hits, n = np.diag(cells).copy(), np.bincount(rows.predicted, minlength=k).astype(float)
        cells *= rest_factors(hits, cells.sum(axis=0) - hits, n)
        np.fill_diagonal(cells, hits)
        return cells

    def _slopes(self, rows: Rows, curves: list[Floats]) -> Slopes:
        """Every metric and its gradient by the expected outcomes of each class's cells."""
        tables = []
        for k, (grid, p) in enumerate(zip(self.grids, curves, strict=True)):
            n = np.bincount(rows.place(k, len(grid)), minlength=p.size).reshape(p.shape).astype(float)
            tables.append(Cells(n, n * p, grid.score))
        total, classes = tables[0].rows, len(tables)
        undefined: dict[str, str] = {}
        found: dict[str, tuple[float, list[Floats]]] = {
            "accuracy": (sum(c.hits for c in tables) / total, [c.by_side(0.0, 1.0 / total) for c in tables])
        }
        for name in _MACRO:
            each = [METRICS[name](c) for c in tables]
            bad = [f"{label!r}: {r}" for label, r in zip(self.labels, each, strict=True) if isinstance(r, str)]
            if bad:
                undefined[name] = "class " + "; ".join(bad)
                continue
            good = [r for r in each if not isinstance(r, str)]
            found[name] = sum(v for v, _ in good) / classes, [slope / classes for _, slope in good]
        yes = [-np.log(np.maximum(c.score, SMALLEST)) / total for c in tables]
        found["log_loss"] = _sum(tables, yes, 0.0)
        squares = sum(float((c.n * c.score**2).sum()) for c in tables) / (2.0 * total)
        found["brier"] = _sum(tables, [(0.5 - c.score) / total for c in tables], squares)
        if self.cost is not None:
            # Gradients by cell cannot tell which wrong label was predicted: take the mean price of a miss.
            value = float((self._confusion(rows, curves) * self.cost).sum()) / total
            found["cost"] = value, [c.by_side(*self._price(k, rows)) / total for k, c in enumerate(tables)]
        flat = [np.stack([g[k].ravel() for _, g in found.values()]) for k in range(classes)]
        return Slopes(list(found), [v for v, _ in found.values()], flat, undefined)

    def _price(self, k: int, rows: Rows) -> tuple[float, float]:
        """Mean cost of a row of class k when another label is predicted, and when its own is."""
        assert self.cost is not None
        n = np.bincount(rows.predicted, minlength=len(self.labels)).astype(float)
        n[k] = 0.0
        miss = float(self.cost[k] @ n / n.sum()) if n.any() else 0.0
        return miss, float(self.cost[k, k])

    def _sampling(self, rows: Rows, curves: list[Floats], slopes: Slopes) -> Floats:
        """Variance by the chance of the outcomes: a row belongs to one class only, so classes share it."""
        some = rows.thinned()
        mean: Floats = np.zeros((len(slopes.names), len(some.predicted)))
        square = mean
        for k, (p, slope) in enumerate(zip(curves, slopes.by_class, strict=True)):
            place = some.place(k, p.shape[1])
            share, moved = p.ravel()[place], slope[:, place]
            mean, square = mean + share * moved, square + share * moved**2
        variance = np.maximum(square - np.square(mean), 0.0).sum(axis=1)
        return np.asarray(variance * len(rows.predicted) / len(some.predicted))

    def _learned(self, rows: Rows, slopes: Slopes) -> Floats:
        """Variance by the calibration: all classes lose the same block of the reference at once."""
        moved: Floats = np.zeros((len(slopes.names), len(self.calibrations[0].left_out)))
        for k, (calibration, slope) in enumerate(zip(self.calibrations, slopes.by_class, strict=True)):
            spread = calibration.spread.reshape(len(calibration.left_out), -1)
            n = np.bincount(rows.place(k, len(self.grids[k])), minlength=spread.shape[1])
            moved += (slope * n) @ spread.T
        return np.asarray((moved**2).sum(axis=1))

    def _unlike(self, rows: Rows, truth: Ints) -> dict[str, float]:
        """Variance between blocks of the reference beyond chance, each against the curves learned without it."""
        blocks = len(self.calibrations[0].left_out)
        residuals: dict[str, list[float]] = {}
        variances: dict[str, list[float]] = {}
        edges = np.arange(blocks + 1) * len(truth) // blocks
        for b in range(blocks):
            part = slice(edges[b], edges[b + 1])
            block, true = Rows(rows.bins[part], rows.predicted[part]), truth[part]
            curves = [c.left_out[b] for c in self.calibrations]
            slopes = self._slopes(block, curves)
            chance = self._sampling(block, curves, slopes) * blocks / (blocks - 1)
            gap = np.zeros(len(slopes.names))
            for k, (p, slope) in enumerate(zip(curves, slopes.by_class, strict=True)):
                place = block.place(k, p.shape[1])
                real = np.bincount(place[true == k], minlength=p.size)
                gap += slope @ (real - np.bincount(place, minlength=p.size) * p.ravel())
            for i, name in enumerate(slopes.names):
                residuals.setdefault(name, []).append(float(gap[i]))
                variances.setdefault(name, []).append(float(chance[i]))
        return {m: unlike_variance(np.array(r), np.array(variances[m])) for m, r in residuals.items()}


def _sum(tables: list[Cells], slopes: list[Floats], start: float) -> tuple[float, list[Floats]]:
    """A metric that is a sum over classes of y times a slope by bin."""
    value = start + sum(float((c.y * s).sum()) for c, s in zip(tables, slopes, strict=True))
    return value, [np.broadcast_to(s, c.n.shape) for c, s in zip(tables, slopes, strict=True)]


def _bins(grids: Sequence[Grid], scores: Floats) -> Ints:
    return np.stack([grid.bins(scores[:, k]) for k, grid in enumerate(grids)], axis=1)


def _index(labels: Sequence[Any], values: ArrayLike) -> Ints:
    """Position of each value among the labels, -1 if it is none. Shape (n_rows,)."""
    found = np.asarray(values)
    place = np.full(found.shape, -1, dtype=np.int64)
    for k, label in enumerate(labels):
        place[np.asarray(found == label, dtype=bool)] = k
    return place


def _checked(
    labels: Sequence[Any], scores: ArrayLike, predicted: ArrayLike, outcome: ArrayLike | None, weights: ArrayLike | None
) -> tuple[Floats, Ints, Ints, NDArray[np.bool_]]:
    """Usable rows only: (scores, predicted index, outcome index), and which of all rows they are."""
    x, side = np.asarray(scores, dtype=float), _index(labels, predicted)
    truth = side if outcome is None else _index(labels, outcome)
    if x.ndim != 2 or x.shape != (len(side), len(labels)) or truth.shape != side.shape:
        raise ValueError(
            f"scores have shape {x.shape}, wanted {(len(side), len(labels))}: one column a label, in order"
        )
    if weights is not None and np.shape(weights) != side.shape:
        raise ValueError(f"weights have shape {np.shape(weights)}, wanted {side.shape}")
    sums: NDArray[np.bool_] = np.abs(x.sum(axis=1) - 1.0) <= _ROUNDING
    fine = usable(x).all(axis=1) & sums & (side >= 0) & (truth >= 0)
    return x[fine], side[fine], truth[fine], fine
