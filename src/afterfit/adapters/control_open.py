"""Open the database of the control store, whole or not at all, and say in words why it can't be."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from afterfit.adapters.schema import HEAD, VERSION_TABLE
from afterfit.errors import AfterfitError, ConfigError, SetupError, StoreError

PATIENCE = 30.0  # seconds to wait for another process that writes
_PG_LOCK = 0xAF7E2F17  # advisory lock: one process migrates at a time


def url_of(home: Path, database: str | None) -> str | URL:
    """The database that is meant: the given URL, else `control.db` under home, which is made.

    Raises:
        SetupError: home can't be made, or is a file.
    """
    if database is not None:
        return database
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(
            f"the folder {home} can't be made: {error.strerror}. Afterfit keeps everything there: remove what is in "
            "the way or make it writable, or set `home` in afterfit.toml to another folder"
        ) from error
    return URL.create("sqlite", database=str(home / "control.db"))


def open_engine(url: URL) -> Engine:
    """An engine on a database of the newest schema.

    Raises:
        SetupError: the folder is not writable, or the driver of PostgreSQL is not installed.
        StoreError: the file is damaged, the database unreachable, or written by a newer Afterfit.
    """
    try:
        engine = _sqlite(url) if url.get_backend_name() == "sqlite" else _postgresql(url)
    except ImportError as error:
        raise SetupError(f"{shown(url)} needs psycopg: pip install 'afterfit[postgres]'") from error
    try:
        _check_and_migrate(engine)
    except DBAPIError as error:
        engine.dispose()
        raise explain(error, url) from error
    except AfterfitError:
        engine.dispose()
        raise
    return engine


def parse_url(given: str | URL) -> URL:
    """The URL, checked; ConfigError if it is none of a database that Afterfit knows."""
    try:
        url = make_url(given)
        backend = url.get_backend_name()
        if backend == "postgresql":
            url = url.set(drivername="postgresql+psycopg")  # the one driver that the extra installs
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise ConfigError(f"`database` is not a database URL; wanted {_WANTED}") from error
    if backend not in ("sqlite", "postgresql"):
        raise ConfigError(f"`database` = {shown(url)}: {backend!r} is not supported; wanted {_WANTED}")
    if backend == "sqlite" and url.database in (None, "", ":memory:"):
        raise ConfigError(f"`database` = {shown(url)}: several processes share it, so it can't live in memory")
    return url


_WANTED = '"postgresql+psycopg://user:password@host/name", or no `database` at all for SQLite under home'


def shown(url: URL) -> str:
    """Where the database is, without the password; for SQLite the path."""
    return str(url.database) if url.get_backend_name() == "sqlite" else url.render_as_string(hide_password=True)


def explain(error: DBAPIError | PoolTimeoutError | sqlite3.Error, url: URL) -> AfterfitError:
    """What happened, where, and what to do."""
    cause = " ".join(str(getattr(error, "orig", None) or error).split())
    low, where = cause.lower(), shown(url)
    if url.get_backend_name() == "postgresql":
        return StoreError(
            f"the control store {where} did not answer as it should: {cause}. Check that PostgreSQL is up, that the "
            "address, user and password in `database` are right, and that the user may create tables"
        )
    if "not a database" in low or "malformed" in low:
        return damaged(where, cause)
    if "unable to open" in low or "readonly" in low:
        return SetupError(
            f"the control store {where} can't be opened for writing: {cause}. Make its folder and the file writable "
            "for this user, or set `home` in afterfit.toml to another folder"
        )
    if "locked" in low:
        return StoreError(
            f"the control store {where} was locked by another process for {PATIENCE:.0f} s. See who holds it "
            f"(lsof {where}), end that program, and try again"
        )
    return StoreError(
        f"the control store {where} refused: {cause}. Check the disk; `afterfit doctor` checks the ledger"
    )


def damaged(where: str, cause: str) -> StoreError:
    """The error for a file whose content can't be trusted. The file is left as it is."""
    return StoreError(
        f"the control store {where} is damaged: {cause}. Nothing was changed. Put a backup in its place, or rescue "
        f"what can be read with: sqlite3 {where} .recover"
    )


def _sqlite(url: URL) -> Engine:
    """Transactions are begun by us, not by the driver: a write takes its lock first, so it never fails half-way."""
    engine = create_engine(url, connect_args={"timeout": PATIENCE})

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA synchronous=FULL")  # a decision survives a power cut

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgresql(url: URL) -> Engine:
    wait = {} if "connect_timeout" in url.query else {"connect_timeout": 10}
    return create_engine(url, pool_pre_ping=True, connect_args=wait)


def _check_and_migrate(engine: Engine) -> None:
    if engine.dialect.name == "sqlite":
        _check_file(engine)
    with engine.connect() as connection:
        if _revision(connection) == HEAD:
            return
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _PG_LOCK})
        _migrate(connection)


def _migrate(connection: Connection) -> None:
    from alembic.util import CommandError  # 0.3 s that an up-to-date store need not pay

    from afterfit.adapters.migrations import upgrade

    found = _revision(connection)
    try:
        upgrade(connection)
    except CommandError as error:
        raise StoreError(
            f"the control store {shown(connection.engine.url)} has schema {found!r}, this Afterfit knows {HEAD!r}: a "
            "newer Afterfit wrote it. Upgrade Afterfit (pip install -U afterfit), or use another `home`"
        ) from error


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    revision: str | None = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    return revision


def _check_file(engine: Engine) -> None:
    """Every page of the file is sound, and it is in WAL mode. The mode is kept in the file, so this is done once."""
    path = shown(engine.url)
    try:
        with closing(engine.raw_connection()) as pooled:
            connection: Any = pooled.driver_connection
            complaint = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
            if complaint != "ok":
                raise damaged(path, " ".join(complaint.split()))
            _to_wal(connection, path)
    except sqlite3.Error as error:
        raise explain(error, engine.url) from error


def _to_wal(connection: Any, path: str) -> None:
    """SQLite does not wait for other processes when the mode is changed, so two that start together retry here."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            break
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    if mode != "wal":
        raise SetupError(
            f"{path} can't be put in WAL mode (found {mode!r}), as on some network drives. Set `home` in afterfit.toml "
            "to a local folder, or `database` to PostgreSQL"
        )
