"""From two frames to what :mod:`afterfit.stats.cause` asks for: losses, coded features, broken rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from afterfit.records import Finding
from afterfit.stats.losses import bounded_loss

if TYPE_CHECKING:
    import pandas as pd

BINS = 10  # of equal reference mass, of a number
LEVELS = 30  # most frequent categories that are told apart
MOST_CLASSES = 10  # classes whose residuals are looked at
FAR = 2.0  # reference ranges beyond the range from which a value is no season's: a sensor's -999, not a summer's heat
EVERY_ROW = ("constant", "unit", "type", "missing")  # findings that say a whole column is broken


@dataclass(frozen=True, slots=True)
class Judged:
    """Answers to rows and what came true; reference first, then window."""

    losses: Any  # (n_rows,), NaN without outcome or answer
    labels: Any  # (n_rows,) of whole numbers: class, or bin of the outcome
    residuals: Any  # (n_rows, k)
    answers: Any  # (n_rows, k)
    loss: str  # what is measured
    unanswered: Any  # (n_rows,), outcome known, but no answer that could be right


@dataclass(frozen=True, slots=True)
class Coded:
    """One feature of all rows: numbers (NaN for null) or category codes, and the slice that each row is in."""

    name: str
    numbers: Any | None  # (n_rows,); None for a category
    codes: Any  # (n_rows,), slice of the row
    names: tuple[str, ...]  # of the slices


def classified(outcome: Any, scores: Any, classes: Sequence[Any]) -> Judged:
    """Brier loss of each row.

    Args:
        outcome: labels, shape (n_rows,), None where not known.
        scores: shape (n_rows, n_classes), in the order of the classes.
        classes: labels, two at least.
    """
    hit = np.stack([outcome == c for c in classes], axis=1).astype(float)
    known = np.array([o is not None and o == o for o in outcome])  # noqa: PLR0124  NaN differs from itself
    sums = scores.sum(axis=1)
    answered = np.isfinite(scores).all(axis=1) & (scores >= 0.0).all(axis=1) & (np.abs(sums - 1.0) < 1e-3)
    task = "binary" if len(classes) == 2 else "multiclass"
    losses = np.where(known, bounded_loss(task, outcome, outcome, scores, classes), np.nan)
    safe = np.where(answered[:, None], scores, 1.0 / len(classes))
    kept = slice(1, None) if len(classes) == 2 else slice(0, MOST_CLASSES)
    strange = hit.sum(axis=1) == 0.0
    labels = np.where(strange, len(classes), hit.argmax(axis=1))
    return Judged(losses, labels, (hit - safe)[:, kept], safe[:, kept], "Brier loss", known & ~answered)


def regressed(outcome: Any, prediction: Any, is_window: Any) -> Judged:
    """Absolute error of each row, in the unit of the outcome; its labels are bins of the reference's outcomes."""
    known, answered = np.isfinite(outcome), np.isfinite(prediction)
    both = known & answered
    inner = np.arange(1, BINS) / BINS
    edges = np.unique(np.quantile(outcome[both & ~is_window], inner)) if (both & ~is_window).any() else np.zeros(0)
    error = np.where(both, np.abs(outcome - np.where(answered, prediction, 0.0)), np.nan)
    safe = np.where(answered, prediction, 0.0)
    residual = np.where(both, outcome - safe, 0.0)
    labels = np.searchsorted(edges, np.where(known, outcome, 0.0))
    return Judged(error, labels, residual[:, None], safe[:, None], "absolute error", np.zeros(len(outcome), dtype=bool))


def coded(name: str, both: pd.Series, is_window: Any) -> Coded:
    """A feature of all rows, cut into slices by the reference: bins of equal mass, or the most frequent categories."""
    from pandas.api import types

    if types.is_numeric_dtype(both.dtype) and not types.is_bool_dtype(both.dtype):
        numbers = both.to_numpy(dtype=float, na_value=np.nan)
        numbers = np.where(np.isfinite(numbers), numbers, np.nan)
        seen = np.isfinite(numbers)
        known = numbers[seen & ~is_window]
        levels = np.unique(known)
        if levels.size <= BINS:
            edges = (levels[1:] + levels[:-1]) / 2.0
            names = [f"{v:g}" for v in levels] or ["any"]
        else:
            edges = np.unique(np.quantile(known, np.arange(1, BINS) / BINS))
            names = [f"up to {edges[0]:.4g}"]
            names += [f"{a:.4g} to {b:.4g}" for a, b in pairwise(edges)]
            names.append(f"above {edges[-1]:.4g}")
        codes = np.where(seen, np.searchsorted(edges, np.where(seen, numbers, 0.0), side="left"), len(names))
        return Coded(name, numbers, codes, (*names, "null"))
    texts = both.astype(object).where(both.notna(), None)
    counted = texts[texts.notna()].astype(str).value_counts()
    kept = [str(v) for v in counted.index[:LEVELS]]
    place = {v: i for i, v in enumerate(kept)}
    null, other = len(kept) + 1, len(kept)
    codes = np.array([null if v is None else place.get(str(v), other) for v in texts])
    return Coded(name, None, codes, (*kept, "all others", "null"))


def broken_rows(
    reference: pd.DataFrame, window: pd.DataFrame, findings: Sequence[Finding], rng: np.random.Generator
) -> dict[str, tuple[Any, str]]:
    """By column that a finding calls broken: which rows of the window are, shape (n_window,), and what was found.

    Of null rows as many are broken as there are more than usual. A value somewhat outside of the reference's range is
    the world's.
    """
    found: dict[str, tuple[Any, str]] = {}
    for f in findings:
        if f.drifted and f.column in reference.columns:
            rows = _broken_by(f, reference, window, rng)
            if rows is not None and rows.any():
                before = found.get(f.column)
                found[f.column] = (rows, f.message) if before is None else (rows | before[0], before[1])
    return found


def _broken_by(f: Finding, reference: pd.DataFrame, window: pd.DataFrame, rng: np.random.Generator) -> Any | None:
    if f.check in EVERY_ROW:
        return np.ones(len(window), dtype=bool)
    before, now = reference[f.column], window.get(f.column)
    if now is None:
        return None
    if f.check == "nulls":
        usual, found = float(before.isna().mean()), float(now.isna().mean())
        excess = max(0.0, 1.0 - usual / found) if found else 0.0
        return now.isna().to_numpy() & (rng.random(len(now)) < excess)
    if f.check == "unseen":
        return (now.notna() & ~now.isin(before.dropna().unique())).to_numpy()
    if f.check == "range":
        low, high = float(before.min()), float(before.max())
        room = FAR * (high - low)
        return ((now < low - room) | (now > high + room)).fillna(False).to_numpy(dtype=bool)
    return None


def names_of(scores: str | Mapping[Any, str] | None) -> tuple[str, ...]:
    """Columns of the scores."""
    return () if scores is None else (scores,) if isinstance(scores, str) else tuple(scores.values())
