"""CalibratedClassifierCV: the mean of what its classifiers say, each after its own calibration of each class."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from afterfit.adapters.onnx_compiler import Block, Compiler
from afterfit.adapters.onnx_composition import mean
from afterfit.adapters.onnx_graph import Graph, RefusedError


def calibrated(c: Compiler, part: Any, block: Block) -> Block:
    """The mean of the calibrated probabilities."""
    found = mean(c, [_one(c, fitted, block) for fitted in part.calibrated_classifiers_])
    return Block(found.tensor, width=1 if len(part.classes_) == 2 else len(part.classes_))


def _one(c: Compiler, fitted: Any, block: Block) -> Block:
    if fitted.method not in _METHODS:
        raise RefusedError(f"CalibratedClassifierCV with method={fitted.method!r}")
    if len(fitted.estimator.classes_) != len(fitted.classes):
        raise RefusedError("CalibratedClassifierCV has a fold that lacks a class")
    graph, calibrate = c.graph, _METHODS[fitted.method]
    answers = c.decision(fitted.estimator, block).tensor
    if len(fitted.classes) == 2:
        shares = calibrate(graph, answers, fitted.calibrators[0])
    else:
        columns = graph.split(answers, len(fitted.classes))
        each = [calibrate(graph, x, own) for x, own in zip(columns, fitted.calibrators, strict=True)]
        together = graph.add("Concat", *each, axis=1)
        total = graph.add("ReduceSum", together, graph.constant([1], np.int64), keepdims=1)
        nothing = graph.add("Equal", total, graph.constant(0.0))
        shares = graph.add("Where", nothing, graph.constant(1.0 / len(each)), graph.add("Div", together, total))
    return Block(graph.add("Min", shares, graph.constant(1.0)))


def _sigmoid(graph: Graph, x: str, own: Any) -> str:
    scaled = graph.add("Add", graph.add("Mul", x, graph.constant(float(own.a_))), graph.constant(float(own.b_)))
    return graph.add("Sigmoid", graph.add("Neg", scaled))


def _isotonic(graph: Graph, x: str, own: Any) -> str:
    """On the straight line between the two thresholds around x, (n_rows, 1)."""
    narrow = own.X_thresholds_.dtype == np.float32  # of answers in 32 bits, such as XGBoost's
    at, value = own.X_thresholds_.astype(float), own.y_thresholds_.astype(float)
    if len(at) == 1:  # the same answer everywhere
        at, value = np.array([at[0], at[0] + 1.0]), np.repeat(value, 2)
    x = graph.add("Clip", x, graph.constant(at[0]), graph.constant(at[-1]))
    passed = graph.double(graph.add("GreaterOrEqual", x, graph.constant(at[1:-1].reshape(1, -1))))
    below = graph.add("ReduceSum", passed, graph.constant([1], np.int64), keepdims=1)
    place = graph.add("Cast", below, to=TensorProto.INT64)
    start, height, slope = (
        graph.add("Gather", graph.constant(numbers), place)
        for numbers in (at[:-1], value[:-1], np.diff(value) / np.diff(at))
    )
    found = graph.add("Add", graph.add("Mul", slope, graph.add("Sub", x, start)), height)
    return graph.double(graph.add("Cast", found, to=TensorProto.FLOAT)) if narrow else found


_METHODS = {"sigmoid": _sigmoid, "isotonic": _isotonic}
