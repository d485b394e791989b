"""`afterfit monitor --power`: rows of the reference before anything was served, then the windows of the lake."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from typer.testing import CliRunner

from afterfit.cli import app
from afterfit.loop.power import FEWEST
from tests.adapters.log_rows import prediction, write
from tests.world import World


def answers(world: World) -> None:
    """A day of 960 rows, as a gateway would have logged them; then a look."""
    rng, n = np.random.default_rng(world.now.day), 960
    served = [
        prediction(
            f"{world.now:%d}-{i}",
            model="m",
            time=world.now + timedelta(days=i / n),
            logged_at=world.now + timedelta(days=i / n),
            features={"a": float(rng.normal()), "b": int(rng.integers(0, 5))},
        )
        for i in range(n)
    ]
    write(world.config.home / "journal" / f"{world.now:%d}.db", served)
    world.tick(24)


def test_the_report_is_of_the_champion_and_its_newest_windows(world: World, tmp_path: Path) -> None:
    settings = tmp_path / "afterfit.toml"
    settings.write_text(
        f'home = "{world.config.home}"\n[models.m]\ntask = "binary"\nwindow = "1d"\nfalse_alarms = "2 per 30d"\n',
        encoding="utf-8",
    )

    def run(*more: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, ["monitor", "m", "--power", "-c", str(settings), *more])
        assert result.exit_code == code, result.output
        return result.stdout

    def report() -> dict[str, Any]:
        read: dict[str, Any] = json.loads(run("--json"))
        return read

    world.live(LogisticRegression())
    before = report()
    assert before["drawn"]
    assert before["rows"] == 400 // 16  # an hour each; of the 17 days of the training data one is too short
    assert before["alpha"] == 0.5 * 2 / 30
    assert "nothing is found but" in " ".join(run().split())
    for _ in range(FEWEST):
        answers(world)
    after = report()
    assert (after["drawn"], after["windows"], after["rows"]) == (False, FEWEST, 960)
    found = {c["column"]: c["smallest"] for c in after["columns"]}
    assert found["a"]["mean"]["1"] <= 1.0
    text = " ".join(run().split())
    assert text.startswith(
        "At 2 false incidents per 30 d, with windows of 1 d and about 960 rows (the newest 3 healthy"
    )
    assert "mean +1 sd" in text
    assert "ask for one of them" in str(
        CliRunner().invoke(app, ["monitor", "m", "--power", "--html", "x.html"]).exception
    )
