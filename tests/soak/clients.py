"""Callers in a process of their own: connections that stay open and ask without a pause, and check every answer.

`python -m tests.soak.clients PORT CONNECTIONS` prints what it counted as one line of JSON a second, and goes on until its
standard input is closed. Every eighth connection asks the model in the worker processes. One request in twenty has eight
rows; of one in ten single rows the outcome is told.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
import numpy as np

from tests.chaos.load import UNLOGGED
from tests.soak.rows import GRAPH, PLAIN, frame

POOL = 512  # different rows
BATCH, BATCH_EVERY, TOLD_EVERY, TELL = 8, 20, 10, 20  # rows a batch; one in; one in; outcomes a request
VERSIONS = 8  # whose answers are remembered, to see that a row gets the same answer from the same version again
MOST_TOLD = 100  # failures that are kept in words


class _Answer(msgspec.Struct, gc=False):
    id: str
    prediction: int
    scores: tuple[float, float]
    version: int
    role: str
    degraded: str = ""


class _Predictions(msgspec.Struct, gc=False):
    predictions: list[_Answer]


class _Results(msgspec.Struct, gc=False):
    results: list[dict[str, Any]]


_predictions, _results = msgspec.json.Decoder(_Predictions).decode, msgspec.json.Decoder(_Results).decode


@dataclass
class Counts:
    """What callers saw; rows by model."""

    requests: int = 0
    acknowledged: Counter[str] = field(default_factory=Counter)  # rows
    outcomes: Counter[str] = field(default_factory=Counter)  # stored
    degraded: Counter[str] = field(default_factory=Counter)  # rows that another version answered
    versions: Counter[str] = field(default_factory=Counter)  # rows by "model/version"
    failures: Counter[str] = field(default_factory=Counter)  # answers that are none, or wrong ones
    worst: float = 0.0  # seconds of the slowest request since the last line
    issued: dict[str, int] = field(default_factory=dict)  # connection -> requests
    unacknowledged: list[str] = field(default_factory=list)  # ids of requests
    told: list[str] = field(default_factory=list)


class Pool:
    """The rows, as JSON, how likely each comes true, and what each version answered to each."""

    def __init__(self) -> None:
        X, p = frame(POOL, seed=10**6)
        self.rows = [json.dumps(row).encode() for row in X.to_dict("records")]
        self.chance = p
        self.rng = np.random.default_rng(0)
        self._answers: dict[tuple[str, int], list[tuple[float, float] | None]] = {}

    def same(self, model: str, version: int, row: int, scores: tuple[float, float]) -> bool:
        """Whether this version answered the same to this row before, whichever process it ran in."""
        known = self._answers.get((model, version))
        if known is None:
            if len(self._answers) >= VERSIONS:
                del self._answers[min(self._answers, key=lambda place: place[1])]
            known = self._answers[model, version] = [None] * POOL
        before, known[row] = known[row], scores
        return before is None or abs(before[1] - scores[1]) < 1e-9


class Caller(asyncio.Protocol):
    """One connection: a request, its answer, the next request."""

    def __init__(self, number: int, pool: Pool, counts: Counts, stopping: asyncio.Event) -> None:
        self.name = f"c{number}"
        self.model = PLAIN if number % 8 == 7 else GRAPH
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pool, self._counts, self._stopping = pool, counts, stopping
        self._asked = 0
        self._rows: list[int] = []
        self._id = ""
        self._to_tell: list[tuple[str, int]] = []  # id and outcome
        self._telling = False
        self._began = 0.0
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self._fail(f"the connection was lost: {exc!r}")
            self.done.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(body) < length:
            return
        self._buffer = b""
        self._counts.worst = max(self._counts.worst, asyncio.get_running_loop().time() - self._began)
        try:
            if head[9:12] != b"200":
                self._fail(f"{head[9:12].decode()}: {body[:200]!r}")
            elif self._telling:
                self._was_told(_results(body).results)
            else:
                self._was_answered(_predictions(body).predictions)
        except msgspec.DecodeError as error:
            self._fail(f"no such answer is known: {error}: {body[:200]!r}")
        self._next()

    def _next(self) -> None:
        assert self._transport is not None
        if self._stopping.is_set() and not self._to_tell:
            self.done.set_result(None)
            self._transport.close()
            return
        self._began = asyncio.get_running_loop().time()
        self._telling = len(self._to_tell) >= TELL or self._stopping.is_set()
        path, body = ("outcomes", self._tell()) if self._telling else ("predict", self._ask())
        self._transport.write(
            b"POST /v1/models/%s/%s HTTP/1.1\r\nhost: soak\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
            % (self.model.encode(), path.encode(), len(body), body)
        )

    def _ask(self) -> bytes:
        self._id = f"{self.name}-{self._asked}"
        n = BATCH if self._asked % BATCH_EVERY == BATCH_EVERY - 1 else 1
        start = (self._asked * 7) % POOL
        self._rows = [(start + i) % POOL for i in range(n)]
        self._asked += 1
        self._counts.issued[self.name] = self._asked
        return b'{"rows":[%s],"id":"%s"}' % (b",".join(self._pool.rows[i] for i in self._rows), self._id.encode())

    def _tell(self) -> bytes:
        told = [{"prediction_id": id, "value": value} for id, value in self._to_tell]
        return json.dumps({"outcomes": told}).encode()

    def _was_told(self, results: list[dict[str, Any]]) -> None:
        stored = sum(result == {"status": "stored"} for result in results)
        if (stored, len(results)) != (len(self._to_tell),) * 2:
            self._fail(f"outcomes: {stored} of {len(self._to_tell)} stored, {results[:2]}")
        self._counts.outcomes[self.model] += stored
        self._to_tell = []

    def _was_answered(self, answers: list[_Answer]) -> None:
        counts, rows = self._counts, self._rows
        ids = [self._id] if len(rows) == 1 else [f"{self._id}/{i}" for i in range(len(rows))]
        counts.requests += 1
        if [answer.id for answer in answers] != ids:
            self._fail(f"wanted the ids {ids}, found {[answer.id for answer in answers]}")
            return
        for answer, row in zip(answers, rows, strict=True):
            low, high = answer.scores
            sound = abs(low + high - 1.0) < 1e-9 and answer.prediction == int(high > low)
            if not sound or not self._pool.same(self.model, answer.version, row, answer.scores):
                self._fail(f"a wrong answer: {answer}", acknowledged=True)
            if answer.degraded:
                counts.degraded[self.model] += 1
            counts.versions[f"{self.model}/{answer.version}"] += 1
        if UNLOGGED in answers[0].degraded:
            self._fail(answers[0].degraded)
            return
        counts.acknowledged[self.model] += len(rows)
        if len(rows) == 1 and self._asked % TOLD_EVERY == 0:
            self._to_tell.append((self._id, int(self._pool.rng.random() < self._pool.chance[rows[0]])))

    def _fail(self, what: str, *, acknowledged: bool = False) -> None:
        self._counts.failures[what.split(":", maxsplit=1)[0]] += 1
        if len(self._counts.told) < MOST_TOLD:
            self._counts.told.append(what)
        if not self._telling and not acknowledged:
            self._counts.unacknowledged.append(self._id)
        if self._telling:
            self._to_tell = []


async def _run(port: int, connections: int) -> None:
    loop, pool, counts, stopping = asyncio.get_running_loop(), Pool(), Counts(), asyncio.Event()
    loop.set_exception_handler(lambda _loop, context: _defect(counts, context))
    closed = loop.run_in_executor(None, sys.stdin.read)
    callers = [
        (await loop.create_connection(lambda n=n: Caller(n, pool, counts, stopping), "127.0.0.1", port))[1]  # type: ignore[misc]
        for n in range(connections)
    ]
    while not closed.done():
        await asyncio.wait([closed], timeout=1.0)
        _say(counts)
    stopping.set()
    await asyncio.gather(*(caller.done for caller in callers))
    _say(counts)


def _defect(counts: Counts, context: dict[str, Any]) -> None:
    counts.failures["a defect of the callers"] += 1
    counts.told.append(f"{context['message']}: {context.get('exception')!r}")


def _say(counts: Counts) -> None:
    sys.stdout.write(json.dumps(vars(counts)) + "\n")
    sys.stdout.flush()
    counts.worst = 0.0


if __name__ == "__main__":
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(int(sys.argv[1]), int(sys.argv[2])))
