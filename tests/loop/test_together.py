"""A join with the wrong key gives every column its usual values in the wrong rows: no column shows that, together they do."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

import afterfit as af
from afterfit.adapters.kept_rows import FILE, read_rows
from afterfit.errors import StoreError
from afterfit.monitoring.joint import JOINT
from tests.world import START, World

HOURLY, DAYS = 12, 40


def rows(seed: int, n: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    a = rng.normal(size=n)
    return pd.DataFrame({"a": a, "b": np.round(2 * a + rng.normal(size=n)).astype(int)})


def register(world: World) -> af.ModelVersion:
    X = rows(0, DAYS * 24 * HOURLY)
    y = pd.Series((X["a"] + np.random.default_rng(1).normal(size=len(X)) > 0).astype(int))
    times = pd.Series(pd.date_range(end=START, periods=len(X), freq=timedelta(hours=1 / HOURLY)))
    held = (X.iloc[:400], y.iloc[:400])
    return af.register("m", LogisticRegression().fit(X, y), X, y, holdout=held, time=times, config=world.config)


def a_day(world: World, seed: int, *, joined_wrongly: bool) -> None:
    day = rows(seed, 24 * HOURLY)
    if joined_wrongly:
        day["b"] = np.random.default_rng(seed).permutation(day["b"].to_numpy())
    for hour in range(24):
        part = day.iloc[hour * HOURLY : (hour + 1) * HOURLY]
        sent = [{"a": float(a), "b": int(b)} for a, b in zip(part["a"], part["b"], strict=True)]
        assert world.predict(sent, time=(world.now + timedelta(hours=hour)).isoformat()).status_code == 200
    world.tick(24)


def test_columns_that_no_longer_belong_together_are_an_incident(tmp_path: Path) -> None:
    world = World(tmp_path)
    try:
        register(world)
        for _ in range(2):
            world.tick()
        world.start(clock="request")
        for seed in (10, 11):
            a_day(world, seed, joined_wrongly=False)
        assert not world.home.store.incidents("m", open_only=True)
        a_day(world, 12, joined_wrongly=True)
        (incident,) = world.home.store.incidents("m", open_only=True)
        assert (incident.kind, incident.columns) == ("drift", (JOINT,))
        assert "correlation of a and b" in incident.title
        assert "no single column moved" in incident.title
    finally:
        world.close()


def test_rows_are_kept_with_the_version_and_damage_is_told(tmp_path: Path) -> None:
    world = World(tmp_path)
    try:
        version = register(world)
        kept = read_rows(version.folder)
        assert kept is not None
        columns, times, length = kept
        assert set(columns) == {"a", "b"}
        assert length == 86400.0
        assert 4_000 < times.size <= 5_000
        whole = rows(0, DAYS * 24 * HOURLY)
        assert set(zip(columns["a"], columns["b"], strict=True)) <= set(zip(whole["a"], whole["b"], strict=True))
        path = Path(version.folder) / FILE
        path.write_bytes(path.read_bytes()[:-40])
        with pytest.raises(StoreError, match="register the version again"):
            read_rows(version.folder)
    finally:
        world.close()


def test_kept_rows_hold_no_redacted_value(tmp_path: Path) -> None:
    world = World(tmp_path, {"redact": {"a": "drop", "b": "hash"}})
    try:
        kept = read_rows(register(world).folder)
        assert kept is not None
        assert set(kept[0]) == {"b"}
        assert all(len(v) == 16 for v in kept[0]["b"])
    finally:
        world.close()
