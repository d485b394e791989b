"""Signatures of training frames, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from afterfit.errors import InputError
from afterfit.records import Feature
from afterfit.tracking.features import features_of


def test_each_kind_of_column_is_named_with_its_dtype_and_nulls() -> None:
    frame = pd.DataFrame(
        {
            "n": [1.5, None],
            "small": np.array([1, 2], dtype="float32"),
            "i": [1, 2],
            "b": [True, False],
            "t": ["x", None],
            "c": pd.Categorical(["x", "y"], categories=["y", "x"]),
            "maybe": pd.array([True, None], dtype="boolean"),
            "whole": pd.array([1, None], dtype="Int64"),
            "flag": pd.Series([True, None], dtype=object),
        }
    )
    found = features_of(frame)
    text = str(frame["t"].dtype)
    assert found == (
        Feature("n", "number", "float64", True),
        Feature("small", "number", "float32"),
        Feature("i", "integer", "int64"),
        Feature("b", "boolean", "bool"),
        Feature("t", "text", text, True),
        Feature("c", "text", "category", categories=("y", "x")),
        Feature("maybe", "boolean", "boolean", True),
        Feature("whole", "integer", "Int64", True),
        Feature("flag", "boolean", "object", True),
    )


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (pd.to_datetime(["2024-01-01"]), "time='a'"),
        (pd.to_timedelta(["1 day"]), "hour, weekday"),
        (pd.Series([[1, 2]]), "Python objects (list)"),
        (pd.Series([1, "x"], dtype=object), "int, str"),
        (pd.Categorical([1]), "astype(str)"),
        (np.array([1j]), "complex128"),
        (np.array([np.inf]), "infinite in 1 of 1 rows"),
        (np.array([2**63], dtype="uint64"), "reaches 9223372036854775808: a request carries whole numbers up to"),
        (pd.array([1, 2], dtype="int64[pyarrow]"), 'convert_dtypes(dtype_backend="numpy_nullable")'),
        (pd.array([1.5], dtype="double[pyarrow]"), "of type double[pyarrow]"),
    ],
)
def test_what_a_request_cannot_carry_is_refused_with_advice(column: object, words: str) -> None:
    with pytest.raises(InputError) as caught:
        features_of(pd.DataFrame({"a": column}))
    assert "'a'" in str(caught.value)
    assert words in str(caught.value)
