"""Who answers when the version that should can't: candidate, champion, the champion before, the configured fallback.

Each rung is asked only when the one above it had no answer, and all of them together have the model's `deadline`. What
is left when the last rung has no answer either is an error, which the caller gets as a 503.

Who was to answer stays in the log (`failed_version`), so an assignment is never rewritten by what happened to it. A
version whose breaker is open, or whose process is away, is not asked: such rows are `skipped`, not failed. The test that
compares how often two versions fail takes one failure as one event, and behind one death a thousand rows may be skipped:
counted as failures, an accident of a minute would look like harm, however good the version.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from afterfit.errors import WorkerError
from afterfit.gateway.fleet import Lane, Runner
from afterfit.gateway.signature import Columns
from afterfit.gateway.workers import MOST_ROWS, AbsentError, Answer, CrashError
from afterfit.records import Prediction, Role, Status, Value, column

CHAMPION_TRIES = 3  # deaths under the same rows, then the rows are to blame
NOBODY = 0  # version of what no version answered


@dataclass(slots=True)
class Reply:
    """Who answered some rows; `failed` and `failure` tell of the version that should have, or of the first try."""

    version: int
    role: Role
    status: Status = Status.OK
    answer: Answer | None = None
    failed: int | None = None
    failure: str | None = None

    def miss(self, version: int, error: WorkerError) -> None:
        """A rung had no answer."""
        if self.failed is None:
            self.failed, self.failure = version, str(error)
            self.status = Status.SKIPPED if isinstance(error, AbsentError) else Status.FALLBACK
        else:
            self.failure = f"{self.failure}; then version {version}: {error}"

    def got(self, version: int, role: Role, answer: Answer) -> None:
        """A rung has one."""
        self.version, self.role, self.answer = version, role, answer


@dataclass(slots=True)
class Rows:
    """Rows of one request that go to one version; all of one length."""

    rows: Sequence[Mapping[str, Value]]
    columns: Columns  # of the champion
    keys: Sequence[str]
    until: float  # monotonic seconds: when their caller must have an answer

    @property
    def left(self) -> float:
        """Seconds until then."""
        return max(0.0, self.until - time.monotonic())


def time_for(lane: Lane, n_rows: int) -> float:
    """Seconds that a request may take in all; each further MOST_ROWS rows have as long again."""
    return lane.routes.deadline * -(-n_rows // MOST_ROWS)


async def descend(lane: Lane, version: int, rows: Rows) -> Reply:
    """The answer of the highest rung that has one, from `version` down; none, and status ERROR, where nobody has."""
    reply = Reply(version, lane.role(version))
    if version != lane.champion:
        await _candidate(lane, version, rows, reply)
    if reply.answer is None:
        spare = lane.spare
        await _champion(lane, rows, reply, spare)
        if reply.answer is None and spare is not None:
            await _before(lane, rows, reply, spare)
    if reply.answer is None:
        answer = lane.fallback.answer(rows.keys)
        if answer is not None:
            reply.got(NOBODY, Role.FALLBACK, answer)
        else:
            reply.version, reply.role, reply.status = lane.champion, Role.CHAMPION, Status.ERROR
    return reply


def any_degraded(rows: Sequence[Prediction]) -> bool:
    """Whether an answer is not the routed version's own."""
    return rows[0].status is not Status.OK or (len(rows) > 1 and set(column(rows, "status")) != {Status.OK})


def why_degraded(row: Prediction) -> str | None:
    """What a caller is told of an answer that is not the routed version's own; None for one that is."""
    if row.status is Status.OK:
        return None
    if row.status is Status.UNLOGGED:
        return "the log takes no rows now, so this answer is not in it"
    missed = "had no answer" if row.status is Status.FALLBACK else "is not being asked, it failed before"
    who = {
        Role.CHAMPION: f"the champion, version {row.version}, answered",
        Role.STANDBY: f"the champion before, version {row.version}, answered",
        Role.FALLBACK: "nor had another one: this is the configured fallback",
    }.get(row.role, "another one answered")
    return f"version {row.failed_version} {missed}; {who}"


async def ask(worker: Runner, columns: Columns, n_rows: int, timeout: float, **how: Any) -> Answer:
    """The answer of a version, and its breaker told how that went.

    What costs a caller time counts, a death or a timeout. A version that refuses a row at once costs nobody any, and the
    row may be to blame: it is asked on, and each refusal is evidence.

    Raises:
        AbsentError: its breaker is open, or its process is away.
        WorkerError: as of `predict`.
    """
    breaker = worker.breaker
    if breaker is None:
        answer = worker.now(columns, n_rows)
        return answer if answer is not None else await worker.predict(columns, timeout, **how)
    if breaker.open:
        raise AbsentError(f"breaker open: {breaker.why}")
    try:
        answer = await worker.predict(columns, timeout, **how)
    except WorkerError as error:
        if costs_time(error):
            breaker.record(False, time.monotonic(), str(error))
        raise
    breaker.record(True, time.monotonic())
    return answer


def costs_time(error: WorkerError) -> bool:
    """Whether it is one that callers wait for."""
    if isinstance(error, CrashError):
        return not isinstance(error, AbsentError)
    return str(error).startswith("timeout")


async def _candidate(lane: Lane, version: int, rows: Rows, reply: Reply) -> None:
    """Ask the version that is not the champion; where it fails, say so, for another one must answer."""
    try:
        wanted = lane.columns(version, rows.rows, rows.columns)
        answer = await ask(lane.workers[version], wanted, len(rows.rows), lane.seconds(version))
        reply.got(version, reply.role, answer)
    except WorkerError as error:
        reply.miss(version, error)


async def _champion(lane: Lane, rows: Rows, reply: Reply, spare: int | None) -> None:
    """Ask the champion. Where the champion before is there to answer, once; else its restart is waited for."""
    version = lane.champion
    worker, routed = lane.workers[version], reply.failed is None
    for number in range(1 if spare is not None else CHAMPION_TRIES):
        left = rows.left
        how: dict[str, Any] = {} if spare is not None else {"patience": left, "alone": number > 0}
        try:
            if spare is None and worker.breaker is not None and worker.breaker.open:
                answer = await worker.predict(rows.columns, min(lane.seconds(version), left), **how)  # nobody else can
                worker.breaker.probed(True, time.monotonic())
            else:
                answer = await ask(worker, rows.columns, len(rows.rows), min(lane.seconds(version), left), **how)
            reply.got(version, Role.CHAMPION, answer)
            if routed:  # perhaps not at the first try
                reply.status = Status.OK
            return
        except WorkerError as error:
            if number == 0:
                reply.miss(version, error)
            if not isinstance(error, CrashError):
                return


async def _before(lane: Lane, rows: Rows, reply: Reply, spare: int) -> None:
    """Ask the champion before. Rows that may have killed a process are kept apart from those of others."""
    try:
        wanted = lane.columns(spare, rows.rows, rows.columns)
        timeout = min(lane.seconds(spare), rows.left)
        answer = await ask(lane.workers[spare], wanted, len(rows.rows), timeout, patience=rows.left, alone=True)
        reply.got(spare, Role.STANDBY, answer)
    except WorkerError as error:
        reply.miss(spare, error)
