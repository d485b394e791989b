"""Encoders as tables: what the fitted encoder itself says to every text it knows, to a null, and to any other text.

An encoder treats each column by itself, so asking it once a known value tells all that it does, with whatever options
(infrequent categories, dropped columns, codes for nulls): nothing of it is written a second time.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from onnx import TensorProto

from afterfit.adapters.model_folder import series
from afterfit.adapters.onnx_compiler import Block, Compiler
from afterfit.adapters.onnx_graph import Graph, RefusedError
from afterfit.records import Feature

ENCODERS = ("OneHotEncoder", "OrdinalEncoder", "TargetEncoder")  # of texts into numbers
MISSING = 0.0  # code of a null, also of a text outside a pandas category
FIRST_TEXT = (
    2  # rows of a table before those of known values: a null, and anything else; also the code of the first text
)
_OTHER_TEXT = "\x00 another text \x00"
MOST_CELLS = 2_000_000  # of all tables of one encoder, 16 MB


class Vocabulary:
    """The texts that the model's encoders know, by feature; grows in the first pass over the model."""

    unseen = 1.0  # code of any other text

    def __init__(self, features: Sequence[Feature]) -> None:
        self._known = {f.name: dict.fromkeys(f.categories or ()) for f in features if f.kind == "text"}

    def learn(self, name: str, texts: Sequence[Any]) -> None:
        """Remember texts of a feature."""
        self._known[name].update(dict.fromkeys(t for t in texts if isinstance(t, str)))

    def codes(self, name: str) -> dict[str, float]:
        """Code by text; 0 is a null and 1 any other text."""
        return {text: float(FIRST_TEXT + i) for i, text in enumerate(self._known[name])}


def tabulate(c: Compiler, part: Any, block: Block) -> Block:
    """The output of an encoder, or of a pipeline of imputers and encoders, as one table a column.

    Raises:
        RefusedError: it does not treat each column by itself, or knows too many values.
    """
    columns = _columns(c, part, block)
    ask = _asker(c, part, block)
    base_row = [column.values[FIRST_TEXT] for column in columns]
    base = ask([base_row])[0]
    tables = [_table(ask, base_row, base, j, column.values) for j, column in enumerate(columns)]
    owner = _owners(part, [table for table, _ in tables])
    place = _places(c, block, columns)
    refused = np.concatenate([refused for _, refused in tables])
    if refused.any():
        c.graph.spoil(c.graph.add("Gather", c.graph.constant(refused, bool), place, axis=0))
    whole = np.vstack([np.where(owner == j, table, 0.0) for j, (table, _) in enumerate(tables)])
    if whole.size > MOST_CELLS:
        raise RefusedError(f"{type(part).__name__} makes a table of {len(whole):,} values by {len(base):,} columns")
    last = part[-1] if hasattr(part, "steps") else part
    sparse = bool(getattr(last, "sparse_output", False))
    return Block(_looked_up(c.graph, whole, owner, place, len(tables)), width=len(base), sparse=sparse)


def _looked_up(graph: Graph, table: np.ndarray, owner: np.ndarray, place: str, n_columns: int) -> str:
    """Rows of the stacked tables side by side, (n_rows, width), where each column of the output has one owner."""
    if np.unique(owner).size < n_columns or (np.diff(owner) < 0).any():  # the outputs are not in the columns' order
        parts = graph.add("Gather", graph.constant(table), place, axis=0)  # (n_rows, n_columns, width)
        return graph.add("ReduceSum", parts, graph.constant([1], np.int64), keepdims=0)
    places = [place] if n_columns == 1 else graph.split(place, n_columns)
    each = [graph.add("Gather", graph.constant(table[:, owner == j]), p, axis=0) for j, p in enumerate(places)]
    joined = each[0] if n_columns == 1 else graph.add("Concat", *each, axis=2)  # (n_rows, 1, width)
    return graph.add("Reshape", joined, graph.constant([-1, len(owner)], np.int64))


def _owners(part: Any, tables: Sequence[np.ndarray]) -> np.ndarray:
    """Which of its columns each column of the output depends on."""
    owner = np.full(tables[0].shape[1], -1)
    for j, table in enumerate(tables):
        varies = [k for k in range(len(owner)) if not _constant(table[:, k])]
        if (owner[varies] >= 0).any():
            raise RefusedError(f"{type(part).__name__} mixes columns")
        owner[varies] = j
    owner[owner < 0] = 0  # never changes, and any column's table says so
    return owner


def _places(c: Compiler, block: Block, columns: Sequence[_Known]) -> str:
    """Rows of the stacked tables, (n_rows, n_columns) integers."""
    graph = c.graph
    at = list(range(len(columns))) if block.features is None else list(block.features)
    sizes = [0, *np.cumsum([len(column.values) for column in columns[:-1]]).tolist()]
    if all(column.text for column in columns):
        local = graph.add("Cast", graph.take(block.tensor, at), to=TensorProto.INT64)
    else:
        each = [column.place(graph, graph.take(block.tensor, [i])) for i, column in zip(at, columns, strict=True)]
        local = each[0] if len(each) == 1 else graph.add("Concat", *each, axis=1)
        local = graph.add("Cast", local, to=TensorProto.INT64)
    return local if len(sizes) == 1 else graph.add("Add", local, graph.constant([sizes], np.int64))


@dataclass(frozen=True)
class _Known:
    """What one column may hold: a null, something unknown, and then the values that the encoder knows."""

    values: list[Any]
    text: bool

    def place(self, graph: Graph, x: str) -> str:
        """Row of its table for each value of x, (n_rows, 1) numbers."""
        if self.text:
            return x
        known = np.asarray(self.values[FIRST_TEXT:], dtype=float)
        equal = graph.double(graph.add("Equal", x, graph.constant(known.reshape(1, -1))))
        # 1 for a value that equals none of them, and their own rows for the others
        row = graph.add("MatMul", equal, graph.constant(np.arange(len(known)).reshape(-1, 1) + FIRST_TEXT - 1.0))
        row = graph.add("Add", row, graph.constant(1.0))
        return graph.add("Where", graph.add("IsNaN", x), graph.constant(0.0), row)


def _columns(c: Compiler, part: Any, block: Block) -> list[_Known]:
    steps = [s for _, s in part.steps] if hasattr(part, "steps") else [part]
    n = block.size
    if n is None:
        raise RefusedError(f"{type(part).__name__} encodes an unknown number of columns")
    return [_column(c, steps, block, j) for j in range(n)]


def _column(c: Compiler, steps: Sequence[Any], block: Block, j: int) -> _Known:
    known: dict[Any, None] = {}
    for step in steps:
        each = step.categories_[j] if hasattr(step, "categories_") else step.statistics_[j : j + 1]
        known.update(dict.fromkeys(v for v in np.asarray(each).tolist() if not pd.isna(v)))
    feature = None if block.features is None else c.features[block.features[j]]
    if feature is not None and feature.kind == "text":
        c.vocabulary.learn(feature.name, list(known))
        if not known:
            raise RefusedError(f"nothing is known about {feature.name!r} but nulls")
        return _Known([None, _OTHER_TEXT, *c.vocabulary.codes(feature.name)], text=True)
    values = sorted(float(v) for v in known)
    if not values:
        raise RefusedError("an encoder knows no value of a column")
    return _Known([None, values[-1] + 1.0, *values], text=False)


def _asker(c: Compiler, part: Any, block: Block) -> Callable[[Sequence[Sequence[Any]]], np.ndarray]:
    """What the encoder answers to rows of values, in the types that it was fitted on."""

    steps = [s for _, s in part.steps] if hasattr(part, "steps") else [part]
    of_objects = any(each.dtype == object for step in steps for each in getattr(step, "categories_", ()))
    dtype = object if of_objects else float

    def ask(rows: Sequence[Sequence[Any]]) -> np.ndarray:
        columns = list(zip(*rows, strict=True))
        data: Any
        if block.features is None:
            data = np.array([[np.nan if v is None else v for v in row] for row in rows], dtype=dtype)
        else:
            told = [c.features[i] for i in block.features]
            data = pd.DataFrame({f.name: series(f, v) for f, v in zip(told, columns, strict=True)})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about unknown categories, and arrays without names
            answer = part.transform(data)
        dense = answer.toarray() if hasattr(answer, "toarray") else answer
        return np.asarray(dense, dtype=float).reshape(len(rows), -1)

    return ask


def _table(
    ask: Callable[[Sequence[Sequence[Any]]], np.ndarray],
    base_row: Sequence[Any],
    base: np.ndarray,
    j: int,
    values: Sequence[Any],
) -> tuple[np.ndarray, np.ndarray]:
    """The encoder's answers to each value in column j, (n_values, width), and which of the values it refuses."""
    if len(values) * len(base) > MOST_CELLS:
        raise RefusedError(f"an encoder makes a table of {len(values):,} values by {len(base):,} columns")
    rows = [[*base_row[:j], value, *base_row[j + 1 :]] for value in values]
    table, refused = np.tile(base, (len(rows), 1)), np.zeros(len(rows), dtype=bool)
    try:
        table[FIRST_TEXT:] = ask(rows[FIRST_TEXT:])
        rest = range(FIRST_TEXT)
    except (ValueError, TypeError, KeyError):  # texts that only another encoder of the same feature knows
        rest = range(len(rows))
    for i in rest:
        try:
            table[i] = ask([rows[i]])[0]
        except (ValueError, TypeError, KeyError):
            refused[i] = True
    return table, refused


def _constant(column: np.ndarray) -> bool:
    return bool(((column == column[0]) | (np.isnan(column) & np.isnan(column[0]))).all())
