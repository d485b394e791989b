"""A fitted model of scikit-learn, LightGBM or XGBoost as one ONNX graph, from the matrix of `lane.Matrix`.

`_PARTS` says who translates which estimator. Whether the graph does the same is not believed: `lane_trial` tries it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from afterfit.adapters import onnx_composition as composition
from afterfit.adapters import onnx_numbers as numbers
from afterfit.adapters import onnx_predictors as predictors
from afterfit.adapters.lane import INPUT, Column, column_of
from afterfit.adapters.onnx_boosting import lightgbm, lightgbm_decision, xgboost
from afterfit.adapters.onnx_calibration import calibrated
from afterfit.adapters.onnx_compiler import Block, Compiler, Translator
from afterfit.adapters.onnx_encoders import ENCODERS, MISSING, Vocabulary, tabulate
from afterfit.adapters.onnx_graph import Graph
from afterfit.records import Feature

_PASSES = 2  # the first collects the texts that encoders know, the second uses them


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
        compiler = Compiler(features, vocabulary, Graph(), _PARTS, _DECISIONS)
        found = compiler.step(model, Block(INPUT, tuple(range(len(features)))))
    built = compiler.graph.model(compiler.dense(found, model), len(features), n_answers)
    return built.SerializeToString(), tuple(_column(f, vocabulary) for f in features)


def _column(feature: Feature, vocabulary: Vocabulary) -> Column:
    if feature.kind != "text":
        return column_of(feature)
    other = MISSING if feature.categories is not None else vocabulary.unseen
    return Column(feature.name, vocabulary.codes(feature.name), other=other, null=MISSING)


_LINEAR = (
    *("LinearRegression", "Ridge", "RidgeCV", "Lasso", "LassoCV", "ElasticNet", "ElasticNetCV", "BayesianRidge"),
    *("HuberRegressor", "SGDRegressor", "LinearSVR", "QuantileRegressor"),
)
_FORESTS = (
    *("RandomForestClassifier", "RandomForestRegressor", "ExtraTreesClassifier", "ExtraTreesRegressor"),
    *("DecisionTreeClassifier", "DecisionTreeRegressor"),
)
_LOGISTIC = ("LogisticRegression", "LogisticRegressionCV", "LinearDiscriminantAnalysis")
# What skl2onnx translates in 64-bit floats and in moments. Others were seen to need minutes, or operators in 32 bits.
_FOREIGN = ("GaussianNB", "MLPClassifier", "MLPRegressor", "PCA")
_PARTS: dict[str, Translator] = {
    "Pipeline": composition.pipeline,
    "ColumnTransformer": composition.column_transformer,
    "FeatureUnion": composition.feature_union,
    **dict.fromkeys(composition.INSIDE, composition.inside),
    **dict.fromkeys(("VotingClassifier", "VotingRegressor"), composition.voting),
    **dict.fromkeys(("BaggingClassifier", "BaggingRegressor"), composition.bagging),
    **dict.fromkeys(("StackingClassifier", "StackingRegressor"), composition.stacking),
    "CalibratedClassifierCV": calibrated,
    "TransformedTargetRegressor": composition.transformed_target,
    **dict.fromkeys(ENCODERS, tabulate),
    "SimpleImputer": numbers.imputer,
    "FunctionTransformer": numbers.function,
    "PolynomialFeatures": numbers.polynomial,
    "StandardScaler": numbers.standard_scaler,
    "RobustScaler": numbers.robust_scaler,
    "MaxAbsScaler": numbers.max_abs_scaler,
    "MinMaxScaler": numbers.min_max_scaler,
    **dict.fromkeys(numbers.SELECTIONS, numbers.selection),
    **dict.fromkeys(("DummyClassifier", "DummyRegressor"), predictors.dummy),
    **dict.fromkeys(_LOGISTIC, predictors.logistic),
    **dict.fromkeys(_LINEAR, predictors.linear),
    **dict.fromkeys(("PoissonRegressor", "GammaRegressor", "TweedieRegressor"), predictors.log_linear),
    "HistGradientBoostingClassifier": predictors.hist_classifier,
    "HistGradientBoostingRegressor": predictors.hist_regressor,
    **dict.fromkeys(("GradientBoostingClassifier", "GradientBoostingRegressor"), predictors.gradient_boosting),
    **dict.fromkeys(_FORESTS, predictors.forest),
    **dict.fromkeys(("LGBMClassifier", "LGBMRegressor"), lightgbm),
    **dict.fromkeys(("XGBClassifier", "XGBRegressor", "XGBRFClassifier", "XGBRFRegressor"), xgboost),
    **dict.fromkeys(_FOREIGN, predictors.foreign),
}
_DECISIONS: dict[str, Translator] = {
    "Pipeline": composition.pipeline_decision,
    **dict.fromkeys(composition.INSIDE, composition.inside_decision),
    **dict.fromkeys(_LOGISTIC, predictors.logistic_decision),
    **dict.fromkeys(
        ("LinearSVC", "SGDClassifier", "RidgeClassifier", "RidgeClassifierCV"), predictors.logistic_decision
    ),
    "HistGradientBoostingClassifier": predictors.hist_decision,
    "GradientBoostingClassifier": predictors.gradient_decision,
    "LGBMClassifier": lightgbm_decision,
}
