"""Estimators that are made of others: pipelines, column transformers, searches, votes, stacks, transformed targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from afterfit.adapters.onnx_compiler import Block, Compiler
from afterfit.adapters.onnx_encoders import ENCODERS, tabulate
from afterfit.adapters.onnx_graph import RefusedError
from afterfit.adapters.onnx_numbers import FUNCTIONS

INSIDE = {"GridSearchCV": "best_estimator_", "RandomizedSearchCV": "best_estimator_", "FrozenEstimator": "estimator"}


def pipeline(c: Compiler, part: Any, block: Block) -> Block:
    """One step after the other."""
    steps = [s for _, s in part.steps]
    known = 0
    while known < len(steps) and type(steps[known]).__name__ in (*ENCODERS, "SimpleImputer"):
        known += 1
    if known > 1 and any(
        type(s).__name__ in ENCODERS for s in steps[:known]
    ):  # imputer and encoder: one table for both
        block, steps = tabulate(c, part[:known], block), steps[known:]
    for one in steps:
        if one is not None:
            block = c.step(one, block)
    return block


def pipeline_decision(c: Compiler, part: Any, block: Block) -> Block:
    """The decision of its last step."""
    return c.decision(part[-1], c.step(part[:-1], block))


def inside(c: Compiler, part: Any, block: Block) -> Block:
    """The estimator that was found, or wrapped."""
    return c.step(getattr(part, INSIDE[type(part).__name__]), block)


def inside_decision(c: Compiler, part: Any, block: Block) -> Block:
    """The decision of that estimator."""
    return c.decision(getattr(part, INSIDE[type(part).__name__]), block)


def column_transformer(c: Compiler, part: Any, block: Block) -> Block:
    """What its transformers make of their columns, side by side."""
    outputs = []
    for _, transformer, columns in part.transformers_:
        places = _places(c, part, columns, block)
        if not places or (isinstance(transformer, str) and transformer == "drop"):
            continue
        if block.features is not None:
            inner = Block(block.tensor, tuple(block.features[p] for p in places))
        else:
            inner = Block(c.graph.take(block.tensor, places), width=len(places), infinite=block.infinite)
        outputs.append(c.step(transformer, inner))
    if getattr(part, "transformer_weights", None):
        raise RefusedError("ColumnTransformer has transformer_weights")
    return _side_by_side(c, part, outputs)


def _places(c: Compiler, part: Any, columns: Any, block: Block) -> list[int]:
    """Positions in the block of the columns that a transformer of a ColumnTransformer reads."""
    n = block.size if block.size is not None else int(part.n_features_in_)
    if isinstance(columns, slice) and not any(isinstance(e, str) for e in (columns.start, columns.stop)):
        return list(range(n))[columns]
    one_by_one = [columns] if isinstance(columns, str | int | np.integer) else list(columns)
    if one_by_one and all(isinstance(k, bool | np.bool_) for k in one_by_one):
        return [i for i, wanted in enumerate(one_by_one) if wanted]
    if any(isinstance(k, str) for k in one_by_one):
        names = None if block.features is None else [c.features[i].name for i in block.features]
        if names is None or not set(one_by_one) <= set(names):
            raise RefusedError("ColumnTransformer chooses columns by names that are no features")
        return [names.index(str(k)) for k in one_by_one]
    return [int(k) % n for k in one_by_one]


def _side_by_side(c: Compiler, part: Any, outputs: Sequence[Block]) -> Block:
    tensors = [c.dense(block, part) for block in outputs]
    sizes = [block.size for block in outputs]
    return Block(
        tensors[0] if len(tensors) == 1 else c.graph.add("Concat", *tensors, axis=1),
        width=None if None in sizes else sum(s for s in sizes if s is not None),
        sparse=bool(getattr(part, "sparse_output_", any(block.sparse for block in outputs))),
        infinite=any(block.infinite for block in outputs),
    )


def feature_union(c: Compiler, part: Any, block: Block) -> Block:
    """What its transformers make of the same columns, side by side."""
    if part.transformer_weights:
        raise RefusedError("FeatureUnion has transformer_weights")
    return _side_by_side(c, part, [c.step(t, block) for _, t in part.transformer_list if t != "drop"])


def voting(c: Compiler, part: Any, block: Block) -> Block:
    """The weighted mean of probabilities, or of values."""
    if getattr(part, "voting", "soft") != "soft":
        raise RefusedError("VotingClassifier counts labels (voting='hard')")
    return mean(c, [c.step(one, block) for one in part.estimators_], part._weights_not_none)


def bagging(c: Compiler, part: Any, block: Block) -> Block:
    """The mean of what its estimators say to the columns that each of them knows."""
    if hasattr(part, "classes_"):
        if not hasattr(part.estimators_[0], "predict_proba"):
            raise RefusedError("BaggingClassifier counts labels")
        if any(len(one.classes_) != len(part.classes_) for one in part.estimators_):
            raise RefusedError("BaggingClassifier has an estimator that lacks a class")
    x, everything = c.dense(block, part), list(range(int(part.n_features_in_)))
    outputs = []
    for one, chosen in zip(part.estimators_, part.estimators_features_, strict=True):
        columns = [int(k) for k in chosen]
        mine = x if columns == everything else c.graph.take(x, columns)
        outputs.append(c.step(one, Block(mine, width=len(columns), sparse=block.sparse)))
    return mean(c, outputs)


def stacking(c: Compiler, part: Any, block: Block) -> Block:
    """What the last estimator makes of the others' answers, and of the columns themselves with `passthrough`."""
    ask = {"predict_proba": c.step, "decision_function": c.decision, "predict": c.step}
    if hasattr(part, "classes_") and "predict" in part.stack_method_:
        raise RefusedError("StackingClassifier learns from labels (stack_method='predict')")
    answers = [ask[how](one, block) for one, how in zip(part.estimators_, part.stack_method_, strict=True)]
    if part.passthrough:
        answers.append(block)
    return c.step(part.final_estimator_, _side_by_side(c, part, answers))


def transformed_target(c: Compiler, part: Any, block: Block) -> Block:
    """A regression whose target was transformed: its values, transformed back."""
    value, back = c.step(part.regressor_, block).tensor, part.transformer_
    name = type(back).__name__
    if name == "StandardScaler":
        if back.scale_ is not None:
            value = c.graph.add("Mul", value, c.graph.constant(float(back.scale_[0])))
        if back.with_mean:
            value = c.graph.add("Add", value, c.graph.constant(float(back.mean_[0])))
        return Block(value, width=1)
    if name != "FunctionTransformer" or back.inv_kw_args:
        raise RefusedError(f"TransformedTargetRegressor with a {name}")
    if back.inverse_func is None:
        return Block(value, width=1)
    if back.inverse_func not in FUNCTIONS:
        raise RefusedError("TransformedTargetRegressor calls a function of yours")
    return Block(FUNCTIONS[back.inverse_func](c.graph, value), width=1)


def mean(c: Compiler, outputs: Sequence[Block], weights: Sequence[float] | None = None) -> Block:
    """The weighted mean of blocks of one shape."""
    shares = [1.0] * len(outputs) if weights is None else [float(w) for w in weights]
    parts = [
        b.tensor if w == 1.0 else c.graph.add("Mul", b.tensor, c.graph.constant(w))
        for b, w in zip(outputs, shares, strict=True)
    ]
    total = parts[0]
    for other in parts[1:]:
        total = c.graph.add("Add", total, other)
    return Block(c.graph.add("Div", total, c.graph.constant(sum(shares))), width=outputs[0].width)
