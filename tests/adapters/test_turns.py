"""A process that lets others go first is late through no fault of its own where they leave it nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from afterfit.adapters.turns import Turns, starves, turns_of

SECONDS = 1.0
LOOP = "\nwhile True: pass"
pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="only Linux says how long a process waited"
)


@pytest.fixture
def crowded() -> Iterator[list[subprocess.Popen[bytes]]]:
    """One core with a process that goes first, and one that lets it."""
    core = min(os.sched_getaffinity(0))
    pin = f"import os; os.sched_setaffinity(0, [{core}])"
    yields = "; from afterfit.adapters.turns import let_others_go_first; let_others_go_first()"
    both = [subprocess.Popen([sys.executable, "-c", code + LOOP]) for code in (pin, pin + yields)]
    yield both
    for process in both:
        process.kill()
        process.wait()


def test_who_is_kept_from_running_starves_and_who_sleeps_hangs(crowded: list[subprocess.Popen[bytes]]) -> None:
    _, last = crowded
    deadline = time.monotonic() + 60.0
    while os.sched_getscheduler(last.pid) != os.SCHED_IDLE:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    then, began = turns_of(last.pid), time.monotonic()
    while not starves(then, turns_of(last.pid), SECONDS):  # it hears of its waiting when it gets a turn
        assert time.monotonic() < began + 60.0, (then, turns_of(last.pid))
        time.sleep(0.05)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as asleep:
        time.sleep(SECONDS)
        then = turns_of(asleep.pid)
        time.sleep(SECONDS)
        assert not starves(then, turns_of(asleep.pid), SECONDS)


def test_one_that_had_its_time_does_not_starve() -> None:
    assert not starves(Turns(0.0, 0.0), Turns(SECONDS, 9.0), SECONDS)
    assert turns_of(2**22 + 1) == Turns(0.0, 0.0)
