"""What the monitor saw last, as a report to show: the newest window beside the reference, and how it came about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from afterfit.errors import InputError
from afterfit.loop.conductor import Loop
from afterfit.monitoring.checks import PREDICTION
from afterfit.monitoring.columns import columns_of, profile_columns
from afterfit.monitoring.report import Report
from afterfit.records import Window

SHOWN = 90  # newest windows of the timeline


@dataclass(frozen=True)
class View:
    """The newest window in which the model answered anything."""

    model: str
    version: int
    window: Window
    report: Report
    timeline: tuple[tuple[datetime, Mapping[str, float]], ...]  # start, largest distance of any check by column
    losses: tuple[tuple[datetime, int, float], ...]  # start, rows with outcome, loss as users report it

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "model": self.model,
            "version": self.version,
            "window": [self.window.start.isoformat(), self.window.end.isoformat()],
            "report": self.report.to_dict(),
            "timeline": [{"start": start.isoformat(), "distances": dict(far)} for start, far in self.timeline],
            "losses": [{"start": start.isoformat(), "n": n, "loss": loss} for start, n, loss in self.losses],
        }


def newest(loop: Loop, model: str) -> View:
    """What the live monitor found in the newest window, as it was found then.

    Raises:
        InputError: nothing is live yet, or no window has closed since.
    """
    book = loop.book(model)
    champion, config = loop.champion(book), loop.config(model)
    store = loop.home.store
    seen = [w for w in store.windows(model, "drift") if w[2].get("n")]
    if not seen:
        raise InputError(
            f"{model}: no window of {config.window / 86400:g} d with rows has closed yet; the next look will tell"
        )
    window, findings, _ = seen[-1]
    reference = loop.senses.reference(champion)
    rows = columns_of(loop.home.lake.predictions(model, window, features=champion.features), champion.features)
    now = profile_columns(rows, champion.features)
    pairs = {name: (before, now.columns.get(name)) for name, before in reference.profile.columns.items()}
    report = Report(
        tuple(findings), config.budget * config.window / config.budget_period, reference.profile.n, now.n, pairs
    )
    timeline = tuple((w.start, _distances(found)) for w, found, _ in seen[-SHOWN:])
    losses = tuple(
        (w.start, int(numbers["labelled"]), numbers["reported_loss"])
        for w, _, numbers in store.windows(model, "performance")[-SHOWN:]
        if "reported_loss" in numbers
    )
    return View(model, champion.version, window, report, timeline, losses)


def _distances(findings: list[Any]) -> dict[str, float]:
    far: dict[str, float] = {}
    for f in findings:
        if f.column != PREDICTION:
            far[f.column] = max(far.get(f.column, 0.0), min(1.0, f.distance))
    return far
