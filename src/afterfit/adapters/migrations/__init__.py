"""Bring a control store to the newest schema, inside the caller's transaction, by Alembic without an `env.py`."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, RevisionStep
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from afterfit.adapters.schema import VERSION_TABLE

FOLDER = Path(__file__).parent
_ALEMBIC = Lock()  # its `op` is one global: two threads that open two stores take turns


def upgrade(connection: Connection) -> None:
    """Run what is missing; nothing when the schema is the newest.

    Raises:
        alembic.util.CommandError: the database is of a revision that this Afterfit does not know.
    """
    script = ScriptDirectory(str(FOLDER), version_locations=[str(FOLDER / "versions")])

    def steps(revision: Any, context: MigrationContext) -> list[RevisionStep]:
        return script._upgrade_revs("head", revision)  # as Alembic's own documentation does

    with _ALEMBIC, EnvironmentContext(Config(), script, fn=steps) as environment:
        environment.configure(connection=connection, transactional_ddl=True, version_table=VERSION_TABLE)
        environment.run_migrations()
