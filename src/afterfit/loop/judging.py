"""Brings evidence about a candidate before its judges: the gate before traffic, the rollout judge under traffic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from afterfit.feedback.gate import first_gate, gate
from afterfit.lifecycle import Happening, Phase
from afterfit.records import ModelVersion, Outlook, Verdict, Window
from afterfit.rollout.evidence import Evidence
from afterfit.rollout.judge import judge

if TYPE_CHECKING:
    from afterfit.loop.book import Book
    from afterfit.loop.conductor import Loop


@dataclass(frozen=True, slots=True)
class Proposed:
    """An event that evidence or a person asks for."""

    happening: Happening
    data: Mapping[str, Any] = field(default_factory=dict)


def judge_candidate(loop: Loop, book: Book, now: datetime) -> Proposed | None:
    """At most one event about the candidate, or None while the evidence is not there."""
    match book.state.phase:
        case Phase.TRAINING:
            return _training(loop, book)
        case Phase.FIRST_VALIDATING:
            return _first(loop, book)
        case Phase.VALIDATING:
            return _gate(loop, book)
        case Phase.SHADOW | Phase.CANARY | Phase.PROVISIONAL:
            return _rollout(loop, book, now)
        case _:
            return None


def verdict_data(verdict: Verdict) -> dict[str, Any]:
    """A verdict as the ledger keeps it."""
    return {"outlook": verdict.outlook.value, "reasons": list(verdict.reasons), "numbers": dict(verdict.numbers)}


def _training(loop: Loop, book: Book) -> Proposed | None:
    result = loop.home.jobs.poll(book.state.since)
    if result is None:
        return None
    if result.problem is not None:
        return Proposed(Happening.TRAIN_FAILED, {"why": result.problem, "log": result.log})
    return Proposed(
        Happening.TRAINED,
        {"version": result.data["version"], "losses": result.data["losses"], "seconds": round(result.seconds, 1)},
    )


def _first(loop: Loop, book: Book) -> Proposed:
    version = loop.home.store.version(book.model, _candidate(book))
    verdict = first_gate(version.metrics, loop.config(book.model).rollout)
    return _gate_event(verdict)


def _gate(loop: Loop, book: Book) -> Proposed | None:
    entry = book.find(book.state.since)
    losses = entry.data.get("losses") if entry else None
    if losses is None:
        result = loop.home.jobs.poll(book.state.since)
        if result is None:
            return None
        if result.problem is not None:
            return _gate_event(Verdict(Outlook.HARM, (f"the gate could not score it: {result.problem}",)))
        losses = result.data.get("losses")
    if losses is None:
        hidden = redacted(loop.champion(book), loop.home.store.version(book.model, _candidate(book)))
        return _gate_event(
            Verdict(
                Outlook.NO_DATA,
                (
                    f"no logged row can be scored again, since {', '.join(hidden)} are redacted; let it earn its way with "
                    "`afterfit deploy --skip gate,shadow --why ...`"
                    if hidden
                    else "no mature labelled rows are newer than what both versions were trained on; wait for outcomes, "
                    "or let it earn its way with `afterfit deploy --skip gate,shadow --why ...`",
                ),
            )
        )
    candidate, champion, times = read_losses(losses)
    return _gate_event(gate(candidate, champion, times, loop.config(book.model).rollout))


def _gate_event(verdict: Verdict) -> Proposed:
    passed = verdict.outlook is Outlook.PASS
    return Proposed(
        Happening.GATE_PASSED if passed else Happening.GATE_FAILED,
        {"verdict": verdict_data(verdict), "why": "; ".join(verdict.reasons)},
    )


def redacted(*versions: ModelVersion) -> list[str]:
    """Features of any of them that the log lacks."""
    return sorted({f.name for version in versions for f in version.features if f.redact})


def read_losses(path: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(candidate, champion, times in epoch seconds) of a job's losses.parquet, each of shape (n_rows,)."""
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    times = table["time"].cast("int64").to_numpy() / 1e6
    return table["candidate"].to_numpy(), table["champion"].to_numpy(), times


def _rollout(loop: Loop, book: Book, now: datetime) -> Proposed | None:
    state = book.state
    candidate, champion = _candidate(book), loop.champion(book)
    down = loop.problems(book.model, candidate)
    if down:
        verdict = Verdict(Outlook.HARM, (f"the candidate does not answer: {down}",))
        return Proposed(Happening.HARMED, {"version": candidate, "verdict": verdict_data(verdict)})
    lake, began = loop.home.lake, _number(book, state.since)
    evidence = Evidence.of(
        lake.pairs(book.model, state.rollout, as_of=now),
        lake.traffic(book.model, state.rollout, version=candidate, since=began, as_of=now),
        champion=champion,
        candidate=loop.home.store.version(book.model, candidate),
        stage_routes=began,
        lost=lake.lost(book.model, Window(_at(book, state.rollout), now)),
    )
    config = loop.config(book.model).rollout
    age = (now - _at(book, state.since)).total_seconds()
    verdict, happening, data = judge(state, evidence, config, stage_age=age)
    if happening is None:
        return None
    if happening is Happening.HELD and _held_already(book):
        return None
    if happening in (Happening.LAST_STEP_PASSED, Happening.CONFIRMED):
        target = loop.problems(book.model, champion.version)
        if target:  # promise 6: no promotion while the way back is not proven
            return None
    return Proposed(happening, {"version": candidate, **data, "verdict": verdict_data(verdict)})


def _held_already(book: Book) -> bool:
    since = book.find(book.state.since)
    return any(e.name == Happening.HELD.value and since is not None and e.number > since.number for e in book.entries)


def _at(book: Book, id: str) -> datetime:
    entry = book.find(id)
    return entry.at if entry else datetime.min.replace(tzinfo=UTC)


def _number(book: Book, id: str) -> int:
    entry = book.find(id)
    return entry.number if entry else 0


def _candidate(book: Book) -> int:
    if book.state.candidate is None:
        raise AssertionError(f"{book.model} is {book.state.phase.value} without a candidate")
    return book.state.candidate
