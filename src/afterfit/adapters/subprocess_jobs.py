"""The port `Jobs` with one child process a job, in a folder of its own. Any process may poll, cancel or wait.

A job is alive as long as its process holds the lock on `run.lock`, which it inherits at birth; so neither a restart of
the controller nor a reused process id can be mistaken for anything. What a job leaves is `result.json`; a job that is
not alive and left none has vanished.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import msgspec
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from afterfit.adapters.atomic_file import cannot_write, locked, read_if_there, write_atomic
from afterfit.errors import InputError
from afterfit.ports import JobResult

KINDS = ("train", "gate")
GRACE = 2.0  # seconds after its limit in which a job may still end itself
LAST_LINES = 8  # of the log, in the words about a vanished job
_SAME_BIRTH = 1.0  # seconds; two readings of a process's birth differ by steps of the clock only
_LOOK = 0.05  # seconds between two looks of wait()


class SubprocessJobs:
    """Implements the port `Jobs`.

    Args:
        home: jobs live in `home/jobs/<id>/`: `inputs.json`, one Parquet file a table, `log.txt`, `result.json`.
    """

    def __init__(self, home: Path) -> None:
        self._folder = home / "jobs"

    def start(
        self, id: str, kind: str, inputs: Mapping[str, Any], tables: Mapping[str, pa.Table], time_limit: float
    ) -> None:
        """Start a job unless it was started before, by whomever.

        Args:
            id: of the event that asked for it.
            kind: train or gate.
            inputs: plain values, records and paths; written as JSON.
            tables: written as `<name>.parquet`.
            time_limit: seconds; the whole process group is killed after it.

        Raises:
            InputError: an unknown kind, or an id that is no file name.
            StoreError: the folder can't be written.
        """
        if kind not in KINDS:
            raise InputError(f"job kind {kind!r}: wanted one of {', '.join(KINDS)}")
        folder = self._of(id)
        with locked(folder / "start.lock"):
            if (folder / "process.json").exists() or (folder / "result.json").exists() or _alive(folder):
                return
            try:
                for name, table in tables.items():
                    pq.write_table(table, folder / f"{name}.parquet")
                content = {"kind": kind, "time_limit": time_limit, "inputs": inputs}
                write_atomic(folder / "inputs.json", msgspec.json.encode(content, enc_hook=_plain).decode())
                _launch(folder, time_limit)
            except OSError as error:
                raise cannot_write(folder, error) from error

    def poll(self, id: str) -> JobResult | None:
        """None while it runs; the result once it has ended, however it ended."""
        folder = self._of(id)
        if not folder.is_dir():
            return JobResult(problem=f"job {id} was never started")
        log = str(folder / "log.txt")
        found = read_if_there(folder / "result.json")
        if found is None and _alive(folder):
            process = _process(folder)
            if process is None:
                return None  # whoever started it died before it wrote down who it is; its own watchdog ends it
            orphaned = not _is_there(process)  # killed alone: what it started still holds the lock
            if not orphaned and time.time() < process["started"] + process["time_limit"] + GRACE:
                return None
            _kill(folder)
            if not orphaned:
                write_result(folder, {}, over_time(process["time_limit"]), process["time_limit"])
        if found is None:
            with locked(folder / "start.lock"):  # another process may be starting it this very moment
                found = read_if_there(folder / "result.json")
                if found is None and _alive(folder):
                    return None
                found = found or read_if_there(folder / "result.json")
        if found is None:
            return JobResult(problem=_vanished(folder, id, _process(folder)), log=log)
        result = json.loads(found)
        return JobResult(data=result["data"], problem=result["problem"], log=log, seconds=result["seconds"])

    def cancel(self, id: str) -> None:
        """Stop a job; nothing happens to one that has ended or was never started."""
        folder = self._of(id)
        if not folder.is_dir():
            return
        with locked(folder / "start.lock"):
            if (folder / "result.json").exists():
                return
            _kill(folder)
            write_result(folder, {}, "it was cancelled", 0.0)

    def wait(self, id: str) -> JobResult:
        """The result, as soon as there is one."""
        while (result := self.poll(id)) is None:
            time.sleep(_LOOK)
        return result

    def _of(self, id: str) -> Path:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", id):
            raise InputError(f"job id {id!r}: wanted letters, digits, '-', '_' and '.'; it names a folder")
        return self._folder / id


def write_result(folder: Path, data: Mapping[str, Any], problem: str | None, seconds: float) -> None:
    """What a job leaves; whole or not at all. The first word stands: a job that was cancelled stays cancelled."""
    if (folder / "result.json").exists():
        return
    content = {"data": dict(data), "problem": problem, "seconds": round(seconds, 3)}
    write_atomic(folder / "result.json", json.dumps(content))


def over_time(limit: float) -> str:
    """The words about a job that took too long."""
    return f"it took longer than its time limit of {limit:g} s and was stopped; raise time_limit, or train on less"


def _launch(folder: Path, time_limit: float) -> None:
    """Start the child with the lock in its hands, and write down who it is."""
    lock = _lock(folder)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with lock, (folder / "log.txt").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "afterfit.job", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            start_new_session=True,
            pass_fds=(lock.fileno(),),
        )
    who = {"pid": process.pid, "born": _born(process.pid), "started": time.time(), "time_limit": time_limit}
    threading.Thread(target=process.wait, daemon=True, name=f"reap {process.pid}").start()  # so it is no zombie
    write_atomic(folder / "process.json", json.dumps(who))


def _lock(folder: Path) -> IO[bytes]:
    return (folder / "run.lock").open("ab")


def _alive(folder: Path) -> bool:
    with _lock(folder) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def _kill(folder: Path) -> None:
    """Kill the process group of a living job, and wait until it is gone."""
    process = _process(folder)
    if process is None or not _alive(folder):
        return
    if not _is_there(process) and psutil.pid_exists(process["pid"]):
        return  # the number belongs to somebody else by now
    try:
        os.killpg(process["pid"], signal.SIGKILL)
    except ProcessLookupError:
        return
    patience = time.monotonic() + GRACE
    while _alive(folder) and time.monotonic() < patience:
        time.sleep(0.01)


def _is_there(process: Mapping[str, Any]) -> bool:
    born = _born(process["pid"])
    return born is not None and abs(born - process["born"]) < _SAME_BIRTH


def _born(pid: int) -> float | None:
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return None


def _process(folder: Path) -> dict[str, Any] | None:
    text = read_if_there(folder / "process.json")
    return None if text is None else json.loads(text)


def _vanished(folder: Path, id: str, process: Mapping[str, Any] | None) -> str:
    if process is None:
        return f"job {id} was never started: whoever wanted to start it died before"
    text = read_if_there(folder / "log.txt") or ""
    last = " | ".join(line.strip() for line in text.splitlines()[-LAST_LINES:] if line.strip())
    return "its process vanished without a result (killed, out of memory, or crashed in native code); " + (
        f"the log ends: {last[-1000:]}" if last else "its log is empty"
    )


def _plain(value: Any) -> Any:
    """What JSON encoding does not know of a configuration."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise InputError(f"a job's input of type {type(value).__name__} can't be written as JSON; use plain values")
