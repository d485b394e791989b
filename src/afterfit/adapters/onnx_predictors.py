"""Predictors, whose float64 thresholds and nulls must come out as in scikit-learn; some go through skl2onnx."""

from __future__ import annotations

from typing import Any

import numpy as np

from afterfit.adapters.onnx_compiler import Block, Compiler
from afterfit.adapters.onnx_graph import RefusedError
from afterfit.adapters.onnx_trees import Ensemble, hist_gradient_boosting, own_tree, trees_32


def linear(c: Compiler, part: Any, block: Block) -> Block:
    """A value, or the decision of a linear classifier."""
    coefficients = np.atleast_2d(np.asarray(part.coef_, dtype=float))
    product = c.graph.add("MatMul", c.dense(block, part), c.graph.constant(coefficients.T))
    raw = c.graph.add("Add", product, c.graph.constant(np.reshape(part.intercept_, (1, -1))))
    return Block(raw, width=len(coefficients))


def log_linear(c: Compiler, part: Any, block: Block) -> Block:
    """Generalised linear models: the link is told by the loss."""
    return _linked(c, part, linear(c, part, block), part._base_loss)


def _linked(c: Compiler, part: Any, raw: Block, loss: Any) -> Block:
    link = type(loss.link).__name__
    if link not in ("LogLink", "IdentityLink"):
        raise RefusedError(f"{type(part).__name__} with a {link}")
    return Block(c.graph.add("Exp", raw.tensor), width=1) if link == "LogLink" else raw


def logistic(c: Compiler, part: Any, block: Block) -> Block:
    """Probabilities of a linear classifier."""
    return _shares(c, part, logistic_decision(c, part, block))


def logistic_decision(c: Compiler, part: Any, block: Block) -> Block:
    """NaN where x became infinite, which the model refuses and a share of 1 would hide."""
    x = c.dense(block, part)
    raw = linear(c, part, Block(x))
    if block.features is not None:
        return raw
    nothing = c.graph.add("ReduceSum", c.graph.add("Sub", x, x), c.graph.constant([1], np.int64), keepdims=1)
    return Block(c.graph.add("Add", raw.tensor, nothing), width=raw.width)


def _shares(c: Compiler, part: Any, raw: Block) -> Block:
    if len(part.classes_) == 2:
        return Block(c.graph.add("Sigmoid", raw.tensor), width=1)
    return Block(c.graph.add("Softmax", raw.tensor, axis=1), width=len(part.classes_))


def hist_classifier(c: Compiler, part: Any, block: Block) -> Block:
    """HistGradientBoostingClassifier."""
    return _shares(c, part, hist_decision(c, part, block))


def hist_regressor(c: Compiler, part: Any, block: Block) -> Block:
    """HistGradientBoostingRegressor."""
    return _linked(c, part, hist_decision(c, part, block), part._loss)


def hist_decision(c: Compiler, part: Any, block: Block) -> Block:
    """The sums over its trees."""
    if part._preprocessor is not None:  # native categories: ordinal codes first, then the numbers
        block = c.step(part._preprocessor, block)
    width = len(getattr(part, "classes_", ()))
    return Block(hist_gradient_boosting(c.graph, part, c.dense(block, part)), width=width if width > 2 else 1)


def gradient_boosting(c: Compiler, part: Any, block: Block) -> Block:
    """GradientBoostingClassifier and -Regressor."""
    raw = gradient_decision(c, part, block)
    if not hasattr(part, "classes_"):
        return raw
    if type(part._loss).__name__ == "ExponentialLoss":
        raw = Block(c.graph.add("Mul", raw.tensor, c.graph.constant(2.0)), width=1)
    return _shares(c, part, raw)


def gradient_decision(c: Compiler, part: Any, block: Block) -> Block:
    """The sums over its trees."""
    if part.init_ != "zero" and type(part.init_).__name__ not in ("DummyClassifier", "DummyRegressor"):
        raise RefusedError("GradientBoosting starts from an estimator of yours (init)")
    x, width = c.dense(block, part), part.estimators_.shape[1]
    c.graph.spoil(c.graph.add("IsNaN", x))
    ensemble = Ensemble()
    ensemble.constant(part._raw_predict_init(np.zeros((1, part.n_features_in_)))[0].tolist())
    for stage in part.estimators_:
        for k, tree in enumerate(stage):
            own_tree(ensemble, tree.tree_, 0, k, part.learning_rate)
    return Block(trees_32(c.graph, ensemble, x, width), width=width)


def forest(c: Compiler, part: Any, block: Block) -> Block:
    """Forests and single trees: the mean of what their trees say of each class, or of the value."""
    trees = [t.tree_ for t in getattr(part, "estimators_", [part])]
    classes = len(getattr(part, "classes_", ()))
    wanted = (0,) if classes == 0 else (1,) if classes == 2 else range(classes)
    ensemble = Ensemble()
    for tree in trees:
        for target, which in enumerate(wanted):
            own_tree(ensemble, tree, which, target)
    total = trees_32(c.graph, ensemble, c.dense(block, part), len(wanted))
    return Block(c.graph.add("Div", total, c.graph.constant(float(len(trees)))), width=len(wanted))


def dummy(c: Compiler, part: Any, block: Block) -> Block:
    """The same answer for every row, whatever its columns hold: the model that others have to beat."""
    if part.strategy in ("stratified", "uniform"):
        raise RefusedError(f"{type(part).__name__} answers at random ({part.strategy})")
    if not hasattr(part, "classes_"):
        answer = np.reshape(part.constant_, -1)
    else:
        shares = np.asarray(part.predict_proba(np.zeros((1, 1))))[0]
        answer = shares[1:] if len(shares) == 2 else shares
    one, n = c.graph.constant([answer]), c.graph.constant([answer.size], np.int64)
    shape = c.graph.add("Concat", c.graph.rows(block.tensor), n, axis=0)
    return Block(c.graph.add("Expand", one, shape), width=answer.size)


def foreign(c: Compiler, part: Any, block: Block) -> Block:
    """What skl2onnx makes of it."""
    from afterfit.adapters.onnx_foreign import take_in

    found = take_in(c.graph, part, c.dense(block, part))
    classes = len(getattr(part, "classes_", ()))
    if classes == 2:
        return Block(c.graph.take(found, [1]), width=1)
    return Block(found, width=classes or None)
