"""The guard against processes that outlive the tests sees children, and orphans of a parent that is gone."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil

from tests.leftovers import left_behind, marked

SLEEP = "import time; time.sleep(60)"
ORPHAN = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {SLEEP!r}], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid)"


def seen(mark: str) -> list[int]:
    """Ids of what is found; a process has its environment a moment after it was started."""
    until = time.monotonic() + 20.0
    while not (found := left_behind(mark, patience=0.0)) and time.monotonic() < until:
        time.sleep(0.01)
    return [process.pid for process in found]


def test_a_child_is_seen_until_it_stops() -> None:
    with marked() as mark:
        assert left_behind(mark, patience=0.0) == []
        child = subprocess.Popen([sys.executable, "-c", SLEEP])
        try:
            assert seen(mark) == [child.pid]
        finally:
            child.kill()
            child.wait()
        assert left_behind(mark, patience=0.0) == []


def test_an_orphan_is_seen() -> None:
    with marked() as mark:
        out = subprocess.run([sys.executable, "-c", ORPHAN], capture_output=True, text=True, check=True).stdout
        orphan = psutil.Process(int(out))
        try:
            assert seen(mark) == [orphan.pid]
        finally:
            orphan.kill()
        assert left_behind(mark, patience=5.0) == []


def test_one_that_is_stopping_is_waited_for() -> None:
    with marked() as mark:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.5)"])
        assert left_behind(mark, patience=20.0) == []
        child.wait()


def test_processes_of_another_run_are_none_of_ours() -> None:
    with marked() as mark, marked() as other:
        child = subprocess.Popen([sys.executable, "-c", SLEEP])
        try:
            assert seen(other) == [child.pid]
            assert left_behind(mark, patience=0.0) == []
        finally:
            child.kill()
            child.wait()
