"""How a process gets on with the others on its cores: one that nobody waits for lets them go first, and may starve."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import NamedTuple

YIELDING = 19  # niceness


class Turns(NamedTuple):
    """Seconds since a process started in which its main thread ran, and in which it could have and others did."""

    ran: float
    waited: float


def let_others_go_first() -> None:
    """For this process, from now on, before it starts a thread. Linux has more than niceness: a nice process that runs may keep
    its core for some milliseconds after another one wants it, an idle one gives it up at once."""
    os.nice(YIELDING)
    if hasattr(os, "SCHED_IDLE"):
        with contextlib.suppress(PermissionError):  # a container may forbid it, and all works without
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def turns_of(pid: int) -> Turns:
    """What a process had; nothing once it is gone, or where the system does not say.

    >>> turns_of(os.getpid()).waited >= 0.0
    True
    """
    try:
        ran, waited, *_ = Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return Turns(0.0, 0.0)
    return Turns(int(ran) / 1e9, int(waited) / 1e9)


def starves(then: Turns, now: Turns, seconds: float) -> bool:
    """Whether others took most of the last `seconds`, so that it is not to blame for being late.

    >>> starves(Turns(1.0, 1.0), Turns(1.5, 5.0), 5.0), starves(Turns(1.0, 1.0), Turns(1.0, 1.0), 5.0)
    (True, False)
    """
    return now.ran - then.ran < seconds and now.waited - then.waited > seconds / 2
