"""The live monitor by segment: from the setting to the reference, the stored window, the incident and `afterfit monitor`."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

import afterfit as af
from afterfit.errors import InputError
from afterfit.loop.view import newest
from tests.world import START, World, frame

ROWS = 15  # an hour: about 70 rows a day in the smallest of three segments


def answers(world: World, moved: float) -> None:
    """A day of rows with `a` moved where `b` is 2; then a look."""
    rng = np.random.default_rng(int(10 * moved))
    for hour in range(24):
        b = rng.integers(0, 5, ROWS) % 3
        a = rng.normal(size=ROWS) + moved * (b == 2)
        rows = [{"a": float(x), "b": int(y)} for x, y in zip(a, b, strict=True)]
        at = world.now + timedelta(hours=hour)
        assert world.predict(rows, time=at.isoformat()).status_code == 200
    world.tick(24)


def test_a_change_in_one_segment_is_one_incident_that_names_it(tmp_path: Path) -> None:
    world = World(tmp_path, {"segment_by": ["b"]})
    try:
        X, y = frame(20 * 24 * ROWS, 0)
        X["b"] %= 3
        times = pd.Series(pd.date_range(end=START, periods=len(X), freq=timedelta(hours=1 / ROWS)))
        model = LogisticRegression().fit(X, y)
        held = (X.iloc[:400], y.iloc[:400])
        version = af.register("m", model, X, y, holdout=held, time=times, config=world.config)
        assert set(world.loop.senses.reference(version).segments["b"]) == {"0", "1", "2"}
        for _ in range(2):
            world.tick()
        world.start(clock="request")
        answers(world, 0.0)
        assert not newest(world.loop, "m").report.drifted
        answers(world, 1.5)
        view = newest(world.loop, "m")
        assert next((s.name, bool(s.drifted)) for s in view.report.segments) == ("b=2", True)
        assert {s.name for s in view.report.segments if s.drifted} == {"b=2"}
        (incident,) = world.home.store.incidents("m", open_only=True)
        assert "a" in incident.columns
        assert any("in 1 of 3 segments of b (2)" in message for message in incident.messages)
        assert "in 1 of 3 segments of b (2)" in view.report.to_html()
    finally:
        world.close()


def test_a_segment_that_is_no_feature_is_told_at_registration(tmp_path: Path) -> None:
    world = World(tmp_path, {"segment_by": ["airport"]})
    try:
        with pytest.raises(InputError, match="segment_by = 'airport': the model has no such column"):
            world.register(LogisticRegression())
        assert not world.home.store.versions("m")
    finally:
        world.close()
