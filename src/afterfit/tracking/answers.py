"""Answers from the ledger: which version is live (or was), since when, why, made how, and where a rollback would lead.

Pure functions over entries and versions: nothing is read or written, and the same ledger always gives the same answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from afterfit.lifecycle import Event, Happening, Phase, State, step
from afterfit.records import Entry, ModelVersion
from afterfit.tracking.answer_text import as_text

_ENTERED = (Happening.DEPLOYED, Happening.TRAINED, Happening.FAST_TRACKED)  # how a version becomes a candidate
_ROLLING = (Phase.SHADOW, Phase.CANARY, Phase.PROVISIONAL)
_IN_CHAIN = frozenset(Happening) - {Happening.ROLLED_BACK}


@dataclass(frozen=True, slots=True)
class Link:
    """One reason in the chain: what happened, who said it and why."""

    at: datetime
    name: str
    actor: str
    why: str
    version: int | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """Everything about the version that is (or was) live."""

    model: str
    asked_at: datetime | None  # None: now
    phase: str
    version: int | None  # None: nothing is live
    since: datetime | None
    until: datetime | None  # who-was-live: when another took over; None: it is live to this day
    weights: Mapping[int, float]  # share of the traffic by version
    why: tuple[Link, ...]
    made: Mapping[str, Any]  # origin, created_at, uri, run_id, model_sha256
    params: Mapping[str, Any]
    data: Mapping[str, Any]  # sha256, rows, from, to
    evaluation: Mapping[str, float]
    last_retrained: Mapping[str, Any] | None  # at, version, why of the last training that gave a version
    rollback: Mapping[str, Any]  # version (None: impossible) and a sentence

    @property
    def text(self) -> str:
        """The answer for a person."""
        return as_text(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Plain values; times stay datetimes."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Moment:
    entry: Entry
    before: State
    after: State


def why(entries: Sequence[Entry], versions: Sequence[ModelVersion]) -> Answer:
    """About the version that is live now.

    Args:
        entries: all entries of one model, in ledger order.
        versions: all its versions.
    """
    return _answer(entries, versions, None)


def who_was_live(entries: Sequence[Entry], versions: Sequence[ModelVersion], at: datetime) -> Answer:
    """About the version that was live at a moment (timezone-aware), as it was known then.

    Training or promotion after that moment is not mentioned, but `until` says when another version took over.
    """
    return _answer(entries, versions, at)


def _answer(entries: Sequence[Entry], versions: Sequence[ModelVersion], at: datetime | None) -> Answer:
    story = _story([e for e in entries if e.kind == "event"])
    seen = story if at is None else story[: _count_until(story, at)]
    state = seen[-1].after if seen else State()
    live = state.champion
    crowned = next((i for i in reversed(range(len(seen))) if seen[i].before.champion != live), None)
    known = {v.version: v for v in versions}
    version = None if live is None else known.get(live)
    return Answer(
        model=_name(entries, versions),
        asked_at=at,
        phase=state.phase.value,
        version=live,
        since=seen[crowned].entry.at if live is not None and crowned is not None else None,
        until=next((m.entry.at for m in story[len(seen) :] if m.after.champion != live), None),
        weights=state.weights,
        why=_reasons(seen, crowned, live, entries),
        made=_made(version),
        params={} if version is None else dict(version.params),
        data=_data(version),
        evaluation={} if version is None else dict(version.metrics),
        last_retrained=_last_retrained(seen),
        rollback=_rollback(state, seen),
    )


def _story(events: Sequence[Entry]) -> list[_Moment]:
    """Every event with the state before and after it."""
    state, story = State(), []
    for entry in events:
        after, _ = step(state, Event(entry.id, Happening(entry.name), entry.data))
        story.append(_Moment(entry, state, after))
        state = after
    return story


def _count_until(story: Sequence[_Moment], at: datetime) -> int:
    """How many events lie up to that moment; the ledger's order counts where clocks of two machines differ."""
    return next((i + 1 for i in reversed(range(len(story))) if story[i].entry.at <= at), 0)


def _reasons(
    seen: Sequence[_Moment], crowned: int | None, live: int | None, entries: Sequence[Entry]
) -> tuple[Link, ...]:
    """Why this one is live; where nothing is, what happened last: a first version that did not pass its gate says why."""
    if live is None:
        return tuple(_link(m.entry) for m in seen[-1:])
    return () if crowned is None else _chain(seen[: crowned + 1], live, entries)


def _chain(until_crown: Sequence[_Moment], live: int, entries: Sequence[Entry]) -> tuple[Link, ...]:
    """From the registration of the version to the event that made it champion.

    After a rollback it is the way the version came to its crown the first time, then the event that gave it back.
    """
    crown = until_crown[-1]
    chain: list[Entry] = []
    if crown.entry.name == Happening.ROLLBACK_ASKED.value:
        first = next((i for i, m in enumerate(until_crown[:-1]) if _crowns(m, live)), None)
        if first is not None:
            chain = _way(until_crown[: first + 1], live)
        chain.append(crown.entry)
    else:
        chain = _way(until_crown, live)
    registered = [e for e in entries if e.kind == "fact" and e.name == "registered" and e.data.get("version") == live]
    return tuple(_link(e) for e in sorted([*registered[:1], *chain], key=lambda e: e.number))


def _way(until_crown: Sequence[_Moment], live: int) -> list[Entry]:
    """The events of the rollout that ended with the last of these."""
    start = len(until_crown) - 1
    if until_crown[start].before.candidate == live:
        while start > 0 and not (
            until_crown[start].entry.name in _ENTERED and until_crown[start].entry.data.get("version") == live
        ):
            start -= 1
        if until_crown[start].entry.name == Happening.TRAINED.value and start > 0:
            start -= 1  # RETRAIN_STARTED, which says why there is such a version at all
    return [m.entry for m in until_crown[start:] if Happening(m.entry.name) in _IN_CHAIN]


def _crowns(moment: _Moment, version: int) -> bool:
    return moment.before.champion != version and moment.after.champion == version


def _link(entry: Entry) -> Link:
    verdict = entry.data.get("verdict") or {}
    reason = entry.data.get("why") or "; ".join(verdict.get("reasons", ()))
    number = entry.data.get("version")
    return Link(
        at=entry.at,
        name=entry.name,
        actor=entry.actor,
        why=str(reason or ""),
        version=None if number is None else int(number),
        numbers=dict(verdict.get("numbers", {})),
    )


def _last_retrained(seen: Sequence[_Moment]) -> dict[str, Any] | None:
    for i in reversed(range(len(seen))):
        entry = seen[i].entry
        if entry.name == Happening.TRAINED.value:
            return {"at": entry.at, "version": int(entry.data["version"]), "why": _link(seen[i - 1].entry).why}
    return None


def _rollback(state: State, seen: Sequence[_Moment]) -> dict[str, Any]:
    if state.champion is None:
        return {"version": None, "what": "nothing is live, so there is nothing to roll back"}
    if state.candidate is not None and state.phase in _ROLLING:
        return {
            "version": state.champion,
            "what": f"would drop candidate {state.candidate}; version {state.champion} gets all of the traffic again",
        }
    if not state.history:
        return {"version": None, "what": "impossible: no other version was ever champion"}
    target = state.history[-1]
    spans = [m.entry.at for m in seen if _crowns(m, target)]
    live = f", first champion on {spans[0]:%Y-%m-%d %H:%M}" if spans else ""
    return {"version": target, "what": f"would restore version {target}{live}"}


def _made(version: ModelVersion | None) -> dict[str, Any]:
    if version is None:
        return {}
    names = ("origin", "created_at", "uri", "run_id", "model_sha256")
    return {name: getattr(version, name) for name in names} | {"task": version.task.value, "tags": dict(version.tags)}


def _data(version: ModelVersion | None) -> dict[str, Any]:
    if version is None:
        return {}
    return {
        "sha256": version.data_sha256,
        "rows": version.n_rows,
        "from": version.data_from,
        "to": version.data_to,
        "features": [f.name for f in version.features],
    }


def _name(entries: Sequence[Entry], versions: Sequence[ModelVersion]) -> str:
    return next((e.model for e in entries), next((v.model for v in versions), ""))
