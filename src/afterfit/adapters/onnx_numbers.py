"""Transformers of numbers: imputers, scalers, selections, polynomials, and functions of numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from afterfit.adapters.onnx_compiler import Block, Compiler
from afterfit.adapters.onnx_encoders import tabulate
from afterfit.adapters.onnx_graph import Graph, RefusedError

SELECTIONS = (
    *("SelectKBest", "SelectPercentile", "SelectFpr", "SelectFdr", "SelectFwe", "GenericUnivariateSelect"),
    *("SelectFromModel", "SequentialFeatureSelector", "VarianceThreshold"),
)


def imputer(c: Compiler, part: Any, block: Block) -> Block:
    """SimpleImputer; of text, it is a table as encoders are."""
    if c.has_text(block):
        return tabulate(c, part, block)
    values = np.asarray(part.statistics_, dtype=float)
    if not _is_nan(part.missing_values) or not np.isfinite(values).all():
        raise RefusedError("SimpleImputer with missing_values other than NaN, or a column of nulls only")
    x = c.dense(block, part)
    missing = c.graph.add("IsNaN", x)
    filled = c.graph.add("Where", missing, c.graph.constant(values.reshape(1, -1)), x)
    if not part.add_indicator:
        return Block(filled, width=len(values))
    nulls = part.indicator_.features_.tolist()  # columns that had one in training; a null elsewhere is filled unmarked
    if not nulls:
        return Block(filled, width=len(values))
    flags = c.graph.double(c.graph.take(missing, nulls))
    return Block(c.graph.add("Concat", filled, flags, axis=1), width=len(values) + len(nulls))


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and np.isnan(value)


def standard_scaler(c: Compiler, part: Any, block: Block) -> Block:
    """Less the mean, by the deviation."""
    return _shift_and_divide(c, part, block, part.mean_ if part.with_mean else None, part.scale_)


def robust_scaler(c: Compiler, part: Any, block: Block) -> Block:
    """Less the median, by a range of quantiles."""
    return _shift_and_divide(c, part, block, part.center_, part.scale_)


def max_abs_scaler(c: Compiler, part: Any, block: Block) -> Block:
    """By the largest value."""
    return _shift_and_divide(c, part, block, None, part.scale_)


def _shift_and_divide(c: Compiler, part: Any, block: Block, shift: Any, scale: Any) -> Block:
    x = c.dense(block, part)
    if shift is not None:
        x = c.graph.add("Sub", x, c.graph.constant(np.reshape(shift, (1, -1))))
    if scale is not None:
        x = c.graph.add("Div", x, c.graph.constant(np.reshape(scale, (1, -1))))
    return Block(x, width=int(part.n_features_in_), sparse=block.sparse)


def min_max_scaler(c: Compiler, part: Any, block: Block) -> Block:
    """Into a range, and not beyond it with `clip`."""
    x = c.graph.add("Mul", c.dense(block, part), c.graph.constant(np.reshape(part.scale_, (1, -1))))
    x = c.graph.add("Add", x, c.graph.constant(np.reshape(part.min_, (1, -1))))
    if part.clip:
        x = c.graph.add("Clip", x, *(c.graph.constant(float(end)) for end in part.feature_range))
    return Block(x, width=int(part.n_features_in_))


def selection(c: Compiler, part: Any, block: Block) -> Block:
    """Some of the columns; most selections refuse a null in any of them, also one that they leave out."""
    from sklearn.utils import get_tags

    x, kept = c.dense(block, part), np.flatnonzero(part.get_support()).tolist()
    if not get_tags(part).input_tags.allow_nan:
        c.graph.spoil(c.graph.add("IsNaN", x))
    return Block(c.graph.take(x, kept), width=len(kept), sparse=block.sparse)


def polynomial(c: Compiler, part: Any, block: Block) -> Block:
    """Products of columns; shorter ones are filled up with a column of ones."""
    x, n = c.dense(block, part), int(part.n_features_in_)
    factors = [np.repeat(np.arange(n), powers).tolist() for powers in part.powers_]
    degree = max((len(f) for f in factors), default=1)
    ones = c.graph.add(
        "Expand",
        c.graph.constant([[1.0]]),
        c.graph.add("Concat", c.graph.rows(x), c.graph.constant([1], np.int64), axis=0),
    )
    padded = c.graph.add("Concat", x, ones, axis=1)
    filled = np.array([[*f, *[n] * (degree - len(f))] for f in factors])
    product = c.graph.take(padded, filled[:, 0].tolist())
    for k in range(1, degree):
        product = c.graph.add("Mul", product, c.graph.take(padded, filled[:, k].tolist()))
    return Block(product, width=len(factors))


def function(c: Compiler, part: Any, block: Block) -> Block:
    """A passthrough, as ColumnTransformer and HistGradientBoosting write it, or one of numpy's own functions."""
    func = getattr(part.func, "func", part.func)
    if func is None or (getattr(func, "__name__", ""), getattr(func, "__module__", "")) == (
        "check_array",
        "sklearn.utils.validation",
    ):
        return block
    if part.kw_args or not isinstance(func, np.ufunc) or func not in FUNCTIONS:
        raise RefusedError("FunctionTransformer calls a function of yours")
    return Block(FUNCTIONS[func](c.graph, c.dense(block, part)), width=block.size, infinite=True)


def _log1p(graph: Graph, x: str) -> str:
    """Exact near 0, where 1 + x is rounded: log(u) x / (u - 1) with u = 1 + x (Higham 2002, problem 1.5)."""
    one = graph.constant(1.0)
    u = graph.add("Add", x, one)
    rounded = graph.add("Sub", u, one)
    near = graph.add("Mul", graph.add("Log", u), graph.add("Div", x, rounded))
    plain = graph.add("Equal", rounded, x)  # also where x is infinite
    found = graph.add("Where", plain, graph.add("Log", u), near)
    return graph.add("Where", graph.add("Equal", u, one), x, found)


def _expm1(graph: Graph, x: str) -> str:
    return graph.add("Sub", graph.add("Exp", x), graph.constant(1.0))


def _of(op: str) -> Callable[[Graph, str], str]:
    return lambda graph, x: graph.add(op, x)


FUNCTIONS: dict[np.ufunc, Callable[[Graph, str], str]] = {
    np.log: _of("Log"),
    np.log1p: _log1p,
    np.exp: _of("Exp"),
    np.expm1: _expm1,
    np.sqrt: _of("Sqrt"),
    np.abs: _of("Abs"),
    np.square: lambda graph, x: graph.add("Mul", x, x),
}
