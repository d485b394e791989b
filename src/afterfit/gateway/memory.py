"""How much memory a process takes, and how much one version may take of this machine."""

from __future__ import annotations

import ctypes
import re
import sys
from pathlib import Path
from typing import NamedTuple

import psutil

LOOK_EVERY = 0.25  # seconds between two looks at a process
SHARE = 0.5  # of the machine's memory, for a version without a limit of its own
_MB = 2.0**20
_ARENA_MAX = -8  # M_ARENA_MAX of malloc.h


class Memory(NamedTuple):
    """In MB."""

    now: float
    peak: float  # since the process started


def memory_of(pid: int) -> Memory:
    """What a process takes; nothing once it is gone.

    >>> import os
    >>> 0.0 < memory_of(os.getpid()).now <= memory_of(os.getpid()).peak
    True
    """
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:  # it is gone, or this is no Linux
        return _by_psutil(pid)
    kilobytes = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB", text, re.MULTILINE))
    now, peak = (float(kilobytes.get(name, 0.0)) / 1024.0 for name in ("VmRSS", "VmHWM"))
    return Memory(now, max(now, peak))


def most(wanted: float | None) -> float:
    """MB that a version's process may take, given what the settings say."""
    return wanted if wanted is not None else SHARE * _machine()


def give_back() -> None:
    """Have the C library return what was freed: glibc keeps it, for each thread apart, and what twenty graphs took in
    turn would stay with this process. Takes milliseconds (100 after a graph of 50 MB), in which threads that allocate may
    wait (15 were seen)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:  # another C library than glibc has none
        trim(0)


def few_arenas() -> None:
    """Have the C library share its memory among threads: what each keeps for itself is not returned. For a process that
    seldom allocates from two threads at once; what it has allocated before stays where it is."""
    tune = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if tune is not None:
        tune(_ARENA_MAX, 2)


def _machine() -> float:
    """Memory of this machine, or of the container that we are in."""
    total = float(psutil.virtual_memory().total) / _MB
    try:
        told = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return total
    return min(total, float(told) / _MB) if told.isdigit() else total


def _by_psutil(pid: int) -> Memory:
    try:
        now = float(psutil.Process(pid).memory_info().rss) / _MB
    except psutil.Error:
        return Memory(0.0, 0.0)
    return Memory(now, now)
