"""The gateway's side of a worker process: asks it, times it, kills it when it hangs, starts it again when it died."""

from __future__ import annotations

import asyncio
import heapq
import logging
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from math import inf
from pathlib import Path
from typing import Any

from afterfit.adapters.environments import worker_command, worker_variables
from afterfit.adapters.lane import PYTHON
from afterfit.adapters.turns import starves, turns_of
from afterfit.errors import WorkerError
from afterfit.gateway.breaker import Breaker
from afterfit.gateway.channel import Channel
from afterfit.gateway.memory import LOOK_EVERY, memory_of
from afterfit.gateway.signature import Columns
from afterfit.records import Target, Value

log = logging.getLogger("afterfit.gateway")
START_SECONDS = 60.0  # patience with loading and probing
LONGEST_PAUSE = 10.0  # seconds between two restarts of a worker that keeps dying
HOPELESS_PAUSE = 60.0  # the same for one that says it can't load its version; somebody may mend the folder
MOST_ROWS = 2_000  # rows a call; a larger request is asked in pieces, so that `timeout` means the same for all
YIELDING_SECONDS = 5.0  # least time before a process to which others go first is said to hang
MOST_WAITING = 5_000  # calls in the queue of one worker; beyond it the caller is told at once
SERVED, SHADOW = 0, 1  # priorities: a caller waits for the first, nobody for the second

Answer = tuple[list[Value], list[list[float]] | None]


class CrashError(WorkerError):
    """The process died or was killed with the rows in it, or is not there; another try may go well."""


class AbsentError(CrashError):
    """It was not asked: the process is not there, or its breaker is open."""


@dataclass(order=True)
class _Call:
    priority: int
    number: int
    columns: Columns = field(compare=False)
    n_rows: int = field(compare=False)
    timeout: float = field(compare=False)  # seconds with the process, then it is killed
    patient: bool = field(compare=False)  # waits through a restart of the process
    alone: bool = field(compare=False)  # never in one batch with others
    future: asyncio.Future[Answer] = field(compare=False)


class Worker:
    """One version in one process, which gets one call at a time: callers before shadows, and what queued together.

    Args:
        name: `model/version`, for messages.
        target: folder and hash of the version.
        log_file: where the process writes.
        yields: it only scores copies, so all others go first, and it has more time.
    """

    def __init__(self, name: str, target: Target, log_file: Path, *, yields: bool = False) -> None:
        self.name = name
        self.target = target
        self.lane: tuple[str, str] = PYTHON, ""  # onnx, numpy or python, and why not a faster one, as the process says
        self._yields = yields
        self.problem = "is starting"  # empty while it answers
        self.hopeless = False  # it said why it can't load its version
        self.deaths = 0
        self.pid: int | None = None
        self.breaker = Breaker()
        self.memory = 0.0  # most MB that its processes took so far, each from its loading and probing on
        self.memory_limit = inf  # MB; a process that takes more is killed
        self._in_a_row = 0  # deaths without an answer between them
        self._log_file = log_file
        self._waiting: list[_Call] = []
        self._settled = asyncio.Event()  # ready, or failed for the first time
        self._number = 0
        self._in_hand: list[_Call] = []  # with the process now
        self._alarm: asyncio.TimerHandle | None = None  # rings when the process hangs
        self._look: asyncio.TimerHandle | None = None  # the next one at its memory
        self._channel: Channel | None = None
        self._stopped = False
        self._process: subprocess.Popen[bytes] | None = None
        self._task = asyncio.create_task(self._live(), name=f"worker {name}")

    async def settled(self) -> None:
        """Wait until it answers or has failed to start."""
        await self._settled.wait()

    @property
    def complaint(self) -> str:
        """Why nobody should count on this version; empty while it answers, and while it is restarted after one death."""
        return self.problem if self.hopeless or self._in_a_row > 2 or not self._settled.is_set() else ""

    @property
    def _pause(self) -> float:
        """Seconds until the next start: none to speak of for one that was killed, longer for one that keeps dying."""
        return min(HOPELESS_PAUSE if self.hopeless else LONGEST_PAUSE, 0.1 * 2.0 ** (self._in_a_row - 1))

    @property
    def busy(self) -> bool:
        """Whether somebody waits for it."""
        return bool(self._in_hand or self._waiting)

    @property
    def waiting(self) -> int:
        """Calls in its queue."""
        return len(self._waiting)

    def now(self, _columns: Columns, _n_rows: int) -> Answer | None:
        """None: a process must be asked by :meth:`predict`; only :class:`Local` answers at once."""
        return None

    async def predict(
        self,
        columns: Columns,
        timeout: float,
        *,
        patience: float | None = None,
        priority: int = SERVED,
        alone: bool = False,
    ) -> Answer:
        """(predictions, scores) of the rows.

        Args:
            columns: one list a feature, all of one length.
            timeout: seconds the process may take for a call of at most MOST_ROWS rows.
            patience: seconds that all this may take, also a restart of the process; None: a process that is not
                there is an error at once, and a call takes at most `timeout`.
            priority: SERVED or SHADOW; a shadow waits as long as callers are being served.
            alone: keep the rows apart from those of other callers.

        Raises:
            AbsentError: it is not there.
            CrashError: it died, or hung longer than `timeout`.
            WorkerError: it raised, answered nonsense, or was too busy.
        """
        n_rows = len(next(iter(columns.values()), ()))
        if n_rows <= MOST_ROWS:
            return await self._call(columns, n_rows, timeout, patience, priority=priority, alone=alone)
        answers: list[Answer] = []
        until = None if patience is None else time.monotonic() + patience
        for size, piece in pieces(columns, n_rows, MOST_ROWS):
            left = None if until is None else max(0.0, until - time.monotonic())
            answers.append(await self._call(piece, size, timeout, left, priority=priority, alone=alone))
        return joined(answers)

    async def _call(
        self, columns: Columns, n_rows: int, timeout: float, patience: float | None, *, priority: int, alone: bool
    ) -> Answer:
        if self._stopped or self.hopeless or (self.problem and patience is None):
            raise AbsentError(f"{self.name} is not there: {self.problem}")
        if len(self._waiting) >= MOST_WAITING:
            raise WorkerError(f"{self.name} is too busy: {MOST_WAITING} requests wait for it")
        self._number += 1
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        patient = patience is not None
        call = _Call(priority, self._number, columns, n_rows, timeout, patient, alone, future)
        heapq.heappush(self._waiting, call)
        self._ask_next()
        most = patience if patience is not None else timeout
        if patience is None and priority == SHADOW:
            return await future
        ending = loop.call_later(most, self._give_up, call, most)
        try:
            return await future
        finally:
            ending.cancel()

    def _give_up(self, call: _Call, most: float) -> None:
        _settle(call, WorkerError(f"timeout: {self.name} did not answer within {most:g} s"))

    async def stop(self) -> None:
        """End the process."""
        self._stopped = True
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self.problem = "was stopped"
        self._fail(self._waiting)

    async def _live(self) -> None:
        """Start, serve, and start again, until stopped."""
        while True:
            try:
                await self._one_life()
            except (WorkerError, OSError) as error:
                self.problem = str(error)
                log.warning("%s: %s", self.name, error)
            finally:
                self._bury()
            self.deaths += 1
            self._in_a_row += 1
            self._settled.set()
            self._fail([call for call in self._waiting if self.hopeless or not call.patient])
            await asyncio.sleep(self._pause)

    async def _one_life(self) -> None:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = self._spawn(theirs.fileno())
            self.pid = self._process.pid
            self._look_at_memory()
            self._channel = channel = Channel(self._heard)
            await asyncio.get_running_loop().create_connection(lambda: channel, sock=ours)
        except BaseException:
            ours.close()
            raise
        try:
            await self._greet(channel)
            self._ask_next()
            raise WorkerError(await channel.ended)
        finally:
            channel.end("was stopped")
            self._quiet()

    def _spawn(self, fd: int) -> subprocess.Popen[bytes]:
        command = worker_command(Path(self.target.folder))
        variables = worker_variables(command)
        command += [
            "--fd",
            str(fd),
            "--folder",
            self.target.folder,
            "--sha256",
            self.target.sha256,
            "--gateway",
            str(os.getpid()),
        ]
        command += ["--yields"] if self._yields else []
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        with self._log_file.open("ab") as out:
            return subprocess.Popen(
                command, pass_fds=[fd], stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=variables
            )

    def _look_at_memory(self) -> None:
        """Kill a process that takes too much, before the machine does without."""
        if self.pid is None:
            return
        taken = memory_of(self.pid)
        self.memory = max(self.memory, taken.peak)
        if taken.now > self.memory_limit and self._channel is not None and self._channel.open:
            self._channel.end(
                f"memory: took {taken.now:.0f} MB and was killed; worker_memory lets it take {self.memory_limit:.0f} MB"
            )
        self._look = asyncio.get_running_loop().call_later(LOOK_EVERY, self._look_at_memory)

    async def _greet(self, channel: Channel) -> None:
        both: set[asyncio.Future[Any]] = {channel.greeting, channel.ended}
        await asyncio.wait(both, timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if channel.ended.done() and not channel.greeting.done():
            raise WorkerError(channel.ended.result())
        if not channel.greeting.done():
            raise WorkerError(f"did not load within {START_SECONDS:g} s")
        hello = channel.greeting.result()
        self.hopeless = "failed" in hello
        if self.hopeless:
            raise WorkerError(hello["failed"])
        self.lane = hello["lane"], hello["why"]
        self.memory = max(self.memory, memory_of(self.pid or 0).peak)
        self.problem = ""
        self._settled.set()

    def _ask_next(self) -> None:
        """Put what waits to the process, unless it is busy: then more gathers, and goes together."""
        channel = self._channel
        if self._in_hand or self.problem or channel is None or not channel.open:
            return
        self._in_hand = self._next_batch()
        if self._in_hand:
            timeout = max(YIELDING_SECONDS if self._yields else 0.0, *(call.timeout for call in self._in_hand))
            self._watch(channel, timeout)
            channel.say(_joined(self._in_hand))

    def _watch(self, channel: Channel, timeout: float) -> None:
        """Have the process killed when it hangs, but not one that others kept from running: those go first by our will."""
        then = turns_of(self.pid or 0) if self._yields else None

        def ring() -> None:
            if then is not None and starves(then, turns_of(self.pid or 0), timeout):
                self._watch(channel, timeout)
            else:
                channel.end(f"timeout: hung for {timeout:g} s and was killed")

        self._alarm = asyncio.get_running_loop().call_later(timeout, ring)

    def _heard(self, reply: Any) -> None:
        """Hand out the answers to the batch in hand."""
        batch = self._in_hand
        if not batch:
            assert self._channel is not None
            self._channel.end("crash: it spoke without being asked")
            return
        self._quiet()
        self._in_hand = []
        self._in_a_row = 0
        if "error" not in reply:
            _hand_out(batch, reply["predictions"], reply["scores"])
        elif len(batch) == 1:
            _settle(batch[0], WorkerError(reply["error"]))
        else:  # one of them is to blame: each again by itself
            for call in batch:
                call.alone = True
                heapq.heappush(self._waiting, call)
        self._ask_next()

    def _quiet(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _next_batch(self) -> list[_Call]:
        """The next call with those like it that wait too; calls that were given up are thrown away."""
        batch: list[_Call] = []
        size = 0
        while self._waiting:
            call = self._waiting[0]
            if not call.future.done():
                size += call.n_rows
                first = batch[0] if batch else call
                apart = call.alone or first.alone or call.priority != first.priority
                if batch and (apart or size > MOST_ROWS or call.columns.keys() != first.columns.keys()):
                    break
                batch.append(call)
            heapq.heappop(self._waiting)
        return batch

    def _bury(self) -> None:
        if self._look is not None:
            self._look.cancel()
        if not self.problem:
            self.problem = "is being restarted"
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process, self.pid = None, None

    def _fail(self, calls: Sequence[_Call]) -> None:
        """Tell what was with the process, and these; the others, who are patient, wait for the next process."""
        for call in [*self._in_hand, *calls]:
            _settle(call, CrashError(self.problem))
        self._in_hand = []
        self._waiting = [call for call in self._waiting if not call.future.done()]
        heapq.heapify(self._waiting)


def pieces(columns: Columns, n_rows: int, most: int) -> Iterator[tuple[int, Columns]]:
    """(rows, columns) of each part of a large request, of at most so many rows."""
    for start in range(0, n_rows, most):
        part = slice(start, start + most)
        yield min(most, n_rows - start), {name: values[part] for name, values in columns.items()}


def joined(answers: Sequence[Answer]) -> Answer:
    """The answers to the pieces as one."""
    scores = [scores for _, scores in answers if scores is not None]
    return list(chain.from_iterable(p for p, _ in answers)), list(chain.from_iterable(scores)) if scores else None


def _joined(batch: Sequence[_Call]) -> Columns:
    if len(batch) == 1:
        return batch[0].columns
    return {name: [value for call in batch for value in call.columns[name]] for name in batch[0].columns}


def _hand_out(batch: Sequence[_Call], predictions: list[Value], scores: list[list[float]] | None) -> None:
    start = 0
    for call in batch:
        end = start + call.n_rows
        _settle(call, (predictions[start:end], None if scores is None else scores[start:end]))
        start = end


def _settle(call: _Call, answer: Answer | WorkerError) -> None:
    if call.future.done():  # the caller gave up
        return
    if isinstance(answer, WorkerError):
        call.future.set_exception(answer)
    else:
        call.future.set_result(answer)
