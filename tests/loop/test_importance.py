"""The live monitor weighs a moved feature by what the model makes of it."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from typer.testing import CliRunner, Result

import afterfit as af
from afterfit.cli import app
from afterfit.loop.view import newest
from afterfit.monitoring.importance_table import TITLE
from afterfit.records import Severity
from tests.world import START, World, frame

ROWS = 10  # an hour


def answers(world: World, seed: int, **moved: float) -> None:
    """A day of rows with some features moved; then a look."""
    X, _ = frame(24 * ROWS, seed)
    X["idle"] = np.random.default_rng(seed).normal(size=len(X))
    for name, by in moved.items():
        X[name] += by
    rows = [{str(name): value for name, value in row.items()} for row in X.to_dict("records")]
    for hour in range(24):
        at = (world.now + timedelta(hours=hour)).isoformat()
        assert world.predict(rows[hour * ROWS : (hour + 1) * ROWS], time=at).status_code == 200
    world.tick(24)


def shown(settings: Path, *options: str) -> Result:
    result = CliRunner().invoke(app, ["monitor", "m", "-c", str(settings), *options])
    assert result.exit_code == 4, result.output
    return result


def test_a_moved_feature_that_the_model_ignores_is_told_and_pages_nobody(tmp_path: Path) -> None:
    world = World(tmp_path)
    try:
        X, y = frame(20 * 24 * ROWS)
        X["idle"] = np.random.default_rng(3).normal(size=len(X))
        times = pd.Series(pd.date_range(end=START, periods=len(X), freq=timedelta(hours=1 / ROWS)))
        model = LogisticRegression().fit(X, y)
        af.register("m", model, X, y, holdout=(X[:2000], y[:2000]), time=times, config=world.config)
        for _ in range(2):
            world.tick()
        world.start(clock="request")
        answers(world, 1, idle=1.5)
        (told,) = newest(world.loop, "m").report.drifted
        assert (told.column, told.severity) == ("idle", Severity.INFO)
        assert "the model does as well without it" in told.message
        assert not world.home.store.incidents("m", open_only=True)
        answers(world, 2, idle=1.5, a=1.5)
        (incident,) = world.home.store.incidents("m", open_only=True)
        assert set(incident.columns) == {"prediction", "a", "idle"}
        assert not incident.title.startswith("idle")
        what_the_user_sees(world, tmp_path)
    finally:
        world.close()


def what_the_user_sees(world: World, folder: Path) -> None:
    """The newest window on the terminal, as JSON and as a page; and without a measured importance."""
    settings, page = folder / "afterfit.toml", folder / "page.html"
    settings.write_text(f'home = "{world.config.home}"\n[models.m]\ntask = "binary"\nwindow = "1d"\n', encoding="utf-8")
    told = shown(settings, "--html", str(page)).stdout
    assert told.index("checks drifted") < told.index(TITLE)
    lines = [line.split()[0] for line in told.split(TITLE)[1].splitlines() if "the model" in line]
    assert lines[:2] == ["a", "idle"]
    weighed = json.loads(shown(settings, "--json").stdout)["weighed"]
    assert [(row["feature"], row["ignored"]) for row in weighed[:2]] == [("a", False), ("idle", True)]
    assert weighed[0]["distance"] > 0.3
    assert weighed[0]["importance"] > 0.02 > abs(weighed[1]["importance"])
    assert TITLE in page.read_text(encoding="utf-8")
    (Path(world.loop.champion(world.loop.book("m")).folder) / "importance.json").unlink()  # as of an older release
    assert TITLE not in shown(settings, "--html", str(page)).stdout
    assert TITLE not in page.read_text(encoding="utf-8")
    assert json.loads(shown(settings, "--json").stdout)["weighed"] == []
