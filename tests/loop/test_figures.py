"""What the controller tells for the page of metrics: the ledger's counts, the budget, and how good the answers were."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from sklearn.linear_model import LogisticRegression

from afterfit.lifecycle import Happening, Phase
from afterfit.loop import Loop
from afterfit.loop.figures import figures
from afterfit.loop.view import losses_of
from afterfit.records import Incident, Sample, Severity
from tests.loop.test_outcomes import A_DAY, Days
from tests.world import START, World


def told(world: World, name: str, **labels: str) -> float:
    """The sum of the samples that have these labels among theirs."""
    found = {family.name: family.samples for family in figures(world.loop, world.now, 0.5)}
    return sum(s.value for s in found[f"afterfit_{name}"] if s.labels.items() >= labels.items())


def test_a_model_that_is_not_live_yet(world: World) -> None:
    assert told(world, "champion_version", model="m") == 0
    assert told(world, "phase", model="m", phase="new") == 1
    assert told(world, "phase", model="m") == 1
    assert told(world, "events_total") == 0
    assert told(world, "false_alarms_allowed_total") == 0
    assert told(world, "realised_loss") == 0
    assert told(world, "controller_tick_timestamp_seconds") == START.timestamp()
    assert told(world, "controller_tick_seconds") == 0.5


def test_events_phase_and_incidents_follow_the_ledger_also_in_another_process(world: World) -> None:
    world.live(LogisticRegression())
    assert told(world, "champion_version", model="m") == 1
    assert told(world, "phase", phase=Phase.SERVING.value) == 1
    assert told(world, "published_routes_number") == world.home.board.current().number > 0
    world.say(Happening.HALTED, why="test")
    world.say(Happening.RESUMED)
    for kind, closed in (("drift", None), ("drift", START), ("quality", None)):
        incident = Incident(
            f"{kind}-{closed}", "m", kind, START, START, Severity.WARNING, "x", ("a",), ("x",), (), closed_at=closed
        )
        world.home.store.save_incident(incident)
    world.now += timedelta(days=45)
    for loop in (world.loop, Loop(world.home)):  # the second knows nothing but what is kept
        world.loop = loop
        assert told(world, "events_total", event="halted") == 1
        assert told(world, "events_total", event="resumed") == 1
        assert told(world, "events_total", event="rolled_back") == 0
        assert told(world, "incidents_total", kind="drift") == 2
        assert told(world, "incidents_open", kind="drift") == 1
        assert told(world, "incidents_open") == 2
        assert told(world, "false_alarms_allowed_total") == pytest.approx(0.5, abs=0.01)  # 1 per 90 d


def test_the_newest_window_that_says_something_is_told(tmp_path: Path) -> None:
    days = Days(tmp_path)
    try:
        days.live(9)
        losses = losses_of(days.world.home.store, "m")
        known = [one for one in losses if one.loss is not None]
        assert told(days.world, "realised_loss") == known[-1].loss
        assert told(days.world, "outcome_coverage_ratio") == known[-1].n / A_DAY == 1.0
        end = known[-1].start + timedelta(days=1)
        assert told(days.world, "realised_window_end_timestamp_seconds") == end.timestamp()
        assert losses[-1].estimated is not None
        assert told(days.world, "estimated_loss") == losses[-1].estimated
    finally:
        days.world.close()


def test_they_are_kept_exactly_on_the_board(world: World) -> None:
    world.live(LogisticRegression())
    families = figures(world.loop, world.now, 0.25)
    world.home.board.tell(families)
    assert world.home.board.told() == families
    assert Sample(0.25) in world.home.board.told()[1].samples
