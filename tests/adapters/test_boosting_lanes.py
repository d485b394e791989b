"""LightGBM and XGBoost as graphs: alone and in pipelines, with nulls and categories, tried against the libraries themselves."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, OneHotEncoder, StandardScaler
from xgboost import XGBClassifier, XGBRegressor

from afterfit.adapters.lane import NUMPY, ONNX, PYTHON
from afterfit.adapters.lane_trial import TOLERANCE_32, choose
from afterfit.adapters.model_folder import Scorer
from afterfit.adapters.onnx_session import GraphScorer
from afterfit.adapters.onnx_trees import Ensemble
from afterfit.tracking.draft import Labelled, draft
from afterfit.tracking.golden import as_rows
from tests.adapters.test_onnx_lanes import AT, BARE, NUMBERS, TEXTS, Case, X, categories, chosen, codes, one_hot

MANY = X.assign(c=pd.Categorical(np.array([f"k{i % 90}" for i in range(len(X))])))[["x", "y", "c"]]


def light(**options: Any) -> LGBMClassifier:
    return LGBMClassifier(n_estimators=12, verbose=-1, n_jobs=1, min_child_samples=5, **options)


def light_value(**options: Any) -> LGBMRegressor:
    return LGBMRegressor(n_estimators=12, verbose=-1, n_jobs=1, min_child_samples=5, **options)


def extreme(**options: Any) -> XGBClassifier:
    return XGBClassifier(n_estimators=12, n_jobs=1, max_depth=4, enable_categorical=True, **options)


def extreme_value(**options: Any) -> XGBRegressor:
    return XGBRegressor(n_estimators=12, n_jobs=1, max_depth=4, enable_categorical=True, **options)


NATIVE = {"min_data_per_group": 5, "cat_smooth": 1.0, "max_cat_to_onehot": 2}
EXACT: Mapping[str, Case] = {
    "LightGBM, one-hot": Case(make_pipeline(one_hot(), light()), "binary", X),
    "LightGBM, calibrated": Case(
        make_pipeline(codes(), CalibratedClassifierCV(light(), method="isotonic", cv=3)), "texts", X
    ),
    "LightGBM, nulls": Case(light(), "binary", X[[*NUMBERS, "hour", "late"]]),
    "LightGBM, categories": Case(light(**NATIVE), "binary", categories(X)),
    "LightGBM, many categories": Case(light(**NATIVE), "binary", MANY),
    "LightGBM, three texts": Case(make_pipeline(codes(), light()), "texts", X),
    "LightGBM, random forest": Case(
        light(boosting_type="rf", bagging_freq=1, bagging_fraction=0.5), "binary", categories(X)
    ),
    "LightGBM, dropped trees": Case(light(boosting_type="dart"), "binary", BARE),
    "LightGBM, value": Case(make_pipeline(codes(), light_value()), "value", X),
    "LightGBM, square root": Case(light_value(reg_sqrt=True), "value", BARE),
    "LightGBM, counts": Case(light_value(objective="poisson"), "positive", BARE),
    "LightGBM, quantile": Case(light_value(objective="quantile", alpha=0.8), "value", BARE),
    "LightGBM, 32-bit columns": Case(light_value(), "value", BARE.astype("float32")),
}
SINGLE: Mapping[str, Case] = {
    "XGBoost, one-hot": Case(make_pipeline(one_hot(), extreme()), "binary", X),
    "XGBoost, sparse one-hot": Case(
        make_pipeline(
            make_column_transformer((OneHotEncoder(handle_unknown="ignore"), TEXTS)), MaxAbsScaler(), extreme()
        ),
        "binary",
        X,
    ),
    "XGBoost, sparse beside numbers": Case(
        make_pipeline(
            make_column_transformer(
                (OneHotEncoder(handle_unknown="ignore"), TEXTS), remainder="passthrough", sparse_threshold=1.0
            ),
            extreme(),
        ),
        "binary",
        X[[*TEXTS, "hour", "y"]],
    ),
    "XGBoost, calibrated": Case(
        make_pipeline(codes(), CalibratedClassifierCV(extreme(), method="isotonic", cv=3)), "binary", X
    ),
    "XGBoost, votes": Case(
        VotingClassifier([("a", extreme()), ("b", LogisticRegression())], voting="soft"), "binary", BARE
    ),
    "XGBoost, nulls": Case(extreme(), "binary", X[[*NUMBERS, "hour", "late"]]),
    "XGBoost, categories": Case(extreme(), "binary", categories(X)),
    "XGBoost, many categories": Case(extreme(max_cat_to_onehot=2), "binary", MANY),
    "XGBoost, forest of boosted trees": Case(extreme(num_parallel_tree=3, subsample=0.5), "binary", BARE),
    "XGBoost, value": Case(make_pipeline(codes(), extreme_value()), "value", X),
    "XGBoost, counts": Case(extreme_value(objective="count:poisson"), "positive", BARE),
    "XGBoost, absolute error": Case(extreme_value(objective="reg:absoluteerror"), "value", BARE),
    "scikit-learn in 32 bits": Case(
        make_pipeline(StandardScaler(), LogisticRegression()), "binary", BARE.astype("float32")
    ),
    "XGBoost, 32-bit columns": Case(extreme(base_score=0.3), "binary", BARE.astype("float32")),
}


@pytest.mark.parametrize("name", [*EXACT, *SINGLE])
def test_a_graph_answers_as_the_library_does(name: str) -> None:
    """The trial, rows that it has not seen, and the same rows one by one."""
    case, most = (EXACT[name], 1e-13) if name in EXACT else (SINGLE[name], TOLERANCE_32)
    record, graph, version = chosen(case.model, case.kind, case.X)
    assert (record.lane, record.why, record.agreement) == (ONNX, "", 1.0)
    assert record.largest_difference <= most
    fast, model = GraphScorer(graph or b"", record.columns, version.classes), Scorer(version, case.model)
    rows = as_rows(case.X.iloc[:100])
    columns: dict[str, list[Any]] = {f.name: [row[f.name] for row in rows] for f in version.features}
    wanted, found = model.answer(model.frame(columns)), fast.answer(columns)
    one_by_one = [fast.answer({k: [v[i]] for k, v in columns.items()}) for i in range(len(rows))]
    if version.classes is None:
        for one, other in ((found[0], wanted[0]), ([one[0][0] for one in one_by_one], found[0])):
            np.testing.assert_allclose(np.array(one, float), np.array(other, float), rtol=most, atol=most)
    else:
        assert [one[0][0] for one in one_by_one] == found[0] == wanted[0]
        np.testing.assert_allclose(np.array(found[1]), np.array(wanted[1]), rtol=0, atol=most)


@dataclass(frozen=True)
class Refused:
    model: Any
    kind: str
    X: pd.DataFrame
    why: str
    lane: str = NUMPY


@pytest.mark.parametrize(
    "case",
    [
        Refused(light_value(linear_tree=True), "value", BARE, "linear trees"),
        Refused(light(zero_as_missing=True), "binary", BARE.round(0), "zero_as_missing"),
        Refused(extreme(booster="gblinear"), "binary", BARE, "the booster 'gblinear'", PYTHON),  # it wants names
        Refused(extreme(booster="dart", rate_drop=0.5), "binary", BARE, "the booster 'dart'"),
        Refused(extreme(missing=0.0), "binary", BARE, "missing=0.0"),
        Refused(extreme_value(objective="reg:squaredlogerror"), "positive", BARE, "reg:squaredlogerror"),
    ],
    ids=lambda case: case.why,
)
def test_what_has_no_graph_says_why_and_has_another_lane(case: Refused) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        record, graph, _ = chosen(case.model, case.kind, case.X)
    assert (record.lane, graph) == (case.lane, None)
    assert case.why in record.why


def test_early_stopping_keeps_the_best_trees() -> None:
    """The later trees are there, and XGBoost does not ask them. LightGBM throws them away."""
    train, y = BARE[:300], (BARE["y"] + np.random.default_rng(3).normal(size=len(BARE)) > 0).astype(int)
    held = (BARE[300:], y[300:])
    model = XGBClassifier(n_estimators=200, learning_rate=0.5, n_jobs=1, early_stopping_rounds=5)
    model.fit(train, y[:300], eval_set=[held], verbose=False)
    assert model.best_iteration + 1 < model.get_booster().num_boosted_rounds()
    made = draft("m", model, Labelled(train, y[:300]), holdout=Labelled(*held), at=AT)
    record, _ = choose(model, made.version, held[0])
    assert (record.lane, record.why) == (ONNX, "")


def test_a_wrong_leaf_shows_in_32_bits_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is allowed to a model of 32 bits is far less than a change of one leaf by a thousandth of it."""
    before = Ensemble.tree

    def changed(self: Any, left: Any, right: Any, leaf: Any, weight: Any, *rest: Any) -> None:
        before(self, left, right, leaf, [1.001 * w for w in weight], *rest)

    monkeypatch.setattr(Ensemble, "tree", changed)
    record, graph, _ = chosen(extreme(), "binary", BARE)
    assert (record.lane, graph) == (NUMPY, None)
    assert "the onnx lane differs" in record.why
