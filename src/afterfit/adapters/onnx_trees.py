"""Decision trees as one TreeEnsemble node with the very thresholds of the model, 64 bits wide.

The older TreeEnsembleClassifier and -Regressor answer in 32 bits, and most converters round thresholds to them as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, numpy_helper

from afterfit.adapters.onnx_graph import Graph, RefusedError

MOST_LEAVES = 2_000_000  # about 150 MB as a graph
_AT_MOST, _BELOW, _MEMBER = 0, 1, 6  # modes of a node: x <= threshold, x < threshold, x in a set
_SUM = 1
_NO_CATEGORY = 1e6  # stands in an empty set, which onnxruntime refuses; ordinal codes stay below 256


@dataclass
class Ensemble:
    """The attributes of a TreeEnsemble node, filled tree by tree; the answer is the sum over the trees.

    Attributes:
        dtype: of its input, thresholds and sums.
        strict: a row goes left below the threshold, not at it.
    """

    dtype: type[np.floating[Any]] = np.float64
    strict: bool = False
    features: list[int] = field(default_factory=list)
    splits: list[float] = field(default_factory=list)
    modes: list[int] = field(default_factory=list)
    members: list[float] = field(default_factory=list)
    missing_true: list[int] = field(default_factory=list)
    children: tuple[list[int], list[int]] = field(default_factory=lambda: ([], []))
    is_leaf: tuple[list[int], list[int]] = field(default_factory=lambda: ([], []))
    roots: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    def tree(
        self,
        left: Sequence[int],
        right: Sequence[int],
        leaf: Sequence[bool],
        weight: Sequence[float],
        nodes: Sequence[tuple[int, float, bool, list[int] | None]],
        target: int,
    ) -> None:
        """Add one tree, node 0 being its root.

        Args:
            left, right: children by node; a row goes left where the condition holds.
            leaf: whether the node is one.
            weight: what a leaf adds to `target`.
            nodes: (feature, threshold, missing goes left, categories that go left or None) of an inner node.
            target: column of the answer.
        """
        inner, leaves = [i for i, end in enumerate(leaf) if not end], [i for i, end in enumerate(leaf) if end]
        if len(self.weights) + len(leaves) > MOST_LEAVES:
            raise RefusedError(f"more than {MOST_LEAVES:,} leaves: the graph would be too large")
        place = {node: len(self.features) + k for k, node in enumerate(inner)}
        place |= {node: len(self.weights) + k for k, node in enumerate(leaves)}
        self.roots.append(len(self.features))
        for node in leaves:
            self.targets.append(target)
            self.weights.append(float(weight[node]))
        if not inner:  # a lone leaf: a condition both of whose ways lead to it
            self._node((0, 0.0, False, None), (place[0], place[0]), (1, 1))
        for node in inner:
            ways = int(left[node]), int(right[node])
            ends = int(leaf[ways[0]]), int(leaf[ways[1]])
            self._node(nodes[node], (place[ways[0]], place[ways[1]]), ends)

    def constant(self, values: Sequence[float]) -> None:
        """Add to each answer what no row changes, as a tree with one leaf."""
        for target, value in enumerate(values):
            self.tree([-1], [-1], [True], [value], [], target)

    def _node(
        self, node: tuple[int, float, bool, list[int] | None], to: tuple[int, int], ends: tuple[int, int]
    ) -> None:
        feature, threshold, missing_left, categories = node
        self.features.append(feature)
        self.missing_true.append(int(missing_left))
        self.splits.append(threshold if categories is None else 0.0)
        self.modes.append(_MEMBER if categories is not None else _BELOW if self.strict else _AT_MOST)
        if categories is not None:
            self.members += [
                *(map(float, categories) if categories else [_NO_CATEGORY]),
                np.nan,
            ]  # NaN ends the set of one node
        for side in (0, 1):
            self.children[side].append(to[side])
            self.is_leaf[side].append(ends[side])

    def add_to(self, graph: Graph, matrix: str, n_targets: int) -> str:
        """The sums, (n_rows, n_targets), as a tensor of the graph."""
        members = {} if not self.members else {"membership_values": self._tensor(self.members)}
        return graph.add(
            "TreeEnsemble",
            matrix,
            domain="ai.onnx.ml",
            n_targets=n_targets,
            aggregate_function=_SUM,
            post_transform=0,
            nodes_featureids=self.features,
            nodes_splits=self._tensor(self.splits),
            nodes_modes=numpy_helper.from_array(np.array(self.modes, dtype=np.uint8)),
            nodes_missing_value_tracks_true=self.missing_true,
            nodes_truenodeids=self.children[0],
            nodes_falsenodeids=self.children[1],
            nodes_trueleafs=self.is_leaf[0],
            nodes_falseleafs=self.is_leaf[1],
            tree_roots=self.roots,
            leaf_targetids=self.targets,
            leaf_weights=self._tensor(self.weights),
            **members,
        )

    def _tensor(self, values: Sequence[float]) -> TensorProto:
        return numpy_helper.from_array(np.asarray(values, dtype=self.dtype))


def hist_gradient_boosting(graph: Graph, model: Any, matrix: str) -> str:
    """Raw answers (n_rows, n_targets) of a HistGradientBoosting estimator whose categories are ordinal codes or NaN."""
    baseline = np.asarray(model._baseline_prediction, dtype=np.float64).reshape(-1)
    ensemble = Ensemble()
    ensemble.constant(baseline.tolist())  # first, as in scikit-learn: the sums are then the same to the last bit
    for trees in model._predictors:
        for target, predictor in enumerate(trees):
            nodes, bits = predictor.nodes, predictor.raw_left_cat_bitsets
            told = [
                (
                    int(n["feature_idx"]),
                    float(n["num_threshold"]),
                    bool(n["missing_go_to_left"]),
                    _members(bits[n["bitset_idx"]]) if n["is_categorical"] else None,
                )
                for n in nodes
            ]
            ensemble.tree(nodes["left"], nodes["right"], nodes["is_leaf"].astype(bool), nodes["value"], told, target)
    return ensemble.add_to(graph, matrix, len(baseline))


def trees_32(graph: Graph, ensemble: Ensemble, matrix: str, n_targets: int) -> str:
    """The sums of scikit-learn's own trees, which look at their input through 32 bits and refuse what does not fit."""
    narrow = graph.add("Cast", matrix, to=TensorProto.FLOAT)
    graph.spoil(graph.add("IsInf", narrow))
    return ensemble.add_to(graph, graph.double(narrow), n_targets)


def own_tree(ensemble: Ensemble, tree: Any, which: int, target: int, scale: float = 1.0) -> None:
    """Add the `tree_` of one of scikit-learn's estimators.

    Args:
        which: of its values (classes).
        target: column of the sum that it is added to.
        scale: factor of every leaf.
    """
    told = [
        (int(f), float(t), bool(m), None)
        for f, t, m in zip(tree.feature, tree.threshold, tree.missing_go_to_left, strict=True)
    ]
    leaf, weight = (tree.children_left == -1).tolist(), tree.value[:, 0, which] * scale
    ensemble.tree(tree.children_left, tree.children_right, leaf, weight, told, target)


def thresholds_of(graph: bytes) -> np.ndarray:
    """The thresholds of all trees of a graph, sorted."""
    found = _splits(graph)
    values = np.unique(np.concatenate(found)) if found else np.empty(0)
    return values[np.isfinite(values)]


def has_narrow_trees(graph: bytes) -> bool:
    """Whether trees of a graph compare and add in 32 bits."""
    return any(splits.dtype == np.float32 for splits in _splits(graph))


def _splits(graph: bytes) -> list[np.ndarray]:
    return [
        numpy_helper.to_array(attribute.t)
        for node in ModelProto.FromString(graph).graph.node
        for attribute in node.attribute
        if node.op_type == "TreeEnsemble" and attribute.name == "nodes_splits"
    ]


def _members(bits: np.ndarray) -> list[int]:
    return [32 * word + bit for word, flags in enumerate(bits.tolist()) for bit in range(32) if flags >> bit & 1]
