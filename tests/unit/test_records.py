"""The nouns are frozen, say every time zone, and come back from JSON as they went."""

from __future__ import annotations

import dataclasses
import inspect
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from afterfit import records
from afterfit.records import (
    Acknowledgement,
    Entry,
    Family,
    Feature,
    Finding,
    Incident,
    ModelRoutes,
    ModelVersion,
    Outcome,
    OutcomeKind,
    Outlook,
    Prediction,
    Role,
    Routes,
    Sample,
    Severity,
    ShadowScore,
    Status,
    Target,
    Task,
    Traffic,
    Verdict,
    Window,
)

AT = datetime(2026, 1, 5, 12, 30, 0, 123456, tzinfo=UTC)
TARGET = Target(3, Role.CANARY, 0.25, "models/flight/3", "ab" * 32)
ROUTES = ModelRoutes("flight", Task.BINARY, (TARGET,), "e7", timeout=0.5)
EXAMPLES: list[Any] = [
    Prediction(
        "p1",
        "flight",
        2,
        Role.CHAMPION,
        AT,
        AT,
        {"carrier": "UA", "delay": 1.5, "hops": 2, "night": True, "gate": None},
        1,
        (0.25, 0.75),
        key="N14228",
        status=Status.FALLBACK,
        failed_version=3,
        failure="timeout",
    ),
    ShadowScore("p1", "flight", 3, AT, AT, 0, (0.6, 0.4), "e7", Status.DROPPED, "queue full", 0.0),
    Outcome("flight", "late", AT, AT, key="N14228", time=AT, kind=OutcomeKind.CORRECTION),
    Feature("carrier", "text", "category", nullable=True, categories=("UA", "DL")),
    ModelVersion(
        "flight",
        3,
        Task.MULTICLASS,
        AT,
        "models/flight/3",
        "models:/flight/3",
        None,
        "ab" * 32,
        None,
        100,
        (Feature("delay", "number", "float64"),),
        ("a", 1, True, None, 0.5),
        params={"depth": 3},
        metrics={"holdout_loss": 0.1},
        data_from=AT,
    ),
    TARGET,
    ROUTES,
    Routes(9, AT, {"flight": ROUTES}),
    Acknowledgement("g1", 9, AT, 42, "address", {"flight/3": "no file"}, {"flight": 7}, {"full": 1}, {"flight/3": 2}),
    Window(AT, AT),
    Finding("temp", "unit", "ratio", 1.8, 0.9, 1e-9, 0.5, True, Severity.CRITICAL, "F, not C", 1000, 100),
    Incident(
        "i1", "flight", "quality", AT, AT, Severity.WARNING, "temp", ("temp",), ("unit",), ("F, not C",), 2, AT, 1
    ),
    Sample(3.0, {"model": "flight"}),
    Family("rows_total", "counter", "Rows answered.", (Sample(3.0, {"model": "flight"}),)),
    Traffic({1: 95, 2: 5}, {1: 0, 2: 1}, 120, 5, 5, 90),
    Verdict(Outlook.NO_DATA, ("3 of 200 pairs",), {"pairs": 3.0}),
    Entry(1, "e1", AT, "flight", "event", "deployed", "person:ada", {"version": 1}, "", "ff" * 32),
]
NOUNS = sorted(name for name, kind in vars(records).items() if dataclasses.is_dataclass(kind) and inspect.isclass(kind))


def test_every_noun_has_an_example() -> None:
    assert sorted(type(example).__name__ for example in EXAMPLES) == NOUNS


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: type(e).__name__)
def test_a_noun_is_frozen(example: Any) -> None:
    first = dataclasses.fields(example)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(example, first, None)
    assert not hasattr(example, "__dict__"), "slots: a misspelt attribute can't be added"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: type(e).__name__)
def test_a_noun_comes_back_from_json_as_it_went(example: Any) -> None:
    text = msgspec.json.encode(example)
    again = msgspec.json.decode(text, type=type(example))
    assert again == example
    assert msgspec.json.encode(again) == text


def test_a_value_keeps_its_type_on_the_way() -> None:
    """1, 1.0 and True are equal in Python; a category or a class must not change from one to the other."""
    (prediction,) = [e for e in EXAMPLES if isinstance(e, Prediction)]
    again = msgspec.json.decode(msgspec.json.encode(prediction), type=Prediction)
    assert {k: type(v) for k, v in again.features.items()} == {k: type(v) for k, v in prediction.features.items()}


def test_only_pass_is_pass() -> None:
    assert [o.value for o in Outlook] == ["pass", "harm", "undecided", "no_data", "invalid"]
