"""The hash of a training frame: the whole frame, and the same from every library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from afterfit.adapters.frames import to_pandas
from afterfit.tracking.fingerprint import frame_sha256


def base() -> pd.DataFrame:
    return pd.DataFrame({"n": [1.5, None, 0.0], "i": [1, 2, 3], "t": ["a", None, "é"], "b": [True, False, True]})


def test_pandas_polars_and_arrow_of_the_same_data_agree() -> None:
    frame = base().assign(c=pd.Categorical(["x", None, "y"]))
    same = [
        frame,
        pl.DataFrame(
            {
                "n": [1.5, None, -0.0],
                "i": [1, 2, 3],
                "t": ["a", None, "é"],
                "b": [True, False, True],
                "c": pl.Series(["x", None, "y"], dtype=pl.Categorical),
            }
        ),
        pa.Table.from_pandas(frame),
        frame.assign(t=frame["t"].astype(object), c=pd.Categorical(["x", None, "y"], categories=["y", "x"])),
        frame.set_axis([7, 8, 9], axis=0),
    ]
    assert len({frame_sha256(to_pandas(f)) for f in same}) == 1


def test_the_last_of_200_000_rows_counts() -> None:
    rng = np.random.default_rng(7)
    numbers, texts = rng.normal(size=200_000), rng.choice(["a", "b"], 200_000)
    other_numbers, other_texts = numbers.copy(), texts.copy()
    other_numbers[-1] = np.nextafter(numbers[-1], 9.0)
    other_texts[-1] = "c"
    frames = [{"n": numbers, "t": texts}, {"n": other_numbers, "t": texts}, {"n": numbers, "t": other_texts}]
    assert len({frame_sha256(pd.DataFrame(f)) for f in frames}) == 3


CHANGES: dict[str, Callable[[Any], Any]] = {
    "column order": lambda f: f[["i", "n", "t", "b"]],
    "row order": lambda f: f.iloc[[1, 0, 2]],
    "name": lambda f: f.rename(columns={"n": "m"}),
    "a row less": lambda f: f.iloc[:2],
    "a column less": lambda f: f.drop(columns="b"),
    "dtype": lambda f: f.assign(i=f["i"].astype("int32")),
    "numbers as text": lambda f: f.assign(i=f["i"].astype(str)),
    "null to zero": lambda f: f.assign(n=f["n"].fillna(0.0)),
    "null to empty text": lambda f: f.assign(t=f["t"].fillna("")),
    "letters move to the next row": lambda f: f.assign(t=["", None, "aé"]),
    "truth": lambda f: f.assign(b=[True, True, True]),
    "category": lambda f: f.assign(t=f["t"].astype("category")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_kind_of_change_shows(change: str) -> None:
    assert frame_sha256(CHANGES[change](base())) != frame_sha256(base())


def test_the_target_counts_and_its_name_does_not() -> None:
    frame, y = base(), pd.Series([0, 1, 0], name="late")
    hashes = [frame_sha256(frame), frame_sha256(frame, y), frame_sha256(frame, pd.Series([0, 1, 1]))]
    assert len(set(hashes)) == 3
    assert frame_sha256(frame, y.rename("other")) == hashes[1]
    assert frame_sha256(frame.assign(target=y)) != hashes[1]
