"""What each dialect hands to the edge: a status, a body and headers; and the headers that say who answered."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from afterfit.gateway.fleet import Lane
from afterfit.gateway.ladder import any_degraded, why_degraded
from afterfit.records import Prediction, Role, column

Headers = list[tuple[bytes, bytes]]
Reply = tuple[int, Any, Headers]  # a body of bytes is text, plain unless headers say so; any other becomes JSON


def answered_by(lane: Lane, rows: Sequence[Prediction]) -> Headers:
    """`x-afterfit-version`, `-role` and `-lane` of a reply, with one entry a version where several answered; and
    `x-afterfit-degraded`, why, where an answer is not the routed version's own."""
    first = rows[0]
    if any_degraded(rows):
        degraded = list(dict.fromkeys(why for row in rows if (why := why_degraded(row)) is not None))
        if degraded:
            answered = sorted({(row.version, row.role) for row in rows})
            kinds = tuple((version, role, lane.kind(version)) for version, role in answered)
            return [*_headers(kinds), (b"x-afterfit-degraded", "; ".join(degraded).encode())]
    if len(rows) == 1 or len(set(column(rows, "version"))) == 1:
        return _headers(((first.version, first.role, lane.kind(first.version)),))
    found = sorted({(row.version, row.role) for row in rows})
    return _headers(tuple((version, role, lane.kind(version)) for version, role in found))


@lru_cache(maxsize=1024)
def _headers(answered: tuple[tuple[int, Role, str], ...]) -> Headers:
    names = (b"x-afterfit-version", b"x-afterfit-role", b"x-afterfit-lane")
    return [
        (name, ",".join(map(str, told)).encode()) for name, told in zip(names, zip(*answered, strict=True), strict=True)
    ]
