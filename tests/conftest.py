"""What all tests share: deterministic Hypothesis, worlds that are torn down, and no process that outlives them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.leftovers import left_behind, marked
from tests.world import World

# Here and not in the test modules: by then another module may have imported them, without rewritten assertions.
pytest_plugins = ("tests.adapters.postgres", "tests.adapters.control_store_kit")

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("ci")


@pytest.fixture(scope="session", autouse=True)
def no_process_is_left_behind() -> Iterator[None]:
    """First in, last out: what the tests of this run started must have stopped when they are over."""
    with marked() as mark:
        yield
        found = left_behind(mark, patience=15.0)
    told = [f"{process.pid}: {' '.join(process.cmdline())[:200]}" for process in found if process.is_running()]
    for process in found:
        process.kill()
    assert told == [], "processes left behind (and now killed)"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A fresh home; nothing is registered and no gateway runs."""
    made = World(tmp_path)
    yield made
    made.close()
