"""`afterfit monitor`: what the live monitor found in the newest window, and plain words while there is nothing to show."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from typer.testing import CliRunner

from afterfit.cli import app
from afterfit.errors import InputError, StoreError
from afterfit.loop.view import newest
from tests.world import World


def answers(world: World, days: int, moved: float) -> None:
    """Forty rows an hour for some days, with `a` moved; then a look."""
    rng = np.random.default_rng(days)
    for hour in range(24 * days):
        rows = [{"a": float(rng.normal(moved)), "b": int(rng.integers(0, 5))} for _ in range(40)]
        at = world.now + timedelta(hours=hour)
        assert world.predict(rows, time=at.isoformat()).status_code == 200
    world.tick(24 * days)


def test_the_newest_window_is_shown_as_it_was_found(world: World, tmp_path: Path) -> None:
    world.live(LogisticRegression())
    with pytest.raises(InputError, match="no window of 1 d"):
        newest(world.loop, "m")
    world.start(clock="request")
    answers(world, 1, 0.0)
    assert not newest(world.loop, "m").report.drifted
    answers(world, 1, 8.0)
    view = newest(world.loop, "m")
    assert "a" in {f.column for f in view.report.drifted}
    assert len(view.timeline) == 2
    assert view.timeline[1][1]["a"] > 5 * view.timeline[0][1]["a"]
    settings = tmp_path / "afterfit.toml"
    settings.write_text(f'home = "{world.config.home}"\n[models.m]\ntask = "binary"\nwindow = "1d"\n', encoding="utf-8")
    page = tmp_path / "page.html"
    result = CliRunner().invoke(app, ["monitor", "m", "-c", str(settings), "--html", str(page), "--json"])
    assert result.exit_code == 4, result.output
    assert json.loads(result.stdout)["version"] == 1
    without = CliRunner().invoke(app, ["monitor", "m", "-c", str(settings), "--cause"])
    assert "answered 0 rows with an outcome" in str(without.exception)
    assert "<svg" in page.read_text(encoding="utf-8")


def test_a_reference_that_can_not_be_read_is_said_and_does_not_stop_the_loop(world: World) -> None:
    version = world.live(LogisticRegression())
    world.start(clock="request")
    (Path(version.folder) / "reference.json").write_text("{}", encoding="utf-8")
    answers(world, 1, 0.0)
    with pytest.raises(StoreError, match="register the version again"):
        world.loop.senses.reference(version)
    failed = world.loop.book("m").last("look_failed")
    assert failed is not None
    assert "reference" in failed.data["problem"]
