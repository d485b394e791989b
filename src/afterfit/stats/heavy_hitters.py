"""The most frequent names of a column of any number of names, in bounded memory; two counts merge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

KEPT = 2048


@dataclass(frozen=True, slots=True)
class HeavyHitters:
    """Counts by name that are at most `lost` too small; a name that is not in them came at most `lost` times.

    With no more than KEPT names nothing is lost. `lost` is at most n / (KEPT + 1), whatever the order of the rows.

    References:
        Misra, Gries (1982), Finding repeated elements; Agarwal et al. (2012), Mergeable summaries.

    >>> total = HeavyHitters({"JFK": 3}) + HeavyHitters({"JFK": 1, "LGA": 2})
    >>> dict(total.counts), total.lost
    ({'JFK': 4, 'LGA': 2}, 0)
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    lost: int = 0

    def __add__(self, other: HeavyHitters) -> HeavyHitters:
        total = {k: self.counts.get(k, 0) + other.counts.get(k, 0) for k in {**self.counts, **other.counts}}
        less = sorted(total.values())[-KEPT - 1] if len(total) > KEPT else 0
        return HeavyHitters({k: v - less for k, v in total.items() if v > less}, self.lost + other.lost + less)

    @property
    def complete(self) -> bool:
        """Whether every name is there, with its exact count."""
        return self.lost == 0
