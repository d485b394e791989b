"""Records survive the way to JSON text and back, whatever is in them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afterfit.adapters.record_json import from_json, to_json, utc_text
from afterfit.errors import InputError, StoreError
from afterfit.records import Feature, Finding, ModelRoutes, ModelVersion, Role, Routes, Severity, Target, Task

TEXT = st.text(max_size=8)
NUMBER = st.floats(allow_nan=False)
TIME = st.datetimes(timezones=st.just(UTC))
VALUE = st.none() | st.booleans() | st.integers() | NUMBER | TEXT
PLAIN = st.recursive(VALUE, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3))


def many(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(strategy, max_size=3).map(tuple)


FEATURES = st.builds(Feature, TEXT, TEXT, TEXT, nullable=st.booleans(), categories=st.none() | many(TEXT))
VERSIONS = st.builds(
    ModelVersion, model=TEXT, version=st.integers(), task=st.sampled_from(Task), created_at=TIME, folder=TEXT, uri=TEXT,
    run_id=st.none() | TEXT, model_sha256=TEXT, data_sha256=st.none() | TEXT, n_rows=st.integers(),
    features=many(FEATURES), classes=st.none() | many(VALUE), params=st.dictionaries(TEXT, PLAIN, max_size=3),
    metrics=st.dictionaries(TEXT, NUMBER, max_size=3), data_from=st.none() | TIME, data_to=st.none() | TIME,
    loss_scale=NUMBER, tags=st.dictionaries(TEXT, TEXT, max_size=3),
)  # fmt: skip
FINDINGS = st.builds(
    Finding, TEXT, TEXT, TEXT, NUMBER, NUMBER, NUMBER, NUMBER, st.booleans(), st.sampled_from(Severity), TEXT,
    st.integers(), st.integers(),
)  # fmt: skip
TARGETS = st.builds(Target, st.integers(), st.sampled_from(Role), NUMBER, TEXT, TEXT)
MODEL_ROUTES = st.builds(ModelRoutes, TEXT, st.sampled_from(Task), many(TARGETS), TEXT, NUMBER)
ROUTES = st.builds(Routes, st.integers(), TIME, st.dictionaries(TEXT, MODEL_ROUTES, max_size=3))


@given(VERSIONS | FINDINGS | ROUTES)
def test_any_record_comes_back_exactly(record: ModelVersion | Finding | Routes) -> None:
    text = to_json(record)
    back = from_json(text, type(record))
    assert back == record
    assert to_json(back) == text


@given(st.dictionaries(TEXT, PLAIN))
def test_plain_data_comes_back_exactly_and_the_order_of_keys_does_not_matter(data: dict[str, Any]) -> None:
    text = to_json(data)
    assert from_json(text, dict[str, Any]) == data
    assert to_json(dict(reversed(data.items()))) == text
    assert text.isascii()


ANYWHERE = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=st.timezones())


@given(ANYWHERE, ANYWHERE)
def test_text_sorts_as_in_time(one: datetime, other: datetime) -> None:
    assert datetime.fromisoformat(utc_text(one)) == one.astimezone(UTC)
    assert (utc_text(one) < utc_text(other)) == (one.astimezone(UTC) < other.astimezone(UTC))


def test_a_time_is_written_in_utc() -> None:
    local = datetime(2013, 7, 15, 8, tzinfo=timezone(timedelta(hours=-4)))
    assert to_json([local]) == '["2013-07-15T12:00:00.000000+00:00"]'


def test_numpy_scalars_are_numbers() -> None:
    data = {"a": np.float64(0.5), "b": np.int8(3), "c": np.bool_(True), "d": np.array(2.5)}
    assert json.loads(to_json(data)) == {"a": 0.5, "b": 3, "c": True, "d": 2.5}


@pytest.mark.parametrize("value", [object(), {"a": {1 + 2j}}, [np.zeros(2)], datetime(2013, 1, 1), lambda: 0])
def test_what_has_no_json_form_is_refused(value: object) -> None:
    with pytest.raises(InputError, match=r"can't be stored as JSON|no time zone"):
        to_json(value)


def test_a_loop_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(InputError, match="can't be stored as JSON"):
        to_json(loop)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"model":"m"}', b"\xff", '{"number":"1","made_at":0}'])
def test_text_of_something_else_is_refused(text: str | bytes) -> None:
    with pytest.raises(StoreError, match="not a stored Routes"):
        from_json(text, Routes)


def test_fields_of_a_newer_afterfit_are_ignored() -> None:
    text = '{"number":1,"made_at":"2013-07-15T00:00:00Z","models":{},"colour":"blue"}'
    assert from_json(text, Routes) == Routes(1, datetime(2013, 7, 15, tzinfo=UTC))
