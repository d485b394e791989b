"""The whole life of a model: phases, events, commands, ONE table, and step(). It decides nothing and does nothing.

Evidence is judged elsewhere and arrives here as an event; what must be done leaves here as commands. An event that
the table does not list for a phase raises. A person's word counts at any time: from every phase, PROMOTED crowns a
version, and with a champion ROLLBACK_ASKED gives all of the traffic to a proven one (while ROLLING_BACK that is under
way already). Neither lifts a halt: only RESUMED does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from afterfit.errors import LifecycleError


class Phase(StrEnum):
    """Where a model stands."""

    NEW = "new"  # nothing is live yet
    FIRST_VALIDATING = "first_validating"  # the first version faces absolute thresholds and a baseline
    SERVING = "serving"  # the champion has all traffic and nothing is under way
    TRAINING = "training"
    VALIDATING = "validating"  # the gate: paired with the champion on mature rows
    SHADOW = "shadow"  # the candidate scores copies; nobody sees its answers
    CANARY = "canary"  # the candidate answers its share
    PROVISIONAL = "provisional"  # nearly everyone has it, the outcome test is still armed
    ROLLING_BACK = "rolling_back"  # until the gateways have acknowledged the restored routes
    HALTED = "halted"  # a person stopped all automatic change; the champion has all traffic


class Happening(StrEnum):
    """The names of events."""

    DEPLOYED = "deployed"  # version
    FAST_TRACKED = "fast_tracked"  # version, weight, why: a person skipped gate and shadow
    RETRAIN_STARTED = "retrain_started"  # why
    TRAINED = "trained"  # version
    TRAIN_FAILED = "train_failed"  # why
    GATE_PASSED = "gate_passed"
    GATE_FAILED = "gate_failed"
    SHADOW_PASSED = "shadow_passed"  # weight of the first canary step
    STEP_PASSED = "step_passed"  # weight of the next canary step
    LAST_STEP_PASSED = "last_step_passed"  # weight while provisional
    CONFIRMED = "confirmed"
    HARMED = "harmed"
    HELD = "held"  # deadline without a verdict: stay, and tell
    APPROVED = "approved"
    PROMOTED = "promoted"  # version: a person's word
    ROLLBACK_ASKED = "rollback_asked"  # a person's word
    ROLLED_BACK = "rolled_back"
    HALTED = "halted"
    RESUMED = "resumed"


class Command(StrEnum):
    """What the loop must do. All are idempotent and carry the event's id."""

    TRAIN = "train"  # start a training job
    VALIDATE = "validate"  # start a gate job
    CANCEL_JOBS = "cancel_jobs"
    PUBLISH = "publish"  # write the routes that follow from the state
    MIRROR = "mirror"  # set the registry's alias `champion`, read it back
    NOTIFY = "notify"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a model; `id` is the ledger's, `data` as listed at :class:`Happening`."""

    id: str
    name: Happening
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class State:
    """All that routes and decisions depend on. It follows from the ledger alone."""

    phase: Phase = Phase.NEW
    champion: int | None = None
    history: tuple[int, ...] = ()  # earlier champions, newest last: where a rollback goes
    candidate: int | None = None
    weight: float = 0.0  # the candidate's share of the served traffic
    stage: int = 0  # canary steps begun
    rollout: str = ""  # id of the event that started this rollout; salt of the assignment
    since: str = ""  # id of the event that began the present stage
    approved: bool = False

    @property
    def weights(self) -> dict[int, float]:
        """Share of the served traffic by version; sums to 1 once there is a champion."""
        if self.champion is None:
            return {}
        if self.candidate is None or self.weight == 0.0:
            return {self.champion: 1.0}
        return {self.champion: 1.0 - self.weight, self.candidate: self.weight}


P, H, C = Phase, Happening, Command
Row = Mapping[Happening, tuple[Phase, tuple[Command, ...]]]

_BACK = (P.ROLLING_BACK, (C.PUBLISH, C.MIRROR, C.NOTIFY))
_BACK_CANCEL = (P.ROLLING_BACK, (C.CANCEL_JOBS, C.PUBLISH, C.MIRROR, C.NOTIFY))
_CROWN = (P.SERVING, (C.PUBLISH, C.MIRROR, C.NOTIFY))
_CROWN_CANCEL = (P.SERVING, (C.CANCEL_JOBS, C.PUBLISH, C.MIRROR, C.NOTIFY))
_HALT = (P.HALTED, (C.PUBLISH, C.NOTIFY))
_HALT_CANCEL = (P.HALTED, (C.CANCEL_JOBS, C.PUBLISH, C.NOTIFY))

TABLE: Mapping[Phase, Row] = {
    P.NEW: {
        H.DEPLOYED: (P.FIRST_VALIDATING, (C.VALIDATE,)),
        H.PROMOTED: _CROWN,
    },
    P.FIRST_VALIDATING: {
        H.GATE_PASSED: _CROWN,
        H.GATE_FAILED: (P.NEW, (C.NOTIFY,)),
        H.PROMOTED: _CROWN_CANCEL,
    },
    P.SERVING: {
        H.DEPLOYED: (P.VALIDATING, (C.VALIDATE,)),
        H.FAST_TRACKED: (P.CANARY, (C.PUBLISH, C.NOTIFY)),
        H.RETRAIN_STARTED: (P.TRAINING, (C.TRAIN,)),
        H.PROMOTED: _CROWN,
        H.ROLLBACK_ASKED: _BACK,
        H.HALTED: _HALT,
    },
    P.TRAINING: {
        H.TRAINED: (P.VALIDATING, (C.VALIDATE,)),
        H.TRAIN_FAILED: (P.SERVING, (C.NOTIFY,)),
        H.PROMOTED: _CROWN_CANCEL,
        H.ROLLBACK_ASKED: _BACK_CANCEL,
        H.HALTED: _HALT_CANCEL,
    },
    P.VALIDATING: {
        H.GATE_PASSED: (P.SHADOW, (C.PUBLISH,)),
        H.GATE_FAILED: (P.SERVING, (C.NOTIFY,)),
        H.PROMOTED: _CROWN_CANCEL,
        H.ROLLBACK_ASKED: _BACK_CANCEL,
        H.HALTED: _HALT_CANCEL,
    },
    P.SHADOW: {
        H.SHADOW_PASSED: (P.CANARY, (C.PUBLISH,)),
        H.LAST_STEP_PASSED: (P.PROVISIONAL, (C.PUBLISH, C.NOTIFY)),  # no canary steps are configured
        H.HARMED: _BACK,
        H.HELD: (P.SHADOW, (C.NOTIFY,)),
        H.APPROVED: (P.SHADOW, ()),
        H.PROMOTED: _CROWN,
        H.ROLLBACK_ASKED: _BACK,
        H.HALTED: _HALT,
    },
    P.CANARY: {
        H.STEP_PASSED: (P.CANARY, (C.PUBLISH,)),
        H.LAST_STEP_PASSED: (P.PROVISIONAL, (C.PUBLISH, C.NOTIFY)),
        H.HARMED: _BACK,
        H.HELD: (P.CANARY, (C.NOTIFY,)),
        H.APPROVED: (P.CANARY, ()),
        H.PROMOTED: _CROWN,
        H.ROLLBACK_ASKED: _BACK,
        H.HALTED: _HALT,
    },
    P.PROVISIONAL: {
        H.CONFIRMED: _CROWN,
        H.HARMED: _BACK,
        H.HELD: (P.PROVISIONAL, (C.NOTIFY,)),
        H.PROMOTED: _CROWN,
        H.ROLLBACK_ASKED: _BACK,
        H.HALTED: _HALT,
    },
    P.ROLLING_BACK: {
        H.ROLLED_BACK: (P.SERVING, ()),
        H.PROMOTED: _CROWN,
        H.HALTED: _HALT,
    },
    P.HALTED: {
        H.RESUMED: (P.SERVING, (C.PUBLISH,)),
        H.PROMOTED: (P.HALTED, (C.PUBLISH, C.MIRROR, C.NOTIFY)),
        H.ROLLBACK_ASKED: (P.HALTED, (C.PUBLISH, C.MIRROR, C.NOTIFY)),
    },
}

_UNDER_ROLLOUT = frozenset({P.SHADOW, P.CANARY, P.PROVISIONAL})


def step(state: State, event: Event) -> tuple[State, tuple[Command, ...]]:
    """The next state and what must be done, for one event.

    Raises:
        LifecycleError: the table has no row for this event in this phase, or the event would leave no champion.

    >>> state, todo = step(State(), Event("e1", Happening.DEPLOYED, {"version": 1}))
    >>> state.phase.value, [c.value for c in todo]
    ('first_validating', ['validate'])
    """
    row = TABLE[state.phase]
    if event.name not in row:
        allowed = ", ".join(h.value for h in row)
        raise LifecycleError(
            f"'{event.name.value}' is not possible while the model is {state.phase.value}; possible now: {allowed}"
        )
    phase, commands = row[event.name]
    return _carry(state, event, phase), commands


def replay(events: Iterable[Event]) -> State:
    """The state after all events of one model, in ledger order."""
    state = State()
    for event in events:
        state, _ = step(state, event)
    return state


def _carry(state: State, event: Event, phase: Phase) -> State:  # noqa: PLR0912  one branch an event
    """The data of the next state: who is champion, who is candidate, with what share."""
    moved = replace(state, phase=phase, since=event.id)
    match event.name:
        case H.DEPLOYED | H.TRAINED:
            moved = replace(moved, candidate=_challenger(state, event), weight=0.0, stage=0, approved=False)
        case H.FAST_TRACKED:
            weight = _weight(event)
            moved = replace(moved, candidate=_challenger(state, event), weight=weight, stage=1, rollout=event.id)
        case H.GATE_PASSED if state.phase is P.FIRST_VALIDATING:
            moved = _crown(moved, state.candidate)
        case H.GATE_PASSED:
            moved = replace(moved, rollout=event.id)
        case H.SHADOW_PASSED | H.STEP_PASSED:
            moved = replace(moved, weight=_risen(state, event), stage=state.stage + 1)
        case H.LAST_STEP_PASSED:
            moved = replace(moved, weight=_risen(state, event))
        case H.CONFIRMED:
            moved = _crown(moved, state.candidate)
        case H.PROMOTED:
            moved = _crown(moved, _version(event))
        case H.ROLLBACK_ASKED | H.HARMED:
            moved = _restore(moved, state)
        case H.APPROVED:
            moved = replace(moved, since=state.since, approved=True)
        case H.HELD:
            moved = replace(moved, since=state.since)
        case H.GATE_FAILED | H.TRAIN_FAILED | H.HALTED | H.RESUMED:
            moved = _drop(moved)
        case H.RETRAIN_STARTED | H.ROLLED_BACK:
            pass
    return moved


def _crown(moved: State, version: int | None) -> State:
    if version is None:
        raise LifecycleError("there is no candidate to promote")
    if version == moved.champion:
        return _drop(moved)
    history = moved.history if moved.champion is None else (*moved.history, moved.champion)
    return replace(_drop(moved), champion=version, history=history)


def _restore(moved: State, before: State) -> State:
    """Under a rollout the champion never left: drop the candidate. Otherwise go back to the champion before."""
    if before.phase in _UNDER_ROLLOUT:
        return _drop(moved)
    if not before.history:
        raise LifecycleError(
            f"version {before.champion} is the only champion there ever was; nothing to roll back to. "
            "`afterfit promote MODEL VERSION` crowns another version, `afterfit halt MODEL` stops automatic change"
        )
    return replace(_drop(moved), champion=before.history[-1], history=before.history[:-1])


def _drop(moved: State) -> State:
    return replace(moved, candidate=None, weight=0.0, stage=0, approved=False, rollout="")


def _needed(event: Event, key: str) -> Any:
    if key not in event.data:
        raise LifecycleError(f"the event '{event.name.value}' needs '{key}'; found {sorted(event.data)}")
    return event.data[key]


def _version(event: Event) -> int:
    return int(_needed(event, "version"))


def _challenger(state: State, event: Event) -> int:
    version = _version(event)
    if version == state.champion:
        raise LifecycleError(f"version {version} is the champion already; it can't be its own candidate")
    return version


def _weight(event: Event) -> float:
    weight = float(_needed(event, "weight"))
    if not 0.0 < weight < 1.0:
        raise LifecycleError(f"the share of a candidate lies between 0 and 1, found {weight}")
    return weight


def _risen(state: State, event: Event) -> float:
    weight = _weight(event)
    if weight < state.weight:
        raise LifecycleError(f"the share of a candidate only rises: {weight} after {state.weight}")
    return weight
