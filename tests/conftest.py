"""What all tests share: deterministic Hypothesis, and worlds that are torn down."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.world import World

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("ci")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A fresh home; nothing is registered and no gateway runs."""
    made = World(tmp_path)
    yield made
    made.close()
