"""Models of LightGBM and XGBoost as TreeEnsemble nodes, read from what the libraries themselves write their trees as.

LightGBM computes in 64 bits. XGBoost looks at its input, compares and adds in 32 bits, and so does its graph.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import TensorProto

from afterfit.adapters.onnx_compiler import Block, Compiler
from afterfit.adapters.onnx_encoders import FIRST_TEXT
from afterfit.adapters.onnx_graph import Graph, RefusedError
from afterfit.adapters.onnx_trees import Ensemble

_ZERO = 1e-35  # what LightGBM takes for nothing
_AS_IT_IS = ("regression", "regression_l1", "huber", "fair", "quantile", "mape")
_EXPONENTIAL = ("poisson", "gamma", "tweedie", "count:poisson", "reg:gamma", "reg:tweedie")
_XGB_AS_IT_IS = ("reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror", "reg:quantileerror")
_XGB_LOGISTIC = ("binary:logistic", "reg:logistic")


def lightgbm(c: Compiler, part: Any, block: Block) -> Block:
    """Answers of a fitted model of LightGBM's scikit-learn interface.

    Raises:
        RefusedError: it does something that a TreeEnsemble can't; says what.
    """
    told = part.booster_.dump_model()
    raw = _lightgbm_sums(c, part, block, told)
    return Block(_linked(c.graph, raw.tensor, told.get("objective") or "one of yours"), width=raw.width)


def lightgbm_decision(c: Compiler, part: Any, block: Block) -> Block:
    """Its `decision_function`: the sums over its trees, or their means where it grew a forest."""
    return _lightgbm_sums(c, part, block, part.booster_.dump_model())


def _lightgbm_sums(c: Compiler, part: Any, block: Block, told: Mapping[str, Any]) -> Block:
    targets = int(told["num_tree_per_iteration"])
    ensemble = Ensemble()
    for number, tree in enumerate(told["tree_info"]):
        _add_lightgbm(ensemble, tree["tree_structure"], number % targets)
    raw = ensemble.add_to(c.graph, category_codes(c, part, block), targets)
    if told["average_output"]:
        raw = c.graph.add("Div", raw, c.graph.constant(float(len(told["tree_info"]) // targets)))
    return Block(raw, width=targets)


def _linked(graph: Graph, raw: str, objective: str) -> str:
    """What LightGBM makes of the sums. `objective` is as in its model files, such as `binary sigmoid:1`."""
    name, *words = objective.split()
    given = dict(word.split(":", 1) for word in words if ":" in word)
    if name in ("binary", "cross_entropy"):
        return graph.add("Sigmoid", graph.add("Mul", raw, graph.constant(float(given.get("sigmoid", 1.0)))))
    if name == "multiclass":
        return graph.add("Softmax", raw, axis=1)
    if name in _EXPONENTIAL:
        return graph.add("Exp", raw)
    if name in _AS_IT_IS and "sqrt" in words:
        return graph.add("Mul", raw, graph.add("Abs", raw))
    if name in _AS_IT_IS:
        return raw
    raise RefusedError(f"LightGBM with the objective {objective!r}")


def _add_lightgbm(ensemble: Ensemble, root: Mapping[str, Any], target: int) -> None:
    nodes, left, right = [root], [], []
    for node in nodes:  # grows meanwhile: breadth first, since leaf-wise trees may be deeper than Python's stack
        if "leaf_const" in node:
            raise RefusedError("LightGBM with linear trees")
        ends = "split_feature" not in node
        left.append(-1 if ends else len(nodes))
        right.append(-1 if ends else len(nodes) + 1)
        if not ends:
            nodes += [node["left_child"], node["right_child"]]
    leaf = ["split_feature" not in node for node in nodes]
    weight = [node.get("leaf_value", 0.0) for node in nodes]
    ensemble.tree(left, right, leaf, weight, [_lightgbm_split(node) for node in nodes], target)


def _lightgbm_split(node: Mapping[str, Any]) -> tuple[int, float, bool, list[int] | None]:
    """(feature, threshold, a null goes left, categories that go left)."""
    if "split_feature" not in node:
        return 0, 0.0, False, None
    feature, how = int(node["split_feature"]), node["missing_type"]
    if node["decision_type"] == "==":
        return feature, 0.0, False, [int(v) for v in str(node["threshold"]).split("||")]
    threshold, zero_left = float(node["threshold"]), float(node["threshold"]) >= 0.0
    if how == "NaN":
        return feature, threshold, bool(node["default_left"]), None
    if how == "Zero" and (zero_left != bool(node["default_left"]) or abs(threshold) < _ZERO):
        raise RefusedError("LightGBM with zero_as_missing")
    return feature, threshold, zero_left, None


def xgboost(c: Compiler, part: Any, block: Block) -> Block:
    """Answers of a fitted model of XGBoost's scikit-learn interface.

    Raises:
        RefusedError: it does something that a TreeEnsemble can't; says what.
    """
    if not (isinstance(part.missing, float) and math.isnan(part.missing)):
        raise RefusedError(f"XGBoost with missing={part.missing!r}")
    told = json.loads(bytes(part.get_booster().save_raw("json")))["learner"]
    booster, objective = told["gradient_booster"], told["objective"]["name"]
    if booster["name"] != "gbtree":
        raise RefusedError(f"XGBoost with the booster {booster['name']!r}")
    start = _start(told["learner_model_param"]["base_score"], objective)
    targets = max(int(told["learner_model_param"]["num_class"]), int(told["learner_model_param"]["num_target"]), 1)
    ensemble = Ensemble(dtype=np.float32, strict=True)
    ensemble.constant(np.broadcast_to(start, targets).tolist())
    model = booster["model"]
    for tree, target in list(zip(model["trees"], model["tree_info"], strict=True))[: _trees_used(part, model)]:
        _add_xgboost(ensemble, tree, int(target))
    x = category_codes(c, part, block)
    if block.sparse:  # what a sparse matrix does not hold is missing to XGBoost
        x = c.graph.add("Where", c.graph.add("Equal", x, c.graph.constant(0.0)), c.graph.constant(np.nan), x)
    narrow = c.graph.add("Cast", x, to=TensorProto.FLOAT)
    found = _linked_32(c.graph, ensemble.add_to(c.graph, narrow, targets), objective)
    return Block(c.graph.double(found), width=targets)


def _trees_used(part: Any, model: Mapping[str, Any]) -> int | None:
    """Those until the best iteration, where training was stopped early."""
    try:
        return int(model["iteration_indptr"][part.best_iteration + 1])
    except AttributeError:  # it says so where it was not
        return None


def _start(base_score: str, objective: str) -> np.ndarray:
    """What the trees' answers are added to."""
    score = np.array(json.loads(base_score), dtype=np.float32).reshape(-1)
    if objective in _XGB_LOGISTIC:
        return np.asarray(-np.log(np.float32(1.0) / score - np.float32(1.0)))
    return np.log(score) if objective in _EXPONENTIAL else score


def _linked_32(graph: Graph, raw: str, objective: str) -> str:
    """What XGBoost makes of the sums, in its order and its 32 bits; only the exponential is more exact."""
    if objective in _XGB_LOGISTIC:
        one = graph.constant(1.0, np.float32)
        return graph.add("Div", one, graph.add("Add", _exp(graph, graph.add("Neg", raw)), one))
    if objective == "multi:softprob":
        return graph.add("Softmax", graph.double(raw), axis=1)
    if objective in _EXPONENTIAL:
        return _exp(graph, raw)
    if objective in _XGB_AS_IT_IS:
        return raw
    raise RefusedError(f"XGBoost with the objective {objective!r}")


def _exp(graph: Graph, narrow: str) -> str:
    return graph.add("Cast", graph.add("Exp", graph.double(narrow)), to=TensorProto.FLOAT)


def _add_xgboost(ensemble: Ensemble, tree: Mapping[str, Any], target: int) -> None:
    if int(tree["tree_param"]["size_leaf_vector"]) > 1:
        raise RefusedError("XGBoost with a leaf for several targets at once")
    leaf = [child == -1 for child in tree["left_children"]]
    sets = _sets(tree)
    left, right, nodes = list(tree["left_children"]), list(tree["right_children"]), []
    for i, (feature, threshold, missing_left) in enumerate(
        zip(tree["split_indices"], tree["split_conditions"], tree["default_left"], strict=True)
    ):
        goes = bool(missing_left)
        if i in sets:  # a member goes right
            left[i], right[i], goes = right[i], left[i], not goes
        nodes.append((int(feature), float(threshold), goes, sets.get(i)))
    ensemble.tree(left, right, leaf, tree["split_conditions"], nodes, target)


def _sets(tree: Mapping[str, Any]) -> dict[int, list[int]]:
    """Categories that go right, by node."""
    at = zip(tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"], strict=True)
    return {int(node): [int(c) for c in tree["categories"][start : start + size]] for node, start, size in at}


def category_codes(c: Compiler, part: Any, block: Block) -> str:
    """The columns as a matrix in which a text is its place among the categories of its column, and NaN outside them.

    Raises:
        RefusedError: a column of texts is no pandas category.
    """
    if not c.has_text(block):
        return c.dense(block, part)
    told = [c.features[i] for i in block.features or ()]
    bare: Sequence[str] = [f.name for f in told if f.kind == "text" and f.categories is None]
    if bare:
        raise RefusedError(f"{type(part).__name__} reads the text of {bare[0]!r} without an encoder before it")
    whole = c.graph.take(block.tensor, list(block.features or ()))
    first = np.array([[FIRST_TEXT if f.kind == "text" else -np.inf for f in told]])
    codes = c.graph.add("Sub", whole, c.graph.constant(np.maximum(first, 0.0)))
    return c.graph.add("Where", c.graph.add("Less", whole, c.graph.constant(first)), c.graph.constant(np.nan), codes)
