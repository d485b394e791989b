"""The control store: ledger, versions, windows and incidents in one database (SQLite or PostgreSQL) for all processes.

It keeps what it is told; what an entry means is for `lifecycle`, which versions exist is for the registry.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import uuid_utils
from sqlalchemy import URL, Connection, Select, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from afterfit.adapters import schema
from afterfit.adapters.control_open import explain, open_engine, parse_url, shown, url_of
from afterfit.adapters.ledger_chain import entry_hash, entry_of, problems_of
from afterfit.adapters.record_json import from_json, to_json, utc_text
from afterfit.errors import ConflictError, InputError, StoreError, UnknownNameError
from afterfit.records import Entry, Finding, Incident, ModelVersion, Window

KINDS = ("event", "fact", "done", "token")


class ControlStore:
    """Implements the ports `Ledger`, `Versions` and `Monitor`; may be shared by threads and opened by many processes.

    Args:
        url: SQLAlchemy URL, `sqlite:///path` or `postgresql+psycopg://...`. The schema is brought up to date.

    Raises:
        ConfigError: not such a URL.
        SetupError: the folder is not writable, or psycopg is not installed.
        StoreError: damaged, unreachable, or written by a newer Afterfit. Any method raises it when the database fails.

    >>> import tempfile
    >>> from datetime import UTC
    >>> folder = tempfile.TemporaryDirectory()
    >>> with ControlStore.open(Path(folder.name)) as store:
    ...     entry = store.append(
    ...         at=datetime(2013, 7, 15, tzinfo=UTC), model="m", kind="fact", name="noted", actor="controller", data={}
    ...     )
    ...     entry.number, store.verify()
    (1, [])
    >>> folder.cleanup()
    """

    def __init__(self, url: str | URL) -> None:
        self._url = parse_url(url)
        self._engine = open_engine(self._url)

    @classmethod
    def open(cls, home: Path, database: str | None = None) -> Self:
        """The store of a home: `database` if given, else SQLite in `home/control.db`; the folder is made."""
        return cls(url_of(home, database))

    def close(self) -> None:
        """Give the connections back; the store can't be used after."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- ledger ------------------------------------------------------------------------------------------------

    def append(
        self,
        *,
        at: datetime,
        model: str,
        kind: str,
        name: str,
        actor: str,
        data: Mapping[str, Any],
        expected: int | None = None,
        id: str | None = None,
    ) -> Entry:
        """Add one entry, or return the one that has this `id`. See :class:`afterfit.ports.Ledger`.

        Raises:
            ConflictError: `expected` is not the number of the newest entry of this model; nothing was written.
            InputError: `kind` is unknown, `at` has no time zone, or `data` has no JSON form.
        """
        if kind not in KINDS:
            raise InputError(f"kind {kind!r} of a ledger entry; wanted one of {', '.join(KINDS)}")
        draft = {"id": id or str(uuid_utils.uuid7()), "at": utc_text(at), "data": to_json(data)}
        draft |= {"model": model, "kind": kind, "name": name, "actor": actor}
        with self._writing() as db:
            head = self._lock_head(db)
            row = db.execute(select(schema.ledger).where(schema.ledger.c.id == draft["id"])).mappings().one_or_none()
            if row is not None:
                return entry_of(dict(row))
            if expected is not None:
                _refuse_stale(db, model, expected)
            blank = entry_of({**draft, "number": head["number"] + 1, "previous": head["hash"], "hash": ""})
            entry = replace(blank, hash=entry_hash(blank))
            link = {"number": entry.number, "hash": entry.hash}
            db.execute(schema.ledger.insert().values(**draft, **link, previous=entry.previous))
            db.execute(update(schema.ledger_head).values(**link))
        return entry

    def entries(self, model: str | None = None, *, after: int = 0, kind: str | None = None) -> list[Entry]:
        """Entries with a number above `after`, oldest first; of one model, of one kind, or all.

        Raises:
            StoreError: an entry was spoiled; the message names it.
        """
        query = select(schema.ledger).where(schema.ledger.c.number > after).order_by(schema.ledger.c.number)
        if model is not None:
            query = query.where(schema.ledger.c.model == model)
        if kind is not None:
            query = query.where(schema.ledger.c.kind == kind)
        return [entry_of(row) for row in self._rows(query)]

    def verify(self) -> list[str]:
        """Problems of the chain in plain words, with the number of the entry; empty when it is whole."""
        with self._reading() as db:
            head = db.execute(select(schema.ledger_head)).mappings().one_or_none()
            rows = db.execute(select(schema.ledger).order_by(schema.ledger.c.number)).mappings()
            return problems_of((dict(row) for row in rows), None if head is None else dict(head))

    def _lock_head(self, db: Connection) -> dict[str, Any]:
        """The newest entry's number and hash; other writers wait here (on SQLite they wait at BEGIN IMMEDIATE)."""
        head = db.execute(select(schema.ledger_head).with_for_update()).mappings().one_or_none()
        if head is None:
            raise StoreError(
                f"the head of the ledger is missing in {shown(self._url)}, so no entry can be added. "
                "It was removed from outside; restore the control store from a backup"
            )
        return dict(head)

    # --- versions ----------------------------------------------------------------------------------------------

    def add_version(self, version: ModelVersion) -> None:
        """Remember a version; the same record again does nothing.

        Raises:
            StoreError: another record has this number already.
        """
        text = to_json(from_json(to_json(version), ModelVersion))  # 1 and 1.0 in a float field are the same record
        key = {"model": version.model, "version": version.version}
        with self._writing() as db:
            if db.execute(self._insert(schema.versions).values(**key, record=text).on_conflict_do_nothing()).rowcount:
                return
            known = db.execute(select(schema.versions.c.record).filter_by(**key)).scalar_one()
        if known != text:
            raise StoreError(
                f"version {version.version} of {version.model!r} is known already, with other content: "
                f"{_difference(known, text)}. A version never changes; register a new one"
            )

    def version(self, model: str, version: int) -> ModelVersion:
        """One version; UnknownNameError lists the known ones."""
        known = self.versions(model)
        for record in known:
            if record.version == version:
                return record
        if not known:
            raise UnknownNameError("model", model, self.models())
        raise UnknownNameError(f"version of {model!r}", str(version), [str(record.version) for record in known])

    def versions(self, model: str) -> list[ModelVersion]:
        """All versions of a model in the order of their numbers; empty for a model that nobody knows."""
        table = schema.versions
        rows = self._rows(select(table).where(table.c.model == model).order_by(table.c.version))
        return [self._read(row["record"], ModelVersion, f"version {row['version']} of {model!r}") for row in rows]

    def models(self) -> list[str]:
        """Names of the models that have a version, in alphabetical order."""
        return sorted(row["model"] for row in self._rows(select(schema.versions.c.model).distinct()))

    # --- monitor -----------------------------------------------------------------------------------------------

    def add_window(
        self, model: str, kind: str, window: Window, findings: Sequence[Finding], numbers: Mapping[str, float]
    ) -> bool:
        """Remember a processed window; False (and nothing written) when its start was processed before."""
        values = {"model": model, "kind": kind}
        values |= {"window_start": utc_text(window.start), "window_end": utc_text(window.end)}
        values |= {"findings": to_json(list(findings)), "numbers": to_json(numbers)}
        with self._writing() as db:
            return db.execute(self._insert(schema.windows).values(**values).on_conflict_do_nothing()).rowcount == 1

    def windows(
        self, model: str, kind: str, *, since: datetime | None = None
    ) -> list[tuple[Window, list[Finding], dict[str, float]]]:
        """Processed windows of one kind, oldest first; with `since`, those that start then or later."""
        table = schema.windows
        query = select(table).where(table.c.model == model, table.c.kind == kind).order_by(table.c.window_start)
        if since is not None:
            query = query.where(table.c.window_start >= utc_text(since))
        return [self._window(row) for row in self._rows(query)]

    def _window(self, row: Mapping[str, Any]) -> tuple[Window, list[Finding], dict[str, float]]:
        what = f"the window of {row['model']!r} from {row['window_start']}"
        bounds = to_json({"start": row["window_start"], "end": row["window_end"]})
        findings = self._read(row["findings"], list[Finding], what)
        return self._read(bounds, Window, what), findings, self._read(row["numbers"], dict[str, float], what)

    def save_incident(self, incident: Incident) -> None:
        """Write an incident, in place of an earlier state of it."""
        closed = None if incident.closed_at is None else utc_text(incident.closed_at)
        values = {"model": incident.model, "opened_at": utc_text(incident.opened_at), "closed_at": closed}
        values["record"] = to_json(incident)
        with self._writing() as db:
            query = self._insert(schema.incidents).values(id=incident.id, **values)
            db.execute(query.on_conflict_do_update(index_elements=["id"], set_=values))

    def incidents(self, model: str | None = None, *, open_only: bool = False) -> list[Incident]:
        """Incidents in the order in which they were opened."""
        table = schema.incidents
        query = select(table).order_by(table.c.opened_at, table.c.id)
        if model is not None:
            query = query.where(table.c.model == model)
        if open_only:
            query = query.where(table.c.closed_at.is_(None))
        return [self._read(row["record"], Incident, f"incident {row['id']!r}") for row in self._rows(query)]

    # --- the database ------------------------------------------------------------------------------------------

    @property
    def _insert(self) -> Any:
        """The two databases have the same `on_conflict_*`, but not in SQLAlchemy's common part."""
        return sqlite.insert if self._engine.dialect.name == "sqlite" else postgresql.insert

    def _rows(self, query: Select[Any]) -> list[dict[str, Any]]:
        with self._reading() as db:
            return [dict(row) for row in db.execute(query).mappings()]

    def _read(self, text: str, kind: type[Any], what: str) -> Any:
        try:
            return from_json(text, kind)
        except StoreError as error:
            raise StoreError(
                f"{what} can't be read from {shown(self._url)}: {error}. It was changed from outside; restore the "
                "control store from a backup"
            ) from error

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._in_words(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """One transaction, committed at the end; undone by any exception."""
        options: dict[str, Any] = {"writes": True, "preserve_rowcount": True}  # else psycopg's INSERT reports -1 rows
        with self._in_words(), self._engine.connect() as connection:
            connection.execution_options(**options)
            with connection.begin():
                yield connection

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError as error:
            raise StoreError(
                f"{shown(self._url)} holds a row where none should be: {error.orig}. The ledger and its head "
                "disagree; `afterfit doctor` says how, a backup heals it"
            ) from error
        except (DBAPIError, PoolTimeoutError) as error:
            raise explain(error, self._url) from error


def _refuse_stale(db: Connection, model: str, expected: int) -> None:
    newest = db.execute(select(func.max(schema.ledger.c.number)).where(schema.ledger.c.model == model)).scalar() or 0
    if newest != expected:
        raise ConflictError(
            f"the newest entry of {model!r} is {newest}, the caller had seen {expected}: somebody else wrote first. "
            "Read the entries again and decide anew"
        )


def _difference(known: str, new: str) -> str:
    """The fields in which two stored records differ; at most three, for a message."""
    one, two = from_json(known, dict[str, Any]), from_json(new, dict[str, Any])
    fields = [name for name in two if one.get(name) != two[name]]
    return ", ".join(f"{name} is {one.get(name)!r}, now {two[name]!r}" for name in fields[:3])
