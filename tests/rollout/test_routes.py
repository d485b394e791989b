"""The routes that follow from a state: every version that must be loaded, and weights that sum to 1."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from afterfit.config import ModelConfig, RolloutConfig
from afterfit.lifecycle import Phase, State
from afterfit.records import ModelVersion, Role, Task
from afterfit.rollout.routes import routes_for

AT = datetime(2026, 1, 5, tzinfo=UTC)
CONFIG = ModelConfig("m", "binary", rollout=RolloutConfig(timeout=0.25))
SERVING = State(Phase.SERVING, champion=3, history=(1, 2))
ROLLOUT = replace(SERVING, candidate=4, rollout="r9")


def find(model: str, version: int) -> ModelVersion:
    return ModelVersion(model, version, Task.BINARY, AT, f"/{version}", "", None, f"sha{version}", None, 0, (), (0, 1))


@pytest.mark.parametrize(
    ("state", "wanted"),
    [
        (SERVING, [(3, Role.CHAMPION, 1.0), (2, Role.STANDBY, 0.0)]),
        (State(Phase.SERVING, champion=3), [(3, Role.CHAMPION, 1.0)]),
        (replace(ROLLOUT, phase=Phase.VALIDATING), [(3, Role.CHAMPION, 1.0), (2, Role.STANDBY, 0.0)]),
        (
            replace(ROLLOUT, phase=Phase.SHADOW),
            [(3, Role.CHAMPION, 1.0), (4, Role.SHADOW, 0.0), (2, Role.STANDBY, 0.0)],
        ),
        (
            replace(ROLLOUT, phase=Phase.CANARY, weight=0.25),
            [(3, Role.CHAMPION, 0.75), (4, Role.CANARY, 0.25), (2, Role.STANDBY, 0.0)],
        ),
        (
            replace(ROLLOUT, phase=Phase.PROVISIONAL, weight=0.75, candidate=2),  # an earlier champion comes back
            [(3, Role.CHAMPION, 0.25), (2, Role.CANARY, 0.75)],
        ),
    ],
)
def test_the_targets_of_a_state(state: State, wanted: list[tuple[int, Role, float]]) -> None:
    routes = routes_for({"m": state}, find, {"m": CONFIG}, number=7, made_at=AT)
    found = routes.models["m"]
    assert (routes.number, routes.made_at) == (7, AT)
    assert [(t.version, t.role, t.weight) for t in found.targets] == wanted
    assert sum(t.weight for t in found.targets) == 1.0
    assert all((t.folder, t.sha256) == (f"/{t.version}", f"sha{t.version}") for t in found.targets)
    assert (found.timeout, found.task) == (0.25, Task.BINARY)


def test_a_rollout_has_its_own_salt() -> None:
    states = {"m": replace(ROLLOUT, phase=Phase.CANARY, weight=0.25), "n": SERVING}
    models = routes_for(states, find, {"m": CONFIG, "n": CONFIG}, number=1, made_at=AT).models
    assert (models["m"].rollout, models["n"].rollout) == ("r9", "n-steady")


def test_a_model_without_a_champion_has_no_routes() -> None:
    states = {"m": State(), "n": State(Phase.FIRST_VALIDATING, candidate=1)}
    assert routes_for(states, find, {"m": CONFIG, "n": CONFIG}, number=1, made_at=AT).models == {}
