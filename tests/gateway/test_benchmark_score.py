"""The counting of the gateway benchmark: pairs by round, the log's verdict, and what each server is asked and says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from benchmarks.gateway import bodies
from benchmarks.gateway.score import (
    MANY,
    ONE,
    OURS,
    Bare,
    Load,
    Round,
    added,
    batch_speeds,
    best,
    log_is_right,
    paired,
    tails,
)

ROWS = [{"a": 1.5, "t": "x"}, {"a": -2.0, "t": "é"}]
NUMBERS = [{"a": 1.5, "b": 2.0}, {"a": -2.0, "b": 0.0}]
FIRST, SECOND = 0.25, 0.75


def load(per_second: float, p50: float = 1.0, p99: float = 2.0, refused: int = 0) -> Load:
    return Load(int(per_second * 2) + refused, 2.0, p50, p99, refused, 0)


def one(per_second: float, batch: float | None = None, **more: float) -> Round:
    return Round({ONE: load(10.0, p50=0.5, p99=0.9), MANY: load(per_second, **more)}, 100.0, batch)  # type: ignore[arg-type]


def test_refused_requests_are_no_throughput() -> None:
    found = Load(requests=110, seconds=2.0, p50_ms=1, p99_ms=1, refused=10, broken=3)
    assert (found.answered, found.per_second, found.errors) == (100, 50.0, 13)


def test_ratios_are_of_the_same_round() -> None:
    rounds = {OURS: [one(100), one(300)], "peer": [one(10), one(10)]}
    assert paired(rounds, "peer") == [10.0, 30.0]
    rounds = {OURS: [one(1, p99=6.0)], "peer": [one(1, p50=3.0)]}
    assert tails(rounds, "peer") == [2.0]


def test_a_round_that_a_contestant_missed_is_not_paired_with_another() -> None:
    with pytest.raises(ValueError, match="shorter"):
        paired({OURS: [one(1), one(1)], "peer": [one(1)]}, "peer")


def test_the_best_is_the_one_with_the_highest_median() -> None:
    rounds = {"a": [one(10), one(11), one(500)], "b": [one(20), one(20), one(1)]}
    assert best(rounds, ("a", "b", "absent")) == "b"
    assert best(rounds, ("absent",)) is None


def test_added_latency_is_over_the_faster_call() -> None:
    bare = [Bare(python_p50=0.4, graph_p50=0.1, batch_s=1.0), Bare(python_p50=0.2, graph_p50=None, batch_s=1.0)]
    p50, p99 = added([one(1), one(1)], bare)
    assert p50 == pytest.approx([0.4, 0.3])
    assert p99 == pytest.approx([0.8, 0.7])


def test_a_large_request_that_was_refused_is_left_out() -> None:
    bare = [Bare(1.0, None, batch_s=0.5), Bare(1.0, None, batch_s=0.5)]
    assert batch_speeds([one(1, batch=0.25), one(1)], bare) == [2.0]


@pytest.mark.parametrize(
    ("rows", "ids", "right"),
    [(100, 100, True), (102, 102, True), (103, 103, False), (99, 99, False), (101, 100, False)],
)
def test_the_verdict_on_the_log(rows: int, ids: int, right: bool) -> None:
    assert log_is_right(acknowledged=100, cut=2, rows=rows, ids=ids) is right


@pytest.mark.parametrize(
    ("dialect", "rows", "reply"),
    [
        (bodies.OURS, ROWS, {"predictions": [{"scores": [1 - p, p]} for p in (FIRST, SECOND)]}),
        (bodies.PLAIN, ROWS, {"probabilities": [FIRST, SECOND]}),
        (bodies.V2_TENSOR, NUMBERS, {"outputs": [{"data": [1 - FIRST, FIRST, 1 - SECOND, SECOND]}]}),
        (bodies.V2_COLUMNS, ROWS, {"outputs": [{"data": [1 - FIRST, FIRST, 1 - SECOND, SECOND]}]}),
        (bodies.INPUTS, NUMBERS, {"predictions": [[1 - p, p] for p in (FIRST, SECOND)]}),
        (bodies.SPLIT, ROWS, {"predictions": [[1 - p, p] for p in (FIRST, SECOND)]}),
        (bodies.BENTO_ARRAY, NUMBERS, [[1 - p, p] for p in (FIRST, SECOND)]),
        (bodies.BENTO_FRAME, ROWS, [[1 - p, p] for p in (FIRST, SECOND)]),
    ],
)
def test_every_dialect_asks_for_each_value_on_one_line_and_reads_the_second_class(
    dialect: bodies.Dialect, rows: list[dict[str, Any]], reply: Any
) -> None:
    body = dialect.body(rows)
    assert b"\n" not in body
    assert sorted(_values(json.loads(body), rows), key=str) == sorted((v for r in rows for v in r.values()), key=str)
    assert dialect.answers(json.dumps(reply).encode()) == [FIRST, SECOND]
    with pytest.raises(ValueError, match="not understood"):
        dialect.answers(b'{"error": "no"}')


def _values(asked: Any, rows: list[dict[str, Any]]) -> list[Any]:
    """The cells of the rows that stand anywhere in a body."""
    known = {v for r in rows for v in r.values()}
    if isinstance(asked, dict):
        return [v for key, inner in asked.items() if key not in ("shape", "name") for v in _values(inner, rows)]
    if isinstance(asked, list):
        return [v for inner in asked for v in _values(inner, rows)]
    return [asked] if asked in known else []
