"""Whether a window's log is whole: rows that were answered and could not be logged are counted, and too many are told.

What is lost is not lost at random: a full disk or a killed process falls on certain hours and certain callers. So a
window that lacks more than one row in a hundred is no evidence about anything but the log.
"""

from __future__ import annotations

from collections.abc import Mapping

from afterfit.records import Finding, Severity

LEAST = 0.99  # of the answered rows
LOG = "log"


def share(logged: int, lost: int) -> float:
    """Logged by answered rows, in [0, 1]; 1 where nothing was answered.

    >>> share(99, 1), share(0, 0)
    (0.99, 1.0)
    """
    return logged / (logged + lost) if logged + lost else 1.0


def incomplete(logged: int, lost: int) -> Finding | None:
    """The finding of a window whose log lacks too many rows."""
    whole = share(logged, lost)
    if whole >= LEAST:
        return None
    return Finding(
        column=LOG,
        check="completeness",
        method="count",
        statistic=1.0 - whole,
        distance=1.0 - whole,
        p_value=0.0,
        threshold=1.0 - LEAST,
        drifted=True,
        severity=Severity.CRITICAL,
        message=f"the log is incomplete: {lost:,} of {logged + lost:,} answered rows ({1.0 - whole:.1%}) could not be "
        "logged, so nothing else is judged by this window; look for a full or slow disk in the gateway's log",
        n_reference=0,
        n_window=logged,
    )


def is_evidence(numbers: Mapping[str, float]) -> bool:
    """Whether the log of a window that was looked at is whole enough."""
    return numbers.get("completeness", 1.0) >= LEAST
