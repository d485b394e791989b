"""One client for all: wrk on a core of its own, at a number of connections for some seconds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from score import Load

HERE = Path(__file__).parent
PATIENCE = 30  # seconds after which wrk calls a request lost; the slowest server has 32 of them waiting for two


def cores() -> tuple[list[int], list[int]]:
    """(the client's, the server's): one each where the system lets a process be pinned; else the same for both."""
    if not hasattr(os, "sched_getaffinity"):
        return [], []
    own = sorted(os.sched_getaffinity(0))
    return ([own[0]], [own[1]]) if len(own) > 1 else (own, own)


def pinned(command: list[str], to: list[int]) -> list[str]:
    """The command, bound to these cores."""
    return ["taskset", "-c", ",".join(map(str, to)), *command] if to and shutil.which("taskset") else command


def wrk() -> str:
    """Where wrk is, and which one it is.

    Raises:
        SystemExit: it is not installed.
    """
    found = shutil.which("wrk")
    if found is None:
        raise SystemExit("the load comes from wrk, which is not installed: apt-get install wrk (or brew install wrk)")
    return found


def run(url: str, bodies: Path, *, connections: int, seconds: float, core: list[int]) -> Load:
    """Post the bodies in turn as fast as replies come.

    Raises:
        RuntimeError: wrk itself failed; what it said.
    """
    command = [wrk(), "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", f"--timeout={PATIENCE}s"]
    command += ["-s", str(HERE / "post.lua"), url, "--", str(bodies)]
    done = subprocess.run(pinned(command, core), capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not lines:
        raise RuntimeError(f"wrk failed: {(done.stderr or done.stdout)[-500:]}")
    return Load(**json.loads(lines[-1]))
