"""Graphs answer as the model does, on random rows and at the edges; what has none says why, and never answers otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    BaggingClassifier,
    BaggingRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.feature_selection import SelectFromModel, SelectKBest, VarianceThreshold
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    StandardScaler,
    TargetEncoder,
)
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from afterfit.adapters import lane_trial
from afterfit.adapters.lane import NUMPY, ONNX, PYTHON, LaneRecord
from afterfit.adapters.lane_trial import choose
from afterfit.adapters.model_folder import Scorer
from afterfit.adapters.onnx_session import GraphScorer
from afterfit.errors import WorkerError
from afterfit.records import ModelVersion
from afterfit.tracking.draft import Labelled, draft
from afterfit.tracking.golden import as_rows

AT = datetime(2026, 1, 5, tzinfo=UTC)
NUMBERS, TEXTS = ["x", "y", "z"], ["c", "d"]
N = 500


def frame(seed: int = 0, n: int = N) -> pd.DataFrame:
    """Numbers with nulls, an integer, a truth value, texts with nulls and a rare one."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame({name: rng.normal(size=n) for name in NUMBERS})
    X.loc[rng.random(n) < 0.1, "x"] = np.nan
    X["hour"] = rng.integers(0, 9, n)
    X["late"] = rng.random(n) < 0.4
    X["c"] = rng.choice(["JFK", "LGA", "é", ""], n, p=[0.5, 0.3, 0.17, 0.03])
    X["d"] = rng.choice(np.array(["u", "v", None], dtype=object), n)
    return X


def outcomes(kind: str) -> pd.Series:
    """What the models learn: binary numbers, three texts, or a value."""
    rng = np.random.default_rng(1)
    z = X["x"].fillna(0.0) + X["y"] + (X["c"] == "JFK") + rng.normal(size=len(X))
    if kind == "binary":
        return (z > 0.5).astype(int)
    if kind == "texts":
        return pd.Series(np.where(z < 0.0, "low", np.where(z < 1.0, "middle", "high")), index=X.index)
    return np.exp(z / 3) if kind == "positive" else z


def numbers() -> Pipeline:
    return make_pipeline(SimpleImputer(strategy="median"), StandardScaler())


def one_hot(**options: Any) -> Any:
    return make_column_transformer(
        (numbers(), NUMBERS),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False, **options), TEXTS),
        remainder="passthrough",
    )


def codes() -> Any:
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2)
    return make_column_transformer((encoder, TEXTS), remainder="passthrough")


def filled() -> Any:
    texts = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore", drop="first"))
    return make_column_transformer((texts, TEXTS), (numbers(), NUMBERS), remainder="passthrough")


def categories(X: pd.DataFrame) -> pd.DataFrame:
    return X.assign(**{name: X[name].astype("category") for name in TEXTS})


@dataclass(frozen=True)
class Case:
    """A model, what it learns, and the frame it sees."""

    model: Any
    kind: str
    X: pd.DataFrame


X = frame()
BARE = X[[*NUMBERS, "hour"]].fillna(0.0)
Y = outcomes("binary")
CASES: Mapping[str, Case] = {
    "one-hot, boosting": Case(make_pipeline(one_hot(), HistGradientBoostingClassifier(max_iter=20)), "binary", X),
    "codes, boosting, three classes": Case(
        make_pipeline(codes(), HistGradientBoostingClassifier(max_iter=10)), "texts", X
    ),
    "codes as categories of the boosting": Case(
        make_pipeline(codes(), HistGradientBoostingClassifier(max_iter=20, categorical_features=[0, 1])), "binary", X
    ),
    "native categories": Case(
        HistGradientBoostingClassifier(max_iter=20, categorical_features="from_dtype"), "binary", categories(X)
    ),
    "native categories, value": Case(
        HistGradientBoostingRegressor(max_iter=20, categorical_features="from_dtype"), "value", categories(X)
    ),
    "boosting with a log link": Case(
        make_pipeline(codes(), HistGradientBoostingRegressor(loss="poisson", max_iter=20)), "positive", X
    ),
    "dummy, shares": Case(DummyClassifier(), "binary", X),
    "dummy, most frequent of three": Case(DummyClassifier(strategy="most_frequent"), "texts", X),
    "dummy, value": Case(DummyRegressor(strategy="median"), "value", X),
    "logistic": Case(make_pipeline(filled(), LogisticRegression(max_iter=500)), "binary", X),
    "logistic, nulls marked": Case(
        make_pipeline(
            make_column_transformer((make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()), NUMBERS)),
            LogisticRegression(),
        ),
        "binary",
        X,
    ),
    "nothing to mark": Case(make_pipeline(SimpleImputer(add_indicator=True), LogisticRegression()), "binary", BARE),
    "logistic, three classes": Case(
        make_pipeline(one_hot(min_frequency=0.1), LogisticRegression(max_iter=500)), "texts", X
    ),
    "logistic of rare texts": Case(
        make_pipeline(one_hot(max_categories=2), LogisticRegression(max_iter=500)), "binary", X
    ),
    "forest": Case(make_pipeline(one_hot(), RandomForestClassifier(15, random_state=0)), "binary", X),
    "forest, three classes": Case(make_pipeline(filled(), RandomForestClassifier(10, random_state=0)), "texts", X),
    "forest, value": Case(make_pipeline(codes(), RandomForestRegressor(10, random_state=0)), "value", X),
    "gradient boosting": Case(make_pipeline(filled(), GradientBoostingClassifier(n_estimators=10)), "binary", X),
    "gradient boosting, three classes": Case(
        make_pipeline(filled(), GradientBoostingClassifier(n_estimators=5)), "texts", X
    ),
    "gradient boosting, exponential": Case(
        make_pipeline(filled(), GradientBoostingClassifier(n_estimators=5, loss="exponential")), "binary", X
    ),
    "gradient boosting, value": Case(make_pipeline(filled(), GradientBoostingRegressor(n_estimators=10)), "value", X),
    "ridge": Case(make_pipeline(filled(), Ridge()), "value", X),
    "poisson": Case(make_pipeline(filled(), PoissonRegressor()), "positive", X),
    "target encoder": Case(
        make_pipeline(make_column_transformer((TargetEncoder(), TEXTS), (numbers(), NUMBERS)), LogisticRegression()),
        "binary",
        X,
    ),
    "polynomials": Case(make_pipeline(StandardScaler(), PolynomialFeatures(3), Ridge()), "value", BARE),
    "neural network": Case(
        make_pipeline(StandardScaler(), MLPClassifier((4,), max_iter=2000, random_state=0)), "binary", BARE
    ),
    "calibrated": Case(make_pipeline(filled(), CalibratedClassifierCV(LogisticRegression(max_iter=500))), "binary", X),
    "calibrated, isotonic": Case(
        make_pipeline(codes(), CalibratedClassifierCV(HistGradientBoostingClassifier(max_iter=9), method="isotonic")),
        "binary",
        X,
    ),
    "calibrated pipelines, three classes": Case(
        CalibratedClassifierCV(make_pipeline(codes(), HistGradientBoostingClassifier(max_iter=5)), cv=3), "texts", X
    ),
    "calibrated forest, three classes": Case(
        make_pipeline(filled(), CalibratedClassifierCV(RandomForestClassifier(5, random_state=0), method="isotonic")),
        "texts",
        X,
    ),
    "calibrated margins": Case(
        make_pipeline(StandardScaler(), CalibratedClassifierCV(LinearSVC(random_state=0), ensemble=False)),
        "binary",
        BARE,
    ),
    "calibrated when it was fitted": Case(
        CalibratedClassifierCV(FrozenEstimator(GradientBoostingClassifier(n_estimators=9).fit(BARE, Y))), "binary", BARE
    ),
    "discriminants": Case(make_pipeline(filled(), LinearDiscriminantAnalysis()), "texts", X),
    "votes": Case(
        VotingClassifier(
            [
                ("a", make_pipeline(filled(), LogisticRegression(max_iter=500))),
                ("b", make_pipeline(codes(), HistGradientBoostingClassifier(max_iter=5))),
            ],
            voting="soft",
            weights=[2, 1],
        ),
        "texts",
        X,
    ),
    "mean of values": Case(VotingRegressor([("a", Ridge()), ("b", RandomForestRegressor(5))]), "value", BARE),
    "bags": Case(
        make_pipeline(
            filled(), BaggingClassifier(DecisionTreeClassifier(max_depth=3), max_features=0.7, random_state=0)
        ),
        "binary",
        X,
    ),
    "bags of values": Case(BaggingRegressor(Ridge(), random_state=0), "value", BARE),
    "stack": Case(
        make_pipeline(
            filled(),
            StackingClassifier(
                [
                    ("a", HistGradientBoostingClassifier(max_iter=5)),
                    ("b", GaussianNB()),
                    ("c", LinearSVC(random_state=0)),
                ],
                stack_method="auto",
                passthrough=True,
                cv=3,
            ),
        ),
        "binary",
        X,
    ),
    "stack of values": Case(
        StackingRegressor([("a", Ridge()), ("b", RandomForestRegressor(5, random_state=0))], cv=3), "value", BARE
    ),
    "selection": Case(make_pipeline(filled(), SelectKBest(k=3), LogisticRegression()), "binary", X),
    "selection that refuses nulls": Case(
        make_pipeline(SelectKBest(k=2), HistGradientBoostingClassifier(max_iter=5)), "binary", BARE
    ),
    "selection that takes nulls": Case(
        make_pipeline(VarianceThreshold(), HistGradientBoostingClassifier(max_iter=5)), "binary", X[[*NUMBERS, "hour"]]
    ),
    "chosen by a forest": Case(
        make_pipeline(SelectFromModel(RandomForestClassifier(5, random_state=0)), LogisticRegression()), "binary", BARE
    ),
    "logarithms": Case(
        make_pipeline(FunctionTransformer(np.log1p), StandardScaler(), LogisticRegression()), "binary", BARE.abs()
    ),
    "logarithms, boosting": Case(
        make_pipeline(FunctionTransformer(np.log), HistGradientBoostingClassifier(max_iter=5)),
        "binary",
        BARE.abs() + 0.1,
    ),
    "logarithms that are refused": Case(  # of what is below -1
        make_pipeline(FunctionTransformer(np.log1p), GradientBoostingClassifier(n_estimators=5)), "binary", BARE.abs()
    ),
    "roots of some": Case(
        make_pipeline(
            make_column_transformer(
                (FunctionTransformer(np.sqrt), ["hour"]),
                (FunctionTransformer(np.square), ["x"]),
                remainder="passthrough",
            ),
            Ridge(),
        ),
        "value",
        BARE,
    ),
    "logarithm of the target": Case(
        TransformedTargetRegressor(
            make_pipeline(codes(), HistGradientBoostingRegressor(max_iter=9)), func=np.log1p, inverse_func=np.expm1
        ),
        "positive",
        X,
    ),
    "scaled target": Case(TransformedTargetRegressor(Ridge(), transformer=StandardScaler()), "value", BARE),
    "clipped range": Case(make_pipeline(MinMaxScaler(clip=True), LogisticRegression()), "binary", BARE),
    "columns by place": Case(
        make_pipeline(make_column_transformer((StandardScaler(), [0, 2]), remainder="passthrough"), Ridge()),
        "value",
        BARE,
    ),
    "unknown texts are refused": Case(
        make_pipeline(make_column_transformer((OneHotEncoder(), ["c", "hour"]), (numbers(), NUMBERS)), Ridge()),
        "value",
        X,
    ),
    "32-bit columns": Case(HistGradientBoostingRegressor(max_iter=20), "value", BARE.astype("float32")),
    "small integers": Case(
        RandomForestClassifier(10, random_state=0), "binary", BARE.assign(hour=BARE["hour"].astype("int8"))
    ),
    "integers with nulls": Case(
        HistGradientBoostingClassifier(max_iter=5),
        "binary",
        BARE.assign(hour=X["hour"].astype("Int64").mask(X["x"].isna())),
    ),
    "texts as objects": Case(
        make_pipeline(one_hot(), HistGradientBoostingClassifier(max_iter=5)),
        "binary",
        X.assign(**{name: X[name].astype(object).where(X[name].notna(), None) for name in TEXTS}),
    ),
}


def chosen(model: Any, kind: str, X: pd.DataFrame) -> tuple[LaneRecord, bytes | None, ModelVersion]:
    y = outcomes(kind)
    half = len(X) // 2
    model.fit(X[:half], y[:half])
    made = draft("m", model, Labelled(X[:half], y[:half]), holdout=Labelled(X[half:], y[half:]), at=AT)
    record, graph = choose(model, made.version, X[half:])
    return record, graph, made.version


@pytest.mark.parametrize("name", CASES)
def test_a_graph_answers_as_the_model_does(name: str) -> None:
    """The trial itself, and rows that it has not seen, one by one and together."""
    case = CASES[name]
    record, graph, version = chosen(case.model, case.kind, case.X)
    assert (record.lane, record.why) == (ONNX, "")
    assert record.agreement == 1.0
    assert record.largest_difference < 1e-11
    assert graph is not None
    assert record.size == len(graph)
    assert record.rows > N / 2
    fast, model = GraphScorer(graph, record.columns, version.classes), Scorer(version, case.model)
    rows = as_rows(case.X.iloc[: N // 5])
    columns: dict[str, list[Any]] = {f.name: [row[f.name] for row in rows] for f in version.features}
    wanted, scores = model.answer(model.frame(columns))
    found, shares = fast.answer(columns)
    one_by_one = [fast.answer({k: [v[i]] for k, v in columns.items()}) for i in range(len(rows))]
    if version.classes is None:
        np.testing.assert_allclose(np.array(found, float), np.array(wanted, float), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(
            np.array([one[0][0] for one in one_by_one], float), np.array(found, float), rtol=1e-12
        )
        return
    assert found == wanted
    np.testing.assert_allclose(np.array(shares), np.array(scores), rtol=0, atol=1e-13)
    assert [one[0][0] for one in one_by_one] == found
    np.testing.assert_allclose(
        np.array([(one[1] or [])[0] for one in one_by_one]), np.array(shares), rtol=0, atol=1e-13
    )


def test_a_row_that_the_model_refuses_is_refused_with_its_words() -> None:
    record, graph, version = chosen(CASES["unknown texts are refused"].model, "value", X)
    fast = GraphScorer(graph or b"", record.columns, version.classes, raises=record.raises)
    row: dict[str, Sequence[Any]] = {
        "x": [1],
        "y": [1],
        "z": [1],
        "hour": [3],
        "late": [True],
        "c": ["JFK"],
        "d": [None],
    }
    assert fast.answer(row)[1] is None
    for change in ({"c": ["EWR"]}, {"hour": [99]}):
        with pytest.raises(WorkerError, match="Found unknown categories"):
            fast.answer(row | change)
        with pytest.raises(WorkerError, match="refuses such a row, as it did one of its trial at registration: "):
            fast.answer({k: [*(row | change)[k], *v] for k, v in row.items()})


def test_a_value_outside_the_type_of_training_is_refused() -> None:
    record, graph, version = chosen(CASES["small integers"].model, "binary", CASES["small integers"].X)
    fast = GraphScorer(graph or b"", record.columns, version.classes)
    row: dict[str, Sequence[Any]] = {"x": [1.0], "y": [1.0], "z": [1.0], "hour": [3]}
    assert fast.answer(row)
    with pytest.raises(WorkerError, match="'hour' is 200; wanted -128 to 127"):
        fast.answer(row | {"hour": [200]})
    with pytest.raises(WorkerError, match="lacks"):
        fast.answer({"x": [1.0]})


def test_many_categories_of_one_column() -> None:
    """More than the 64 that fit into one word of a bit set."""
    rng = np.random.default_rng(5)
    X = pd.DataFrame({"c": pd.Categorical([f"k{i}" for i in rng.integers(0, 200, 3000)])})
    y = pd.Series((X["c"].cat.codes % 7 < 3).astype(int) ^ (rng.random(3000) < 0.1))
    model = HistGradientBoostingClassifier(max_iter=30, categorical_features="from_dtype").fit(X, y)
    made = draft("m", model, Labelled(X, y), at=AT)
    record, graph = choose(model, made.version, X)
    assert (record.lane, record.agreement) == (ONNX, 1.0)
    assert b"k199" not in (graph or b"")
    assert "k199" in (record.columns[0].codes or {})


class Own(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Somebody's own classifier."""

    def fit(self, X: Any, y: Any) -> Own:
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X: Any) -> Any:
        p = 1 / (1 + np.exp(-np.clip(np.nan_to_num(np.asarray(X, dtype=float)[:, 0]), -500, 500)))
        return np.column_stack([1 - p, p])

    def predict(self, X: Any) -> Any:
        return self.classes_[(self.predict_proba(X)[:, 1] > 0.3).astype(int)]


class ByName(Own):
    """It reads a column by its name."""

    def predict_proba(self, X: Any) -> Any:
        return super().predict_proba(X[["x"]])


def halved(X: Any) -> Any:
    return X * 0.5


@pytest.mark.parametrize(
    ("model", "X", "lane", "why"),
    [
        (KNeighborsClassifier(), BARE, NUMPY, "may answer another class than the one of the largest score"),
        (Own(), BARE, NUMPY, "Own may answer another class"),
        (make_pipeline(StandardScaler(), Own()), BARE, NUMPY, "no graph: Own may answer another class"),
        (ByName(), BARE, PYTHON, "the numpy lane differs on 20 of 20 rows"),
        (make_pipeline(FunctionTransformer(halved), LogisticRegression()), BARE, NUMPY, "a function of yours"),
        (make_pipeline(FunctionTransformer(np.cbrt), LogisticRegression()), BARE, NUMPY, "a function of yours"),
        (CalibratedClassifierCV(SVC()), BARE, NUMPY, "the decision function of SVC is not translated"),
        (CalibratedClassifierCV(LogisticRegression(), method="temperature"), BARE, NUMPY, "method='temperature'"),
        (
            make_pipeline(codes(), FunctionTransformer(halved), LogisticRegression()),
            X.fillna({"x": 0}),
            PYTHON,
            "yours",
        ),
    ],
    ids=[
        *("neighbours", "own classifier", "own classifier last", "by name", "own function"),
        *("roots", "calibrated machine", "temperature", "own function of texts"),
    ],
)
def test_what_has_no_graph_says_why(model: Any, X: pd.DataFrame, lane: str, why: str) -> None:
    record, graph, _ = chosen(model, "binary", X)
    assert (record.lane, graph) == (lane, None)
    assert why in record.why
    if lane == NUMPY:
        assert record.agreement == 1.0
        assert record.largest_difference < 1e-12
    else:
        assert record.agreement == 0.0
        assert not record.columns


def test_a_graph_that_differs_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """One leaf of one tree is changed by a thousandth: the trial must see it."""
    from afterfit.adapters import onnx_trees

    add = onnx_trees.Ensemble.tree

    def changed(self: Any, left: Any, right: Any, leaf: Any, weight: Any, *rest: Any) -> None:
        if len(leaf) > 1 and len(self.roots) == 3:
            weight = np.where(np.arange(len(weight)) == int(np.argmax(leaf)), np.asarray(weight) + 1e-3, weight)
        add(self, left, right, leaf, weight, *rest)

    monkeypatch.setattr(onnx_trees.Ensemble, "tree", changed)
    record, graph, _ = chosen(HistGradientBoostingClassifier(max_iter=20), "binary", BARE)
    assert (record.lane, graph) == (NUMPY, None)
    assert "the onnx lane differs on" in record.why


def test_without_onnxruntime_there_is_no_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.delitem(sys.modules, "afterfit.adapters.onnx_session")
    record, graph, _ = chosen(make_pipeline(filled(), LogisticRegression()), "binary", X)
    assert (record.lane, graph) == (PYTHON, None)
    assert record.why == "no graph: onnxruntime is not installed"


def test_a_trial_that_takes_too_long_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_trial, "MOST_SECONDS", 0.0)
    record, graph, _ = chosen(make_pipeline(filled(), LogisticRegression()), "binary", X)
    assert (record.lane, graph) == (PYTHON, None)
    assert "longer than 0 s" in record.why


def test_a_graph_that_would_be_too_large_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_trial, "MOST_BYTES", 1_000)
    record, graph, _ = chosen(HistGradientBoostingClassifier(max_iter=5), "binary", BARE)
    assert (record.lane, graph) == (NUMPY, None)
    assert "wanted at most 0" in record.why
