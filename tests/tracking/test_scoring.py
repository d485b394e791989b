"""Answers of a model: what is taken, and what is refused in which words."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from afterfit.errors import InputError
from afterfit.records import Task
from afterfit.tracking.scoring import ask, classes_of, task_of

FRAME = pd.DataFrame({"a": [1.0, 2.0]})
GOOD = [[0.2, 0.8], [0.6, 0.4]]


def model(predict: Any = None, proba: Any = None, **more: Any) -> Any:
    parts: dict[str, Any] = dict(more)
    if predict is not None:
        parts["predict"] = lambda _: np.asarray(predict)
    if proba is not None:
        parts["predict_proba"] = lambda _: np.asarray(proba)
    return SimpleNamespace(**parts)


def test_answers_of_a_classifier_and_of_a_regressor() -> None:
    found = ask(model(["y", "x"], GOOD), FRAME, ("x", "y"))
    assert found.prediction.tolist() == ["y", "x"]
    assert found.scores is not None
    assert found.scores.tolist() == GOOD
    assert found.summary().tolist() == [0.8, 0.4]
    assert ask(model([[1.5], [2.5]]), FRAME, None).summary().tolist() == [1.5, 2.5]
    three = ask(model([0, 2], [[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]), FRAME, (0, 1, 2))
    assert three.summary().tolist() == [0.5, 0.8]


@pytest.mark.parametrize(
    ("strange", "classes", "words"),
    [
        (model([1.0]), None, "shape (1,) to 2 rows"),
        (model([[1.0, 2.0], [1.0, 2.0]]), None, "wanted (2,)"),
        (model([1.0, np.nan]), None, "NaN or infinity for 1 of 2 rows"),
        (model(["late", "on time"]), None, "needs `classes_`"),
        (model([0, 1]), (0, 1), "no predict_proba()"),
        (model([0, 1], [[0.5, 0.5]]), (0, 1), "shape (1, 2); wanted (2, 2)"),
        (model([0, 1], [[0.5, 0.5], [np.nan, 0.5]]), (0, 1), "NaN or infinity for 1 of 2 rows"),
        (model([0, 1], [[0.5, 0.9], [0.5, 0.5]]), (0, 1), "do not sum to 1"),
        (model([0, 7], GOOD), (0, 1), "[7], which are not among"),
    ],
)
def test_nonsense_is_refused(strange: Any, classes: Any, words: str) -> None:
    with pytest.raises(InputError) as caught:
        ask(strange, FRAME, classes)
    assert words in str(caught.value)


def test_what_the_model_raises_is_told() -> None:
    def fail(_: object) -> None:
        raise KeyError("hour")

    with pytest.raises(InputError, match=r"failed on 2 rows: KeyError: 'hour'") as caught:
        ask(SimpleNamespace(predict=fail), FRAME, None)
    assert isinstance(caught.value.__cause__, KeyError)


def test_an_estimator_fitted_on_a_bare_array_gets_one() -> None:
    seen: list[type] = []

    def predict(rows: Any) -> Any:
        seen.append(type(rows))
        return np.zeros(len(rows))

    ask(SimpleNamespace(predict=predict, n_features_in_=1), FRAME, None)
    ask(SimpleNamespace(predict=predict, n_features_in_=1, feature_names_in_=["a"]), FRAME, None)
    ask(SimpleNamespace(predict=predict), FRAME, None)
    assert seen == [np.ndarray, pd.DataFrame, pd.DataFrame]


def test_the_task_is_told_from_the_classes() -> None:
    assert task_of(model([0]), None) is Task.REGRESSION
    assert task_of(model([0], classes_=np.array([0, 1])), None) is Task.BINARY
    assert task_of(model([0], classes_=np.array(["a", "b", "c"])), "multiclass") is Task.MULTICLASS
    assert classes_of(model(classes_=np.array([False, True]))) == (False, True)


@pytest.mark.parametrize(
    ("strange", "configured", "words"),
    [
        (model(), None, "has no predict()"),
        (model([0], classes_=np.array([0, 1])), "regression", "2 classes, which makes it binary"),
        (model([0]), "binary", "no classes_, which makes it regression"),
        (model([0], classes_=np.array([0])), None, "one class only"),
        (model([0], classes_=[np.array([0, 1]), np.array([0, 1])]), None, "several targets"),
        (model([0]), "ranking", "wanted one of binary, multiclass, regression"),
    ],
)
def test_a_model_that_cannot_do_the_task_is_refused(strange: Any, configured: str | None, words: str) -> None:
    with pytest.raises(InputError) as caught:
        task_of(strange, configured)
    assert words in str(caught.value)
