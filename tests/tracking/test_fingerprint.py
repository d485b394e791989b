"""The hash of a training frame: the whole frame, and the same from every library."""

from __future__ import annotations

from collections.abc import Callable

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
    frame = pd.DataFrame({"n": rng.normal(size=200_000), "t": rng.choice(["a", "b"], 200_000)})
    before = frame_sha256(frame)
    other_number, other_text = frame.copy(), frame.copy()
    other_number.loc[199_999, "n"] += 1e-12
    other_text.loc[199_999, "t"] = "c"
    assert len({before, frame_sha256(other_number), frame_sha256(other_text)}) == 3


CHANGES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
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
