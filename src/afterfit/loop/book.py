"""Reads one model's page of the ledger and folds it into the present state; writes to it without overtaking anybody."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from afterfit.errors import ConflictError
from afterfit.lifecycle import Command, Event, Happening, State, step
from afterfit.ports import Ledger
from afterfit.records import Entry

_TRIES = 5


class Book:
    """The entries of one model, kept up to date, with the state that follows from them."""

    def __init__(self, ledger: Ledger, model: str) -> None:
        self._ledger = ledger
        self.model = model
        self.entries: list[Entry] = []
        self.state = State()
        self.crowned: list[tuple[int, datetime]] = []  # every champion so far, with the moment it became one
        self.pending: dict[str, tuple[Entry, set[Command]]] = {}  # event id -> its commands that are not done
        self.refresh()

    @property
    def head(self) -> int:
        """Number of the newest entry of this model; 0 when there is none."""
        return self.entries[-1].number if self.entries else 0

    def refresh(self) -> None:
        """Take in what anybody has written since."""
        for entry in self._ledger.entries(self.model, after=self.head):
            self._take(entry)

    def event(
        self, happening: Happening, data: Mapping[str, Any], *, at: datetime, actor: str, id: str
    ) -> tuple[Entry, tuple[Command, ...]]:
        """Append one event and move the state.

        Raises:
            LifecycleError: the event is not possible now; nothing is written.
        """
        for attempt in range(_TRIES):
            _, commands = step(self.state, Event(id, happening, data))
            try:
                entry = self._ledger.append(
                    at=at,
                    model=self.model,
                    kind="event",
                    name=happening.value,
                    actor=actor,
                    data=data,
                    expected=self.head,
                    id=id,
                )
            except ConflictError:
                if attempt == _TRIES - 1:
                    raise
                self.refresh()
                continue
            self._take(entry)
            return entry, commands
        raise AssertionError("unreachable: the last try returns or raises")

    def fact(self, name: str, data: Mapping[str, Any], *, at: datetime, actor: str = "controller") -> Entry:
        """Append something worth remembering that changes no state."""
        entry = self._ledger.append(at=at, model=self.model, kind="fact", name=name, actor=actor, data=data)
        self.refresh()
        return entry

    def done(self, event_id: str, command: Command, *, at: datetime) -> None:
        """Remember that a command of an event was carried out; once, however often it is said."""
        self._ledger.append(
            at=at,
            model=self.model,
            kind="done",
            name=command.value,
            actor="controller",
            data={"event": event_id},
            id=f"{event_id}:{command.value}",
        )
        self.refresh()

    def find(self, id: str) -> Entry | None:
        """The entry with that id."""
        return next((e for e in reversed(self.entries) if e.id == id), None)

    def last(self, *names: str) -> Entry | None:
        """The newest event or fact with one of these names."""
        return next((e for e in reversed(self.entries) if e.name in names and e.kind != "done"), None)

    def _take(self, entry: Entry) -> None:
        if self.entries and entry.number <= self.head:
            return
        self.entries.append(entry)
        if entry.kind == "event":
            self.state, commands = step(self.state, Event(entry.id, Happening(entry.name), entry.data))
            champion = self.state.champion
            if champion is not None and (not self.crowned or self.crowned[-1][0] != champion):
                self.crowned.append((champion, entry.at))
            if commands:
                self.pending[entry.id] = (entry, set(commands))
        elif entry.kind == "done" and entry.data["event"] in self.pending:
            _, left = self.pending[entry.data["event"]]
            left.discard(Command(entry.name))
            if not left:
                del self.pending[entry.data["event"]]
