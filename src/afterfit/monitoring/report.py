"""The result of a comparison, for people and programs; frozen. The page that shows it is drawn in `html.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from afterfit.errors import InputError
from afterfit.monitoring.drawing import Pair, Timeline
from afterfit.monitoring.importance import Weighed
from afterfit.monitoring.where import NOTE, Segment, by_segment, gathered, worst_first
from afterfit.records import Finding
from afterfit.stats import chi2, cramers_v, hellinger, jensen_shannon, ks, psi, wasserstein
from afterfit.stats.profile import Categorical, Numeric


@dataclass(frozen=True, slots=True)
class Report:
    """All findings of one window against one reference at one budget, and the profiles they come from."""

    findings: tuple[Finding, ...]
    budget: float  # chance of any false alarm in the window
    n_reference: int
    n_window: int
    columns: Mapping[str, Pair] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    weighed: tuple[Weighed, ...] = ()  # what moved beside what the model makes of it; empty without a model

    @property
    def drifted(self) -> tuple[Finding, ...]:
        """The findings that stand out."""
        return tuple(f for f in self.findings if f.drifted)

    @property
    def segments(self) -> tuple[Segment, ...]:
        """How each segment came off, worst first; empty without segments."""
        return tuple(by_segment(self.findings))

    def __str__(self) -> str:
        """What stands out, worst first, a line each, and how many checks that were."""
        lines = [f"{f.severity.value:<9} {f.message}" for f in sorted(gathered(self.findings), key=worst_first)]
        lines += [f"{'segment':<9} {segment.said}" for segment in self.segments]
        whole = [f for f in self.findings if f.segment is None and f.check != NOTE]
        told = f"{sum(f.drifted for f in whole)} of {len(whole)} checks drifted at budget {self.budget:.3g}"
        return "\n".join([*lines, told])

    def distances(self, column: str) -> dict[str, float]:
        """How far apart the column's values lie, by every measure that its kind has; empty where one side has none.

        ks, psi (natural logarithm), jensen_shannon (base 2), hellinger, wasserstein (in reference standard deviations),
        total_variation, cramers_v. None has a threshold of its own: what is usual depends on n.
        """
        reference, window = self.columns.get(column, (None, None))
        if reference is None or window is None or not reference.values or not window.values:
            return {}
        found: dict[str, float] = {}
        if isinstance(reference, Numeric) and isinstance(window, Numeric):
            found = {"ks": ks.distance(reference, window), "wasserstein": wasserstein.distance(reference, window)}
        elif isinstance(reference, Categorical) and isinstance(window, Categorical):
            found = {
                "total_variation": chi2.total_variation(reference, window),
                "cramers_v": cramers_v.effect(reference, window),
            }
        else:
            return {}
        return found | {
            "psi": psi.psi(reference, window),
            "jensen_shannon": jensen_shannon.distance(reference, window),
            "hellinger": hellinger.distance(reference, window),
        }

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "budget": self.budget,
            "n_reference": self.n_reference,
            "n_window": self.n_window,
            "drifted": [f.column for f in self.drifted],
            "findings": [asdict(f) for f in self.findings],
            "segments": [s.to_dict() for s in self.segments],
            "distances": {name: self.distances(name) for name in self.columns},
        }

    def to_html(
        self,
        path: str | Path | None = None,
        *,
        title: str = "What changed",
        made_at: datetime | None = None,
        timeline: Timeline = (),
    ) -> str:
        """One self-contained page, worst first, without raw rows, scripts or anything to load.

        Args:
            path: of the file to write it to, too.
            title: of the page.
            made_at: written below the title.
            timeline: (start of window, distance by column) of earlier windows, to draw how it came about.

        Raises:
            InputError: the file can't be written.
        """
        from afterfit.monitoring.html import render

        page = render(self, self.columns, title=title, made_at=made_at, timeline=timeline)
        if path is not None:
            try:
                Path(path).write_text(page, encoding="utf-8")
            except OSError as error:
                raise InputError(f"the page can't be written to {path}: {error.strerror}; give another path") from error
        return page

    def _repr_html_(self) -> str:
        from afterfit.monitoring.html import framed

        return framed(self.to_html())
