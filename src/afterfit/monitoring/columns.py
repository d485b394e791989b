"""Tables become plain arrays by column: float with NaN for numbers, objects with None for text and booleans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from afterfit.records import Feature
from afterfit.stats.profile import Profile, profile

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Columns = Mapping[str, Any]  # name -> array of shape (n_rows,)


def columns_of(table: pa.Table, features: Sequence[Feature]) -> dict[str, Any]:
    """The feature columns (`f:<name>`) of a table from the lake."""
    return {f.name: _array(table[f"f:{f.name}"].to_pandas(), f.kind) for f in features}


def frame_columns(frame: pd.DataFrame, kinds: Mapping[str, str]) -> dict[str, Any]:
    """The columns of a pandas frame that `kinds` names."""
    return {name: _array(frame[name], kind) for name, kind in kinds.items()}


def kinds_of(features: Sequence[Feature]) -> dict[str, str]:
    """number, integer, boolean or text by feature."""
    return {f.name: f.kind for f in features}


def profile_columns(columns: Columns, features: Sequence[Feature]) -> Profile:
    """Profile of arrays as :func:`columns_of` gives them."""
    return profile(columns, kinds_of(features))


def _array(series: pd.Series, kind: str) -> Any:
    if kind in ("number", "integer"):
        return series.astype("float64").to_numpy(dtype=float, na_value=np.nan)
    values = series.astype(object)
    return values.where(values.notna(), None).to_numpy(dtype=object)
