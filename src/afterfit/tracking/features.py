"""The signature of a training frame: name, kind, dtype and nulls of each column. What can't be served is refused here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from afterfit.errors import InputError
from afterfit.records import Feature

if TYPE_CHECKING:
    import pandas as pd


def features_of(frame: pd.DataFrame) -> tuple[Feature, ...]:
    """One :class:`Feature` a column, in order.

    Raises:
        InputError: a column holds what a JSON request can't carry (times, lists, mixed values); the message says what
            to do.

    >>> import pandas as pd
    >>> [(f.name, f.kind, f.nullable) for f in features_of(pd.DataFrame({"a": [1.5, None], "b": ["x", "y"]}))]
    [('a', 'number', True), ('b', 'text', False)]
    """
    return tuple(_feature(str(name), frame[name]) for name in frame.columns)


def _feature(name: str, column: pd.Series) -> Feature:
    import pandas as pd

    categories = None
    if isinstance(column.dtype, pd.CategoricalDtype):
        if not all(isinstance(c, str) for c in column.cat.categories):
            raise InputError(
                f"feature {name!r}: its categories are not text. Convert them first: frame[{name!r}].astype(str)"
                f".astype('category')"
            )
        categories = tuple(str(c) for c in column.cat.categories)
    kind = kind_of(column)
    if kind == "number":
        _refuse_infinity(name, column)
    if kind == "integer" and column.notna().any() and int(column.max()) >= 2**63:
        raise InputError(
            f"feature {name!r} reaches {int(column.max())}: a request carries whole numbers up to {2**63 - 1}. Convert it "
            f"first: frame[{name!r}].astype(str) if it names something, .astype(float) if it counts"
        )
    return Feature(name, kind, str(column.dtype), bool(column.isna().any()), categories)


def _refuse_infinity(name: str, column: pd.Series) -> None:
    infinite = int(np.isinf(column.to_numpy(dtype=float, na_value=np.nan)).sum())
    if infinite:
        raise InputError(
            f"feature {name!r} is infinite in {infinite} of {len(column)} rows: a request can't carry that. Replace it "
            "by null or by a large number"
        )


def kind_of(column: pd.Series) -> str:
    """number, integer, boolean or text.

    Raises:
        InputError: none of them.
    """
    import pandas as pd
    from pandas.api import types

    dtype, name = column.dtype, column.name
    if isinstance(dtype, pd.ArrowDtype):
        raise InputError(
            f"feature {name!r} is of type {dtype}, which the serving side can't make again. Fit and register on "
            'frame.convert_dtypes(dtype_backend="numpy_nullable")'
        )
    if types.is_bool_dtype(dtype) and not isinstance(dtype, pd.CategoricalDtype):
        return "boolean"
    if types.is_integer_dtype(dtype):
        return "integer"
    if types.is_float_dtype(dtype):
        return "number"
    if isinstance(dtype, pd.CategoricalDtype | pd.StringDtype):
        return "text"
    if types.is_datetime64_any_dtype(dtype) or types.is_timedelta64_dtype(dtype):
        raise InputError(
            f"feature {name!r} is of type {dtype}: a request carries numbers, truth values and text. Split it into "
            f"what the model should see (hour, weekday, age in days), or pass it as time={name!r} if it says when "
            "each row happened"
        )
    if types.is_object_dtype(dtype):
        return _kind_of_objects(column)
    raise InputError(f"feature {name!r} is of type {dtype}: wanted numbers, truth values or text. Convert or drop it")


def _kind_of_objects(column: pd.Series) -> str:
    found = {type(v) for v in column.dropna()}
    if found <= {str}:
        return "text"
    if found == {bool}:
        return "boolean"
    names = ", ".join(sorted(t.__name__ for t in found))
    raise InputError(
        f"feature {column.name!r} holds Python objects ({names}): wanted one kind, numbers, truth values or text. "
        f"Convert it first, for example frame[{column.name!r}].astype(float) or .astype(str)"
    )
