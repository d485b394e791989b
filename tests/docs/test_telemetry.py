"""docs/telemetry.md and the page of a gateway under load name the same metrics, of the same types, with the same labels."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families
from sklearn.linear_model import LogisticRegression

from afterfit.lifecycle import Happening
from afterfit.loop.figures import figures
from tests.world import World, wait_for, with_trigger

PAGE = (Path(__file__).parents[2] / "docs" / "telemetry.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(\w+)` \| (counter|gauge|histogram) \| ([^|]*)\|", flags=re.M)
WEEKS = {"afterfit_estimated_loss"}  # comes once some windows have matured


def documented() -> dict[str, tuple[str, frozenset[str]]]:
    return {name: (kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in ROW.findall(PAGE)}


def told(text: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Of each metric its type and its labels; of those without a sample the type alone."""
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {frozenset(sample.labels) - {"le"} for sample in family.samples} or {frozenset({"?"})}
        assert len(labels) == 1, name
        found[name] = (family.type, labels.pop())
    return found


def page_of(world: World) -> str:
    return httpx.get(f"{world.url}/metrics", timeout=30.0).text


def test_the_page_and_the_document_agree(world: World, tmp_path: Path) -> None:
    world.live(LogisticRegression())
    world.start(clock="request")
    for hour in range(24):
        at = (world.now + timedelta(hours=hour)).isoformat()
        answers = world.predict([{"a": 0.5, "b": 1}] * 10, time=at).json()["predictions"]
        world.outcomes([{"prediction_id": a["id"], "value": 1, "event_time": at, "known_time": at} for a in answers])
    world.tick(72)
    model, trigger = with_trigger(tmp_path, "crash")
    world.register(model, seed=1)
    world.say(Happening.FAST_TRACKED, version=2, weight=0.5, why="test")
    world.settled()
    keys = [f"key-{i}" for i in range(40)]
    world.predict([{"a": 0.5, "b": 1}] * 40, key=keys, time=world.now.isoformat())
    wait_for(lambda: "\nafterfit_shadow_rows_total{" in page_of(world), 30.0, "no copy was scored")
    trigger.touch()
    degraded = world.predict([{"a": 0.5, "b": 1}] * 40, key=keys, time=world.now.isoformat())
    assert "version 2 had no answer" in degraded.headers["x-afterfit-degraded"]
    assert world.predict([{"a": "text"}]).status_code == 400
    trigger.unlink()
    world.settled()
    world.home.board.tell(figures(world.loop, world.now, 0.1))
    found = told(page_of(world))
    assert {name for name, (_, labels) in found.items() if "?" in labels} == WEEKS
    assert {n: t for n, t in found.items() if n not in WEEKS} == {
        n: t for n, t in documented().items() if n not in WEEKS
    }
    assert found.keys() == documented().keys()


def test_every_name_in_the_text_is_in_the_tables() -> None:
    named = {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\bafterfit_\w+", PAGE)}
    assert named <= documented().keys()
