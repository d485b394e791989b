"""Which version answers a key: sticky for a whole rollout, and a ramp only ever adds keys to the candidate."""

from __future__ import annotations

from collections.abc import Sequence

import xxhash


def share(salt: str, key: str) -> float:
    """A number in [0, 1) that depends on salt and key only, uniform over keys.

    The upper 53 bits of xxh3_64: all 64 would round to 1.0 at the very top.

    >>> share("rollout-1", "customer-17") == share("rollout-1", "customer-17")
    True
    """
    return (xxhash.xxh3_64_intdigest(f"{salt}\0{key}".encode()) >> 11) * 2.0**-53


def choose(weights: Sequence[tuple[int, float]], salt: str, key: str) -> tuple[int, float]:
    """(version, its probability) for a key.

    Args:
        weights: (version, share) with the champion first; the shares sum to 1. Candidates fill [0, 1) from the bottom,
            so a key that a candidate has at 5 % it also has at 25 %.

    >>> choose([(1, 1.0)], "s", "k")
    (1, 1.0)
    """
    point, edge = share(salt, key), 0.0
    for version, weight in weights[1:]:
        edge += weight
        if point < edge:
            return version, weight
    return weights[0]
