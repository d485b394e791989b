"""Defects of the gateway in its log: where, and of what kind, but not what was said, for that may hold a caller's data."""

from __future__ import annotations

import logging
import time
import traceback

log = logging.getLogger("afterfit.gateway")
TELL_EVERY = 10.0  # seconds between two tellings: a request that brings one on may come a thousand times a second


class Defects:
    """Tells the first defect at once, and later ones with the number of those that were not told."""

    def __init__(self) -> None:
        self._untold = 0
        self._tell_at = 0.0

    def tell(self, method: str, path: str, error: Exception) -> None:
        """Write one to the log, unless another one was written just now."""
        now = time.monotonic()
        if now < self._tell_at:
            self._untold += 1
            return
        more = f" ({self._untold} more since the last one told)" if self._untold else ""
        self._tell_at, self._untold = now + TELL_EVERY, 0
        log.error("a defect of the gateway%s: %s %r\n%s", more, method, path[:200], where(error))


def where(error: BaseException) -> str:
    """The frames and the kind of an error and of those behind it, without their messages and without values.

    >>> try:
    ...     float("a name")
    ... except ValueError as error:
    ...     where(error).splitlines()[-1]
    'ValueError'
    """
    parts = []
    seen: BaseException | None = error
    while seen is not None:
        frames = "".join(traceback.format_list(traceback.extract_tb(seen.__traceback__)))
        parts.append(f"{frames}{type(seen).__name__}")
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return "\nbefore it:\n".join(parts)
