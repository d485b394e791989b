"""What the monitor saw last, as a report to show: the newest window beside the reference, and how it came about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from afterfit.adapters.model_folder import read_importance
from afterfit.errors import InputError
from afterfit.loop.conductor import Loop
from afterfit.loop.windows import LOOKED_AT
from afterfit.monitoring.budget import of_inputs
from afterfit.monitoring.columns import columns_of, profile_columns
from afterfit.monitoring.drift import PREDICTION
from afterfit.monitoring.importance import beside
from afterfit.monitoring.report import Report
from afterfit.ports import Monitor
from afterfit.records import Window

SHOWN = 90  # newest windows of the timeline


@dataclass(frozen=True)
class Loss:
    """How good the answers of one window were, as users report it: known once it is mature, and estimated before."""

    start: datetime
    n: int  # rows with outcome; 0 while it is not mature
    loss: float | None
    estimated: float | None  # of the champion's own answers, with an interval
    low: float | None
    high: float | None


@dataclass(frozen=True)
class View:
    """The newest window in which the model answered anything."""

    model: str
    version: int
    window: Window
    report: Report
    timeline: tuple[tuple[datetime, Mapping[str, float]], ...]  # start, largest distance of any check by column
    losses: tuple[Loss, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "model": self.model,
            "version": self.version,
            "window": [self.window.start.isoformat(), self.window.end.isoformat()],
            "report": self.report.to_dict(),
            "weighed": [asdict(row) for row in self.report.weighed],
            "timeline": [{"start": start.isoformat(), "distances": dict(far)} for start, far in self.timeline],
            "losses": [{**asdict(one), "start": one.start.isoformat()} for one in self.losses],
        }


def newest(loop: Loop, model: str) -> View:
    """What the live monitor found in the newest window, as it was found then.

    Raises:
        InputError: nothing is live yet, or no window has closed since.
    """
    book = loop.book(model)
    champion, config = loop.champion(book).as_logged, loop.config(model)
    store = loop.home.store
    seen = [w for w in store.windows(model, "drift") if w[2].get("n")]
    if not seen:
        raise InputError(
            f"{model}: no window of {config.window / 86400:g} d with rows has closed yet; the next look will tell"
        )
    window, findings, _ = seen[-1]
    reference = loop.senses.reference(champion)
    table = loop.home.lake.predictions(model, window, features=champion.features, most=LOOKED_AT)
    rows = columns_of(table, champion.features)
    now = profile_columns(rows, champion.features)
    pairs = {name: (before, now.columns.get(name)) for name, before in reference.profile.columns.items()}
    weighed = tuple(beside(findings, read_importance(champion.folder)))
    report = Report(tuple(findings), of_inputs(config), reference.profile.n, now.n, pairs, weighed)
    timeline = tuple((w.start, _distances(found)) for w, found, _ in seen[-SHOWN:])
    losses = losses_of(store, model)
    return View(model, champion.version, window, report, timeline, losses)


def losses_of(store: Monitor, model: str) -> tuple[Loss, ...]:
    """The newest windows whose loss is known or estimated, oldest first."""
    numbers: dict[datetime, dict[str, float]] = {}
    for kind in ("drift", "performance"):  # a mature window keeps what was estimated of it
        for window, _, found in store.windows(model, kind):
            numbers.setdefault(window.start, {}).update(found)
    return tuple(
        Loss(
            start,
            int(found.get("labelled", 0)),
            found.get("reported_loss"),
            *(found.get(f"estimated_{what}") for what in ("loss", "low", "high")),
        )
        for start, found in sorted(numbers.items())
        if {"reported_loss", "estimated_loss"} & found.keys()
    )[-SHOWN:]


def said(one: Loss) -> str:
    """A window's loss in words.

    >>> from datetime import UTC
    >>> said(Loss(datetime(2026, 1, 5, tzinfo=UTC), 0, None, 0.41, 0.38, 0.44))
    '2026-01-05: estimated loss 0.4100 (0.3800 to 0.4400)'
    """
    known = f"loss {one.loss:.4f} on {one.n:,} rows with outcome" if one.loss is not None else ""
    expected = (
        f"estimated loss {one.estimated:.4f} ({one.low:.4f} to {one.high:.4f})" if one.estimated is not None else ""
    )
    return f"{one.start:%Y-%m-%d}: {', '.join(part for part in (known, expected) if part)}"


def _distances(findings: list[Any]) -> dict[str, float]:
    far: dict[str, float] = {}
    for f in findings:
        if f.column != PREDICTION and f.segment is None:
            far[f.column] = max(far.get(f.column, 0.0), min(1.0, f.distance))
    return far
