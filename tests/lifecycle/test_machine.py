"""Any sequence of events: one champion once there is one, weights that sum to 1, and a ledger that gives the state."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from afterfit.errors import LifecycleError
from afterfit.lifecycle import TABLE, Event, Happening, Phase, State, replay, step


class Life(RuleBasedStateMachine):
    """Plays random possible events, with random versions and shares."""

    def __init__(self) -> None:
        super().__init__()
        self.state = State()
        self.events: list[Event] = []

    @rule(data=st.data(), version=st.integers(1, 6), weight=st.floats(0.01, 0.99))
    def something_happens(self, data: st.DataObject, version: int, weight: float) -> None:
        happening = data.draw(st.sampled_from(sorted(TABLE[self.state.phase])))
        event = Event(f"e{len(self.events)}", happening, {"version": version, "weight": weight})
        before = self.state
        try:
            self.state, _ = step(before, event)
        except LifecycleError:
            return  # a falling ramp, or no champion before: refused, and nothing changed
        self.events.append(event)
        if happening in (Happening.SHADOW_PASSED, Happening.STEP_PASSED, Happening.LAST_STEP_PASSED):
            assert self.state.weight >= before.weight, "a ramp only rises"
            assert self.state.stage == before.stage + (happening is not Happening.LAST_STEP_PASSED)
        if happening in (Happening.HELD, Happening.APPROVED):
            assert (self.state.weights, self.state.since) == (before.weights, before.since), "waiting changes nothing"
        if before.champion is not None and happening is not Happening.PROMOTED:
            assert self.state.champion in (before.champion, before.candidate, *before.history)

    @rule()
    def something_impossible_happens(self) -> None:
        for happening in set(Happening) - set(TABLE[self.state.phase]):
            try:
                step(self.state, Event("x", happening, {"version": 1, "weight": 0.5}))
            except LifecycleError:
                continue
            raise AssertionError(f"{happening} was possible while {self.state.phase}")

    @precondition(lambda self: self.state.champion is not None)
    @rule()
    def the_champion_can_be_restored(self) -> None:
        if Happening.ROLLBACK_ASKED in TABLE[self.state.phase]:
            try:
                restored, _ = step(self.state, Event("r", Happening.ROLLBACK_ASKED))
            except LifecycleError:
                assert not self.state.history
                restored = self.state
        else:
            assert self.state.phase is Phase.ROLLING_BACK
            restored = self.state
        assert restored.champion is not None
        assert restored.weights == {restored.champion: 1.0}

    @invariant()
    def one_champion_and_whole_weights(self) -> None:
        if self.state.phase in (Phase.NEW, Phase.FIRST_VALIDATING):
            assert self.state.champion is None
            assert self.state.weights == {}
            return
        assert self.state.champion is not None
        assert abs(sum(self.state.weights.values()) - 1.0) < 1e-12
        assert all(w > 0 for w in self.state.weights.values())

    @invariant()
    def the_candidate_is_another_version(self) -> None:
        assert self.state.candidate is None or self.state.candidate != self.state.champion
        if self.state.phase in (Phase.SHADOW, Phase.CANARY, Phase.PROVISIONAL):
            assert self.state.candidate is not None
            assert self.state.rollout, "the salt of the assignment"
        if self.state.phase in (Phase.NEW, Phase.SERVING, Phase.TRAINING, Phase.ROLLING_BACK, Phase.HALTED):
            assert self.state.candidate is None

    @invariant()
    def only_a_rollout_gives_a_candidate_traffic(self) -> None:
        assert (self.state.weight > 0) == (self.state.phase in (Phase.CANARY, Phase.PROVISIONAL))

    @invariant()
    def the_ledger_gives_the_state(self) -> None:
        assert replay(self.events) == self.state


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
