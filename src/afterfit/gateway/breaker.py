"""When a version is no longer asked: a circuit breaker. Pure: it is told what happened and when, and reads no clock.

Closed, it counts calls. It opens after FEW failures in a row, or when half of the last calls failed. Open, the version
is skipped, and only a probe is due now and then: a copy of a row, which nobody waits for. A probe that goes well closes
it; one that fails doubles the pause until the next.
"""

from __future__ import annotations

from collections import deque

FEW = 5  # failures in a row
MOST = 50  # newest calls that the share is taken of ...
WINDOW = 30.0  # ... none of them older, in seconds
FEWEST = 20  # calls, before a share says anything
SHARE = 0.5  # of failures among them
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds until a probe


class Breaker:
    """One version's.

    >>> breaker = Breaker()
    >>> for second in range(5):
    ...     breaker.record(False, float(second), "timeout")
    >>> breaker.open, breaker.why, breaker.probe_due(4.5), breaker.probe_due(5.0)
    (True, 'timeout', False, True)
    >>> breaker.probed(True, 5.1)
    >>> breaker.open
    False
    """

    def __init__(self) -> None:
        self.why = ""  # the newest failure
        self._recent: deque[tuple[float, bool]] = deque()
        self._failed = 0  # of them
        self._in_a_row = 0  # failures up to now; below zero: calls that went well
        self._openings = 0  # since it was last steady
        self._probe_at: float | None = None  # None: closed

    @property
    def open(self) -> bool:
        """Whether the version is to be skipped."""
        return self._probe_at is not None

    def record(self, fine: bool, now: float, why: str = "") -> None:
        """How a call went. One that began before the breaker opened and ends now says nothing new."""
        if self._probe_at is not None:
            return
        self._in_a_row = min(self._in_a_row, 0) - 1 if fine else max(self._in_a_row, 0) + 1
        self._recent.append((now, fine))
        self._failed += not fine
        while len(self._recent) > MOST or self._recent[0][0] < now - WINDOW:
            self._failed -= not self._recent.popleft()[1]
        if fine:
            if self._in_a_row <= -FEWEST:
                self._openings = 0
            return
        self.why = why
        if self._in_a_row >= FEW or (len(self._recent) >= FEWEST and self._failed >= SHARE * len(self._recent)):
            self._open(now)

    def probe_due(self, now: float) -> bool:
        """Whether to send a probe; who is told so must send one. One that is lost is made up for after a pause."""
        if self._probe_at is None or now < self._probe_at:
            return False
        self._probe_at = now + self._pause
        return True

    def probed(self, fine: bool, now: float, why: str = "") -> None:
        """How a probe went."""
        if self._probe_at is None:
            return
        if fine:
            self._probe_at = None
        else:
            self.why = why
            self._open(now)

    @property
    def _pause(self) -> float:
        return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._openings - 1, 10))

    def _open(self, now: float) -> None:
        self._openings += 1
        self._probe_at = now + self._pause
        self._recent.clear()
        self._failed = self._in_a_row = 0
