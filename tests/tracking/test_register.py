"""The order in which a draft becomes known: registry, store, ledger; and nothing is listed when the registry fails."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from afterfit.errors import StoreError
from afterfit.records import Entry, ModelVersion
from afterfit.tracking.draft import Draft, Labelled, draft
from afterfit.tracking.register import register

AT = datetime(2024, 5, 1, tzinfo=UTC)


class Everything:
    """Registry, versions and ledger in one, which remember the order of calls."""

    def __init__(self, *, down: bool = False) -> None:
        self.calls: list[str] = []
        self.files: dict[str, str] = {}
        self.data: Mapping[str, Any] = {}
        self._down = down

    def log(self, draft: ModelVersion, model: Any, example: Any, files: Mapping[str, Path]) -> ModelVersion:
        self.calls.append("log")
        if self._down:
            raise StoreError("MLflow can't be reached")
        self.files = {name: path.read_text() for name, path in files.items()}
        return replace(draft, version=4, folder="f", uri="models:/m/4", model_sha256="abc")

    def add_version(self, version: ModelVersion) -> None:
        self.calls.append(f"version {version.version}")

    def append(self, **entry: Any) -> Entry:
        self.calls.append(f"{entry['kind']} {entry['name']} by {entry['actor']}")
        self.data = entry["data"]
        return Entry(1, entry["id"], entry["at"], "m", "fact", "registered", "controller", {}, "", "")

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} is not needed to register")


def a_draft() -> Draft:
    training = Labelled(pd.DataFrame({"a": [1.0, 2.0, 3.0]}), pd.Series([1.0, 2.0, 3.5]))
    return draft("m", LinearRegression().fit(training.X, training.y), training, at=AT)


def test_registry_then_store_then_ledger() -> None:
    outside = Everything()
    version = register(
        a_draft(),
        {"profile": 1},
        registry=outside,
        versions=outside,
        ledger=outside,
        actor="person:ann",
        card="# About",
    )
    assert outside.calls == ["log", "version 4", "fact registered by person:ann"]
    assert version.version == 4
    assert json.loads(outside.files["reference.json"]) == {"profile": 1}
    assert len(json.loads(outside.files["golden.json"])["rows"]) == 3
    assert outside.files["card.md"] == "# About"
    assert (outside.data["version"], outside.data["rows"]) == (4, 3)
    assert outside.data["data_sha256"] == version.data_sha256


def test_nothing_is_listed_when_the_registry_is_down() -> None:
    outside = Everything(down=True)
    with pytest.raises(StoreError):
        register(a_draft(), {}, registry=outside, versions=outside, ledger=outside, actor="controller")
    assert outside.calls == ["log"]
