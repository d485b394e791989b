"""The tables of the control store, the same on SQLite and PostgreSQL; times are text that sorts as in time.

A change here needs a new file in `migrations/versions` and its name in `HEAD`; a test compares the two.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, String, Table, Text

HEAD = "0001"
VERSION_TABLE = "afterfit_schema"  # not Alembic's default: MLflow may live in the same database
MOMENT = String(32)  # record_json.utc_text; exact to the microsecond on every database

metadata = MetaData()

ledger = Table(
    "ledger",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False, unique=True),
    Column("at", MOMENT, nullable=False),
    Column("model", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("data", Text, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    Index("ledger_by_model", "model", "number"),
)

# One row: the newest entry. Writers queue on it, and entries cut off the end are missed.
ledger_head = Table(
    "ledger_head",
    metadata,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
    Column("hash", String(64), nullable=False),
)

versions = Table(
    "versions",
    metadata,
    Column("model", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("record", Text, nullable=False),
)

windows = Table(
    "windows",
    metadata,
    Column("model", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("window_start", MOMENT, primary_key=True),
    Column("window_end", MOMENT, nullable=False),
    Column("findings", Text, nullable=False),
    Column("numbers", Text, nullable=False),
)

incidents = Table(
    "incidents",
    metadata,
    Column("id", Text, primary_key=True),
    Column("model", Text, nullable=False),
    Column("opened_at", MOMENT, nullable=False),
    Column("closed_at", MOMENT, nullable=True),
    Column("record", Text, nullable=False),
    Index("incidents_by_model", "model", "opened_at"),
)
