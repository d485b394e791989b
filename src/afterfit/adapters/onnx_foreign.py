"""Numeric estimators that are not translated here: through skl2onnx, if it has 64-bit operators for them."""

from __future__ import annotations

import re
from typing import Any

from onnx import AttributeProto, NodeProto

from afterfit.adapters.onnx_graph import OPSETS, Graph, RefusedError


def take_in(graph: Graph, part: Any, matrix: str) -> str:
    """Add what skl2onnx makes of an estimator: its transformed columns, probabilities or value, (n_rows, n).

    Raises:
        RefusedError: it makes nothing of it; says why.
    """
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import DoubleTensorType

    name, n = type(part).__name__, getattr(part, "n_features_in_", None)
    if n is None:
        raise RefusedError(f"{name} has no graph: it does not say how many columns it reads")
    options: Any = {id(part): {"zipmap": False}} if hasattr(part, "predict_proba") else None
    try:
        made = to_onnx(
            part,
            initial_types=[("foreign", DoubleTensorType([None, int(n)]))],
            options=options,
            target_opset={"": OPSETS[""], "ai.onnx.ml": 3},
        )
    except Exception as error:  # a converter meets an estimator of any shape, and raises anything
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise RefusedError(f"{name} has no graph: {first[:200]}") from error
    outputs = [o.name for o in made.graph.output]
    prefix = graph.name("foreign")
    names = {"foreign": matrix, "": ""}
    for node in made.graph.node:
        if any(a.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for a in node.attribute):
            raise RefusedError(f"{name} has no graph of plain nodes")
        if node.domain == "ai.onnx.ml" and re.match("TreeEnsemble|SVM|Linear|Scaler|Normalizer", node.op_type):
            raise RefusedError(f"{name} has no graph in 64-bit floats ({node.op_type} answers in 32)")
        graph.nodes.append(_renamed(node, names, prefix))
    for constant in made.graph.initializer:
        constant.name = f"{prefix}/{constant.name}"
        graph.foreign.append(constant)
    return graph.double(f"{prefix}/{outputs[-1]}")


def _renamed(node: NodeProto, names: dict[str, str], prefix: str) -> NodeProto:
    """The node with names that no other part of the graph has."""
    copy = NodeProto()
    copy.CopyFrom(node)
    for ends in (copy.input, copy.output):
        for i, name in enumerate(ends):
            ends[i] = names.get(name, f"{prefix}/{name}")
    copy.name = f"{prefix}/{node.name}"
    return copy
