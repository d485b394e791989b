"""Every pair of phase and event: those of the life go where they should, all others raise and name what is possible."""

from __future__ import annotations

import itertools

import pytest

from afterfit.errors import LifecycleError
from afterfit.lifecycle import TABLE, Event, Happening, Phase, State, step

# The life of a model, written down a second time and by hand, so that a change of the table shows here.
EXPECTED = """
new              deployed         first_validating validate
new              promoted         serving          publish mirror notify
first_validating gate_passed      serving          publish mirror notify
first_validating gate_failed      new              notify
first_validating promoted         serving          cancel_jobs publish mirror notify
serving          deployed         validating       validate
serving          fast_tracked     canary           publish notify
serving          retrain_started  training         train
serving          promoted         serving          publish mirror notify
serving          rollback_asked   rolling_back     publish mirror notify
serving          halted           halted           publish notify
training         trained          validating       validate
training         train_failed     serving          notify
training         promoted         serving          cancel_jobs publish mirror notify
training         rollback_asked   rolling_back     cancel_jobs publish mirror notify
training         halted           halted           cancel_jobs publish notify
validating       gate_passed      shadow           publish
validating       gate_failed      serving          notify
validating       promoted         serving          cancel_jobs publish mirror notify
validating       rollback_asked   rolling_back     cancel_jobs publish mirror notify
validating       halted           halted           cancel_jobs publish notify
shadow           shadow_passed    canary           publish
shadow           last_step_passed provisional      publish notify
shadow           harmed           rolling_back     publish mirror notify
shadow           held             shadow           notify
shadow           approved         shadow
shadow           promoted         serving          publish mirror notify
shadow           rollback_asked   rolling_back     publish mirror notify
shadow           halted           halted           publish notify
canary           step_passed      canary           publish
canary           last_step_passed provisional      publish notify
canary           harmed           rolling_back     publish mirror notify
canary           held             canary           notify
canary           approved         canary
canary           promoted         serving          publish mirror notify
canary           rollback_asked   rolling_back     publish mirror notify
canary           halted           halted           publish notify
provisional      confirmed        serving          publish mirror notify
provisional      harmed           rolling_back     publish mirror notify
provisional      held             provisional      notify
provisional      promoted         serving          publish mirror notify
provisional      rollback_asked   rolling_back     publish mirror notify
provisional      halted           halted           publish notify
rolling_back     rolled_back      serving
rolling_back     promoted         serving          publish mirror notify
rolling_back     halted           halted           publish notify
halted           resumed          serving          publish
halted           promoted         halted           publish mirror notify
halted           rollback_asked   halted           publish mirror notify
"""
ROWS = {(r[0], r[1]): (r[2], r[3:]) for r in (line.split() for line in EXPECTED.strip().splitlines())}
DATA = {"version": 3, "weight": 0.96}
PAIRS = list(itertools.product(Phase, Happening))


def state_in(phase: Phase) -> State:
    """A plausible state in that phase."""
    if phase is Phase.NEW:
        return State()
    if phase is Phase.FIRST_VALIDATING:
        return State(phase, candidate=1)
    under_way = phase in (Phase.VALIDATING, Phase.SHADOW, Phase.CANARY, Phase.PROVISIONAL)
    weight = {Phase.CANARY: 0.1, Phase.PROVISIONAL: 0.95}.get(phase, 0.0)
    return State(phase, champion=1, history=(7,), candidate=2 if under_way else None, weight=weight)


@pytest.mark.parametrize(("phase", "happening"), PAIRS, ids=[f"{p}-{h}" for p, h in PAIRS])
def test_every_pair(phase: Phase, happening: Happening) -> None:
    before = state_in(phase)
    event = Event("e", happening, DATA)
    if (phase.value, happening.value) not in ROWS:
        with pytest.raises(LifecycleError, match="possible now") as caught:
            step(before, event)
        assert all(h.value in str(caught.value) for h in TABLE[phase])
        return
    wanted, commands = ROWS[phase.value, happening.value]
    after, found = step(before, event)
    assert after.phase.value == wanted
    assert [c.value for c in found] == commands


def test_who_is_champion_after_the_decisive_events() -> None:
    canary = state_in(Phase.CANARY)
    assert step(canary, Event("e", Happening.HARMED))[0].champion == 1
    assert step(canary, Event("e", Happening.HARMED))[0].history == (7,)
    confirmed, _ = step(state_in(Phase.PROVISIONAL), Event("e", Happening.CONFIRMED))
    assert (confirmed.champion, confirmed.history, confirmed.candidate) == (2, (7, 1), None)
    back, _ = step(confirmed, Event("f", Happening.ROLLBACK_ASKED))
    assert (back.champion, back.history) == (1, (7,))


def test_a_first_champion_can_not_be_rolled_back() -> None:
    with pytest.raises(LifecycleError, match="nothing to roll back to"):
        step(State(Phase.SERVING, champion=1), Event("e", Happening.ROLLBACK_ASKED))


@pytest.mark.parametrize("weight", [0.0, 1.0, 1.5, -0.1])
def test_a_share_outside_zero_and_one_is_refused(weight: float) -> None:
    with pytest.raises(LifecycleError, match="between 0 and 1"):
        step(state_in(Phase.SHADOW), Event("e", Happening.SHADOW_PASSED, {"weight": weight}))


def test_a_ramp_does_not_fall() -> None:
    with pytest.raises(LifecycleError, match="only rises"):
        step(state_in(Phase.CANARY), Event("e", Happening.STEP_PASSED, {"weight": 0.05}))


def test_the_last_step_does_not_lower_the_share() -> None:
    with pytest.raises(LifecycleError, match="only rises"):
        step(state_in(Phase.CANARY), Event("e", Happening.LAST_STEP_PASSED, {"weight": 0.05}))


@pytest.mark.parametrize(
    ("phase", "happening", "key"),
    [
        (Phase.SERVING, Happening.DEPLOYED, "version"),
        (Phase.SERVING, Happening.PROMOTED, "version"),
        (Phase.SHADOW, Happening.SHADOW_PASSED, "weight"),
    ],
)
def test_an_event_without_its_data_is_refused(phase: Phase, happening: Happening, key: str) -> None:
    with pytest.raises(LifecycleError, match=f"needs '{key}'"):
        step(state_in(phase), Event("e", happening))


@pytest.mark.parametrize("happening", [Happening.PROMOTED, Happening.ROLLBACK_ASKED])
def test_a_halt_outlives_what_a_person_does_meanwhile(happening: Happening) -> None:
    halted = State(Phase.HALTED, champion=1, history=(7,))
    after, _ = step(halted, Event("e", happening, {"version": 3}))
    assert after.phase is Phase.HALTED
    assert after.champion == (3 if happening is Happening.PROMOTED else 7)
