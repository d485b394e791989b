"""Memory that goes back to the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Threads that allocate at the same time; then how many arenas beside the first one the C library has made for them.
_ARENAS = """
import sys, threading
from afterfit.gateway.memory import few_arenas
if sys.argv[1] == "few":
    few_arenas()
together, kept = threading.Barrier(8), []
def allocate():
    for _ in range(50):
        together.wait()
        kept.append([bytes(2000) for _ in range(200)])
threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
starts = [int(line.split("-")[0], 16) for line in open("/proc/self/maps") if len(line.split()) == 5]
print(sum(start % (64 << 20) == 0 for start in starts))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="arenas are glibc's, and read from /proc")
def test_threads_of_the_controller_share_their_memory() -> None:
    def arenas(of: str) -> int:
        return int(subprocess.run([sys.executable, "-c", _ARENAS, of], capture_output=True, check=True).stdout)

    assert arenas("few") <= 2 < arenas("many")
