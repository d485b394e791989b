"""The senses of the loop: closed windows become findings and incidents, and with what outcomes say, a proposal."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from afterfit.adapters.kept_rows import read_rows
from afterfit.adapters.model_folder import read_importance
from afterfit.config import ModelConfig
from afterfit.errors import StoreError
from afterfit.feedback.triggers import retrain_reason
from afterfit.home import Home
from afterfit.lifecycle import Happening
from afterfit.loop.answers import scores_of
from afterfit.loop.estimates import harm
from afterfit.loop.judging import Proposed
from afterfit.loop.outcomes import TOLERANCE, Outcomes, labelled_since
from afterfit.loop.windows import LOOKED_AT, Windows, seconds
from afterfit.monitoring.budget import of_inputs
from afterfit.monitoring.checks import is_healthy
from afterfit.monitoring.columns import Columns, columns_of, kinds_of
from afterfit.monitoring.completeness import incomplete, share
from afterfit.monitoring.importance import weighted
from afterfit.monitoring.joint import SHARE, JointReference, check_joint
from afterfit.monitoring.look import REMEMBERED, Seen
from afterfit.monitoring.reference import Reference
from afterfit.monitoring.segments import check_segmented, seen_window
from afterfit.ports import Monitor
from afterfit.records import Incident, ModelVersion, Window

if TYPE_CHECKING:
    from afterfit.loop.book import Book

Tell = Callable[["Book", str, Mapping[str, Any], datetime], None]


class Senses:
    """What the loop remembers between two looks; all of it can be rebuilt from the stores."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._recent: dict[str, deque[Seen]] = {}
        self._references: dict[str, tuple[int, Reference]] = {}  # of the version that was looked at last, as the next
        self._together: dict[str, tuple[int, JointReference | None]] = {}
        self._windows = Windows(home)
        self.outcomes = Outcomes(home, self._windows)

    def watch(self, book: Book, champion: ModelVersion, config: ModelConfig, now: datetime) -> list[Incident]:
        """Look at every window that closed or became mature. Returns incidents that opened or closed."""
        changed = [
            incident
            for window in self._windows.due(book, config, "drift", now)
            for incident in self._drift(book, champion, config, window, now)
        ]
        ripe = now - timedelta(seconds=self.outcomes.maturity(book.model, config, now))
        for window in self._windows.due(book, config, "performance", ripe):
            changed += self.outcomes.look(book, champion, config, window, now)
        return changed

    def retraining(self, book: Book, config: ModelConfig, now: datetime, tell: Tell) -> Proposed | None:
        """A training, if a trigger fires and nothing speaks against it; a refused trigger is written down once."""
        live_since = book.crowned[-1][1]
        last_training = book.last(Happening.RETRAIN_STARTED.value)
        incidents = self._home.store.incidents(book.model, open_only=True)
        since = last_training.at if last_training else live_since
        proposal = retrain_reason(
            now,
            config.retrain,
            last_change=live_since,
            last_training=last_training.at if last_training else None,
            drift_open=[i for i in incidents if i.kind in ("drift", "concept")],
            performance=self.outcomes.performance_of(book),
            new_mature_rows=labelled_since(self._home.store.windows(book.model, "performance", since=since)),
            quality_open=any(i.kind == "quality" for i in incidents),
        )
        if proposal.start:
            return Proposed(Happening.RETRAIN_STARTED, {"trigger": proposal.trigger, "why": proposal.reason})
        if proposal.trigger is not None:
            tell(book, "retrain_declined", {"trigger": proposal.trigger, "why": proposal.reason}, now)
        return None

    def _drift(
        self, book: Book, champion: ModelVersion, config: ModelConfig, window: Window, now: datetime
    ) -> list[Incident]:
        store, model = self._home.store, config.name
        lake = self._home.lake
        n, lost = lake.served(model, window), lake.lost(model, window)
        numbers = {"n": float(n), "completeness": share(n, lost)}
        if (gap := incomplete(n, lost)) is not None:
            if not store.add_window(model, "drift", window, [gap], numbers):
                return []
            return self._windows.group([gap], champion, window, now, ("quality", "drift"))
        if n == 0:
            store.add_window(model, "drift", window, [], {"n": 0.0})
            return []
        table = lake.predictions(model, window, features=champion.features, most=LOOKED_AT)
        columns = columns_of(table, champion.features)
        recent = self._recent_of(model, champion, config, window)
        times, alpha, together = seconds(table["time"]), of_inputs(config), self._together_of(champion)
        findings = check_segmented(
            self.reference(champion),
            columns,
            alpha=alpha if together is None else alpha * (1.0 - SHARE),
            recent=tuple(recent),
            prediction=scores_of(table, champion),
            times=times,
        )
        if together is not None:
            moved = [f.column for f in findings if f.drifted]
            findings += check_joint(together, columns, alpha=alpha * SHARE, moved=moved, times=times, trees=False)
        findings = weighted(findings, read_importance(champion.folder))
        numbers |= self.outcomes.estimates.of_window(champion, table, now)
        if not store.add_window(model, "drift", window, findings, numbers):
            return []  # another process looked at it first
        if is_healthy(findings):
            recent.append(self._seen(champion, window, columns))
        worse = self.outcomes.fell(book) or harm(champion, numbers, store, TOLERANCE)
        return self._windows.group(findings, champion, window, now, ("quality", "drift"), harm=worse)

    def reference(self, champion: ModelVersion) -> Reference:
        """What is kept of the world a version was trained in.

        Raises:
            StoreError: the file is missing or damaged, or of another release of Afterfit.
        """
        known = self._references.get(champion.model)
        if known is None or known[0] != champion.version:
            path = Path(champion.folder) / "reference.json"
            try:
                known = champion.version, Reference.from_dict(msgspec.json.decode(path.read_bytes()))
            except (OSError, ValueError, TypeError, KeyError) as error:
                raise StoreError(
                    f"the reference of {champion.model} version {champion.version} can't be read from {path}: {error}. "
                    "Nothing is monitored until it can: restore the file from a backup, or register the version again"
                ) from error
            self._references[champion.model] = known
        return known[1]

    def _together_of(self, champion: ModelVersion) -> JointReference | None:
        """The rows that a version keeps, against which its columns are looked at together; None where there are none, or
        too few stretches of time among them: without those a day on which everything hangs together otherwise is news."""
        known = self._together.get(champion.model)
        if known is None or known[0] != champion.version:
            kept = read_rows(champion.folder)
            found = None if kept is None else JointReference(*kept)
            known = champion.version, found if found is not None and found.blocks is not None else None
            self._together[champion.model] = known
        return known[1]

    def _recent_of(self, model: str, champion: ModelVersion, config: ModelConfig, window: Window) -> deque[Seen]:
        """The last healthy windows; read again from the lake after a restart."""
        if model not in self._recent:
            self._recent[model] = deque(maxlen=REMEMBERED)
            begin = window.start - timedelta(seconds=2 * REMEMBERED * config.window)
            healthy = [
                seen
                for seen, findings, numbers in self._home.store.windows(model, "drift", since=begin)
                if numbers.get("n") and is_healthy(findings) and seen.start < window.start
            ]
            for seen in healthy[-REMEMBERED:]:
                table = self._home.lake.predictions(model, seen, features=champion.features, most=LOOKED_AT)
                self._recent[model].append(self._seen(champion, seen, columns_of(table, champion.features)))
        return self._recent[model]

    def _seen(self, champion: ModelVersion, window: Window, columns: Columns) -> Seen:
        return seen_window(window.start.timestamp(), columns, kinds_of(champion.features), self.reference(champion))


def quality_windows(store: Monitor, model: str) -> list[Window]:
    """Windows in which a feed was broken: nothing is learned from them."""
    return [window for window, findings, _ in store.windows(model, "drift") if not is_healthy(findings)]
