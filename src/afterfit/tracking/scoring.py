"""Asks a model for its answers and checks that they are answers: one finite prediction a row, shares that sum to 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from afterfit.config import TASKS
from afterfit.errors import InputError
from afterfit.records import Task, Value

if TYPE_CHECKING:
    import pandas as pd

SUM_TOLERANCE = 1e-3  # float32 shares of many classes do not sum to 1 exactly


@dataclass(frozen=True, slots=True)
class Answers:
    """prediction (n_rows,); scores (n_rows, n_classes) in the order of the model's classes, None for regression."""

    prediction: np.ndarray
    scores: np.ndarray | None

    def summary(self) -> np.ndarray:
        """One number a row: the last class's share (binary), the top share (multiclass), or the value."""
        if self.scores is None:
            return self.prediction.astype(float)
        return self.scores[:, -1] if self.scores.shape[1] == 2 else self.scores.max(axis=1)


def classes_of(model: Any) -> tuple[Value, ...] | None:
    """The labels in the order of the scores, as plain Python values; None for a model without `classes_`.

    Raises:
        InputError: the model predicts several targets at once.
    """
    classes = getattr(model, "classes_", None)
    if classes is None:
        return None
    if isinstance(classes, list) and classes and isinstance(classes[0], np.ndarray):
        raise InputError("the model predicts several targets at once; wanted one target. Register one model a target")
    return tuple(plain(c) for c in classes)


def task_of(model: Any, configured: str | None) -> Task:
    """What the model predicts: the word of afterfit.toml where there is one, else told from `classes_`.

    Raises:
        InputError: the model can't do the configured task, or has no predict().
    """
    if not callable(getattr(model, "predict", None)):
        raise InputError(
            f"{type(model).__name__} has no predict(): wanted a fitted scikit-learn estimator or pipeline, or an object "
            "with predict(frame), and for classification predict_proba(frame) and classes_"
        )
    classes = classes_of(model)
    found = Task.REGRESSION if classes is None else Task.BINARY if len(classes) == 2 else Task.MULTICLASS
    if classes is not None and len(classes) < 2:
        raise InputError(f"the model knows one class only ({classes[0]!r}); wanted at least two. Look at y")
    if configured is not None and configured not in TASKS:
        raise InputError(f"task {configured!r}: wanted one of {', '.join(TASKS)}")
    if configured is not None and configured != found:
        knows = "no classes_" if classes is None else f"{len(classes)} classes"
        raise InputError(
            f"afterfit.toml says task = {configured!r}, but {type(model).__name__} has {knows}, which makes it "
            f"{found.value}. Correct the task, or register the model that was meant"
        )
    return found


def ask(model: Any, frame: pd.DataFrame, classes: tuple[Value, ...] | None) -> Answers:
    """The model's answers to a frame.

    Raises:
        InputError: it raises, answers another number of rows, or answers nonsense; the message says which.
    """
    rows: Any = frame.to_numpy() if wants_array(model) else frame
    try:
        prediction = _one_column(model.predict(rows), len(frame))
        scores = None if classes is None else np.asarray(_proba(model)(rows), dtype=float)
    except InputError:
        raise
    except Exception as error:  # the user's own code: whatever it raises is told as such
        raise InputError(f"the model failed on {len(frame)} rows: {type(error).__name__}: {error}") from error
    if classes is None:
        return Answers(_finite(prediction), None)
    if scores is not None:
        _check_scores(scores, len(frame), classes)
    strange = {plain(p) for p in np.unique(prediction)} - set(classes)
    if strange:
        raise InputError(f"predict() answers {sorted(strange, key=str)}, which are not among classes_ {list(classes)}")
    return Answers(prediction, scores)


def wants_array(model: Any) -> bool:
    """Whether it is an estimator that was fitted on a bare array: names of columns would make it warn.

    Such a version carries the tag `input = array`, which the serving side reads.
    """
    return hasattr(model, "n_features_in_") and not hasattr(model, "feature_names_in_")


def plain(value: Any) -> Value:
    """A numpy scalar as the Python value it stands for.

    >>> plain(np.int64(3)), plain(np.str_("a")), plain(np.bool_(True))
    (3, 'a', True)
    """
    found = value.item() if isinstance(value, np.generic) else value
    if found is not None and not isinstance(found, str | int | float | bool):
        raise InputError(f"{found!r} ({type(found).__name__}): wanted a number, a truth value or text")
    return found


def _proba(model: Any) -> Any:
    if not callable(getattr(model, "predict_proba", None)):
        raise InputError(
            f"{type(model).__name__} classifies, but has no predict_proba(): drift, gate and canary compare probabilities. "
            "Wrap it in sklearn.calibration.CalibratedClassifierCV (for SVC: probability=True)"
        )
    return model.predict_proba


def _one_column(found: Any, wanted: int) -> np.ndarray:
    prediction = np.asarray(found)
    if prediction.ndim == 2 and prediction.shape[1] == 1:
        prediction = prediction[:, 0]
    if prediction.shape != (wanted,):
        raise InputError(
            f"predict() answered an array of shape {prediction.shape} to {wanted} rows; wanted ({wanted},)"
        )
    return prediction


def _finite(prediction: np.ndarray) -> np.ndarray:
    try:
        numbers = prediction.astype(float)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"predict() answers {prediction[:1].tolist()}: a regression wanted numbers. A classifier needs `classes_`"
        ) from error
    bad = int((~np.isfinite(numbers)).sum())
    if bad:
        raise InputError(f"predict() answers NaN or infinity for {bad} of {len(numbers)} rows; wanted finite numbers")
    return numbers


def _check_scores(scores: np.ndarray, rows: int, classes: tuple[Value, ...]) -> None:
    wanted = (rows, len(classes))
    if scores.shape != wanted:
        raise InputError(f"predict_proba() answered shape {scores.shape}; wanted {wanted}: one column a class")
    if not np.isfinite(scores).all():
        bad = int((~np.isfinite(scores)).any(axis=1).sum())
        raise InputError(f"predict_proba() answers NaN or infinity for {bad} of {rows} rows; wanted shares in [0, 1]")
    if (scores < -SUM_TOLERANCE).any() or (np.abs(scores.sum(axis=1) - 1.0) > SUM_TOLERANCE).any():
        raise InputError("predict_proba() answers rows that do not sum to 1; wanted shares in [0, 1] that do")
