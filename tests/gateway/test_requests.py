"""Bodies become typed requests or errors; nothing a client can write gets any further."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afterfit.errors import InputError
from afterfit.feedback.told import moment, outcome
from afterfit.gateway.requests import MOST_ROWS, decode, predict_request
from afterfit.gateway.signature import Signature
from afterfit.records import ModelVersion, OutcomeKind, Task, Value
from tests.gateway.kit import NOW, A

NOTHING = Signature(())  # a model without features: any empty row fits


def version(task: Task = Task.BINARY, classes: tuple[Value, ...] | None = (0, 1)) -> ModelVersion:
    return ModelVersion("m", 1, task, NOW, str(Path()), "", None, "", None, 1, (A,), classes)


def request(**body: Any) -> Any:
    return predict_request(json.dumps({"rows": [{}, {}], **body}).encode(), NOTHING, NOW)


def test_ids_keys_and_times_have_one_entry_a_row() -> None:
    plain = request()
    assert len(set(plain.ids)) == 2
    assert plain.keys == plain.ids
    assert plain.times == [NOW, NOW]
    assert sorted(plain.ids) == plain.ids  # ordered in time, cheap for the journal's index
    assert request(id="x", key="k").ids == ["x/0", "x/1"]
    assert request(id="x", key="k").keys == ["k", "k"]
    assert request(id=["x", "y"], time=[0, "1970-01-01T00:00:01Z"]).times[1] == datetime.fromtimestamp(1, UTC)
    assert predict_request(b'{"rows": [{}], "id": "x"}', NOTHING, NOW).ids == ["x"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"id": ["x"]}, "1 entries for 2 rows"),
        ({"id": ["x", "x"]}, "'x' stands twice"),
        ({"id": ""}, "1 to 500 characters"),
        ({"id": 5}, "found integer"),
        ({"id": "x" * 501}, "1 to 500 characters"),
        ({"key": [None, "x"]}, "found null"),
        ({"key": {}}, "found object"),
        ({"time": True}, "wanted a time"),
        ({"time": "soon"}, "no time"),
        ({"time": 1e18}, "no time"),
        ({"time": {}}, "wanted a time"),
        ({"rows": {}}, 'no list "rows"'),
        ({"rows": []}, "at least one row"),
        ({"rows": [{}] * (MOST_ROWS + 1)}, f"at most {MOST_ROWS}"),
        ({"row": []}, "Did you mean 'rows'?"),
    ],
)
def test_a_wrong_field_is_named(more: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        request(**more)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b'{"a": "\xff"}', "not valid JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"rows": [{"dep_delay": NaN}]}', "'dep_delay' is NaN; wanted a finite number"),
        (b'{"rows": [{"x": -Infinity}]}', "'x' is -Infinity"),
        (b'{"rows": [{"x": 1e999}]}', "'x' is 1e999"),
        (b'"text"', "wanted a JSON object, found str"),
    ],
)
def test_no_json_says_why(body: bytes, said: str) -> None:
    with pytest.raises(InputError) as caught:
        decode(body)
    assert said in str(caught.value)


def test_many_equal_ids_are_found_at_once() -> None:
    rows = {"rows": [{}] * MOST_ROWS, "id": [str(i) for i in range(MOST_ROWS - 1)] + ["9998"]}
    with pytest.raises(InputError, match="'9998' stands twice"):
        predict_request(json.dumps(rows).encode(), NOTHING, NOW)


def test_times_come_out_in_utc() -> None:
    assert moment("2026-01-05T02:00:00+02:00", "time") == NOW
    assert moment("2026-01-05T00:00:00", "time") == NOW
    assert moment(NOW.timestamp(), "time") == NOW


def test_an_outcome_is_filled_up() -> None:
    found = outcome("m", {"prediction_id": "p", "value": 1}, version(), NOW)
    assert (found.value, found.event_time, found.known_time, found.source) == (1, NOW, NOW, "api")
    early = (NOW - timedelta(hours=1)).isoformat()
    assert outcome("m", {"prediction_id": "p", "value": 1, "known_time": early}, version(), NOW).event_time < NOW
    gone = outcome("m", {"key": "k", "time": 0, "value": None, "kind": "retraction"}, version(), NOW)
    assert (gone.value, gone.kind, gone.prediction_id) == (None, OutcomeKind.RETRACTION, None)


@pytest.mark.parametrize(
    ("task", "classes", "good", "bad"),
    [
        (Task.BINARY, (0, 1), [0, 1, 1.0], [2, "1", True, None, [], 0.5]),
        (Task.BINARY, (False, True), [True], [1, "true"]),
        (Task.MULTICLASS, ("a", "b", "c"), ["c"], ["d", 0, None, {"a": 1}]),
        (Task.REGRESSION, None, [0, -1.5, 1e200], ["1", True, None, 10**400, 10**5000, []]),
    ],
)
def test_an_outcome_fits_the_task(task: Task, classes: Any, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        found = outcome("m", {"prediction_id": "p", "value": value}, version(task, classes), NOW)
        assert found.value == value
    for value in bad:
        with pytest.raises(InputError, match="wanted"):
            outcome("m", {"prediction_id": "p", "value": value}, version(task, classes), NOW)


@pytest.mark.parametrize(
    "item",
    [
        {"value": 1},
        {"key": "k", "value": 1},
        {"prediction_id": 5, "value": 1},
        {"prediction_id": "p"},
        {"prediction_id": "p", "value": 1, "kind": []},
        {"prediction_id": "p", "value": 1, "kind": "rumour"},
        {"prediction_id": "p", "value": 1, "source": 1},
        {"prediction_id": "p", "value": 1, "when": 1},
        {"prediction_id": "p", "value": 1, "known_time": "soon"},
        "p",
    ],
)
def test_a_wrong_outcome_is_refused(item: Any) -> None:
    with pytest.raises(InputError):
        outcome("m", item, version(), NOW)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
PREDICT = st.dictionaries(st.sampled_from(["rows", "id", "key", "time"]), JSON, max_size=4)
FIELDS = ["prediction_id", "key", "time", "value", "event_time", "known_time", "source", "kind"]


@given(PREDICT | JSON)
def test_any_body_is_a_request_or_an_error(body: Any) -> None:
    try:
        found = predict_request(msgspec.json.encode(body), NOTHING, NOW)
    except InputError:
        pass
    else:
        assert len(found.rows) == len(found.ids) == len(found.keys) == len(found.times)


@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=8))
def test_any_item_is_an_outcome_or_an_error(item: Any) -> None:
    try:
        found = outcome("m", item, version(Task.REGRESSION, None), NOW)
    except InputError:
        pass
    else:
        assert found.known_time.tzinfo is not None


@given(st.binary(max_size=60))
def test_any_bytes_are_an_object_or_an_error(body: bytes) -> None:
    with contextlib.suppress(InputError):
        assert isinstance(decode(body), dict)
