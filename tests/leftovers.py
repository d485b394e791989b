"""Finds processes that tests started and left behind, also those whose parent is gone: all carry a mark in their environment."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

MARK = "TESTS_STARTED_BY"


@contextmanager
def marked() -> Iterator[str]:
    """Processes started inside carry this mark; so do their children."""
    before, mark = os.environ.get(MARK), uuid.uuid4().hex
    os.environ[MARK] = mark
    try:
        yield mark
    finally:
        if before is None:
            del os.environ[MARK]
        else:
            os.environ[MARK] = before


def left_behind(mark: str, patience: float) -> list[psutil.Process]:
    """What still runs after `patience` seconds; a process that is stopping by itself is given that long."""
    until = time.monotonic() + patience
    while (found := _running(mark)) and time.monotonic() < until:
        time.sleep(0.1)
    return found


def _running(mark: str) -> list[psutil.Process]:
    return [process for process in psutil.process_iter() if process.pid != os.getpid() and _is_ours(process, mark)]


def _is_ours(process: psutil.Process, mark: str) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE or process.environ().get(MARK) != mark:
            return False
        # Python's own helper for shared memory lives exactly as long as the interpreter that started it.
        return "resource_tracker" not in " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
