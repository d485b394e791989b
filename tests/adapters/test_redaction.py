"""No redacted value is found in any file below the home, and drift of a hashed category is still seen."""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import afterfit as af
from afterfit.adapters.redaction import Redaction, salt_of
from afterfit.config import parse
from afterfit.errors import ConfigError, InputError, StoreError
from afterfit.home import Home
from afterfit.loop import Loop
from afterfit.records import Feature
from tests.world import START

NAME = Feature("name", "text", "str", redact="drop")
TOWN = Feature("town", "text", "str", redact="hash")
AGE = Feature("age", "number", "float64", redact="hash")


def test_a_hash_depends_on_salt_feature_and_value_and_on_nothing_else() -> None:
    one, other = Redaction([NAME, TOWN, AGE], b"1" * 32), Redaction([NAME, TOWN, AGE], b"2" * 32)
    row: dict[str, Any] = {"name": "Ann", "town": "Ulm", "age": 2, "free": 1}
    assert one.row(row) == one.row({**row, "name": "Bob", "age": 2.0})
    assert one.row(row)["town"] != other.row(row)["town"]
    assert one.hash(TOWN, "2.0") != one.hash(AGE, 2.0)
    assert one.row({"town": None, "age": float("nan")}) == {"town": None, "age": None}
    assert one.row(row)["free"] == 1
    assert row == {"name": "Ann", "town": "Ulm", "age": 2, "free": 1}


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("timeout: m/2 did not answer within 1 s", "timeout: m/2 did not answer within 1 s"),
        ("version 2 raised ValueError: can't read 'Ann'", "version 2 raised ValueError (the rest is left out"),
        ("the rows do not fit the model's dtypes: 'Ann'", "the rows do not fit the model's dtypes (the rest"),
        ("returned NaN or infinity", "returned NaN or infinity"),
        (None, None),
    ],
)
def test_a_failure_does_not_repeat_the_row(said: str | None, kept: str | None) -> None:
    found = Redaction([NAME], b"1" * 32).failure(said)
    assert (found is None and kept is None) or (found is not None and kept is not None and found.startswith(kept))
    assert found is None or "Ann" not in found


def test_the_salt_is_made_once_and_is_for_this_user_alone(tmp_path: Path) -> None:
    salt = salt_of(tmp_path / "home")
    assert salt_of(tmp_path / "home") == salt
    path = tmp_path / "home" / "redaction.salt"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(b"short")
    with pytest.raises(StoreError, match="5 bytes, wanted 32"):
        salt_of(tmp_path / "home")


def test_what_the_log_lacks_can_not_be_learned_from_or_cut_by() -> None:
    def model(**more: Any) -> dict[str, Any]:
        return {"models": {"m": {"task": "binary", **more}}}

    with pytest.raises(ConfigError, match="both `train` and `redact`"):
        parse(model(train="a:b", redact={"name": "drop"}))
    with pytest.raises(ConfigError, match="segment_by names name"):
        parse(model(segment_by=["name"], redact={"name": "drop"}))
    assert parse(model(segment_by=["name"], redact={"name": "hash"})).model("m").redact == {"name": "hash"}


SETTINGS = {"task": "binary", "window": "1d", "redact": {"name": "drop", "town": "hash", "income": "drop"}}
TOWNS = ["Quedlinburg", "Zwickau", "Xanten"]


def people(n: int, seed: int, towns: list[str] = TOWNS) -> tuple[pd.DataFrame, pd.Series]:
    dice = np.random.default_rng(seed)
    X = pd.DataFrame(
        {
            "x": dice.normal(size=n),
            "name": [f"Vorname{i:07d}" for i in dice.integers(0, 10**7, n)],
            "town": dice.choice(towns, n),
            "income": dice.integers(10_000_000, 99_000_000, n) + 0.125,
        }
    )
    return X, pd.Series((dice.random(n) < 1 / (1 + np.exp(-2 * X["x"]))).astype(int))


def fitted(X: pd.DataFrame, y: pd.Series) -> Any:
    encode = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", max_categories=5), ["town"]), (StandardScaler(), ["x"])
    )
    return make_pipeline(encode, LogisticRegression()).fit(X, y)


def found_in(home: Path, needle: bytes, *, outside: tuple[str, ...]) -> list[str]:
    """Files below home that hold the bytes; Parquet is decoded first."""
    import pyarrow.parquet as pq

    hits = []
    for path in home.rglob("*"):
        if not path.is_file() or path.name in outside:
            continue
        content = path.read_bytes()
        if path.suffix == ".parquet":
            content += str(pq.read_table(path).to_pylist()).encode()
        if needle in content:
            hits.append(str(path.relative_to(home)))
    return hits


def test_nothing_redacted_is_written_and_drift_of_the_hashed_town_is_found(tmp_path: Path) -> None:
    config = parse({"models": {"m": SETTINGS}, "port": 0}, root=tmp_path)
    (tmp_path / "afterfit.toml").write_text(
        '[models.m]\ntask = "binary"\nwindow = "1d"\nredact = {name = "drop", town = "hash", income = "drop"}\n'
    )
    X, y = people(1500, 0)
    version = af.register("m", fitted(X, y), X, y, holdout=people(500, 1), config=config)
    assert {f.name: f.redact for f in version.features} == {"x": "", "name": "drop", "town": "hash", "income": "drop"}
    home = Home.open(config)
    loop = Loop(home)
    for _ in range(2):
        loop.settle(START)
    assert loop.book("m").state.champion == 1
    with af.Recorder("m", config.home) as rec:
        for day in range(4):
            rows, _ = people(600, 10 + day, TOWNS if day < 3 else [*TOWNS, "Ypsilanti"])
            rec.log_many(rows, [1] * 600, times=[START + timedelta(days=day, minutes=2 * i) for i in range(600)])
    loop.tick(START + timedelta(days=5))
    windows = home.store.windows("m", "drift")
    assert [int(n["n"]) for _, _, n in windows][:4] == [600] * 4
    healthy = [f for _, findings, _ in windows[:3] for f in findings if f.drifted]
    assert [(f.column, f.check) for f in healthy if f.column != "prediction"] == []
    assert "town" in {f.column for f in windows[3][1] if f.drifted}
    assert {f.column for f in windows[3][1]} >= {"x", "town"}
    assert {"name", "income"} & {f.column for f in windows[3][1]} == set()
    home.close()
    assert found_in(config.home, b"Vorname", outside=()) == []
    edges = [X["income"].iloc[0], X["income"].iloc[-1], X["income"].min(), X["income"].max(), rows["income"].iloc[0]]
    for income in edges:
        assert found_in(config.home, str(income).encode(), outside=()) == []
    # the names of the towns are the model's own (its encoder knows them); the log and what is kept beside have hashes
    own = ("model.pkl", "graph.onnx", "lane.json")
    assert found_in(config.home, b"Zwickau", outside=own) == []
    assert found_in(config.home, b"Ypsilanti", outside=()) == []


def test_a_feature_that_is_not_there_and_a_model_that_refuses_stand_ins(tmp_path: Path) -> None:
    X, y = people(300, 0)
    config = parse({"models": {"m": {"task": "binary", "redact": {"nme": "drop"}}}}, root=tmp_path)
    with pytest.raises(InputError, match="redact names 'nme'"):
        af.register("m", fitted(X, y), X, y, config=config)
    strict = make_pipeline(make_column_transformer((OneHotEncoder(), ["town"])), LogisticRegression()).fit(X, y)
    config = parse({"models": {"m": {"task": "binary", "redact": {"town": "drop"}}}}, root=tmp_path)
    with pytest.raises(InputError, match=r"town can't be redacted.*unknown categories"):
        af.register("m", strict, X, y, config=config)
