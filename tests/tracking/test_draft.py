"""Drafts of versions for the three tasks, and every wrong argument."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from afterfit.errors import InputError
from afterfit.records import Task
from afterfit.stats.losses import bounded_loss
from afterfit.tracking.draft import Draft, Labelled, draft
from afterfit.tracking.fingerprint import frame_sha256
from afterfit.tracking.golden import MOST

AT = datetime(2024, 5, 1, tzinfo=UTC)
RNG = np.random.default_rng(11)
X = pd.DataFrame({"a": RNG.normal(size=400), "b": RNG.normal(size=400)})
SIGNAL = X["a"] + RNG.normal(size=400)
TRAIN, TEST = slice(0, 300), slice(300, 400)


def labelled(y: pd.Series, rows: slice) -> Labelled:
    return Labelled(X[rows].reset_index(drop=True), y[rows].reset_index(drop=True).rename(None))


def target(y: pd.Series, rows: slice) -> Any:
    return labelled(y, rows).y


def made(model: Any, y: pd.Series, **more: Any) -> Draft:
    training = labelled(y, TRAIN)
    model.fit(training.X, training.y)
    return draft("m", model, training, at=AT, **{"holdout": labelled(y, TEST), **more})


def test_a_binary_draft_says_all_that_is_known() -> None:
    y = (SIGNAL > 0).astype(int)
    times = pd.Series(pd.date_range("2024-01-01", periods=300, freq="h", tz="Europe/Paris"))
    found = made(LogisticRegression(C=0.5), y, times=times, tags={"team": "x"}, metrics={"cost": 3})
    version, held = found.version, labelled(y, TEST)
    assert (version.task, version.classes, version.n_rows, version.origin) == (Task.BINARY, (0, 1), 300, "register")
    assert version.data_sha256 == frame_sha256(labelled(y, TRAIN).X, labelled(y, TRAIN).y)
    assert version.params["C"] == 0.5
    assert version.tags == {"team": "x", "python": sys.executable}
    assert (version.data_from, version.data_to) == (
        datetime(2023, 12, 31, 23, tzinfo=UTC),
        datetime(2024, 1, 13, 10, tzinfo=UTC),
    )
    scores = found.model.predict_proba(held.X)
    loss = bounded_loss("binary", target(y, TEST), [0] * 100, scores, (0, 1))
    assert version.metrics["holdout_loss"] == pytest.approx(loss.mean())
    assert version.metrics["holdout_loss_sd"] == pytest.approx(loss.std(ddof=1))
    assert version.metrics["holdout_n"] == 100
    assert version.metrics["holdout_loss"] < version.metrics["baseline_loss"]
    assert version.metrics["accuracy"] == pytest.approx(found.model.score(held.X, held.y))
    assert 0.7 < version.metrics["roc_auc"] < 1
    assert version.metrics["log_loss"] > 0
    assert version.metrics["cost"] == 3
    assert found.unseen_answers is not None
    assert found.unseen_answers.tolist() == pytest.approx(scores[:, 1].tolist())
    assert len(found.answers) == 300


def test_a_multiclass_draft_keeps_the_order_of_the_classes() -> None:
    y = pd.Series(np.where(SIGNAL > 0.5, "up", np.where(SIGNAL < -0.5, "down", "flat")))
    version = made(make_pipeline(StandardScaler(), LogisticRegression()), y).version
    assert (version.task, version.classes) == (Task.MULTICLASS, ("down", "flat", "up"))
    assert version.metrics["holdout_loss"] < version.metrics["baseline_loss"] < 1
    assert version.metrics["roc_auc"] > 0.6
    assert version.params["standardscaler"] == "StandardScaler"
    assert "steps" not in version.params


def test_a_regression_draft_scales_its_loss_by_the_errors_of_the_baseline() -> None:
    version = made(LinearRegression(), SIGNAL).version
    errors = np.abs(SIGNAL[TEST] - np.median(SIGNAL[TRAIN]))
    assert (version.task, version.classes) == (Task.REGRESSION, None)
    assert version.loss_scale == pytest.approx(np.quantile(errors, 0.95))
    assert version.metrics["holdout_loss"] < version.metrics["baseline_loss"]
    assert version.metrics["mae"] > 0
    assert "accuracy" not in version.metrics


def test_without_a_holdout_nothing_is_claimed() -> None:
    found = made(LinearRegression(), SIGNAL, holdout=None)
    assert dict(found.version.metrics) == {}
    assert found.unseen_answers is None


def test_a_successor_keeps_the_loss_scale_and_answers_the_nulls_of_the_one_before() -> None:
    before = made(LinearRegression(), SIGNAL).version
    nullable = tuple(replace(f, nullable=f.name == "b") for f in before.features)
    before = replace(before, features=nullable, loss_scale=9.0)
    with pytest.raises(InputError, match="failed on 20 rows"):  # a linear model can't answer a null
        made(LinearRegression(), SIGNAL, before=before)
    y = (SIGNAL > 0).astype(int)
    found = made(HistGradientBoostingClassifier(max_iter=3), y, before=before)
    assert [f.nullable for f in found.version.features] == [False, True]
    assert found.version.loss_scale == 9.0
    assert len(found.golden["rows"]) == MOST
    assert found.golden["rows"][-1]["b"] is None
    assert len(found.golden["scores"]) == len(found.golden["predictions"]) == MOST


def test_golden_rows_hold_the_edges_and_the_models_own_answers() -> None:
    found = made(LinearRegression(), SIGNAL)
    rows = pd.DataFrame(found.golden["rows"])
    training = labelled(SIGNAL, TRAIN).X
    for name in ("a", "b"):
        assert {training[name].min(), training[name].max()} <= set(rows[name])
    assert found.golden["predictions"] == pytest.approx(found.model.predict(rows).tolist())
    assert found.golden["scores"] is None


def test_a_model_fitted_on_arrays_is_marked() -> None:
    model = LinearRegression().fit(X[TRAIN].to_numpy(), SIGNAL[TRAIN])
    assert draft("m", model, labelled(SIGNAL, TRAIN), at=AT).version.tags["input"] == "array"


Y = (SIGNAL > 0).astype(int)
GOOD, GOOD_Y = labelled(Y, TRAIN), target(Y, TRAIN)
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "name": ({"name": "my model"}, "'my model': wanted letters"),
    "lengths": ({"training": Labelled(GOOD.X, labelled(Y, TEST).y)}, "300 rows but 100 targets"),
    "empty": ({"training": Labelled(GOOD.X[:0], GOOD_Y[:0])}, "0 rows and 2 features"),
    "leak": ({"training": Labelled(GOOD.X.assign(late=GOOD_Y), GOOD_Y.rename("late"))}, "'late' among"),
    "null target": ({"training": Labelled(GOOD.X, GOOD_Y.where(GOOD.X["a"] < 2))}, "without a target"),
    "unknown class": ({"training": Labelled(GOOD.X, GOOD_Y + 5)}, "[5, 6] that are not among"),
    "holdout columns": ({"holdout": Labelled(GOOD.X.rename(columns={"b": "c"}), GOOD.y)}, "missing ['b'], extra ['c']"),
    "holdout lengths": ({"holdout": Labelled(GOOD.X, GOOD_Y[:-1].copy())}, "the hold-out has 300 rows but 299"),
    "times": ({"times": pd.Series(pd.date_range("2024", periods=3, tz="UTC"))}, "3 values for 300 rows"),
    "null time": ({"times": pd.Series([pd.NaT] * 300, dtype="datetime64[us, UTC]")}, "null in 300 rows"),
    "metric": ({"metrics": {"f1": "high"}}, "'f1' = 'high': wanted a number"),
    "infinite metric": ({"metrics": {"f1": float("nan")}}, "wanted a finite number"),
    "task": ({"task": "multiclass"}, "which makes it binary"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_argument_is_told_what_was_wanted(case: str) -> None:
    changes, words = WRONG[case]
    model = LogisticRegression().fit(GOOD.X, GOOD.y)
    arguments: dict[str, Any] = {"name": "m", "model": model, "training": GOOD, "at": AT, **changes}
    with pytest.raises(InputError) as caught:
        draft(**arguments)
    assert words in str(caught.value)


def test_a_target_that_only_shares_a_name_with_a_feature_is_fine() -> None:
    y = GOOD_Y.rename("a")  # (X["a"] > 0) keeps the name
    assert draft("m", LogisticRegression().fit(GOOD.X, y), Labelled(GOOD.X, y), at=AT).version.n_rows == 300


def test_words_as_targets_of_a_regression_are_refused() -> None:
    model = LinearRegression().fit(GOOD.X, GOOD.y)
    with pytest.raises(InputError, match="taken for a regression"):
        draft("m", model, Labelled(GOOD.X, pd.Series(["late"] * 300)), at=AT)
