"""What matured outcomes say of the champion: how good it was, whether that is worse, and whether its scores mean what they
did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from afterfit.config import ModelConfig
from afterfit.errors import InputError
from afterfit.feedback.delay import DelayCurve
from afterfit.home import Home
from afterfit.loop.answers import answers, labelled_rows, meant
from afterfit.loop.cause import cause_of, in_short
from afterfit.loop.estimates import Estimates
from afterfit.loop.windows import LOOKED_AT, Windows, grid, of_version, seconds
from afterfit.monitoring.budget import of_losses, of_meaning
from afterfit.monitoring.cause import Cause
from afterfit.monitoring.checks import is_healthy
from afterfit.monitoring.completeness import is_evidence
from afterfit.monitoring.meaning import DAY, Meaning
from afterfit.monitoring.performance import DayLosses, performance_finding, realised
from afterfit.records import Finding, Incident, ModelVersion, Window
from afterfit.stats.losses import bounded_loss, reported_loss

if TYPE_CHECKING:
    import pyarrow as pa

    from afterfit.loop.book import Book

RELEARN = 5  # windows after which the delay curve is learned anew
TOLERANCE = 0.1  # share of the hold-out loss that a champion may lose before it counts as harm


@dataclass
class _Champion:
    """The mature rows of one champion since it became one."""

    version: int
    meaning: Meaning
    live: DayLosses = field(default_factory=DayLosses)  # bounded losses

    def add(self, outcome: Any, rows: pa.Table, champion: ModelVersion) -> None:
        if rows.num_rows:
            prediction, scores = answers(rows, champion)
            task, classes, scale = champion.task, champion.classes, champion.loss_scale
            self.live.add(bounded_loss(task, outcome, prediction, scores, classes, scale), seconds(rows["time"]))


class Outcomes:
    """What is remembered of each champion's outcomes; all of it can be rebuilt from the stores."""

    def __init__(self, home: Home, windows: Windows) -> None:
        self._home = home
        self._windows = windows
        self.estimates = Estimates(home)
        self._curves: dict[str, tuple[datetime, DelayCurve]] = {}
        self._champions: dict[str, _Champion] = {}
        self._performance: dict[str, tuple[int, Finding]] = {}

    def maturity(self, model: str, config: ModelConfig, now: datetime) -> float:
        """Seconds after which nearly all outcomes that will ever come have come; learned anew every few windows."""
        known = self._curves.get(model)
        if known is None or (now - known[0]).total_seconds() >= RELEARN * config.window:
            self._curves[model] = known = (now, self._delay(model, config, now))
        return known[1].maturity()

    def performance_of(self, book: Book) -> Finding | None:
        """The newest performance finding about the present champion."""
        known = self._performance.get(book.model)
        return known[1] if known is not None and known[0] == book.state.champion else None

    def cause(self, champion: ModelVersion, config: ModelConfig, now: datetime) -> Cause:
        """Why the champion's newest mature answers are better or worse than those before them.

        Raises:
            InputError: too few of its rows have an outcome.
        """
        ripe = now - timedelta(seconds=self.maturity(champion.model, config, now))
        return cause_of(self._home, champion, config.window, grid(ripe, config.window), now)

    def fell(self, book: Book) -> str:
        """In words, how much worse the present champion was shown to be; empty if it was not."""
        found = self.performance_of(book)
        return found.message if found is not None and found.drifted else ""

    def look(
        self, book: Book, champion: ModelVersion, config: ModelConfig, window: Window, now: datetime
    ) -> list[Incident]:
        """One mature window: its losses are kept, and the champion is judged by all its windows so far."""
        table = self._labelled(champion, window, now)
        numbers = self._numbers(champion, table, window, now)
        findings = self._findings(book, champion, config, window, table, now)
        if not self._home.store.add_window(book.model, "performance", window, findings, numbers):
            return []
        losses = [f for f in findings if f.check == "performance"]
        if losses:
            self._performance[book.model] = (champion.version, losses[0])
        others = [f for f in findings if f not in losses]
        changed = self._windows.group(losses, champion, window, now, ("performance",)) if losses else []
        changed += self._windows.group(others, champion, window, now, ("concept",), harm=self.fell(book))
        return [self._explained(i, champion, config, window, now) if i.closed_at is None else i for i in changed]

    def _explained(
        self, incident: Incident, champion: ModelVersion, config: ModelConfig, window: Window, now: datetime
    ) -> Incident:
        """An incident that just opened, with why the answers got worse."""
        try:
            why = in_short(cause_of(self._home, champion, config.window, window.end, now))
        except InputError as error:
            why = f"why it got worse can't be told yet: {error}"
        explained = replace(incident, messages=(*incident.messages, why))
        self._home.store.save_incident(explained)
        return explained

    def _delay(self, model: str, config: ModelConfig, now: datetime) -> DelayCurve:
        window = Window(now - timedelta(days=60), now)
        table = self._home.lake.delays(model, window, as_of=now, most=LOOKED_AT)
        time, known = seconds(table["time"]), seconds(table["known_time"])
        observed = ~np.isnan(known)
        ages = np.where(observed, known, now.timestamp()) - time
        return DelayCurve.learn(np.maximum(ages, 0.0), observed, hint=config.outcome_delay)

    def _labelled(self, champion: ModelVersion, window: Window, now: datetime) -> pa.Table:
        lake, features = self._home.lake, champion.features
        return lake.labelled(champion.model, window, features=features, as_of=now, known=True, most=LOOKED_AT)

    def _numbers(self, champion: ModelVersion, table: pa.Table, window: Window, now: datetime) -> dict[str, float]:
        """Losses of all answers, and of the champion's own beside what was estimated of them."""
        outcome, rows = labelled_rows(table)
        n, labelled = (
            self._home.lake.served(champion.model, window, as_of=now, known=known) for known in (False, True)
        )
        numbers = {"n": float(n), "labelled": float(labelled)}
        if rows.num_rows:
            task, classes, scale = champion.task, champion.classes, champion.loss_scale
            prediction, scores = answers(rows, champion)
            reported = reported_loss(task, outcome, prediction, scores, classes)
            numbers["loss"] = float(bounded_loss(task, outcome, prediction, scores, classes, scale).mean())
            numbers["reported_loss"] = float(reported.mean())
            own = rows["version"].to_numpy() == champion.version
            numbers |= {"version": float(champion.version), "own_n": float(own.sum())}
            if (found := realised(reported[own], seconds(rows["time"])[own])) is not None:
                numbers |= dict(zip(("own_loss", "own_low", "own_high"), found, strict=True))
        earlier = self._seen(champion.model, window)
        if earlier is not None and earlier[1].get("version") == champion.version:
            numbers |= {k: v for k, v in earlier[1].items() if k.startswith("estimated_")}
        return numbers

    def _findings(
        self, book: Book, champion: ModelVersion, config: ModelConfig, window: Window, table: pa.Table, now: datetime
    ) -> list[Finding]:
        """The harm test, and what scores mean, over every mature row that this champion answered since it became one."""
        start = grid(book.crowned[-1][1], config.window) + timedelta(seconds=config.window)
        if window.start < start:
            return []
        known = self._champions.get(book.model)
        if known is None or known.version != champion.version:
            scale = champion.loss_scale if champion.classes is None else None
            known = self._champions[book.model] = _Champion(champion.version, Meaning(scale))
            if window.start > start:  # after a restart
                self._catch_up(known, champion, config, Window(start, window.start), now)
        self._add(known, champion, window, table)
        metrics, found = champion.metrics, []
        if known.live.n and "holdout_loss" in metrics:
            found = [
                performance_finding(
                    known.live,
                    metrics["holdout_loss"],
                    metrics["holdout_loss_sd"],
                    int(metrics["holdout_n"]),
                    tolerance=max(config.rollout.margin, TOLERANCE * metrics["holdout_loss"]),
                    alpha=of_losses(config),
                )
            ]
        return found + known.meaning.findings(of_meaning(config, DAY))

    def _catch_up(
        self, known: _Champion, champion: ModelVersion, config: ModelConfig, past: Window, now: datetime
    ) -> None:
        step, start = timedelta(seconds=config.window), past.start
        while start < past.end:
            window = Window(start, start + step)
            self._add(known, champion, window, self._labelled(champion, window, now))
            start = window.end

    def _add(self, known: _Champion, champion: ModelVersion, window: Window, table: pa.Table) -> None:
        earlier = self._seen(champion.model, window)
        if earlier is not None and not is_evidence(earlier[1]):
            return
        outcome, rows = labelled_rows(of_version(table, champion))
        known.add(outcome, rows, champion)
        if rows.num_rows and (
            earlier is None or is_healthy(earlier[0])
        ):  # a broken feed explains what it does to scores
            known.meaning.add(meant(outcome, rows, champion), window.end.timestamp())

    def _seen(self, model: str, window: Window) -> tuple[list[Finding], dict[str, float]] | None:
        """What was found about the inputs of a window."""
        for seen, findings, numbers in self._home.store.windows(model, "drift", since=window.start):
            if seen.start == window.start:
                return findings, numbers
        return None


def labelled_since(seen: Sequence[tuple[Window, list[Finding], dict[str, float]]]) -> int:
    """Rows with a mature outcome in these windows."""
    return int(sum(numbers.get("labelled", 0.0) for _, _, numbers in seen))
