"""Rows of the lake as arrays: what a version answered, what came true, and the numbers it was asked about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from afterfit.loop.windows import seconds
from afterfit.monitoring.columns import columns_of
from afterfit.monitoring.meaning import Rows
from afterfit.records import ModelVersion

if TYPE_CHECKING:
    import pyarrow as pa


def labelled_rows(table: pa.Table) -> tuple[Any, pa.Table]:
    """(outcomes, rows) of those with an outcome that some version answered."""
    import pyarrow.compute as pc

    known = table.filter(pc.and_(table["outcome"].is_valid(), pc.greater(table["version"], 0)))
    return np.array([msgspec.json.decode(v) for v in known["outcome"].to_pylist()]), known


def answers(table: pa.Table, version: ModelVersion) -> tuple[Any, Any]:
    """(prediction, scores) arrays; scores (n_rows, n_classes), or None for regression."""
    prediction = np.array([msgspec.json.decode(v) for v in table["prediction"].to_pylist()])
    if version.classes is None:
        return prediction.astype(float), None
    width = len(version.classes)
    rows = table["scores"].to_pylist()
    scores = [r if r is not None and len(r) == width else [np.nan] * width for r in rows]
    return prediction, np.array(scores, dtype=float).reshape(len(rows), width)


def scores_of(table: pa.Table, version: ModelVersion) -> Any:
    """The champion's own answers as one number a row: the last class's share (binary), the top share, or the value.

    Shape (n_rows,); NaN where another version answered, or none.
    """
    own = table["version"].to_numpy() == version.version
    given = table["prediction" if version.classes is None else "scores"].to_pylist()
    at = [row for row in np.flatnonzero(own) if given[row]]
    found = np.full(table.num_rows, np.nan)
    if version.classes is None:
        found[at] = [msgspec.json.decode(given[row]) for row in at]
    elif at:
        scores = np.array([given[row] for row in at], dtype=float)
        found[at] = scores[:, -1] if len(version.classes) == 2 else scores.max(axis=1)
    return found


def features_of(table: pa.Table, version: ModelVersion) -> Any:
    """The features that are numbers, shape (n_rows, d), NaN where null; others say nothing here."""
    numbers = [f for f in version.features if f.kind in ("number", "integer")]
    columns = columns_of(table, numbers)
    return np.column_stack([np.empty((table.num_rows, 0)), *(columns[f.name] for f in numbers)])


def meant(outcome: Any, table: pa.Table, version: ModelVersion) -> Rows:
    """What the version's scores said, and what came true, of rows with outcome; unusable answers are left out."""
    prediction, scores = answers(table, version)
    if version.classes is None:
        score, truth = prediction, outcome.astype(float)
    elif len(version.classes) == 2:
        score, truth = scores[:, 1], (outcome == version.classes[1]).astype(float)
    else:
        best = np.nan_to_num(scores).argmax(axis=1)
        score, truth = scores.max(axis=1), (outcome == np.array(version.classes, dtype=object)[best]).astype(float)
    fine = np.isfinite(score) & np.isfinite(truth)
    if version.classes is not None:
        fine &= (score >= 0.0) & (score <= 1.0)
    return Rows(score, truth, seconds(table["time"]), features_of(table, version)).of(fine)
