"""Starts a server on a core of its own, waits until it answers right, reads its memory, and ends it with its children."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
from load import pinned

START_SECONDS = 120.0
TOLERANCE = 1e-5  # of a probability; a graph in 32-bit floats would be within it too
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}


class FailedError(Exception):
    """A server did not start, or answered something else than the model; the message says which."""


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    port: int
    path: str
    process: psutil.Process

    @property
    def url(self) -> str:
        """Where to post."""
        return f"http://127.0.0.1:{self.port}{self.path}"

    def post(self, body: bytes, timeout: float = 60.0) -> tuple[int, bytes]:
        """(status, content) of one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("POST", self.path, body, {"Content-Type": "application/json"})
            reply = connection.getresponse()
            return reply.status, reply.read()
        finally:
            connection.close()

    def peak_mb(self) -> float:
        """Largest resident memory of the process and its children, each at its own peak. What they share counts twice."""
        total = 0.0
        for process in [self.process, *self.process.children(recursive=True)]:
            with contextlib.suppress(OSError, StopIteration):
                lines = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
                total += next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
        return total


@contextlib.contextmanager
def running(
    command: list[str], *, port: int, path: str, env: Mapping[str, str], cwd: Path, core: list[int], log: Path
) -> Iterator[Running]:
    """The server until the block ends; it may not answer yet."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            pinned(command, core), stdout=out, stderr=out, stdin=subprocess.DEVNULL, cwd=cwd, env=env_with(env)
        )
    known = psutil.Process(process.pid)
    try:
        yield Running(port, path, known)
    finally:
        _end(process, known)


def await_answer(server: Running, body: bytes, log: Path) -> bytes:
    """Ask until there is a reply of status 200.

    Raises:
        FailedError: the process ended, or no good reply came in time; the end of its log.
    """
    deadline, said = time.monotonic() + START_SECONDS, "nothing"
    while time.monotonic() < deadline and server.process.is_running():
        if server.process.status() == psutil.STATUS_ZOMBIE:
            break
        try:
            status, content = server.post(body)
        except (OSError, http.client.HTTPException) as error:
            said = str(error)
        else:
            if status == 200:
                return content
            said = f"{status} {content[:300]!r}"
            if status in (400, 422):  # it is up, and will not like the body later either
                break
        time.sleep(0.05)
    raise FailedError(f"no answer: {said}; {log.read_text(encoding='utf-8', errors='replace').strip()[-700:]}")


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def env_with(more: Mapping[str, str]) -> dict[str, str]:
    """The environment of a server or of a call in process: one thread, since there is one core."""
    return {**os.environ, **ONE_THREAD, **more}


def _end(process: subprocess.Popen[bytes], known: psutil.Process) -> None:
    """In order, and what is left of it after ten seconds by force."""
    try:
        family = [known, *known.children(recursive=True)]
    except psutil.NoSuchProcess:
        family = []
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait(10)
    psutil.wait_procs([m for m in family if m.pid != process.pid], timeout=10)
