"""Changes that no single column shows: three tests of a window's rows beside a sample of the reference's.

The correlations of all pairs, the errors of a principal component analysis, and a classifier that tells both apart. Columns
that moved by themselves are left out, so what is found here is beyond them.

Where the reference has times, rows of one block of time are alike: the null is then what blocks did among themselves, and
rows are ranked within each block first: healthy days differ in where their columns lie, and single columns are checked for
that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from afterfit.monitoring.two_sample import FEW, tell_apart
from afterfit.records import Finding, Severity
from afterfit.stats import correlations, null_tail, pca_drift
from afterfit.stats.binning import Floats
from afterfit.stats.normal_scores import MOST, Scores, normal_scores
from afterfit.stats.row_sample import ROWS, SEED, SMALL_BLOCK, sample_rows

JOINT, CHECK = "(joint)", "joint"  # column and check of these findings
SHARE = 0.1  # part of the budget that is theirs
LEARN = 2_000  # of each sample that the classifier sees; more take long
LEARN_BLOCKS = 600  # reference rows where there are blocks: three times a usual one, and each block costs a training
TOP = 3  # columns that are named
EDGE = 1e-4  # nearest rank to 0 and 1

Columns = Mapping[str, Any]


@dataclass(frozen=True)
class JointReference:
    """A sample of the reference's rows; with times, `length` is that of a block in seconds."""

    columns: Columns  # arrays of shape (n_rows,): floats with NaN for null, or objects with None
    times: Floats | None = None  # epoch seconds, shape (n_rows,)
    length: float = 0.0

    @cached_property
    def blocks(self) -> NDArray[np.int64] | None:
        """The block of each row, shape (n_rows,), -1 in those too small; None when there are too few to compare with."""
        if self.times is None or self.length <= 0.0:
            return None
        known = np.isfinite(self.times)
        at = np.floor(np.where(known, self.times, 0.0) / self.length).astype(np.int64)
        _, place, rows = np.unique(np.where(known, at, at.min() - 1), return_inverse=True, return_counts=True)
        found = np.where(known & (rows[place] >= SMALL_BLOCK), place, -1)
        return found if np.unique(found[found >= 0]).size >= null_tail.FEWEST else None

    @cached_property
    def told(self) -> tuple[float, ...]:
        """How well a classifier tells each block from the others, standardised; takes seconds, and is found once."""
        blocks = self.blocks
        if blocks is None:
            return ()
        scores = normal_scores(self.columns)
        values = _levelled(scores.values, blocks)
        found = []
        for block in np.unique(blocks[blocks >= 0]):
            rng = np.random.default_rng([SEED, int(block)])
            others, inside = values[(blocks >= 0) & (blocks != block)], values[blocks == block]
            told = tell_apart(_some(others, LEARN_BLOCKS, rng), _some(inside, self.rows, rng), scores.sources, rng)
            found.append(told.z if told is not None else 0.0)
        return tuple(found)

    @property
    def rows(self) -> int:
        """Of a usual block: as many of the window are told apart, so that both are as easy."""
        blocks = self.blocks
        if blocks is None:
            return ROWS
        return int(np.median(np.bincount(blocks[blocks >= 0])[np.unique(blocks[blocks >= 0])]))


def check_joint(
    reference: JointReference,
    window: Columns,
    *,
    alpha: float,
    moved: Sequence[str] = (),
    times: Any | None = None,
    trees: bool = True,
) -> list[Finding]:
    """One finding a test, drifted or not; at most ROWS rows of the window are looked at.

    Args:
        reference: of the live version.
        window: arrays of shape (n_window,), of the same kinds as the reference's; others are left out.
        alpha: chance of any false finding here, in (0, 1).
        moved: columns that are known to have changed, which are left out.
        times: of the window's rows, epoch seconds, shape (n_window,).
        trees: train the classifier too, which takes about a second.
    """
    names = [n for n, v in reference.columns.items() if n in window and n not in moved and _alike(v, window[n])]
    n_window = len(next(iter(window.values()))) if window else 0
    rows = sample_rows(n_window)
    before = {n: np.asarray(reference.columns[n]) for n in names}
    scores = normal_scores({n: np.concatenate([v, np.asarray(window[n])[rows]]) for n, v in before.items()})
    size = len(next(iter(before.values()))) if before else 0
    if min(rows.size, size) < FEW or len(set(scores.sources)) < 2:
        said = f"{rows.size:,} rows, {size:,} in the reference, {len(set(scores.sources))} columns that vary"
        message = f"not judged jointly: {said}; wanted {FEW}, {FEW} and 2"
        return [_finding("rows", 0.0, 0.0, 1.0, 0.0, Severity.INFO, message, size, n_window)]
    old, new = scores.values[:size], scores.values[size:]
    if reference.blocks is not None:
        kept = reference.blocks >= 0
        old = _levelled(old, reference.blocks)[kept]
        new = _levelled(new, _places(times, rows, reference.length))
    look = _Look(reference, scores, old, new, alpha / (2.0 + trees), _beyond(moved, scores), n_window)
    found = [look.correlations(), look.errors(), look.told() if trees else None]
    return [f for f in found if f is not None]


@dataclass(frozen=True)
class _Look:
    reference: JointReference
    scores: Scores
    old: Floats
    new: Floats
    alpha: float
    beyond: str
    n_window: int

    def correlations(self) -> Finding | None:
        sources, labels, blocks = self.scores.sources, self.scores.labels, self._blocks
        beside = None if blocks is None else correlations.beside_blocks(self.old, blocks, self.new, sources)
        if beside is not None and beside.p_value >= self.alpha:  # then what rows say changes nothing, and takes long
            found, p = beside, beside.p_value
        else:
            of_rows = correlations.shuffled(self.old, self.new, sources, np.random.default_rng([SEED, 1]))
            if of_rows is None:
                return None
            found = of_rows if beside is None else beside
            p = max(found.p_value, of_rows.p_value)
        pair = " and ".join(labels[i] for i in found.pair)
        message = f"correlation of {pair} {found.before:+.2f} → {found.now:+.2f}"
        return self._found("correlations", found.statistic, abs(found.now - found.before) / 2.0, p, message)

    def errors(self) -> Finding | None:
        found = pca_drift.errors(self.old, self.new, self._blocks)
        if found is None:
            return None
        turn = 1.0 if found.chance >= 0.5 else -1.0
        carried = _by_source(self.scores.sources, found.by_column * turn)
        what = "less" if turn > 0 else "more"
        message = f"columns are {what} bound to each other ({_named(carried)}): principal components leave "
        message += (
            f"{'more' if turn > 0 else 'less'} of a row unexplained, in {max(found.chance, 1 - found.chance):.0%}"
        )
        message += " of pairs of a window and a reference row"
        return self._found("principal components", found.chance, abs(2.0 * found.chance - 1.0), found.p_value, message)

    def told(self) -> Finding | None:
        rng = np.random.default_rng([SEED, 2])
        most = LEARN if self._blocks is None else LEARN_BLOCKS
        old, new = _some(self.old, most, rng), _some(self.new, min(most, self.reference.rows), rng)
        found = tell_apart(old, new, self.scores.sources, rng, explain=self.alpha)
        if found is None:
            return None
        p = found.p_value
        if self._blocks is not None and p < self.alpha:  # else the blocks' chance changes nothing
            p = max(p, null_tail.squared_p_value(max(found.z, 0.0), self.reference.told, 1.0))
        message = f"a classifier tells the window from the reference with AUC {found.auc:.2f}"
        message += f" ({_named(found.carried)})" if found.carried else ""
        return self._found("classifier two-sample test", found.auc, max(0.0, 2.0 * found.auc - 1.0), p, message)

    @property
    def _blocks(self) -> NDArray[np.int64] | None:
        blocks = self.reference.blocks
        return None if blocks is None else blocks[blocks >= 0]

    def _found(self, method: str, statistic: float, distance: float, p: float, message: str) -> Finding:
        drifted = p < self.alpha
        severity = Severity.WARNING if drifted else Severity.INFO
        method = f"{method}, block null" if self._blocks is not None else method
        said = f"{message}; {self.beyond}" if drifted else message
        if self.scores.left_out:
            said += f"; {self.scores.left_out:,} columns and categories beyond the first {MOST} were not looked at"
        return _finding(method, statistic, distance, p, self.alpha, severity, said, len(self.old), self.n_window)


def _finding(
    method: str,
    statistic: float,
    distance: float,
    p: float,
    alpha: float,
    severity: Severity,
    message: str,
    n: int,
    m: int,
) -> Finding:
    return Finding(JOINT, CHECK, method, statistic, distance, p, alpha, p < alpha, severity, message, n, m)


def _alike(before: Any, now: Any) -> bool:
    return (np.asarray(before).dtype.kind == "f") == (np.asarray(now).dtype.kind == "f")


def _some(rows: Floats, most: int, rng: np.random.Generator) -> Floats:
    return rows if len(rows) <= most else rows[np.sort(rng.choice(len(rows), most, replace=False))]


def _levelled(values: Floats, places: NDArray[np.int64]) -> Floats:
    """Normal scores by rank within each place, ties in random order: what a place is as a whole is gone without a trace
    that trees could tell it by, and how columns hang together stays."""
    rng = np.random.default_rng([SEED, 3])
    dither = rng.random(values.shape)
    found = np.empty_like(values)
    for place in np.unique(places):
        inside = places == place
        order = np.lexsort((dither[inside], values[inside]), axis=0)
        ranks = np.argsort(order, axis=0)
        found[inside] = ndtri(np.clip((ranks + dither[inside]) / len(ranks), EDGE, 1.0 - EDGE))
    return found


def _places(times: Any | None, rows: NDArray[np.int64], length: float) -> NDArray[np.int64]:
    """The block of each row; one for all where their times are not known."""
    if times is None:
        return np.zeros(rows.size, dtype=np.int64)
    seen = np.asarray(times, dtype=float)[rows]
    return np.floor(np.where(np.isfinite(seen), seen, np.nanmin(seen, initial=0.0)) / length).astype(np.int64)


def _by_source(sources: Sequence[str], more: Floats) -> dict[str, float]:
    total: dict[str, float] = {}
    for source, value in zip(sources, more.tolist(), strict=True):
        total[source] = total.get(source, 0.0) + max(value, 0.0)
    whole = sum(total.values()) or 1.0
    return {k: v / whole for k, v in sorted(total.items(), key=lambda i: -i[1])}


def _named(carried: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {part:.0%}" for name, part in list(carried.items())[:TOP] if part >= 0.005)


def _beyond(moved: Sequence[str], scores: Scores) -> str:
    if not moved:
        return "no single column moved"
    names = ", ".join(list(dict.fromkeys(moved))[:TOP])
    return f"beyond {names}{' ...' if len(set(moved)) > TOP else ''}"
