"""How much one gateway takes at once, and from one token: over a limit it refuses at once instead of letting a queue grow."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from afterfit.config import Config
from afterfit.errors import AfterfitError
from afterfit.gateway.protocols.reply import Headers

_ROUNDING = 1e-9  # of a request: who waits as long as was said must not be told to wait again


@dataclass(frozen=True, slots=True)
class Limits:
    """Of the whole gateway."""

    body: int = Config.max_body * 2**20  # bytes of one request
    rows: int = Config.max_rows  # of one request
    concurrency: int = Config.max_concurrency  # requests under way at once


class RefusedError(AfterfitError):
    """A request that is refused before it is read; `headers` tell a client how to go on."""

    def __init__(self, message: str, headers: Headers) -> None:
        self.headers = headers
        super().__init__(message)


class TooManyError(RefusedError):
    """A token asks more often than it may."""


class BusyError(RefusedError):
    """The gateway has as many requests under way as it takes."""


class Bucket:
    """A token bucket: it fills with `rate` requests a second and holds one second's worth, at least one request.

    >>> bucket = Bucket(2.0, now=0.0)
    >>> [bucket.take(now=0.0) for _ in range(3)], bucket.take(now=0.5)
    ([0.0, 0.0, 0.5], 0.0)
    """

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self._holds = max(1.0, rate)
        self._left, self._at = self._holds, now

    def take(self, now: float) -> float:
        """Take one request, which gives 0; or the seconds until there is one."""
        self._left = min(self._holds, self._left + (now - self._at) * self.rate)
        self._at = now
        if self._left < 1.0 - _ROUNDING:
            return (1.0 - self._left) / self.rate
        self._left = max(0.0, self._left - 1.0)
        return 0.0


class Caller:
    """One token as the gateway counts it: what it may do, and what it has under way. Lives as long as its name does."""

    __slots__ = ("bucket", "concurrency", "grants", "name", "under_way")

    def __init__(self, name: str) -> None:
        self.name = name
        self.grants: frozenset[str] = frozenset()
        self.bucket: Bucket | None = None
        self.concurrency: float = math.inf
        self.under_way = 0

    def allow(self, grants: frozenset[str], rate: float | None, concurrency: int | None, now: float) -> None:
        """Take over what the token may do now; a rate that stays the same keeps its bucket."""
        self.grants = grants
        self.concurrency = math.inf if concurrency is None else concurrency
        if rate is None:
            self.bucket = None
        elif self.bucket is None or self.bucket.rate != rate:
            self.bucket = Bucket(rate, now)


class Room:
    """The requests under way, counted from before their body is read until the reply is made."""

    def __init__(self, limits: Limits) -> None:
        self._most = limits.concurrency
        self.under_way = 0

    def enter(self, caller: Caller | None) -> None:
        """Count a request in; each is counted out by `leave`, and one that was refused was not counted.

        Raises:
            TooManyError: its token has too many under way, or comes too often.
            BusyError: the gateway has too many under way.
        """
        if self.under_way >= self._most:
            raise BusyError(
                f"{self._most} requests are under way, which is all this gateway takes at once", [_after(1.0)]
            )
        if caller is not None:
            if caller.under_way >= caller.concurrency:
                told = f"token {caller.name!r} has {caller.under_way} requests under way, which is all it may"
                raise TooManyError(told, [_after(1.0)])
            if caller.bucket is not None and (wait := caller.bucket.take(time.monotonic())):
                told = f"token {caller.name!r} may ask {caller.bucket.rate:g} times a second; wait {wait:.3g} s"
                raise TooManyError(told, [_after(wait)])
            caller.under_way += 1
        self.under_way += 1

    def leave(self, caller: Caller | None) -> None:
        """Count a request out."""
        self.under_way -= 1
        if caller is not None:
            caller.under_way -= 1


def _after(seconds: float) -> tuple[bytes, bytes]:
    return b"retry-after", b"%d" % max(1, math.ceil(seconds))
