"""Rows of the lake as arrays: what a version answered, what came true, and the numbers it was asked about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from afterfit.loop.windows import seconds
from afterfit.monitoring.columns import columns_of
from afterfit.monitoring.meaning import Rows
from afterfit.records import ModelVersion
from afterfit.rollout.evidence import decoded, matrix

if TYPE_CHECKING:
    import pyarrow as pa


def labelled_rows(table: pa.Table) -> tuple[Any, pa.Table]:
    """(outcomes, rows) of those with an outcome that some version answered."""
    import pyarrow.compute as pc

    known = table.filter(pc.and_(table["outcome"].is_valid(), pc.greater(table["version"], 0)))
    return _values(known["outcome"]), known


def answers(table: pa.Table, version: ModelVersion) -> tuple[Any, Any]:
    """(prediction, scores) arrays; scores (n_rows, n_classes), or None for regression."""
    prediction = _values(table["prediction"])
    if version.classes is None:
        return prediction.astype(float), None
    return prediction, matrix(table["scores"], len(version.classes))


def scores_of(table: pa.Table, version: ModelVersion) -> Any:
    """The champion's own answers as one number a row: the last class's share (binary), the top share, or the value.

    Shape (n_rows,); NaN where another version answered, or none.
    """
    found = np.full(table.num_rows, np.nan)
    own = table["version"].to_numpy() == version.version
    if version.classes is None:
        own &= table["prediction"].is_valid().to_numpy()
        found[own] = _values(table["prediction"].filter(own))
    else:
        shares = matrix(table["scores"], len(version.classes))[own]
        found[own] = shares[:, -1] if len(version.classes) == 2 else shares.max(axis=1)
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


def _values(texts: pa.ChunkedArray) -> Any:
    """JSON texts as an array; of equal ones one is decoded."""
    coded = texts.combine_chunks().dictionary_encode()
    return np.array(decoded(coded.dictionary))[coded.indices.to_numpy()]
