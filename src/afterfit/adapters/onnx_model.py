"""A fitted model of scikit-learn, LightGBM or XGBoost as one ONNX graph, from the matrix of `lane.Matrix`.

What is listed in `_STEPS` is translated here, because float64 thresholds and nulls must come out as in scikit-learn;
other numeric estimators go through skl2onnx. Whether the graph does the same is not believed: `lane_trial` tries it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from afterfit.adapters.lane import INPUT, NARROW, Column, column_of
from afterfit.adapters.onnx_boosting import lightgbm, xgboost
from afterfit.adapters.onnx_calibration import calibrated
from afterfit.adapters.onnx_encoders import ENCODERS, MISSING, Vocabulary, is_encoder, tabulate
from afterfit.adapters.onnx_graph import Graph, RefusedError
from afterfit.adapters.onnx_trees import Ensemble, hist_gradient_boosting, own_tree, trees_32
from afterfit.records import Feature

_LIGHTGBM = ("LGBMClassifier", "LGBMRegressor")
_XGBOOST = ("XGBClassifier", "XGBRegressor", "XGBRFClassifier", "XGBRFRegressor")
_LETS_INFINITY_PASS = (
    *("HistGradientBoostingClassifier", "HistGradientBoostingRegressor", "ColumnTransformer"),
    *(*_LIGHTGBM, *_XGBOOST),
)
_OURS = ("sklearn.", "lightgbm.sklearn", "xgboost.sklearn")  # where estimators come from that are looked up by name
_PASSES = 2  # the first collects the texts that encoders know, the second uses them


@dataclass(frozen=True)
class Block:
    """Columns under way: those of the request (`features`), or a matrix that was computed from them."""

    tensor: str
    features: tuple[int, ...] | None = None  # places in the request's matrix; None: computed
    width: int | None = None
    sparse: bool = False  # the model computes it as a sparse matrix

    @property
    def size(self) -> int | None:
        """Number of columns, where known."""
        return self.width if self.features is None else len(self.features)


@dataclass
class Compiler:
    """One pass over the model."""

    features: Sequence[Feature]
    vocabulary: Vocabulary
    graph: Graph

    def step(self, part: Any, block: Block) -> Block:
        """What `part` makes of the columns: transformed, probabilities, or values."""
        if isinstance(part, str) and part == "passthrough":
            return block
        name = _name_of(part)
        if name in ENCODERS and (name != "SimpleImputer" or self.has_text(block)):
            return tabulate(self, part, block)
        return _STEPS.get(name, _foreign)(self, part, block)

    def decision(self, part: Any, block: Block) -> Block:
        """What scikit-learn calibrates: a classifier's `decision_function` where it has one, else its probabilities."""
        name = _name_of(part)
        if name == "Pipeline":
            return self.decision(part[-1], self.step(part[:-1], block))
        if name in _INSIDE:
            return self.decision(getattr(part, _INSIDE[name]), block)
        if name in _DECISIONS:
            return Block(_DECISIONS[name](self, part, block))
        if hasattr(part, "decision_function"):
            raise RefusedError(f"the decision function of {name} is not translated")
        return self.step(part, block)

    def has_text(self, block: Block) -> bool:
        """Whether a column of the request is text."""
        return block.features is not None and any(self.features[i].kind == "text" for i in block.features)

    def dense(self, block: Block, part: Any) -> str:
        """The columns as a matrix of numbers."""
        narrow = [i for i in block.features or () if self.features[i].dtype in NARROW]
        if narrow and type(part).__name__ not in _LETS_INFINITY_PASS:
            self.graph.spoil(self.graph.add("IsInf", self.graph.take(block.tensor, narrow)))
        if self.has_text(block):
            named = next(self.features[i].name for i in block.features or () if self.features[i].kind == "text")
            raise RefusedError(f"{type(part).__name__} reads the text of {named!r} without an encoder before it")
        if block.features is None or block.features == tuple(range(len(self.features))):
            return block.tensor
        return self.graph.take(block.tensor, list(block.features))


def _name_of(part: Any) -> str:
    """The name of an estimator's class.

    Raises:
        RefusedError: it comes from nowhere that we know.
    """
    name = type(part).__name__
    if not type(part).__module__.startswith(_OURS):
        raise RefusedError(f"{type(part).__module__}.{name} is not scikit-learn's, LightGBM's or XGBoost's")
    return name


def compile_model(model: Any, features: Sequence[Feature], n_answers: int) -> tuple[bytes, tuple[Column, ...]]:
    """The graph, serialised, and how a request's columns become its input.

    Args:
        model: fitted estimator or pipeline.
        features: columns that it was fitted on, in order.
        n_answers: number of classes, or 1 for a value.

    Raises:
        RefusedError: a part of the model has no graph; says which.
    """
    vocabulary = Vocabulary(features)
    for _ in range(_PASSES):
        compiler = Compiler(features, vocabulary, Graph())
        found = compiler.step(model, Block(INPUT, tuple(range(len(features)))))
    built = compiler.graph.model(compiler.dense(found, model), len(features), n_answers)
    return built.SerializeToString(), tuple(_column(f, vocabulary) for f in features)


def _column(feature: Feature, vocabulary: Vocabulary) -> Column:
    if feature.kind != "text":
        return column_of(feature)
    other = MISSING if feature.categories is not None else vocabulary.unseen
    return Column(feature.name, vocabulary.codes(feature.name), other=other, null=MISSING)


# --- composition --------------------------------------------------------------------------------------------------


def _pipeline(c: Compiler, part: Any, block: Block) -> Block:
    steps = [s for _, s in part.steps]
    known = 0
    while known < len(steps) and type(steps[known]).__name__ in ENCODERS:
        known += 1
    if known > 1 and any(map(is_encoder, steps[:known])):  # imputer and encoder: one table for both
        block, steps = tabulate(c, part[:known], block), steps[known:]
    for one in steps:
        if one is not None:
            block = c.step(one, block)
    return block


def _column_transformer(c: Compiler, part: Any, block: Block) -> Block:
    outputs = []
    for _, transformer, columns in part.transformers_:
        places = _places(c, part, columns, block)
        if not places or (isinstance(transformer, str) and transformer == "drop"):
            continue
        if block.features is not None:
            inner = Block(block.tensor, tuple(block.features[p] for p in places))
        else:
            inner = Block(c.graph.take(block.tensor, places), width=len(places))
        outputs.append(c.step(transformer, inner))
    weights = getattr(part, "transformer_weights", None)
    if weights:
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
    width = None if None in sizes else sum(s for s in sizes if s is not None)
    whole = tensors[0] if len(tensors) == 1 else c.graph.add("Concat", *tensors, axis=1)
    sparse = getattr(part, "sparse_output_", any(block.sparse for block in outputs))
    return Block(whole, width=width, sparse=bool(sparse))


def _feature_union(c: Compiler, part: Any, block: Block) -> Block:
    if part.transformer_weights:
        raise RefusedError("FeatureUnion has transformer_weights")
    return _side_by_side(c, part, [c.step(t, block) for _, t in part.transformer_list if t != "drop"])


def _inside(c: Compiler, part: Any, block: Block) -> Block:
    return c.step(getattr(part, _INSIDE[type(part).__name__]), block)


def _function(c: Compiler, part: Any, block: Block) -> Block:
    """A passthrough, as ColumnTransformer and HistGradientBoosting write it."""
    func = getattr(part.func, "func", part.func)
    if func is not None and (getattr(func, "__name__", ""), getattr(func, "__module__", "")) != (
        "check_array",
        "sklearn.utils.validation",
    ):
        raise RefusedError("FunctionTransformer calls a function of yours")
    return block


# --- numbers ------------------------------------------------------------------------------------------------------


def _imputer(c: Compiler, part: Any, block: Block) -> Block:
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


def _standard_scaler(c: Compiler, part: Any, block: Block) -> Block:
    return _shift_and_divide(c, part, block, part.mean_ if part.with_mean else None, part.scale_)


def _robust_scaler(c: Compiler, part: Any, block: Block) -> Block:
    return _shift_and_divide(c, part, block, part.center_, part.scale_)


def _max_abs_scaler(c: Compiler, part: Any, block: Block) -> Block:
    return _shift_and_divide(c, part, block, None, part.scale_)


def _shift_and_divide(c: Compiler, part: Any, block: Block, shift: Any, scale: Any) -> Block:
    x = c.dense(block, part)
    if shift is not None:
        x = c.graph.add("Sub", x, c.graph.constant(np.reshape(shift, (1, -1))))
    if scale is not None:
        x = c.graph.add("Div", x, c.graph.constant(np.reshape(scale, (1, -1))))
    return Block(x, width=int(part.n_features_in_), sparse=block.sparse)


def _min_max_scaler(c: Compiler, part: Any, block: Block) -> Block:
    if part.clip:
        raise RefusedError("MinMaxScaler clips")
    x = c.graph.add("Mul", c.dense(block, part), c.graph.constant(np.reshape(part.scale_, (1, -1))))
    return Block(
        c.graph.add("Add", x, c.graph.constant(np.reshape(part.min_, (1, -1)))), width=int(part.n_features_in_)
    )


# --- predictors ---------------------------------------------------------------------------------------------------


def _linear(c: Compiler, part: Any, block: Block) -> Block:
    return Block(_decision(c, part, block), width=1)


def _decision(c: Compiler, part: Any, block: Block) -> str:
    coefficients = np.atleast_2d(np.asarray(part.coef_, dtype=float))
    product = c.graph.add("MatMul", c.dense(block, part), c.graph.constant(coefficients.T))
    return c.graph.add("Add", product, c.graph.constant(np.reshape(part.intercept_, (1, -1))))


def _log_linear(c: Compiler, part: Any, block: Block) -> Block:
    """Generalised linear models: the link is told by the loss."""
    raw = _decision(c, part, block)
    link = type(part._base_loss.link).__name__
    if link not in ("LogLink", "IdentityLink"):
        raise RefusedError(f"{type(part).__name__} with a {link}")
    return Block(c.graph.add("Exp", raw) if link == "LogLink" else raw, width=1)


def _logistic(c: Compiler, part: Any, block: Block) -> Block:
    raw = _logistic_raw(c, part, block)
    if len(part.classes_) == 2:
        return Block(c.graph.add("Sigmoid", raw), width=1)
    return Block(c.graph.add("Softmax", raw, axis=1), width=len(part.classes_))


def _logistic_raw(c: Compiler, part: Any, block: Block) -> str:
    x = c.dense(block, part)
    raw = _decision(c, part, Block(x))
    if block.features is None:  # NaN where x became infinite, which the model refuses and a share of 1 would hide
        nothing = c.graph.add("ReduceSum", c.graph.add("Sub", x, x), c.graph.constant([1], np.int64), keepdims=1)
        raw = c.graph.add("Add", raw, nothing)
    return raw


def _hist_classifier(c: Compiler, part: Any, block: Block) -> Block:
    raw = _hist_raw(c, part, block)
    if len(part.classes_) == 2:
        return Block(c.graph.add("Sigmoid", raw), width=1)
    return Block(c.graph.add("Softmax", raw, axis=1), width=len(part.classes_))


def _hist_regressor(c: Compiler, part: Any, block: Block) -> Block:
    link = type(part._loss.link).__name__
    if link not in ("LogLink", "IdentityLink"):
        raise RefusedError(f"HistGradientBoostingRegressor with a {link}")
    raw = _hist_raw(c, part, block)
    return Block(c.graph.add("Exp", raw) if link == "LogLink" else raw, width=1)


def _hist_raw(c: Compiler, part: Any, block: Block) -> str:
    if part._preprocessor is not None:  # native categories: ordinal codes first, then the numbers
        block = c.step(part._preprocessor, block)
    return hist_gradient_boosting(c.graph, part, c.dense(block, part))


def _lightgbm(c: Compiler, part: Any, block: Block) -> Block:
    found, width = lightgbm(c, part, block)
    return Block(found, width=width)


def _xgboost(c: Compiler, part: Any, block: Block) -> Block:
    found, width = xgboost(c, part, block)
    return Block(found, width=width)


def _calibrated(c: Compiler, part: Any, block: Block) -> Block:
    found, width = calibrated(c, part, block)
    return Block(found, width=width)


def _gradient_raw(c: Compiler, part: Any, block: Block) -> str:
    if part.init_ != "zero" and type(part.init_).__name__ not in ("DummyClassifier", "DummyRegressor"):
        raise RefusedError("GradientBoosting starts from an estimator of yours (init)")
    x = c.dense(block, part)
    ensemble = Ensemble()
    ensemble.constant(part._raw_predict_init(np.zeros((1, part.n_features_in_)))[0].tolist())
    for stage in part.estimators_:
        for k, tree in enumerate(stage):
            own_tree(ensemble, tree.tree_, 0, k, part.learning_rate)
    return trees_32(c.graph, ensemble, x, part.estimators_.shape[1])


def _gradient_boosting(c: Compiler, part: Any, block: Block) -> Block:
    raw = _gradient_raw(c, part, block)
    if not hasattr(part, "classes_"):
        return Block(raw, width=1)
    loss = type(part._loss).__name__
    if loss == "HalfMultinomialLoss":
        return Block(c.graph.add("Softmax", raw, axis=1), width=len(part.classes_))
    if loss == "ExponentialLoss":
        raw = c.graph.add("Mul", raw, c.graph.constant(2.0))
    return Block(c.graph.add("Sigmoid", raw), width=1)


def _forest(c: Compiler, part: Any, block: Block) -> Block:
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


def _polynomial(c: Compiler, part: Any, block: Block) -> Block:
    """Products of columns; shorter ones are filled up with a column of ones."""
    x, n = c.dense(block, part), int(part.n_features_in_)
    factors = [np.repeat(np.arange(n), powers).tolist() for powers in part.powers_]
    degree = max((len(f) for f in factors), default=1)
    ones = c.graph.add(
        "Expand", c.graph.constant([[1.0]]), c.graph.add("Concat", _rows(c, x), c.graph.constant([1], np.int64), axis=0)
    )
    padded = c.graph.add("Concat", x, ones, axis=1)
    filled = np.array([[*f, *[n] * (degree - len(f))] for f in factors])
    product = c.graph.take(padded, filled[:, 0].tolist())
    for k in range(1, degree):
        product = c.graph.add("Mul", product, c.graph.take(padded, filled[:, k].tolist()))
    return Block(product, width=len(factors))


def _dummy(c: Compiler, part: Any, block: Block) -> Block:
    """The same answer for every row, whatever its columns hold: the model that others have to beat."""
    if part.strategy in ("stratified", "uniform"):
        raise RefusedError(f"{type(part).__name__} answers at random ({part.strategy})")
    if not hasattr(part, "classes_"):
        answer = np.reshape(part.constant_, -1)
    else:
        shares = np.asarray(part.predict_proba(np.zeros((1, 1))))[0]
        answer = shares[1:] if len(shares) == 2 else shares
    one, n = c.graph.constant([answer]), c.graph.constant([answer.size], np.int64)
    shape = c.graph.add("Concat", _rows(c, block.tensor), n, axis=0)
    return Block(c.graph.add("Expand", one, shape), width=answer.size)


def _rows(c: Compiler, x: str) -> str:
    """Number of rows, (1,)."""
    return c.graph.add("Shape", x, start=0, end=1)


def _foreign(c: Compiler, part: Any, block: Block) -> Block:
    if type(part).__name__ not in _FOREIGN:
        raise RefusedError(f"{type(part).__name__} is not translated")
    from afterfit.adapters.onnx_foreign import take_in

    found = take_in(c.graph, part, c.dense(block, part))
    if len(getattr(part, "classes_", ())) == 2:
        return Block(c.graph.take(found, [1]), width=1)
    return Block(found)


# What skl2onnx translates in 64-bit floats and in moments. Others were seen to need minutes, or operators in 32 bits.
_FOREIGN = ("GaussianNB", "MLPClassifier", "MLPRegressor", "PCA")
_INSIDE = {"GridSearchCV": "best_estimator_", "RandomizedSearchCV": "best_estimator_", "FrozenEstimator": "estimator"}
_LINEAR = (
    "LinearRegression",
    "Ridge",
    "RidgeCV",
    "Lasso",
    "LassoCV",
    "ElasticNet",
    "ElasticNetCV",
    "BayesianRidge",
    "HuberRegressor",
    "SGDRegressor",
    "LinearSVR",
    "QuantileRegressor",
)
_FORESTS = (
    "RandomForestClassifier",
    "RandomForestRegressor",
    "ExtraTreesClassifier",
    "ExtraTreesRegressor",
    "DecisionTreeClassifier",
    "DecisionTreeRegressor",
)
_STEPS: dict[str, Callable[[Compiler, Any, Block], Block]] = {
    "Pipeline": _pipeline,
    "ColumnTransformer": _column_transformer,
    "FeatureUnion": _feature_union,
    "CalibratedClassifierCV": _calibrated,
    "FunctionTransformer": _function,
    "SimpleImputer": _imputer,
    "PolynomialFeatures": _polynomial,
    "StandardScaler": _standard_scaler,
    "RobustScaler": _robust_scaler,
    "MaxAbsScaler": _max_abs_scaler,
    "MinMaxScaler": _min_max_scaler,
    "DummyClassifier": _dummy,
    "DummyRegressor": _dummy,
    "LogisticRegression": _logistic,
    "LogisticRegressionCV": _logistic,
    "HistGradientBoostingClassifier": _hist_classifier,
    "HistGradientBoostingRegressor": _hist_regressor,
    "GradientBoostingClassifier": _gradient_boosting,
    "GradientBoostingRegressor": _gradient_boosting,
    "PoissonRegressor": _log_linear,
    "GammaRegressor": _log_linear,
    "TweedieRegressor": _log_linear,
    **dict.fromkeys(_LINEAR, _linear),
    **dict.fromkeys(_FORESTS, _forest),
    **dict.fromkeys(_LIGHTGBM, _lightgbm),
    **dict.fromkeys(_XGBOOST, _xgboost),
    **dict.fromkeys(_INSIDE, _inside),
}
_DECISIONS: dict[str, Callable[[Compiler, Any, Block], str]] = {
    "HistGradientBoostingClassifier": _hist_raw,
    "GradientBoostingClassifier": _gradient_raw,
    "LogisticRegression": _logistic_raw,
    "LogisticRegressionCV": _logistic_raw,
    **dict.fromkeys(("LinearSVC", "SGDClassifier", "RidgeClassifier", "RidgeClassifierCV"), _logistic_raw),
}
