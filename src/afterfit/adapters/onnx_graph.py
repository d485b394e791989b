"""Builds an ONNX graph node by node, in 64-bit floats throughout: scikit-learn computes so, and a rounded one flips rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from afterfit.adapters.lane import INPUT, OUTPUT

OPSETS = {"": 21, "ai.onnx.ml": 5}  # TreeEnsemble with 64-bit thresholds came with ai.onnx.ml 5
IR_VERSION = 10


class RefusedError(Exception):
    """The model, or a part of it, has no graph that does the same; the message says which part and why."""


class Graph:
    """Nodes and constants under way. Names of tensors are what methods take and give.

    `spoiled` holds (n_rows, 1) truth values: rows to which the model would raise an error get NaN as their answer.
    """

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: dict[tuple[Any, ...], Any] = {}
        self.spoiled: list[str] = []
        self.opsets = dict(OPSETS)
        self.foreign: list[TensorProto] = []  # constants of graphs that were taken in
        self._number = 0

    def name(self, stem: str) -> str:
        """A new name."""
        self._number += 1
        return f"{stem}_{self._number}"

    def add(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """One node with one output, whose name is returned."""
        output = self.name(op)
        self.nodes.append(helper.make_node(op, inputs, [output], domain=domain, **attributes))
        return output

    def constant(self, value: Any, dtype: Any = np.float64) -> str:
        """The name of a constant; the same constant is kept once."""
        array = np.ascontiguousarray(value, dtype=dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self.constants:
            self.constants[key] = numpy_helper.from_array(array, self.name("c"))
        return str(self.constants[key].name)

    def take(self, matrix: str, columns: list[int]) -> str:
        """These columns of a matrix."""
        return self.add("Gather", matrix, self.constant(columns, np.int64), axis=1)

    def split(self, matrix: str, n: int) -> list[str]:
        """The n columns of a matrix, each (n_rows, 1)."""
        columns = [self.name("Split") for _ in range(n)]
        self.nodes.append(helper.make_node("Split", [matrix], columns, axis=1, num_outputs=n))
        return columns

    def rows(self, matrix: str) -> str:
        """Their number, (1,)."""
        return self.add("Shape", matrix, start=0, end=1)

    def double(self, name: str) -> str:
        """Cast to 64-bit floats."""
        return self.add("Cast", name, to=TensorProto.DOUBLE)

    def spoil(self, truth: str) -> None:
        """Rows where any of these (n_rows, n) truth values holds get NaN as their answer."""
        numbers = self.add("Cast", truth, to=TensorProto.FLOAT)
        most = self.add("ReduceMax", numbers, self.constant([1], np.int64), keepdims=1)
        self.spoiled.append(self.add("Cast", most, to=TensorProto.BOOL))

    def model(self, answers: str, n_columns: int, n_answers: int) -> ModelProto:
        """The finished graph from `rows` (n, n_columns) to `answers` (n, n_answers)."""
        if self.nodes[-1].output[0] != answers:
            answers = self.add("Identity", answers)
        for truth in self.spoiled:
            answers = self.add("Where", truth, self.constant(np.nan), answers)
        self.nodes[-1].output[0] = OUTPUT
        rows = helper.make_tensor_value_info(INPUT, TensorProto.DOUBLE, [None, n_columns])
        found = helper.make_tensor_value_info(OUTPUT, TensorProto.DOUBLE, [None, n_answers])
        kept = [*self.constants.values(), *self.foreign]
        graph = helper.make_graph(self.nodes, "afterfit", [rows], [found], kept)
        opsets = [helper.make_opsetid(domain, version) for domain, version in self.opsets.items()]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="afterfit")
