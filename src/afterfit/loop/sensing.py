"""The senses of the loop: closed windows become findings and incidents, mature ones a performance, both a proposal."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from afterfit.config import ModelConfig
from afterfit.errors import StoreError
from afterfit.feedback.delay import DelayCurve
from afterfit.feedback.triggers import retrain_reason
from afterfit.home import Home
from afterfit.lifecycle import Happening
from afterfit.loop.judging import Proposed
from afterfit.monitoring.checks import check_window, is_healthy
from afterfit.monitoring.columns import columns_of, profile_columns
from afterfit.monitoring.incidents import group
from afterfit.monitoring.performance import performance_finding
from afterfit.monitoring.reference import Reference
from afterfit.ports import Monitor
from afterfit.records import Finding, Incident, ModelVersion, Window
from afterfit.stats.losses import bounded_loss, reported_loss
from afterfit.stats.profile import Profile

if TYPE_CHECKING:
    import pyarrow as pa

    from afterfit.loop.book import Book

TRAILING = 7  # healthy windows that a unit change is measured against
MANY_WINDOWS = 400  # closed windows looked at in one tick; the rest wait for the next
RELEARN = 5  # windows after which the delay curve is learned anew
TOLERANCE = 0.1  # share of the hold-out loss that a champion may lose before it counts as harm
PERFORMANCE_ALPHA = 0.05  # chance of one false performance finding in the whole life of a champion


@dataclass
class _Losses:
    """Bounded losses of one champion's mature rows, window by window."""

    version: int
    live: list[Any] = field(default_factory=list)
    times: list[Any] = field(default_factory=list)

    def add(self, labelled: pa.Table, champion: ModelVersion) -> None:
        mine = labelled.filter(_equal(labelled["version"], champion.version))
        if mine.num_rows:
            outcome, prediction, scores = answers(mine, champion)
            self.live.append(
                bounded_loss(champion.task, outcome, prediction, scores, champion.classes, champion.loss_scale)
            )
            self.times.append(_seconds(mine["time"]))


Tell = Callable[["Book", str, Mapping[str, Any], datetime], None]


class Senses:
    """What the loop remembers between two looks; all of it can be rebuilt from the stores."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._trailing: dict[str, deque[Profile]] = {}
        self._references: dict[tuple[str, int], Reference] = {}
        self._curves: dict[str, tuple[datetime, DelayCurve]] = {}
        self._losses: dict[str, _Losses] = {}
        self._next: dict[tuple[str, str], datetime] = {}  # where the next window of a kind begins
        self._performance: dict[str, tuple[int, Finding]] = {}

    def watch(self, book: Book, champion: ModelVersion, config: ModelConfig, now: datetime) -> list[Incident]:
        """Look at every window that closed or became mature. Returns incidents that opened or closed."""
        changed = [
            incident
            for window in self._due(book, config, "drift", now)
            for incident in self._drift(champion, config, window, now)
        ]
        ripe = now - timedelta(seconds=self.maturity(book.model, config, now))
        for window in self._due(book, config, "performance", ripe):
            changed += self._score(book, champion, config, window, now)
        return changed

    def maturity(self, model: str, config: ModelConfig, now: datetime) -> float:
        """Seconds after which nearly all outcomes that will ever come have come; learned anew every few windows."""
        known = self._curves.get(model)
        if known is None or (now - known[0]).total_seconds() >= RELEARN * config.window:
            self._curves[model] = known = (now, self._delay(model, config, now))
        return known[1].maturity()

    def retraining(self, book: Book, config: ModelConfig, now: datetime, tell: Tell) -> Proposed | None:
        """A training, if a trigger fires and nothing speaks against it; a refused trigger is written down once."""
        live_since = _live_since(book)
        last_training = book.last(Happening.RETRAIN_STARTED.value)
        incidents = self._home.store.incidents(book.model, open_only=True)
        since = last_training.at if last_training else live_since
        proposal = retrain_reason(
            now,
            config.retrain,
            last_change=live_since,
            last_training=last_training.at if last_training else None,
            drift_open=[i for i in incidents if i.kind == "drift"],
            performance=self._performance_of(book),
            new_mature_rows=_labelled_since(self._home.store, book.model, since),
            quality_open=any(i.kind == "quality" for i in incidents),
        )
        if proposal.start:
            return Proposed(Happening.RETRAIN_STARTED, {"trigger": proposal.trigger, "why": proposal.reason})
        if proposal.trigger is not None:
            tell(book, "retrain_declined", {"trigger": proposal.trigger, "why": proposal.reason}, now)
        return None

    # --- drift and quality --------------------------------------------------------------------------------------

    def _due(self, book: Book, config: ModelConfig, kind: str, until: datetime) -> Iterator[Window]:
        """Closed windows not looked at yet, oldest first, on a grid that does not depend on when we started."""
        place = (book.model, kind)
        if place not in self._next:
            seen = self._home.store.windows(book.model, kind)
            self._next[place] = seen[-1][0].end if seen else _grid(_live_first(book), config.window)
        step = timedelta(seconds=config.window)
        for _ in range(MANY_WINDOWS):
            window = Window(self._next[place], self._next[place] + step)
            if window.end > until:
                return
            yield window
            self._next[place] = window.end  # only once it was looked at without an error

    def _drift(self, champion: ModelVersion, config: ModelConfig, window: Window, now: datetime) -> list[Incident]:
        store, model = self._home.store, config.name
        table = self._home.lake.predictions(model, window, features=champion.features)
        if table.num_rows == 0:
            store.add_window(model, "drift", window, [], {"n": 0.0})
            return []
        columns = columns_of(table, champion.features)
        trailing = self._trailing_of(model, champion, config, window)
        findings = check_window(
            self.reference(champion),
            columns,
            alpha=config.budget * config.window / config.budget_period,
            trailing=_merged(trailing),
            prediction=_scores_of(table, champion),
            times=_seconds(table["time"]),
        )
        if not store.add_window(model, "drift", window, findings, {"n": float(table.num_rows)}):
            return []  # another process looked at it first
        if is_healthy(findings):
            trailing.append(profile_columns(columns, champion.features))
        return self._group(findings, champion, config, window, now, kinds=("quality", "drift"))

    def _group(
        self,
        findings: list[Finding],
        champion: ModelVersion,
        config: ModelConfig,
        window: Window,
        now: datetime,
        kinds: tuple[str, ...],
    ) -> list[Incident]:
        store = self._home.store
        before = [i for i in store.incidents(config.name, open_only=True) if i.kind in kinds]
        after = group(findings, before, model=config.name, version=champion.version, window=window, now=now)
        known = {i.id for i in before}
        for incident in after:
            store.save_incident(incident)
        return [i for i in after if i.id not in known or i.closed_at is not None]

    def reference(self, champion: ModelVersion) -> Reference:
        """What is kept of the world a version was trained in.

        Raises:
            StoreError: the file is missing or damaged, or of another release of Afterfit.
        """
        key = (champion.model, champion.version)
        if key not in self._references:
            path = Path(champion.folder) / "reference.json"
            try:
                self._references[key] = Reference.from_dict(msgspec.json.decode(path.read_bytes()))
            except (OSError, ValueError, TypeError, KeyError) as error:
                raise StoreError(
                    f"the reference of {champion.model} version {champion.version} can't be read from {path}: {error}. "
                    "Nothing is monitored until it can: restore the file from a backup, or register the version again"
                ) from error
        return self._references[key]

    def _trailing_of(self, model: str, champion: ModelVersion, config: ModelConfig, window: Window) -> deque[Profile]:
        """Profiles of the last healthy windows; read again from the lake after a restart."""
        if model not in self._trailing:
            self._trailing[model] = deque(maxlen=TRAILING)
            begin = window.start - timedelta(seconds=2 * TRAILING * config.window)
            for seen, findings, numbers in self._home.store.windows(model, "drift", since=begin):
                if numbers.get("n") and is_healthy(findings) and seen.start < window.start:
                    table = self._home.lake.predictions(model, seen, features=champion.features)
                    self._trailing[model].append(
                        profile_columns(columns_of(table, champion.features), champion.features)
                    )
        return self._trailing[model]

    # --- performance --------------------------------------------------------------------------------------------

    def _delay(self, model: str, config: ModelConfig, now: datetime) -> DelayCurve:
        window = Window(now - timedelta(days=60), now)
        table = self._home.lake.labelled(model, window, as_of=now)
        time, known = _seconds(table["time"]), _seconds(table["known_time"])
        observed = ~np.isnan(known)
        ages = np.where(observed, known, now.timestamp()) - time
        return DelayCurve.learn(np.maximum(ages, 0.0), observed, hint=config.outcome_delay)

    def _score(
        self, book: Book, champion: ModelVersion, config: ModelConfig, window: Window, now: datetime
    ) -> list[Incident]:
        """Realised loss of one mature window, and the harm test over all mature windows of this champion."""
        store, lake = self._home.store, self._home.lake
        table = lake.labelled(book.model, window, as_of=now)
        labelled = _answered(table)
        numbers = {"n": float(table.num_rows), "labelled": float(labelled.num_rows)}
        if labelled.num_rows:
            task, classes, scale = champion.task, champion.classes, champion.loss_scale
            outcome, prediction, scores = answers(labelled, champion)
            numbers["loss"] = float(bounded_loss(task, outcome, prediction, scores, classes, scale).mean())
            numbers["reported_loss"] = float(reported_loss(task, outcome, prediction, scores, classes).mean())
        if not store.add_window(book.model, "performance", window, [], numbers):
            return []
        finding = self._harm(book, champion, config, window, labelled, now)
        if finding is None:
            return []
        self._performance[book.model] = (champion.version, finding)
        return self._group([finding], champion, config, window, now, kinds=("performance",))

    def _harm(
        self,
        book: Book,
        champion: ModelVersion,
        config: ModelConfig,
        window: Window,
        labelled: pa.Table,
        now: datetime,
    ) -> Finding | None:
        """The harm test over every mature row that this champion answered since it became one."""
        metrics, start = champion.metrics, _grid(_live_since(book), config.window) + timedelta(seconds=config.window)
        if window.start < start or "holdout_loss" not in metrics:
            return None
        losses = self._losses.get(book.model)
        if losses is None or losses.version != champion.version:
            losses = self._losses[book.model] = _Losses(champion.version)
            if window.start > start:  # after a restart
                before = self._home.lake.labelled(book.model, Window(start, window.start), as_of=now)
                losses.add(_answered(before), champion)
        losses.add(labelled, champion)
        if not losses.times:
            return None
        return performance_finding(
            np.concatenate(losses.live),
            metrics["holdout_loss"],
            metrics["holdout_loss_sd"],
            int(metrics["holdout_n"]),
            tolerance=max(config.rollout.margin, TOLERANCE * metrics["holdout_loss"]),
            alpha=PERFORMANCE_ALPHA,
            times=np.concatenate(losses.times),
        )

    def _performance_of(self, book: Book) -> Finding | None:
        known = self._performance.get(book.model)
        return known[1] if known is not None and known[0] == book.state.champion else None


def quality_windows(store: Monitor, model: str) -> list[Window]:
    """Windows in which a feed was broken: nothing is learned from them."""
    return [window for window, findings, _ in store.windows(model, "drift") if not is_healthy(findings)]


def answers(table: pa.Table, version: ModelVersion) -> tuple[Any, Any, Any]:
    """(outcome, prediction, scores) arrays of labelled rows; scores (n_rows, n_classes) or None for regression."""
    outcome = np.array([msgspec.json.decode(v) for v in table["outcome"].to_pylist()])
    prediction = np.array([msgspec.json.decode(v) for v in table["prediction"].to_pylist()])
    if version.classes is None:
        return outcome.astype(float), prediction.astype(float), None
    width = len(version.classes)
    rows = table["scores"].to_pylist()
    scores = np.array([r if r is not None and len(r) == width else [np.nan] * width for r in rows], dtype=float)
    return outcome, prediction, scores


def _answered(table: pa.Table) -> pa.Table:
    """Rows with an outcome that some version answered."""
    import pyarrow.compute as pc

    return table.filter(pc.and_(table["outcome"].is_valid(), pc.greater(table["version"], 0)))


def _equal(column: Any, value: int) -> Any:
    import pyarrow.compute as pc

    return pc.equal(column, value)


def _scores_of(table: pa.Table, version: ModelVersion) -> Any:
    """The champion's own answers as one number a row: the last class's share (binary), the top share, or the value."""
    mine = table.filter(_equal(table["version"], version.version))
    if version.classes is None:
        return np.array([msgspec.json.decode(v) for v in mine["prediction"].drop_null().to_pylist()], dtype=float)
    rows = [r for r in mine["scores"].to_pylist() if r]
    scores = np.array(rows, dtype=float).reshape(len(rows), -1)
    if len(rows) == 0:
        return np.empty(0)
    return scores[:, -1] if len(version.classes) == 2 else scores.max(axis=1)


def _seconds(column: Any) -> Any:
    """A timestamp column as epoch seconds, NaN where null."""
    values = column.cast("int64").to_pandas().to_numpy(dtype=float, na_value=np.nan)
    return values / 1e6


def _merged(profiles: deque[Profile]) -> Profile | None:
    total = None
    for profile in profiles:
        total = profile if total is None else total + profile
    return total


def _grid(moment: datetime, step: float) -> datetime:
    return datetime.fromtimestamp(moment.timestamp() // step * step, UTC)


def _live_since(book: Book) -> datetime:
    """When the present champion got its crown."""
    return book.crowned[-1][1]


def _live_first(book: Book) -> datetime:
    """When the first champion got its crown."""
    return book.crowned[0][1]


def _labelled_since(store: Monitor, model: str, since: datetime) -> int:
    seen = store.windows(model, "performance", since=since)
    return int(sum(numbers.get("labelled", 0.0) for _, _, numbers in seen))
