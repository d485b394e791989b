"""Rows of the lake as arrays are those that a plain loop over the rows gives."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afterfit.loop.answers import answers, labelled_rows, scores_of
from afterfit.records import ModelVersion, Task, Value

AT = datetime(2026, 1, 1, tzinfo=UTC)
LABELS: dict[str, tuple[Value, ...]] = {"two": (0, 1), "three": ("no", "näh", "yes"), "truth": (False, True)}


def version(classes: tuple[Value, ...] | None) -> ModelVersion:
    task = Task.REGRESSION if classes is None else Task.BINARY if len(classes) == 2 else Task.MULTICLASS
    return ModelVersion("m", 2, task, AT, "", "", None, "", None, 0, (), classes)


def table(rows: list[tuple[int, Value, list[float] | None, Value | None]], chunks: int = 1) -> pa.Table:
    """Of (version, prediction, scores, outcome)."""

    def text(value: Value | None) -> str | None:
        return None if value is None else json.dumps(value)

    whole = pa.table(
        {
            "version": pa.array([r[0] for r in rows], pa.int64()),
            "prediction": pa.array([text(r[1]) for r in rows], pa.string()),
            "scores": pa.array([r[2] for r in rows], pa.list_(pa.float64())),
            "outcome": pa.array([text(r[3]) for r in rows], pa.string()),
        }
    )
    size = max(1, -(-len(rows) // chunks))
    return pa.concat_tables([whole.slice(at, size) for at in range(0, max(1, len(rows)), size)])


def rows_of(classes: tuple[Value, ...], scores: st.SearchStrategy[list[float]]) -> st.SearchStrategy[Any]:
    label = st.sampled_from(classes)
    return st.lists(st.tuples(st.integers(0, 3), label, st.none() | scores, st.none() | label), max_size=40)


@pytest.mark.parametrize("which", LABELS)
@given(data=st.data(), chunks=st.integers(1, 3))
def test_labels_and_shares(which: str, data: st.DataObject, chunks: int) -> None:
    classes = LABELS[which]
    share = st.floats(0.0, 1.0)
    some = st.one_of(*[st.lists(share, min_size=n, max_size=n) for n in (0, len(classes), len(classes) + 1)])
    rows = data.draw(rows_of(classes, some))
    of, width = version(classes), len(classes)
    prediction, scores = answers(table(rows, chunks), of)
    assert prediction.tolist() == [r[1] for r in rows]
    expected = [r[2] if r[2] is not None and len(r[2]) == width else [np.nan] * width for r in rows]
    np.testing.assert_array_equal(scores, np.array(expected, dtype=float).reshape(-1, width))
    mine = [(s[-1] if width == 2 else max(s)) if r[0] == 2 else np.nan for r, s in zip(rows, expected, strict=True)]
    np.testing.assert_array_equal(scores_of(table(rows, chunks), of), mine)
    outcome, known = labelled_rows(table(rows, chunks))
    labelled = [r for r in rows if r[3] is not None and r[0] > 0]
    assert outcome.tolist() == [r[3] for r in labelled]
    assert known.num_rows == len(labelled)


@given(rows=st.lists(st.tuples(st.integers(0, 3), st.floats(-1e9, 1e9), st.none(), st.none()), max_size=40))
def test_numbers(rows: list[tuple[int, float, None, None]]) -> None:
    prediction, scores = answers(table(list(rows)), version(None))
    assert (prediction.tolist(), scores) == ([r[1] for r in rows], None)
    expected = [r[1] if r[0] == 2 else np.nan for r in rows]
    np.testing.assert_array_equal(scores_of(table(list(rows)), version(None)), expected)
