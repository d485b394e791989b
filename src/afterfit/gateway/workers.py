"""The gateway's side of a worker process: asks it, times it, kills it when it hangs, starts it again when it died."""

from __future__ import annotations

import asyncio
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from afterfit.errors import WorkerError
from afterfit.gateway.worker import HEADER
from afterfit.records import Value

log = logging.getLogger("afterfit.gateway")
START_SECONDS = 60.0  # patience with loading and probing
LONGEST_PAUSE = 2.0  # seconds between two restarts of a worker that keeps dying
STEADY = 30.0  # seconds of life after which past deaths are forgiven
SERVED, SHADOW = 0, 1  # priorities: a caller waits for the first, nobody for the second

Answer = tuple[list[Value], list[list[float]] | None]


@dataclass(order=True)
class _Request:
    priority: int
    number: int
    columns: Sequence[Sequence[Value]] = field(compare=False)
    timeout: float = field(compare=False)
    future: asyncio.Future[Answer] = field(compare=False)


class Worker:
    """One version in one process. One request is with it at a time; callers go before shadows."""

    def __init__(self, name: str, folder: str, log_file: Path) -> None:
        self.name = name
        self.folder = folder
        self.problem = "is starting"  # empty while it answers
        self.deaths = 0
        self.pid: int | None = None
        self._log_file = log_file
        self._requests: asyncio.PriorityQueue[_Request] = asyncio.PriorityQueue()
        self._ready = asyncio.Event()
        self._settled = asyncio.Event()  # ready, or failed for the first time
        self._number = 0
        self._asking = False
        self._process: subprocess.Popen[bytes] | None = None
        self._task = asyncio.create_task(self._live(), name=f"worker {name}")

    async def settled(self) -> None:
        """Wait until it answers or has failed to start."""
        await self._settled.wait()

    async def predict(self, columns: Sequence[Sequence[Value]], timeout: float, *, priority: int = SERVED) -> Answer:
        """(predictions, scores) of the rows.

        Raises:
            WorkerError: it crashed, hung longer than `timeout` seconds, raised, or answered nonsense.
        """
        self._number += 1
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        request = _Request(priority, self._number, columns, timeout, future)
        self._requests.put_nowait(request)
        try:
            return await asyncio.wait_for(future, timeout)
        except TimeoutError as error:
            raise WorkerError(f"timeout: {self.name} did not answer within {timeout:g} s") from error

    async def ready(self, timeout: float) -> bool:
        """Whether it answers, waiting at most so long for a restart."""
        try:
            await asyncio.wait_for(self._ready.wait(), timeout)
        except TimeoutError:
            return False
        return True

    async def finish(self, patience: float = 10.0) -> None:
        """Answer what waits, then stop."""
        deadline = time.monotonic() + patience
        while self._busy and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        await self.stop()

    @property
    def _busy(self) -> bool:
        return self._asking or not self._requests.empty()

    async def stop(self) -> None:
        """End the process."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._fail_waiting("was stopped")

    async def _live(self) -> None:
        """Start, serve, and start again, until stopped."""
        pause = 0.1
        while True:
            began = time.monotonic()
            try:
                await self._one_life()
            except WorkerError as error:
                self.problem = str(error)
                log.warning("%s: %s; next start in %.1f s", self.name, error, pause)
            finally:
                self._bury()
            self.deaths += 1
            self._settled.set()
            self._fail_waiting(self.problem)
            if time.monotonic() - began > STEADY:
                pause = 0.1
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 2)

    async def _one_life(self) -> None:
        ours, theirs = socket.socketpair()
        command = [
            sys.executable,
            "-m",
            "afterfit.gateway.worker",
            "--fd",
            str(theirs.fileno()),
            "--folder",
            self.folder,
        ]
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        with theirs, self._log_file.open("ab") as out:
            self._process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], stdout=out, stderr=out, stdin=subprocess.DEVNULL
            )
        self.pid = self._process.pid
        reader, writer = await asyncio.open_connection(sock=ours, limit=2**26)
        try:
            await self._greet(reader)
            while True:
                await self._serve(reader, writer)
        finally:
            writer.close()

    async def _greet(self, reader: asyncio.StreamReader) -> None:
        try:
            hello = await asyncio.wait_for(_read(reader), START_SECONDS)
        except TimeoutError as error:
            raise WorkerError(f"did not load within {START_SECONDS:g} s") from error
        if "failed" in hello:
            raise WorkerError(hello["failed"])
        self.problem = ""
        self._ready.set()
        self._settled.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request, or the news that the process died while it was idle."""
        waiting = asyncio.ensure_future(self._requests.get())
        dead = asyncio.ensure_future(reader.read(1))
        await asyncio.wait({waiting, dead}, return_when=asyncio.FIRST_COMPLETED)
        if dead.done():
            waiting.cancel()
            if not waiting.cancelled() and waiting.done():
                self._requests.put_nowait(waiting.result())
            raise WorkerError("crash: its process died")
        dead.cancel()
        await asyncio.gather(dead, return_exceptions=True)
        request = waiting.result()
        if not request.future.done():
            self._asking = True
            try:
                await self._ask(request, reader, writer)
            finally:
                self._asking = False

    async def _ask(self, request: _Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = msgspec.msgpack.encode({"id": request.number, "columns": request.columns})
        writer.write(HEADER.pack(len(body)) + body)
        try:
            reply = await asyncio.wait_for(_read(reader), request.timeout)
        except (TimeoutError, WorkerError) as error:
            hung = isinstance(error, TimeoutError)
            problem = WorkerError(f"timeout: hung for {request.timeout:g} s and was killed" if hung else str(error))
            if not request.future.done():
                request.future.set_exception(problem)
            raise problem from error
        if request.future.done():
            return
        if "error" in reply:
            request.future.set_exception(WorkerError(reply["error"]))
        else:
            request.future.set_result((reply["predictions"], reply["scores"]))

    def _bury(self) -> None:
        self._ready.clear()
        if not self.problem:
            self.problem = "is being restarted"
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process, self.pid = None, None

    def _fail_waiting(self, why: str) -> None:
        while not self._requests.empty():
            request = self._requests.get_nowait()
            if not request.future.done():
                request.future.set_exception(WorkerError(f"crash: {self.name} {why}"))


async def _read(reader: asyncio.StreamReader) -> Any:
    try:
        header = await reader.readexactly(HEADER.size)
        return msgspec.msgpack.decode(await reader.readexactly(HEADER.unpack(header)[0]))
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise WorkerError("crash: its process died") from error
