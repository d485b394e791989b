"""Three changes that a service keeps silent about with 200 OK, each on an otherwise healthy stream, each said as such."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import afterfit as af

BUDGET = 0.01


def frame(seed: int, n: int = 4000) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    sure = 1 / (1 + np.exp(-4 * x))
    return pd.DataFrame(
        {
            "x": x,
            "other": rng.lognormal(size=n),
            "place": rng.choice(["a", "b", "c"], n, p=[0.6, 0.3, 0.1]),
            "score": sure,
            "y": (rng.random(n) < sure).astype(int),
        }
    )


@pytest.mark.parametrize("seed", range(5))
def test_a_healthy_stream_is_left_alone(seed: int) -> None:
    assert not af.compare(frame(seed), frame(seed + 100), target="y", prediction="score", budget=BUDGET).drifted


@pytest.mark.parametrize("seed", range(5))
def test_falling_confidence(seed: int) -> None:
    now = frame(seed + 100)
    now["score"] = 0.5 + (now["score"] - 0.5) * 0.6
    drifted = af.compare(frame(seed), now, target="y", prediction="score", budget=BUDGET).drifted
    assert {f.check for f in drifted} == {"prediction"}
    assert "answers" in drifted[0].message


@pytest.mark.parametrize("seed", range(5))
def test_a_category_never_seen(seed: int) -> None:
    now = frame(seed + 100)
    now.loc[::200, "place"] = "mars"
    (found,) = af.compare(frame(seed), now, target="y", prediction="score", budget=BUDGET).drifted
    assert (found.column, found.check) == ("place", "unseen")
    assert "mars" in found.message


@pytest.mark.parametrize("seed", range(5))
def test_a_correlation_that_flips(seed: int, tmp_path: Path) -> None:
    old, now = frame(seed), frame(seed + 100)
    now["y"] = 1 - now["y"]
    found = af.compare(old, now, target="y", prediction="score", budget=BUDGET).drifted
    assert {(f.column, f.check) for f in found} == {("x", "sign"), ("prediction", "sign")}
    assert all("flipped its sign" in f.message for f in found)
    paths = [tmp_path / "old.parquet", tmp_path / "now.parquet"]
    for data, path in zip((old, now), paths, strict=True):
        data.to_parquet(path, row_group_size=700)
    again = af.compare(*paths, target="y", prediction="score", budget=BUDGET).drifted
    assert [f.message for f in again] == [f.message for f in found]
