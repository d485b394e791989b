"""Golden rows: a few rows at the edges of the training data with the answers the model gave, to prove a loaded copy by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from afterfit.records import Feature, Value
from afterfit.tracking.scoring import ask, plain

if TYPE_CHECKING:
    import pandas as pd

MOST = 20


def golden_rows(frame: pd.DataFrame, features: tuple[Feature, ...]) -> pd.DataFrame:
    """At most 20 rows: the first ones, each column's smallest and largest value, a null where nulls are allowed.

    Where nulls are allowed and none is in the frame, one is put into a copy of the first row: a version that is to
    replace one that answers nulls must answer them too.
    """
    import pandas as pd

    edges = [0, len(frame) - 1]
    for feature in features:
        column = frame[feature.name]
        if feature.nullable and column.isna().any():
            edges.append(int(np.argmax(column.isna().to_numpy())))
        if feature.kind in ("number", "integer") and column.notna().any():
            numbers = column.to_numpy(dtype=float, na_value=np.nan)
            edges += [int(np.nanargmin(numbers)), int(np.nanargmax(numbers))]
        elif feature.kind == "text" and column.notna().any():
            edges.append(
                int(np.argmax((column == column.value_counts().index[-1]).to_numpy(dtype=bool, na_value=False)))
            )
    missing = [f.name for f in features if f.nullable and not frame[f.name].isna().any()]
    picked = dict.fromkeys([*edges, *range(min(MOST, len(frame)))])
    rows = frame.iloc[list(picked)[: MOST - bool(missing)]]
    if missing:
        emptied = frame.iloc[:1].copy()
        for name in missing:
            emptied[name] = emptied[name].where(np.array([False]))
        rows = pd.concat([rows, emptied])
    return rows.reset_index(drop=True)


def golden(model: Any, rows: pd.DataFrame, classes: tuple[Value, ...] | None) -> dict[str, Any]:
    """`rows` (feature -> value), `predictions`, `scores` (None for regression), JSON-able, as the model answers them."""
    answers = ask(model, rows, classes)
    return {
        "rows": as_rows(rows),
        "predictions": [plain(p) for p in answers.prediction],
        "scores": None if answers.scores is None else answers.scores.tolist(),
    }


def as_rows(frame: pd.DataFrame) -> list[dict[str, Value]]:
    """Rows as a request carries them: plain values, None for null."""
    columns = {
        str(name): [None if null else plain(v) for v, null in zip(frame[name], frame[name].isna(), strict=True)]
        for name in frame.columns
    }
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
