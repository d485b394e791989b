"""Rows that fit become columns; rows that do not are named."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afterfit.errors import InputError
from afterfit.gateway.requests import predict_request
from afterfit.gateway.signature import MOST_PROBLEMS, Signature, SignatureError
from afterfit.records import Feature
from tests.gateway.kit import NOW

FEATURES = (
    Feature("num", "number", "float64"),
    Feature("int", "integer", "int64"),
    Feature("flag", "boolean", "bool"),
    Feature("text", "text", "str"),
    Feature("maybe", "number", "float64", nullable=True),
)
GOOD: dict[str, Any] = {"num": 1.5, "int": 2, "flag": True, "text": "x", "maybe": None}


def problems(row: Any) -> list[str]:
    with pytest.raises(SignatureError) as caught:
        Signature(FEATURES).columns([GOOD, row])
    return caught.value.problems


def test_columns_come_by_name_whatever_the_order_of_the_row() -> None:
    found = Signature(FEATURES).columns([GOOD, dict(reversed(GOOD.items()))])
    assert found == {name: [value, value] for name, value in GOOD.items()}
    assert list(found) == [f.name for f in FEATURES]


@pytest.mark.parametrize(
    ("name", "value"),
    [("num", 3), ("int", 2.0), ("int", -(2**63)), ("maybe", 0.5), ("text", ""), ("num", -(2**63)), ("int", -0.0)],
)
def test_what_fits(name: str, value: Any) -> None:
    assert Signature(FEATURES).columns([{**GOOD, name: value}])[name] == [value]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("num", "1.5", "wanted number, found text"),
        ("num", True, "wanted number, found boolean"),
        ("num", math.nan, "wanted number, found no finite number"),
        ("num", math.inf, "found no finite number"),
        ("num", 2**63, "wanted number, found integer"),
        pytest.param("num", 10**5000, "beyond 64 bits", id="too long to print"),
        ("num", None, "is null; wanted number (no null was seen in training)"),
        ("num", [1], "found array"),
        ("num", {}, "found object"),
        ("int", 2.5, "wanted integer, found number"),
        ("int", 1e300, "wanted integer, found number"),
        ("int", 2.0**63, "wanted integer, found number"),
        ("int", 2**63, "wanted integer"),
        ("int", False, "wanted integer, found boolean"),
        ("flag", 1, "wanted boolean, found integer"),
        ("text", 1, "wanted text, found integer"),
        ("maybe", "x", "wanted number, found text"),
    ],
)
def test_what_does_not_fit_is_named(name: str, value: Any, said: str) -> None:
    (problem,) = problems({**GOOD, name: value})
    assert problem.startswith(f"row 1: feature {name!r}")
    assert said in problem


def test_missing_extra_and_no_row_at_all() -> None:
    assert problems({k: v for k, v in GOOD.items() if k != "maybe"}) == [
        "row 1: feature 'maybe' is missing; wanted number"
    ]
    assert "unknown feature 'nun'" in problems({**GOOD, "nun": 1})[0]
    assert "Did you mean 'num'?" in problems({**GOOD, "nun": 1})[0]
    assert problems(None) == ["row 1: wanted an object of features, found null"]


@pytest.mark.parametrize(
    ("dtype", "inside", "outside"), [("int16", 32767, 32768), ("UInt8", 0, -1), ("uint64", 2**62, -1)]
)
def test_a_whole_number_must_fit_the_type_of_training(dtype: str, inside: int, outside: int) -> None:
    signature = Signature([Feature("n", "integer", dtype)])
    for value in (inside, float(inside)):
        body = json.dumps({"rows": [{"n": value}]}).encode()
        assert predict_request(body, signature, NOW).columns == {"n": [value]}
    for wrong in (outside, float(outside)):
        with pytest.raises(SignatureError, match=rf"row 0: feature 'n': wanted integer from -?\d+ to \d+ \({dtype} in"):
            predict_request(json.dumps({"rows": [{"n": wrong}]}).encode(), signature, NOW)


def test_ten_problems_are_enough() -> None:
    with pytest.raises(SignatureError) as caught:
        Signature(FEATURES).columns([{}] * 100)
    assert len(caught.value.problems) == MOST_PROBLEMS


def test_a_wide_signature_is_not_listed_whole() -> None:
    wide = Signature([Feature(f"f{i}", "number", "float64") for i in range(500)])
    with pytest.raises(SignatureError) as caught:
        wide.columns([{**{f"f{i}": 1 for i in range(500)}, "f499x": 1}])
    (problem,) = caught.value.problems
    assert "'f499'" in problem
    assert len(problem) < 1000


def test_what_other_versions_want_passes_and_is_left_out() -> None:
    assert Signature(FEATURES[:1], also=["new"]).columns([{"num": 1.0, "new": "x"}]) == {"num": [1.0]}


def test_who_accepts_the_rows_of_whom() -> None:
    base = Signature(FEATURES)
    assert Signature(FEATURES[::-1]).accepts_all_of(base)
    assert Signature(FEATURES[:2]).accepts_all_of(base)
    assert not base.accepts_all_of(Signature(FEATURES[:2]))
    assert not Signature([Feature("maybe", "number", "float64")]).accepts_all_of(base)
    assert not Signature([Feature("num", "integer", "int64")]).accepts_all_of(base)
    assert not Signature([Feature("int", "integer", "int16")]).accepts_all_of(base)
    assert Signature([Feature("n", "integer", "int16")]).accepts_all_of(Signature([Feature("n", "integer", "uint8")]))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from([f.name for f in FEATURES]) | st.text(max_size=4)


@given(st.lists(st.dictionaries(NAMES, JSON, max_size=7) | JSON, min_size=1, max_size=3))
def test_any_rows_are_either_columns_or_problems(rows: list[Any]) -> None:
    told: list[str] = []
    found = {}
    try:
        found = Signature(FEATURES).columns(rows)
    except SignatureError as error:
        told = error.problems
    assert bool(found) != bool(told)
    assert len(told) <= MOST_PROBLEMS
    assert json.dumps(told)
    assert all(len(column) == len(rows) for column in found.values())


def _outcome(body: bytes, signature: Signature) -> Any:
    try:
        found = predict_request(body, signature, NOW)
    except InputError as error:
        return str(error)
    return repr((list(found.rows), found.columns, found.times)), found.ids if b'"id"' in body else len(found.ids)


NUMBERS = (0, 1, -1, 2.0, 0.5, 1e300, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 10**400)
TEXTS = ['""', '"x"', r'"\u00e9"', r'"\ud800"']
OTHERS = ["true", "false", "null", "[]", "{}", "NaN", "1e999", "-0", "-0.0", "1E2", "01"]
CELLS = st.sampled_from([*map(json.dumps, NUMBERS), *TEXTS, *OTHERS])
PAIRS = st.lists(st.tuples(st.sampled_from(["num", "int", "flag", "text", "maybe", "also", "nun"]), CELLS), max_size=3)


@given(
    st.lists(PAIRS, min_size=1, max_size=3),
    st.sampled_from(["", ', "id": "x"', ', "time": 0', ', "id": 1', ', "ix": 1']),
)
def test_the_quick_way_and_the_way_by_hand_say_the_same(changes: list[list[tuple[str, str]]], more: str) -> None:
    """Also where a name stands twice in a row: then the last one counts."""
    rows = []
    for pairs in changes:
        cells = [(name, json.dumps(value)) for name, value in GOOD.items()]
        rows.append("{" + ", ".join(f'"{name}": {cell}' for name, cell in [*cells, *pairs]) + "}")
    body = ('{"rows": [' + ", ".join(rows) + "]" + more + "}").encode()
    quick, slow = Signature(FEATURES, ["also"]), Signature(FEATURES, ["also"])
    slow._decode = None
    assert _outcome(body, quick) == _outcome(body, slow)


def test_a_body_that_fits_is_read_the_quick_way() -> None:
    signature = Signature(FEATURES, ["also"])
    body = signature.read(json.dumps({"rows": [GOOD, {**GOOD, "also": [1]}], "id": "x"}).encode())
    assert body is not None
    assert body.id == "x"
    rows, columns = signature.unpack(body.rows)
    assert list(rows) == [GOOD, {**GOOD, "also": [1]}]
    assert columns == signature.columns(rows)


@pytest.mark.parametrize(
    "name", ['say "a"', "back\\slash", "new\nline", "", "class", "__init__", "f1", "a b", "é", "_x"]
)
def test_any_name_of_a_feature_is_served(name: str) -> None:
    features = [Feature(name, "number", "float64"), Feature("f0", "text", "str")]
    row: dict[str, Any] = {"f0": "x", name: 1.5}
    found = predict_request(json.dumps({"rows": [row, row]}).encode(), Signature(features), NOW)
    assert list(found.rows) == [row, row]
    assert found.columns == {name: [1.5, 1.5], "f0": ["x", "x"]}


def test_rows_that_were_read_become_columns_again() -> None:
    """By the quick way and by hand, and with a feature that only another version wants."""
    signature = Signature([Feature("a b", "number", "float64"), Feature("c", "text", "str", nullable=True)], ["more"])
    body = signature.read(b'{"rows": [{"a b": 1, "c": null}, {"c": "x", "a b": 2.5, "more": true}]}')
    assert body is not None
    rows, columns = signature.unpack(body.rows)
    assert columns == {"a b": [1, 2.5], "c": [None, "x"]}
    assert list(rows) == [{"a b": 1, "c": None}, {"a b": 2.5, "c": "x", "more": True}]
    assert signature.known(rows) == signature.known([dict(row) for row in rows]) == columns
    assert signature.columns(rows) == columns
    with pytest.raises(KeyError):
        rows[0]["more"]
