"""Hot swaps without end: each model gets one new version after the other, as a user and the controller bring them about."""

from __future__ import annotations

import threading
import time
import traceback

from afterfit.lifecycle import Phase
from tests.soak.place import PATIENCE, Place
from tests.soak.rows import GRAPH, PLAIN
from tests.soak.watch import Rest, parts, rest
from tests.world import wait_for

CANARY = 10.0  # seconds that the canary of the plain model lasts before a person promotes it


class Rollouts(threading.Thread):
    """A thread that swaps until it is told to stop; `rests` says what stayed after each round of two swaps.

    The graph goes the whole way by itself: gate, shadow, two canary steps, provisional, promoted. The plain model skips
    gate and shadow, and is promoted by a person's word in the middle of its canary.
    """

    def __init__(self, place: Place) -> None:
        super().__init__(name="rollouts")
        self.swaps = 0
        self.by_itself = 0  # of them, by evidence alone
        self.rests: list[Rest] = []
        self.problem = ""
        self._place = place
        self._stop_asked = threading.Event()

    def run(self) -> None:
        try:
            while not self._stop_asked.is_set():
                self._round(seed=2 * len(self.rests) + 10)
        except Exception:  # noqa: BLE001  the end of a thread: the run fails with this text
            self.problem = traceback.format_exc()

    def stop(self) -> None:
        """Finish the round, then stop."""
        self._stop_asked.set()
        self.join()

    def at_rest(self) -> Rest:
        """What stays once the versions that left are gone."""
        place = self._place
        assert place.up is not None
        pid = place.up.pid
        # Of the graph nothing runs in a process of its own while nothing is under way; of the plain model all does.
        wanted = len(place.home.board.current().models[PLAIN].targets)
        wait_for(lambda: _workers(pid) == wanted and "job" not in parts(pid), PATIENCE, f"{wanted} workers are left")
        return rest(pid, place.home.config.home, place.routed())

    def _round(self, seed: int) -> None:
        place = self._place
        graph, plain = place.register(GRAPH, seed), place.register(PLAIN, seed + 1)
        place.afterfit("deploy", GRAPH, str(graph))
        place.afterfit("deploy", PLAIN, str(plain), "--skip", "gate,shadow", "--why", "soak")
        wait_for(place.settled, PATIENCE, "the canary is in force")
        time.sleep(CANARY)
        place.afterfit("promote", PLAIN, str(plain), "--why", "soak")
        self.swaps += 1
        wait_for(lambda: self._ended(GRAPH), PATIENCE, f"version {graph} of {GRAPH} came to a verdict")
        if place.state(GRAPH).champion == graph:
            self.by_itself += 1
        else:
            place.afterfit("promote", GRAPH, str(graph), "--why", "soak")
        self.swaps += 1
        wait_for(place.settled, PATIENCE, "the new champions are in force")
        self.rests.append(self.at_rest())

    def _ended(self, model: str) -> bool:
        return self._place.state(model).phase is Phase.SERVING


def _workers(up: int) -> int:
    found = parts(up).get("workers")
    return found.n if found else 0
