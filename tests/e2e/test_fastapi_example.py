"""The example of a service beside Afterfit runs as its README says, and a broken feed is found as an incident."""

from __future__ import annotations

import difflib
import os
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import copytree

import httpx
import pytest

from afterfit.config import load
from afterfit.home import Home
from afterfit.loop import Loop
from tests.world import wait_for

FOLDER = Path(__file__).parents[2] / "examples" / "fastapi_service"
ROWS = 150  # of each feed
ADDED = ("import afterfit", "rec = afterfit.Recorder(", "rec.log(", "rec.outcome(")


def test_an_import_and_three_lines_are_all_there_is() -> None:
    before, after = ((FOLDER / name).read_text(encoding="utf-8").splitlines() for name in ("before.py", "after.py"))
    changed = [line for line in difflib.ndiff(before, after) if line[0] in "+-" and line[1:].strip()]
    assert [line[1:].strip().startswith(start) for line, start in zip(changed, ADDED, strict=True)] == [True] * 4
    assert all(line.startswith("+") for line in changed)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The example in a folder of the test's own, trained and registered."""
    own = tmp_path / "service"
    copytree(FOLDER, own)
    subprocess.run([sys.executable, "train.py"], cwd=own, check=True, timeout=110)
    return own


@pytest.mark.timeout(400)
def test_predictions_and_outcomes_reach_the_lake_and_a_broken_feed_is_found(folder: Path) -> None:
    pytest.importorskip("fastapi", reason="the example's own dependency")
    home = Home.open(load(folder / "afterfit.toml", {}))
    loop, now = Loop(home), datetime.now(UTC)
    loop.settle(now)
    loop.settle(now)
    assert loop.book("let-soon").state.champion == 1
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    command = [sys.executable, "-m", "uvicorn", "after:app", "--port", url.rpartition(":")[2], "--log-level", "warning"]
    service = subprocess.Popen(command, cwd=folder)
    try:
        wait_for(lambda: _answers(url), 60, "the service did not start")
        for seed, feed in enumerate(("healthy", "broken")):
            traffic = [sys.executable, "traffic.py", "--url", url, "--feed", feed, "--seed", str(2 + seed)]
            traffic += ["--rows", str(ROWS)]
            subprocess.run(traffic, cwd=folder, check=True, timeout=140, env={**os.environ, "PYTHONPATH": str(folder)})
    finally:
        service.terminate()
        service.wait(30)
    for minutes in range(1, 12):
        loop.settle(datetime.now(UTC) + timedelta(minutes=minutes))
    assert home.lake.counts("let-soon") == {"predictions": 2 * ROWS, "outcomes": 2 * ROWS, "shadows": 0, "waiting": 0}
    found = [i for i in home.store.incidents("let-soon") if "size" in i.columns]
    assert found, home.store.incidents("let-soon")
    home.close()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/docs").status_code == 200
    except httpx.HTTPError:
        return False
