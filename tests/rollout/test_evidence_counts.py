"""The lake counts and `Evidence.of` compares: together they say what a plain loop over the rows says."""

from __future__ import annotations

import tempfile
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import numpy as np
from hypothesis import event, given, settings
from hypothesis import strategies as st

from afterfit.records import ModelVersion, Outcome, OutcomeKind, Prediction, Role, ShadowScore, Status, Task
from tests.adapters.log_rows import MODEL, START, hour, outcome, prediction, shadow
from tests.rollout.plain_evidence import ROLLOUT, Log, from_lake, plain_evidence

SCORES = st.sampled_from([None, (0.2, 0.8), (0.75, 0.25), (1.0,), (0.5, 0.25, 0.25)])
LATENCY = st.sampled_from([0.0, 0.0, 1.5, 2.5, 1e-3])
ROLLOUTS = st.sampled_from([ROLLOUT] * 8 + ["before", None])
NUMBERS = st.sampled_from([0, 1, 1.0, True, 7, 0.5, None])
LABELS = st.sampled_from([0, 1, 1.0, True, "1", 0, None])


def version(number: int, task: Task, scale: float) -> ModelVersion:
    classes = None if task is Task.REGRESSION else (0, 1)
    return ModelVersion(MODEL, number, task, START, "", "", None, "", None, 0, (), classes, loss_scale=scale)


@st.composite
def served(draw: st.DrawFn, at: int) -> Prediction:
    number = draw(st.sampled_from([1, 2, 1, 2, 1, 2, 7, 0]))
    failed, status = draw(
        st.sampled_from(
            [(None, Status.OK)] * 3
            + [(n, status) for n in (1, 2) for status in (Status.FALLBACK, Status.SKIPPED, Status.ERROR)]
        )
    )
    return prediction(
        f"p{draw(st.sampled_from([at, at, at, at // 2]))}",  # two gateways may have given one id
        at * 7.0,
        logged_at=hour(at * 7.0 + draw(st.sampled_from([0.0, 30.0]))),
        version=number,
        role=draw(st.sampled_from([Role.CHAMPION, Role.CANARY, Role.STANDBY])),
        key=draw(st.sampled_from([None, "a", "b", "c"])),
        status=status,
        failed_version=failed,
        routes=draw(st.integers(6, 9)),
        rollout=draw(ROLLOUTS),
        latency_ms=draw(LATENCY),
        prediction=draw(st.sampled_from([0, 1, 0.5, None])),
        scores=draw(SCORES),
    )


@st.composite
def scored(draw: st.DrawFn, about: Prediction, number: int) -> ShadowScore:
    status = draw(st.sampled_from([Status.OK] * 4 + [Status.ERROR, Status.TIMEOUT, Status.DROPPED]))
    return shadow(
        draw(st.sampled_from([about.id] * 9 + ["nobody"])),
        draw(st.integers(0, 60)),
        logged_at=hour(draw(st.integers(0, 60))) + timedelta(seconds=number),  # no two at once, so one is the newest
        version=draw(st.sampled_from([2 if about.version == 1 else 1] * 4 + [1, 2, 7])),
        rollout=draw(ROLLOUTS),
        status=status,
        latency_ms=draw(LATENCY),
        prediction=draw(st.sampled_from([0, 1, 0.25])) if status is Status.OK else None,
        scores=draw(SCORES) if status is Status.OK else None,
    )


@st.composite
def learned(draw: st.DrawFn, about: Prediction, task: Task) -> Outcome:
    value = draw(NUMBERS if task is Task.REGRESSION else LABELS)
    known, kind = draw(st.integers(0, 80)), draw(st.sampled_from([OutcomeKind.OUTCOME] * 4 + list(OutcomeKind)))
    if about.key is None or draw(st.booleans()):
        return outcome(about.id, value, known, kind=kind)
    return outcome(None, value, known, kind=kind, key=about.key, time=about.time)


@st.composite
def logs(draw: st.DrawFn) -> tuple[Log, Task]:
    task = draw(st.sampled_from([Task.BINARY, Task.REGRESSION]))
    rows = [draw(served(at)) for at in range(draw(st.integers(6, 14)))]  # no two of one time, so the order is one
    some = st.lists(st.sampled_from(rows), max_size=len(rows))  # so that one row may have none, or several
    shadows = [draw(scored(about, number)) for number, about in enumerate([*rows[1:], *draw(some)])]
    return Log(rows, shadows, [draw(learned(about, task)) for about in [*draw(some), *rows[:-1]]]), task


@settings(max_examples=60, deadline=None)
@given(written=logs(), since=st.integers(6, 9), as_of=st.sampled_from([None, None, 30, 60]))
def test_the_evidence_is_what_a_plain_loop_finds(written: tuple[Log, Task], since: int, as_of: int | None) -> None:
    log, task = written
    moment = None if as_of is None else hour(as_of)
    champion, candidate = version(1, task, 2.0), version(2, task, 9.0)
    wanted = plain_evidence(log, champion, candidate, since, moment)
    with tempfile.TemporaryDirectory() as folder:
        found = from_lake(log.write(Path(folder)), champion, candidate, since, moment)
    event(f"{len(wanted.day)} pairs")
    event(f"{wanted.candidate_asked} attempts, {wanted.candidate_bad} bad")
    for field in fields(wanted):
        assert np.array_equal(getattr(found, field.name), getattr(wanted, field.name)), field.name
