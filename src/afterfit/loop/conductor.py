"""tick(now): drain, sense, decide, act, for every model under care. Persons speak through the same door as evidence."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import uuid_utils

from afterfit.config import ModelConfig
from afterfit.errors import AfterfitError, InputError, LifecycleError, UnknownNameError
from afterfit.home import Home
from afterfit.lifecycle import Command, Happening, Phase, State
from afterfit.loop.acting import Actor
from afterfit.loop.book import Book
from afterfit.loop.judging import Proposed, judge_candidate
from afterfit.loop.memory import refuse_large, shortage
from afterfit.loop.sensing import Senses
from afterfit.monitoring.cause import Cause
from afterfit.ports import Drained
from afterfit.records import Entry, ModelVersion

log = logging.getLogger("afterfit.loop")
LOADING = (Happening.DEPLOYED, Happening.FAST_TRACKED, Happening.TRAINED, Happening.PROMOTED)  # of a version


class Loop:
    """The control loop over one home. Any number of processes may hold one; the ledger orders them."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.books: dict[str, Book] = {}
        self.actor = Actor(self)
        self.senses = Senses(home)
        self.drained = Drained()

    # --- what the outside calls ---------------------------------------------------------------------------------

    def tick(self, now: datetime) -> list[Entry]:
        """One look at the world. Returns the entries written, oldest first.

        Evidence becomes at most one event a model and look; a failure in one model is told and does not stop the
        others.
        """
        before = {name: self.book(name).head for name in self.models()}
        self.drained = self.home.lake.drain(self.home.config.home / "journal")
        for name in before:
            try:
                self._look_after(self.book(name), now)
            except AfterfitError as error:
                log.exception("%s: this look failed", name)
                self._tell_once(self.book(name), "look_failed", {"problem": str(error)}, now)
        return sorted(
            (e for name, head in before.items() for e in self.book(name).entries if e.number > head),
            key=lambda e: e.number,
        )

    def settle(self, now: datetime) -> list[Entry]:
        """Ticks until nothing more follows from what is known: no training or scoring is under way, and no gate has
        its scores unread. A simulated clock stands still meanwhile."""
        entries = self.tick(now)
        while busy := [b for b in self.books.values() if b.state.phase in (Phase.TRAINING, Phase.VALIDATING)]:
            jobs = [job for job in map(self.actor.running, busy) if job]
            for job in jobs:
                self.home.jobs.wait(job)
            more = self.tick(now)
            if not more and not jobs:
                break
            entries += more
        return entries

    def say(self, model: str, happening: Happening, data: Mapping[str, Any], *, actor: str, now: datetime) -> Entry:
        """A person's word: deploy, promote, roll back, halt, resume, approve.

        Raises:
            UnknownNameError: no such model or version.
            LifecycleError: not possible in the model's present phase; the message lists what is.
        """
        if model not in self.models():
            raise UnknownNameError("model", model, self.models())
        book = self.book(model)
        if "version" in data:
            self._refuse_unfit(book, happening, self.home.store.version(model, int(data["version"])))
        if happening is Happening.ROLLBACK_ASKED:
            self._refuse_dead_end(book)
        return self.happen(book, Proposed(happening, data), actor=actor, now=now)

    def cause(self, model: str, now: datetime) -> Cause:
        """Why the champion's newest mature answers are better or worse than those before them.

        Raises:
            InputError: nothing is live, or too few rows have an outcome.
        """
        champion, config = self.champion(self.book(model)).as_logged, self.config(model)
        return self.senses.outcomes.cause(champion, config, now)

    # --- the way of one event -----------------------------------------------------------------------------------

    def models(self) -> list[str]:
        """Every model with a version or an entry in the configuration."""
        return sorted({*self.home.store.models(), *self.home.config.models})

    def book(self, model: str) -> Book:
        """The model's page of the ledger, up to date."""
        if model not in self.books:
            self.books[model] = Book(self.home.store, model)
        else:
            self.books[model].refresh()
        return self.books[model]

    def config(self, model: str) -> ModelConfig:
        """Settings of a model; one that is not in afterfit.toml is cared for with the defaults."""
        if model in self.home.config.models:
            return self.home.config.models[model]
        return ModelConfig(name=model, task=self.home.store.versions(model)[-1].task.value)

    def happen(self, book: Book, proposed: Proposed, *, actor: str, now: datetime) -> Entry:
        """Ledger first, then the commands."""
        known = book.state.candidate
        entry, _ = book.event(proposed.happening, proposed.data, at=now, actor=actor, id=str(uuid_utils.uuid7()))
        if proposed.happening in LOADING and proposed.data["version"] != known:
            self._warn_of_memory(book, int(proposed.data["version"]), now)
        self._finish(book, now)
        return entry

    def _warn_of_memory(self, book: Book, version: int, now: datetime) -> None:
        """Told before a version is loaded; not refused, since more may be free by then."""
        title = shortage(self.home.store.version(book.model, version))
        if title:
            book.fact("memory_short", {"version": version, "title": title}, at=now)
            self.home.notifier.notify("memory is short", title, severity="warning", model=book.model)

    def _look_after(self, book: Book, now: datetime) -> None:
        self._finish(book, now)
        proposed = self._decide(book, now)
        if proposed is not None:
            self.happen(book, proposed, actor="controller", now=now)

    def _finish(self, book: Book, now: datetime) -> None:
        """Carry out every command that has no `done` yet, oldest event first; after a crash this is the recovery."""
        for entry, commands in list(book.pending.values()):
            for command in [c for c in Command if c in commands]:
                if self.actor.carry_out(book, entry, command, now):
                    book.done(entry.id, command, at=now)

    def _decide(self, book: Book, now: datetime) -> Proposed | None:
        state = book.state
        if state.phase is Phase.NEW:
            return self._first_version(book)
        if state.champion is not None:
            self._sense(book, now)
        if state.phase is Phase.SERVING and state.champion is not None:
            return self.senses.retraining(book, self.config(book.model), now, self._tell_once)
        if state.phase is Phase.ROLLING_BACK:
            return self._rolled_back(book)
        return judge_candidate(self, book, now)

    def _sense(self, book: Book, now: datetime) -> None:
        champion = self.champion(book).as_logged
        for incident in self.senses.watch(book, champion, self.config(book.model), now):
            closed = incident.closed_at is not None
            book.fact(
                "incident_closed" if closed else "incident_opened",
                {
                    "incident": incident.id,
                    "kind": incident.kind,
                    "severity": incident.severity.value,
                    "title": incident.title,
                    "columns": list(incident.columns),
                    "checks": list(incident.checks),
                    "messages": list(incident.messages),
                    "opened_at": incident.opened_at.isoformat(),
                },
                at=now,
            )
            if not closed:
                self.home.notifier.notify(
                    incident.title, "\n".join(incident.messages), severity=incident.severity.value, model=book.model
                )
        self._notice_deaths(book, now)
        self.actor.check_alias(book, now, self._tell_once)

    def _notice_deaths(self, book: Book, now: datetime) -> None:
        """A worker that died was started again by its gateway; here it is written down and told."""
        for ack in self.home.board.acknowledgements():
            for place, deaths in ack.restarts.items():
                model, _, version = place.rpartition("/")
                known = [e for e in book.entries if e.name == "worker_died" and e.data["place"] == place]
                before = known[-1].data["deaths"] if known and known[-1].data["pid"] == ack.pid else 0
                if model != book.model or deaths <= before:
                    continue
                title = (
                    f"the worker of version {version} died ({deaths}x so far) and was started again by {ack.gateway}"
                )
                data = {"place": place, "version": int(version), "deaths": deaths, "pid": ack.pid, "title": title}
                book.fact("worker_died", data, at=now)
                self.home.notifier.notify("a worker died", title, severity="warning", model=model)

    def champion(self, book: Book) -> ModelVersion:
        """The version that is live."""
        if book.state.champion is None:
            raise InputError(f"{book.model} has no champion yet: register a version with a hold-out, or promote one")
        return self.home.store.version(book.model, book.state.champion)

    def _first_version(self, book: Book) -> Proposed | None:
        tried = {e.data["version"] for e in book.entries if e.name == Happening.DEPLOYED.value}
        fresh = [v for v in self.home.store.versions(book.model) if v.version not in tried]
        if not fresh:
            return None
        return Proposed(Happening.DEPLOYED, {"version": fresh[0].version, "why": "the first version registered"})

    def _rolled_back(self, book: Book) -> Proposed | None:
        since = book.find(book.state.since)
        needed = since.number if since else 0
        late = [a.gateway for a in self.home.board.acknowledgements() if a.number < needed]
        if late:
            return None
        return Proposed(Happening.ROLLED_BACK, {"routes": needed})

    # --- guards of a person's word ------------------------------------------------------------------------------

    def _refuse_unfit(self, book: Book, happening: Happening, version: ModelVersion) -> None:
        if version.version == book.state.champion:
            raise LifecycleError(f"version {version.version} of {book.model} is the champion already")
        refuse_large(version, self.config(book.model).worker_memory)
        if book.state.champion is None or happening is not Happening.PROMOTED:
            return
        wanted = {f.name for f in self.champion(book).features}
        found = {f.name for f in version.features}
        if wanted != found:
            raise InputError(
                f"version {version.version} wants other features than the champion: "
                f"missing {sorted(wanted - found)}, extra {sorted(found - wanted)}. Callers would fail at once; "
                "register it under another model name"
            )
        down = self.problems(book.model, version.version)
        if down:
            raise InputError(f"version {version.version} does not answer in the gateway: {down}")

    def _refuse_dead_end(self, book: Book) -> None:
        """Promise 6: a rollback is refused before it is begun, not found impossible half way."""
        state = book.state
        if state.phase in (Phase.SHADOW, Phase.CANARY, Phase.PROVISIONAL) or not state.history:
            return
        down = self.problems(book.model, state.history[-1])
        if down:
            raise InputError(f"version {state.history[-1]}, the champion before, does not answer: {down}")

    def problems(self, model: str, version: int) -> str:
        """Why a version does not answer on some live gateway; empty when it does."""
        key = f"{model}/{version}"
        found = [f"{a.gateway}: {a.problems[key]}" for a in self.home.board.acknowledgements() if key in a.problems]
        return "; ".join(found)

    def _tell_once(self, book: Book, name: str, data: Mapping[str, Any], now: datetime) -> None:
        """A fact that repeats itself at every look is written when it changes."""
        last = book.last(name)
        if last is None or dict(last.data) != dict(data):
            book.fact(name, data, at=now)


def describe(state: State) -> str:
    """One line about a state, for people."""
    if state.champion is None:
        return f"{state.phase.value}: nothing is live"
    text = f"{state.phase.value}: version {state.champion} is champion"
    if state.candidate is not None:
        text += f", version {state.candidate} is candidate with {state.weight:.0%} of the traffic"
    return text
