"""From a fitted model and its training frame to a version that is ready to be logged: checked, hashed and evaluated."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from afterfit.errors import InputError
from afterfit.records import Feature, ModelVersion, Value
from afterfit.tracking.evaluation import evaluate, loss_scale
from afterfit.tracking.features import features_of
from afterfit.tracking.fingerprint import frame_sha256
from afterfit.tracking.golden import golden, golden_rows
from afterfit.tracking.importance import importance
from afterfit.tracking.params import flat_params
from afterfit.tracking.scoring import Answers, ask, classes_of, task_of, wants_array

if TYPE_CHECKING:
    import pandas as pd

UNREGISTERED = 0  # version of a draft


@dataclass(frozen=True, slots=True)
class Labelled:
    """Rows and what came true: X (n_rows, n_features), y (n_rows,) or None where it is not known."""

    X: pd.DataFrame
    y: pd.Series | None


@dataclass(frozen=True, slots=True)
class Draft:
    """A version before the registry gave it a number, and what is kept beside it."""

    version: ModelVersion
    model: Any
    X: pd.DataFrame  # training rows
    times: np.ndarray | None  # event times of the training rows, seconds since 1970, shape (n_rows,)
    answers: np.ndarray  # the model's answers to the training rows, as one number a row
    unseen_answers: np.ndarray | None  # and to the hold-out, which it has not seen
    golden: Mapping[str, Any]
    unseen: pd.DataFrame | None  # rows of the hold-out
    importance: Mapping[str, Any]  # "rise" of the loss by shuffled feature, and the "reason" where it is not known
    prior: Mapping[str, Any]  # "prediction" and "scores" that the training target alone gives; of answers without one
    beside: Mapping[str, bytes] = field(
        default_factory=dict
    )  # files of its lane, by their place in the version's folder
    example: pd.DataFrame | None = None  # rows that may be shown; None: the first of the training rows


def draft(
    name: str,
    model: Any,
    training: Labelled,
    *,
    at: datetime,
    holdout: Labelled | None = None,
    task: str | None = None,
    times: pd.Series | None = None,
    params: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
    tags: Mapping[str, str] | None = None,
    origin: str = "register",
    before: ModelVersion | None = None,
) -> Draft:
    """Check everything, ask the model for its answers, and describe the version made `at` a moment. Nothing is written.

    Args:
        name, model: letters, digits, '-', '_' and '.'; fitted estimator, or an object with predict(frame) (classification: predict_proba and classes_ too).
        training: the rows it was fitted on; without targets (an adopted version) nothing is said about them.
        holdout: rows it has not seen; without them no metric is measured and the gate has no evidence.
        task: binary, multiclass or regression; None: told from the model.
        times: event times of the training rows (timezone-aware), shape (n_rows,).
        params, metrics, tags: hyperparameters (None: what get_params() says), your own numbers and texts, kept beside ours.
        origin: register, adopt or retrain.
        before: the version this one is trained to replace; its nulls must be answered and its loss scale is kept.
    Raises:
        InputError: something does not fit; the message says what was wanted, what was found and what to do.
    """
    check_name(name)
    kind, classes = task_of(model, task), classes_of(model)
    _check_labelled(training, "the training data", classes)
    features = features_of(training.X)
    if before is not None:
        features = _as_before(features, before.features)
    if holdout is not None:
        holdout = Labelled(_same_columns(holdout.X, training.X), holdout.y)
        _check_labelled(holdout, "the hold-out", classes)
    answers = ask(model, training.X, classes)
    unseen = None if holdout is None else ask(model, holdout.X, classes)
    learned = answers.prediction if training.y is None else _array(training.y)
    outcome = learned if holdout is None or holdout.y is None else _array(holdout.y)
    scale = before.loss_scale if before is not None else loss_scale(kind, learned, outcome)
    measured = _measured(unseen, kind, classes, scale, trained_on=learned, outcome=outcome)
    seconds = None if times is None else _seconds(times, len(training.X))
    version = ModelVersion(
        model=name,
        version=UNREGISTERED,
        task=kind,
        created_at=at,
        folder="",
        uri="",
        run_id=None,
        model_sha256="",
        data_sha256=frame_sha256(training.X, training.y),
        n_rows=len(training.X),
        features=features,
        classes=classes,
        params=flat_params(model) if params is None else dict(params),
        metrics=_own_metrics(metrics) | measured,
        data_from=None if seconds is None else datetime.fromtimestamp(float(seconds.min()), UTC),
        data_to=None if seconds is None else datetime.fromtimestamp(float(seconds.max()), UTC),
        loss_scale=scale,
        origin=origin,
        tags=_tags(tags, model),
    )
    kept, rise = golden(model, golden_rows(training.X, features), classes), _importance(model, version, holdout)
    new, rows = (None, None) if unseen is None or holdout is None else (unseen.summary(), holdout.X)
    said, guess = answers.summary(), prior(learned, classes)
    return Draft(version, model, training.X, seconds, said, new, kept, rows, rise, guess)


def _tags(own: Mapping[str, str] | None, model: Any) -> dict[str, str]:
    """The user's tags; and the interpreter that registers, which can read the pickle back."""
    told = {str(k): str(v) for k, v in (own or {}).items()} | {"python": sys.executable}
    return told | ({"input": "array"} if wants_array(model) else {})


def prior(target: np.ndarray, classes: tuple[Value, ...] | None) -> dict[str, Any]:
    """What one would say without looking at a row: the most frequent class and the share of each, or the mean.

    >>> prior(np.array(["a", "b", "b", "b"]), ("a", "b"))
    {'prediction': 'b', 'scores': [0.25, 0.75]}
    """
    if classes is None:
        return {"prediction": float(np.mean(target.astype(float))), "scores": None}
    shares = [float(np.mean([value == label for value in target.tolist()])) for label in classes]
    return {"prediction": classes[int(np.argmax(shares))], "scores": shares}


def _measured(unseen: Answers | None, *of: Any, **told: Any) -> dict[str, float]:
    """What the hold-out says of the version; nothing without one."""
    return {} if unseen is None else evaluate(*of, answers=unseen, **told)


def _importance(model: Any, version: ModelVersion, holdout: Labelled | None) -> dict[str, Any]:
    """A model that fails on shuffled rows is no worse for it: that is written down instead."""
    if holdout is None or holdout.y is None:
        return {"rise": {}, "reason": "no hold-out to measure it on"}
    try:
        return {"rise": importance(model, version, holdout.X, _array(holdout.y)), "reason": ""}
    except InputError as error:
        return {"rise": {}, "reason": str(error)}


def check_name(name: object) -> None:
    """InputError unless it is a name that afterfit.toml, a URL and MLflow all accept."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", name):
        raise InputError(
            f"model name {name!r}: wanted letters, digits, '-', '_' and '.', beginning with a letter or digit, at most "
            "100 characters, such as 'flight-delay'"
        )


def _check_labelled(data: Labelled, what: str, classes: tuple[Value, ...] | None) -> None:
    X, y = data.X, data.y
    if len(X) == 0 or X.shape[1] == 0:
        raise InputError(f"{what} has {len(X)} rows and {X.shape[1]} features; wanted at least one of each")
    if y is None:
        return
    if len(X) != len(y):
        raise InputError(f"{what} has {len(X)} rows but {len(y)} targets; wanted one target a row, in the same order")
    if y.name is not None and y.name in X.columns and X[y.name].reset_index(drop=True).equals(y.reset_index(drop=True)):
        raise InputError(
            f"{what} holds its target {y.name!r} among the features, so the model would see the answer. Fit and "
            f"register without it: X.drop(columns=[{y.name!r}])"
        )
    nulls = int(y.isna().sum())
    if nulls:
        raise InputError(f"{what} has {nulls} rows without a target; drop them: X[y.notna()], y[y.notna()]")
    if classes is None:
        if not np.isfinite(_numbers(y, what)).all():
            raise InputError(f"{what} has infinite targets; wanted finite numbers")
        return
    strange = set(y.unique().tolist()) - set(classes)
    if strange:
        raise InputError(
            f"{what} has targets {sorted(strange, key=str)[:5]} that are not among the model's classes "
            f"{list(classes)[:10]}. Pass y as it was given to fit()"
        )


def _numbers(y: pd.Series, what: str) -> np.ndarray:
    try:
        return y.to_numpy(dtype=float)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{what} has targets such as {y.iloc[0]!r}, and the model has no classes_, so it is taken for a regression: "
            "wanted numbers"
        ) from error


def _same_columns(frame: pd.DataFrame, wanted: pd.DataFrame) -> pd.DataFrame:
    missing = [c for c in wanted.columns if c not in frame.columns]
    extra = [c for c in frame.columns if c not in wanted.columns]
    if missing or extra:
        raise InputError(
            f"the hold-out has other columns than the training data: missing {missing}, extra {extra}. Split one frame "
            "in two"
        )
    return frame[list(wanted.columns)]


def _as_before(features: tuple[Feature, ...], before: tuple[Feature, ...]) -> tuple[Feature, ...]:
    """The columns may hold no null by chance; callers that were allowed to send one still are."""
    nullable = {f.name: f.nullable for f in before}
    return tuple(replace(f, nullable=f.nullable or nullable.get(f.name, False)) for f in features)


def _seconds(times: pd.Series, rows: int) -> np.ndarray:
    if len(times) != rows:
        raise InputError(f"`time` has {len(times)} values for {rows} rows; wanted one a row, in the same order")
    if times.isna().any():
        raise InputError(f"`time` is null in {int(times.isna().sum())} rows; drop those rows, or leave `time` out")
    return np.asarray(times.dt.tz_convert("UTC").dt.as_unit("us").astype("int64").to_numpy() / 1e6)


def _own_metrics(metrics: Mapping[str, float] | None) -> dict[str, float]:
    found = {}
    for key, value in (metrics or {}).items():
        try:
            found[str(key)] = float(value)
        except (TypeError, ValueError) as error:
            raise InputError(f"metric {key!r} = {value!r}: wanted a number") from error
        if not math.isfinite(found[str(key)]):
            raise InputError(f"metric {key!r} = {value!r}: wanted a finite number; leave it out if it is not known")
    return found


def _array(y: pd.Series) -> np.ndarray:
    return np.asarray(y.to_numpy())
