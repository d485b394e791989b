"""Carries out the commands of the life table. Each may be carried out twice without harm; each says when it is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from afterfit.errors import InputError, StoreError
from afterfit.feedback.training_set import TrainingSet, split
from afterfit.lifecycle import Command, Happening, Phase
from afterfit.loop.judging import Proposed, redacted
from afterfit.loop.sensing import quality_windows
from afterfit.records import Entry, ModelVersion, Window
from afterfit.rollout.routes import routes_for

if TYPE_CHECKING:
    from afterfit.loop.book import Book
    from afterfit.loop.conductor import Loop

Tell = Callable[["Book", str, Mapping[str, Any], datetime], None]

ALIAS_EVERY = 30.0  # seconds of the machine between two visits to somebody else's registry
BEGINNING = datetime(1900, 1, 1, tzinfo=UTC)  # before any row that anybody logs
_SEVERITY = {
    Happening.HARMED.value: "critical",
    Happening.TRAIN_FAILED.value: "critical",
    Happening.GATE_FAILED.value: "warning",
    Happening.HELD.value: "warning",
}


class Actor:
    """The hands of the loop."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._looked_at_alias: dict[str, float] = {}

    def carry_out(self, book: Book, entry: Entry, command: Command, now: datetime) -> bool:
        """True once the command needs no further attempt."""
        match command:
            case Command.CANCEL_JOBS:
                for job in (e for e in book.entries if _starts_job(e)):
                    self._loop.home.jobs.cancel(job.id)
            case Command.PUBLISH:
                self.publish(now)
            case Command.MIRROR:
                return self._mirror(book, now)
            case Command.TRAIN:
                return self._train(book, entry, now)
            case Command.VALIDATE:
                self._validate(book, entry, now)
            case Command.NOTIFY:
                self._notify(book, entry)
        return True

    def running(self, book: Book) -> str:
        """Id of the job this model waits for; empty when it waits for none."""
        if book.state.phase not in (Phase.TRAINING, Phase.VALIDATING):
            return ""
        entry = book.find(book.state.since)
        if entry is None or "losses" in entry.data:
            return ""
        return entry.id if self._loop.home.jobs.poll(entry.id) is None else ""

    def check_alias(self, book: Book, now: datetime, tell: Tell) -> None:
        """The ledger is the truth; an alias that somebody moved is recorded and put back."""
        registry, champion = self._loop.home.registry, book.state.champion
        if champion is None or any(Command.MIRROR in left for _, left in book.pending.values()):
            return
        looked = self._looked_at_alias.get(book.model, -ALIAS_EVERY)
        if time.monotonic() - looked < ALIAS_EVERY:
            return
        self._looked_at_alias[book.model] = time.monotonic()
        try:
            found = registry.champion(book.model)
            if found == champion:
                return
            registry.set_champion(book.model, champion)
        except StoreError as error:
            tell(book, "registry_unreachable", {"problem": str(error)}, now)
            return
        book.fact("alias_changed_outside", {"found": found, "restored": champion}, at=now)
        self._loop.home.notifier.notify(
            "somebody moved the alias `champion`",
            f"it pointed to version {found}; the ledger says {champion}, so it was put back",
            severity="warning",
            model=book.model,
        )

    def publish(self, now: datetime) -> None:
        """Put up the routes that follow from the ledger and the settings; nothing happens when they hang there."""
        loop = self._loop
        books = {name: loop.book(name) for name in loop.models()}
        number = max((e.number for b in books.values() for e in b.entries if e.kind == "event"), default=0)
        loop.home.board.publish(
            routes_for(
                {name: book.state for name, book in books.items()},
                loop.home.store.version,
                {name: loop.config(name) for name in books},
                number=number,
                made_at=now,
            )
        )

    def _mirror(self, book: Book, now: datetime) -> bool:
        if book.state.champion is None:
            return True
        try:
            self._loop.home.registry.set_champion(book.model, book.state.champion)
        except StoreError as error:
            last = book.last("registry_unreachable")
            if last is None or last.data["problem"] != str(error):
                book.fact("registry_unreachable", {"problem": str(error)}, at=now)
            return False  # serving does not depend on it; the next tick tries again
        return True

    def _train(self, book: Book, entry: Entry, now: datetime) -> bool:
        loop = self._loop
        champion, config = loop.champion(book), loop.config(book.model)
        try:
            data = self.training_set(book, champion, now)
        except InputError as error:
            if book.state.phase is Phase.TRAINING:
                loop.happen(book, Proposed(Happening.TRAIN_FAILED, {"why": str(error)}), actor="controller", now=now)
            return True
        loop.home.jobs.start(
            entry.id,
            "train",
            {
                "model": book.model,
                "now": now.isoformat(),
                "seed": entry.number,
                "reason": entry.data.get("why", ""),
                "champion": champion.folder,
                "config": loop.home.config,
            },
            {"train": data.train, "holdout": data.holdout},
            config.retrain.time_limit,
        )
        return True

    def training_set(self, book: Book, champion: ModelVersion, now: datetime) -> TrainingSet:
        """Rows to learn from as of now, without the windows in which a feed was broken."""
        loop = self._loop
        config = loop.config(book.model)
        begin = BEGINNING if config.retrain.recency is None else now - timedelta(seconds=config.retrain.recency)
        lake, window = loop.home.lake, Window(begin, now)
        table = lake.labelled(book.model, window, features=champion.features, as_of=now, known=True)
        return split(
            table,
            unlabelled=lake.served(book.model, window, as_of=now) - table.num_rows,
            now=now,
            recency=config.retrain.recency,
            holdout=config.retrain.holdout,
            embargo=loop.senses.outcomes.maturity(book.model, config, now),
            min_rows=config.retrain.min_rows,
            exclude=quality_windows(loop.home.store, book.model),
        )

    def _validate(self, book: Book, entry: Entry, now: datetime) -> None:
        """Start the scoring of both versions on rows that neither has seen; nothing to do when that is done already."""
        state, loop = book.state, self._loop
        if state.phase is not Phase.VALIDATING or "losses" in entry.data or state.candidate is None:
            return
        candidate, champion = loop.home.store.version(book.model, state.candidate), loop.champion(book)
        begin = max(v.data_to or v.created_at for v in (candidate, champion))
        table = loop.home.lake.labelled(
            book.model, Window(begin, now), features=champion.features, as_of=now, known=True
        )
        if redacted(champion, candidate):
            table = table.slice(0, 0)
        loop.home.jobs.start(
            entry.id,
            "gate",
            {"model": book.model, "candidate": candidate.folder, "champion": champion.folder},
            {"holdout": table},
            loop.config(book.model).retrain.time_limit,
        )

    def _notify(self, book: Book, entry: Entry) -> None:
        why = entry.data.get("why") or "; ".join(entry.data.get("verdict", {}).get("reasons", ())) or "no reason given"
        version = entry.data.get("version")
        self._loop.home.notifier.notify(
            entry.name.replace("_", " ") + (f": version {version}" if version else ""),
            str(why),
            severity=_SEVERITY.get(entry.name, "info"),
            model=book.model,
        )


def _starts_job(entry: Entry) -> bool:
    return entry.kind == "event" and entry.name in (
        Happening.RETRAIN_STARTED.value,
        Happening.TRAINED.value,
        Happening.DEPLOYED.value,
    )
