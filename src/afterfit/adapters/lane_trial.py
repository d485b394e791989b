"""Chooses a version's lane: makes a graph (or a bare array), tries it against the model, and says why not a faster one.

The model behind its frame is the truth. A lane that answers one row of the trial otherwise, answers where the model
raises, or raises where the model answers, is not taken.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from afterfit.adapters.lane import NUMPY, ONNX, PYTHON, Column, LaneRecord, Matrix, column_of, width_of
from afterfit.adapters.lane_rows import Rows, trial_rows
from afterfit.adapters.model_folder import Scorer, predicts_by_argmax
from afterfit.errors import WorkerError
from afterfit.records import ModelVersion, Value

TOLERANCE = 1e-9  # of a score, or of a value relative to max(1, |value|)
TOLERANCE_32 = 2.0**-22  # the same where the model or a part of it answers in 32 bits: two or three of their last steps
MOST_BYTES = 100_000_000  # of a graph
MOST_SECONDS = 30.0  # for the trial of one version
FIRST = 20  # rows that are tried before the others, since a lane that is wrong is mostly wrong at once
_BAD = (TypeError, ValueError, OverflowError)  # a value that does not fit the type of training
Answer = tuple[list[Value], list[list[float]] | None]
Ask = Callable[[Rows], Answer]


class _SlowError(Exception):
    """The trial takes too long."""


@dataclass(frozen=True)
class _Said:
    """What was said to the rows of the trial: a label and numbers a row, NaN where an error was raised."""

    answered: np.ndarray  # (n_rows,) truth values
    labels: np.ndarray  # (n_rows,) objects
    numbers: np.ndarray  # (n_rows, n): scores, or one value
    raised: str  # the first error
    tolerance: float = TOLERANCE  # how far from these numbers those of a lane may be


def choose(model: Any, version: ModelVersion, known: pd.DataFrame) -> tuple[LaneRecord, bytes | None]:
    """The lane of a version that is about to be registered, and its graph where it has one.

    Args:
        model: as it was fitted.
        version: its features, classes and tags.
        known: rows of the hold-out, or of the training data.
    """
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the rows of the trial are meant to be strange
        record, graph = _chosen(Scorer(version, model), version, known)
    return replace(record, seconds=round(time.perf_counter() - began, 3)), graph


def _chosen(scorer: Scorer, version: ModelVersion, known: pd.DataFrame) -> tuple[LaneRecord, bytes | None]:
    graph, columns, why = _graph(scorer.model, version)
    by_array = not any(f.kind == "text" for f in version.features)
    if graph is None and not by_array:
        return LaneRecord(PYTHON, why), None
    rows = trial_rows(known, version.features, _thresholds(graph))
    deadline = time.perf_counter() + MOST_SECONDS
    try:
        truth = _said(lambda part: scorer.answer(scorer.frame(part)), rows, version, deadline)
        truth = replace(truth, tolerance=_tolerance(truth, graph))
        if graph is not None:
            found = _tried(ONNX, _opened(graph, columns, version), rows, truth, version, deadline)
            if found.lane == ONNX:
                return replace(found, columns=columns, size=len(graph)), graph
            why = found.why
        if by_array:
            matrix = Matrix([column_of(f) for f in version.features])
            found = _tried(NUMPY, lambda part: scorer.answer(matrix.of(part)), rows, truth, version, deadline)
            if found.lane == NUMPY:
                return replace(found, why=why, columns=matrix.columns), None
            why = f"{why}; {found.why}"
    except _SlowError:
        why = f"{why}; the trial took longer than {MOST_SECONDS:g} s".removeprefix("; ")
    return LaneRecord(PYTHON, why), None


def _graph(model: Any, version: ModelVersion) -> tuple[bytes | None, tuple[Column, ...], str]:
    """(graph, columns, why there is none)."""
    if version.classes is not None and not predicts_by_argmax(model):
        return None, (), f"no graph: {_last(model)} may answer another class than the one of the largest score"
    try:
        from afterfit.adapters.onnx_graph import RefusedError
        from afterfit.adapters.onnx_model import compile_model
        from afterfit.adapters.onnx_session import GraphScorer
    except ImportError as error:
        return None, (), f"no graph: {error.name} is not installed"
    try:
        graph, columns = compile_model(model, version.features, width_of(version.classes))
        if len(graph) > MOST_BYTES:
            return None, (), f"no graph: it would have {len(graph) / 1e6:.0f} MB, wanted at most {MOST_BYTES / 1e6:.0f}"
        GraphScorer(graph, columns, version.classes)
    except RefusedError as error:
        return None, (), f"no graph: {error}"
    except Exception as error:  # noqa: BLE001  insides of another scikit-learn, or an operator that onnxruntime lacks
        return None, (), f"no graph: {type(error).__name__}: {_short(error)}"
    return graph, columns, ""


def _last(model: Any) -> str:
    """The estimator that gives the answers."""
    return _last(model.steps[-1][1]) if type(model).__name__ == "Pipeline" else type(model).__name__


def _opened(graph: bytes, columns: tuple[Column, ...], version: ModelVersion) -> Ask:
    from afterfit.adapters.onnx_session import GraphScorer

    return GraphScorer(graph, columns, version.classes).answer


def _thresholds(graph: bytes | None) -> np.ndarray:
    if graph is None:
        return np.empty(0)
    from afterfit.adapters.onnx_trees import thresholds_of

    return thresholds_of(graph)


def _has_narrow_trees(graph: bytes | None) -> bool:
    if graph is None:
        return False
    from afterfit.adapters.onnx_trees import has_narrow_trees

    return has_narrow_trees(graph)


def _said(ask: Ask, rows: Rows, version: ModelVersion, deadline: float) -> _Said:
    """Ask for all rows; where that raises, for halves of them, down to the rows that are to blame."""
    n_rows = len(next(iter(rows.values()), ()))
    width = 1 if version.classes is None else len(version.classes)
    answered, labels, numbers = np.zeros(n_rows, bool), np.empty(n_rows, object), np.full((n_rows, width), np.nan)
    raised = ""
    todo = [(0, n_rows)]
    while todo:
        start, end = todo.pop()
        if time.perf_counter() > deadline:
            raise _SlowError
        try:
            predictions, scores = ask({name: values[start:end] for name, values in rows.items()})
        except (WorkerError, *_BAD) as error:
            if end - start > 1:
                middle = (start + end) // 2
                todo += [(middle, end), (start, middle)]
            else:
                raised = raised or _short(error)
            continue
        answered[start:end] = True
        labels[start:end] = predictions
        if scores is not None:
            numbers[start:end] = scores
        elif version.classes is None:
            numbers[start:end, 0] = predictions
    return _Said(answered, labels, numbers, raised)


def _tried(lane: str, ask: Ask, rows: Rows, truth: _Said, version: ModelVersion, deadline: float) -> LaneRecord:
    """The record of this lane; of the Python lane, with the first difference as the reason, where one was found."""
    first = {name: values[:FIRST] for name, values in rows.items()}
    start = replace(truth, answered=truth.answered[:FIRST], labels=truth.labels[:FIRST], numbers=truth.numbers[:FIRST])
    found = _compared(lane, _said(ask, first, version, deadline), start, version)
    return found if found.lane == PYTHON else _compared(lane, _said(ask, rows, version, deadline), truth, version)


def _compared(lane: str, found: _Said, truth: _Said, version: ModelVersion) -> LaneRecord:
    both = truth.answered & found.answered
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(found.numbers - truth.numbers) / np.maximum(1.0, np.abs(truth.numbers))
    apart = np.where(both[:, None] & np.isfinite(truth.numbers), apart, 0.0).max(axis=1)
    same_label = np.ones(len(both), bool) if version.classes is None else truth.labels == found.labels
    same = np.where(both, same_label & (apart <= truth.tolerance), truth.answered == found.answered)
    record = LaneRecord(
        lane=lane,
        rows=len(both),
        largest_difference=float(apart[both].max(initial=0.0)),
        agreement=float(same.mean()),
        raises=truth.raised,
    )
    if same.all():
        return record
    at = int(np.argmin(same))
    what = f"{_told(truth, at)} by the model, {_told(found, at)} by the {lane} lane"
    why = f"the {lane} lane differs on {int((~same).sum())} of {len(both)} rows of the trial; the first is {what}"
    return replace(record, lane=PYTHON, why=why)


def _tolerance(truth: _Said, graph: bytes | None) -> float:
    """A model that answers in 32 bits, or a part of which does, says no more than they do."""
    with np.errstate(over="ignore"):
        narrow = truth.numbers.astype(np.float32).astype(float)
    if np.array_equal(narrow, truth.numbers, equal_nan=True) or _has_narrow_trees(graph):
        return TOLERANCE_32
    return TOLERANCE


def _told(said: _Said, at: int) -> str:
    if not said.answered[at]:
        return "an error"
    return f"{said.labels[at]!r} ({', '.join(f'{v:.9g}' for v in said.numbers[at])})"


def _short(what: object) -> str:
    text = " ".join(str(what).split())
    return text if len(text) <= 300 else text[:297] + "..."
