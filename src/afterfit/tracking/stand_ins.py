"""Rows that may be kept although some of their features may not: those have one value in all rows, that tells nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from afterfit.records import Feature

if TYPE_CHECKING:
    import pandas as pd

TEXT = "redacted"


def stand_ins(rows: pd.DataFrame, known: pd.DataFrame, features: Sequence[Feature]) -> pd.DataFrame:
    """The rows with redacted features replaced: a number by the median of all `known` rows, a text by "redacted".

    >>> import pandas as pd
    >>> rows = pd.DataFrame({"name": ["Ann", "Bob"], "size": [1.0, 2.0]})
    >>> stand_ins(rows, rows, [Feature("name", "text", "str", redact="drop"), Feature("size", "number", "float64")])
           name  size
    0  redacted   1.0
    1  redacted   2.0
    """
    import pandas as pd

    made = {
        f.name: pd.Series([_value(f, known[f.name])] * len(rows), dtype=rows[f.name].dtype, index=rows.index)
        for f in features
        if f.redact
    }
    return rows.assign(**made)


def _value(feature: Feature, column: pd.Series) -> Any:
    if feature.categories is not None:
        return feature.categories[0]  # the names of categories are in the version's record, whatever is logged
    if feature.kind == "text":
        return TEXT
    if feature.kind == "boolean":
        return False
    numbers = column.to_numpy(dtype=float, na_value=np.nan)
    middle = float(np.nanmedian(numbers)) if np.isfinite(numbers).any() else 0.0
    return round(middle) if feature.kind == "integer" else middle
