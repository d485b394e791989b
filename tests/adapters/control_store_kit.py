"""What the tests of the control store share: both databases, one entry, and a process that writes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from afterfit.adapters.control_store import ControlStore
from afterfit.ports import Ledger
from afterfit.records import Entry

T0 = datetime(2013, 7, 15, 12, 30, 0, 123457, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path / 'control.db'}"


@pytest.fixture
def store(url: str) -> Iterator[ControlStore]:
    with ControlStore(url) as opened:
        yield opened


@pytest.fixture
def execute(url: str) -> Callable[[str], None]:
    """Change the database behind the store's back."""

    def run(statement: str) -> None:
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.exec_driver_sql(statement)
        engine.dispose()

    return run


def add(store: Ledger, model: str = "flight", **changes: Any) -> Entry:
    given: dict[str, Any] = {
        "at": T0,
        "kind": "event",
        "name": "trained",
        "actor": "controller",
        "data": {"version": 2},
    }
    return store.append(model=model, **{**given, **changes})


WRITER = """
import sys
from datetime import UTC, datetime
from afterfit.adapters.control_store import ControlStore

url, model, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
with ControlStore(url) as store:
    for i in range(count):
        store.append(at=datetime.now(UTC), model=model, kind="fact", name="noted", actor="test", data={"i": i})
"""


def start(url: str, model: str, count: int, *, go: bool = True) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, url, model, str(count)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    if go:
        process.stdin.write("go\n")
        process.stdin.flush()
    return process


def run_together(url: str, *models: str) -> None:
    """One process per model, 100 entries each; all are let go at the same moment."""
    processes = [start(url, model, 100, go=False) for model in models]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
