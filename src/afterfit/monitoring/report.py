"""The result of a comparison, for people and programs; frozen, and drawn elsewhere."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from afterfit.records import Finding


@dataclass(frozen=True, slots=True)
class Report:
    """All findings of one window against one reference at one budget."""

    findings: tuple[Finding, ...]
    budget: float  # chance of any false alarm in the window
    n_reference: int
    n_window: int

    @property
    def drifted(self) -> tuple[Finding, ...]:
        """The findings that stand out."""
        return tuple(f for f in self.findings if f.drifted)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "budget": self.budget,
            "n_reference": self.n_reference,
            "n_window": self.n_window,
            "drifted": [f.column for f in self.drifted],
            "findings": [asdict(f) for f in self.findings],
        }
