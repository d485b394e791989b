"""What a user calls from Python: register a version, adopt one, profile a frame, compare two."""

from __future__ import annotations

import getpass
import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afterfit.config import Config
from afterfit.errors import InputError
from afterfit.monitoring.checks import PREDICTION
from afterfit.monitoring.reference import Reference
from afterfit.monitoring.report import Report
from afterfit.records import ModelVersion
from afterfit.stats.profile import Profile

if TYPE_CHECKING:
    import pandas as pd

    from afterfit.adapters.mlflow_registry import Fetched

BUDGET = 0.01  # chance of any false alarm in one comparison


def register(
    name: str,
    model: Any,
    X: Any,
    y: Any,
    *,
    holdout: tuple[Any, Any] | None = None,
    params: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
    time: Any = None,
    card: str | None = None,
    tags: Mapping[str, str] | None = None,
    config: Config | None = None,
) -> ModelVersion:
    """Put a fitted model under care: log it to MLflow, keep its data's profile and hash, and list it.

    Args:
        name: of the model; a section [models.NAME] in afterfit.toml holds its settings, and without one the defaults
            apply and it is never retrained.
        model: fitted scikit-learn estimator or pipeline, or an object with `predict` (classification: `predict_proba`
            and `classes_` too).
        X: training rows (n_rows, n_features): pandas, Polars, Arrow, numpy, DuckDB relation, or a Parquet or CSV path.
        y: what came true (n_rows,).
        holdout: (X, y) that the model has not seen; without it the first version can't pass its gate by itself.
        params: hyperparameters; default: the model's get_params().
        metrics: your own numbers, kept beside the measured ones.
        time: when each row of X happened: values (n_rows,), or the name of a column of X, which then is no feature.
        card: model card, Markdown.
        tags: short texts kept with the version.
        config: settings; default: afterfit.toml of the working folder.

    Returns:
        The version, with its number, folder, hashes and metrics.

    Raises:
        InputError: something does not fit; the message says what was wanted and what to do.
        StoreError: MLflow or a store can't be reached; no version is listed then.
        SetupError: the home folder is not writable.
    """
    from afterfit.adapters.frames import to_pandas, to_series, to_times
    from afterfit.home import Home, find_config, put_under_care
    from afterfit.tracking.draft import Labelled, check_name, draft

    check_name(name)
    config = config or find_config()
    frame = to_pandas(X, "X")
    frame, times = _without_time(frame, time)
    held = None
    if holdout is not None:
        X_held, y_held = _pair(holdout)
        held = Labelled(_drop(to_pandas(X_held, "the hold-out's X"), time), to_series(y_held, "the hold-out's y"))
    made = draft(
        name,
        model,
        Labelled(frame, to_series(y, "y")),
        at=datetime.now(UTC),
        holdout=held,
        task=_task(config, name),
        times=None if times is None else to_times(times),
        params=params,
        metrics=metrics,
        tags=tags,
    )
    home = Home.open(config)
    try:
        return put_under_care(made, home, actor=_person(), card=card)
    finally:
        home.close()


def adopt(
    name: str,
    uri: str,
    reference: Any,
    *,
    target: str | None = None,
    time: str | None = None,
    tracking_uri: str | None = None,
    config: Config | None = None,
) -> ModelVersion:
    """Put a version under care that lives in your own MLflow already.

    Its parameters and metrics are those of its run. It has no measured hold-out loss, so a person promotes it:
    `afterfit promote NAME VERSION`. One from another server, or of another name, is copied into the configured MLflow.

    Args:
        name: what it is called here.
        uri: `models:/NAME/VERSION` or `models:/NAME@ALIAS`.
        reference: the frame it was trained on (see `register`); columns that are not the model's are left out.
        target: the target's column in the reference, if it is there.
        time: the time column in the reference.
        tracking_uri: your MLflow; default: the configured one.
        config: settings; default: afterfit.toml of the working folder.

    Raises:
        InputError, UnknownNameError, StoreError, SetupError: as `register`.
    """
    from afterfit.adapters.frames import to_pandas, to_series, to_times
    from afterfit.home import Home, find_config, reference_of
    from afterfit.tracking.draft import Labelled, check_name, draft
    from afterfit.tracking.register import settle

    check_name(name)
    config = config or find_config()
    frame = to_pandas(reference, "the reference")
    frame, times = _without_time(frame, time)
    y = None
    if target is not None:
        y = to_series(_column(frame, target, "target"))
        frame = frame.drop(columns=[target])
    home = Home.open(config)
    try:
        with tempfile.TemporaryDirectory(prefix="afterfit-adopt-") as folder:
            fetched = home.registry.fetch(uri, Path(folder) / "model", tracking_uri)
            made = draft(
                name,
                fetched.model,
                Labelled(_own_columns(frame, fetched), y),
                at=datetime.now(UTC),
                task=_adopted_task(config, name, fetched),
                times=None if times is None else to_times(times),
                params=fetched.params,
                metrics={k: v for k, v in fetched.metrics.items() if math.isfinite(v)},
                origin="adopt",
            )
            return settle(
                made,
                reference_of(made, home.config),
                lambda files: home.registry.adopt(
                    made.version, uri, files=files, fetched=fetched, tracking_uri=tracking_uri
                ),
                versions=home.store,
                ledger=home.store,
                actor=_person(),
            )
    finally:
        home.close()


def profile(
    frame: Any,
    *,
    target: str | None = None,
    prediction: str | None = None,
    time: str | None = None,
    hash_categories: bool = False,
) -> Profile:
    """What is kept of a frame: counts by column, no rows, a few kB a column. `a + b` is the profile of the rows of both.

    Parquet is streamed on all cores: memory depends on neither the number of rows nor that of the columns.

    Args:
        frame: pandas, Polars, Arrow, numpy, DuckDB relation or any frame that narwhals knows; or a path: a Parquet or CSV
            file, a folder of Parquet files, or a pattern such as `logs/2013-*.parquet`.
        target: a column that is no feature; left out.
        prediction: the column of a model's answers; it is called `prediction` in the profile.
        time: the column that says when; left out.
        hash_categories: keep short hashes instead of the names of categories.

    Raises:
        InputError: not a frame, an unreadable file, or a named column that is not there.

    >>> import pandas as pd
    >>> both = profile(pd.DataFrame({"x": [1.0, 2.0]})) + profile(pd.DataFrame({"x": [3.0]}))
    >>> both.n, both.columns["x"].high
    (3, 3.0)
    """
    from afterfit.adapters.profiler import profile_of

    left_out = [c for c in (target, time) if c is not None]
    whole = profile_of(frame, leave_out=left_out, hash_categories=hash_categories)
    if prediction is None:
        return whole
    if prediction not in whole.columns:
        raise InputError(f"prediction = {prediction!r}: no such column; the frame has {list(whole.columns)}")
    named = {PREDICTION if name == prediction else name: column for name, column in whole.columns.items()}
    return Profile(whole.n, named)


def compare(
    reference: Any,
    current: Any,
    *,
    budget: float | None = None,
    target: str | None = None,
    prediction: str | None = None,
    time: str | None = None,
) -> Report:
    """Compare a frame with a reference, column by column. The reference is not changed.

    Args:
        reference: a frame or path (see `profile`), a Profile, or a Reference, which knows how far apart its own days lie.
        current: a frame, a path, or a Profile.
        budget: chance of any false alarm over all columns and checks, in (0, 1); default 0.01. It holds for rows that
            are independent of each other; rows of one day that are alike need a Reference with times.
        target, prediction, time: columns of both frames, as in `profile`.

    Raises:
        InputError: not a frame, or a budget outside (0, 1).

    >>> import pandas as pd
    >>> old, new = pd.DataFrame({"x": range(100)}), pd.DataFrame({"x": range(50, 150)})
    >>> [(f.column, f.check) for f in compare(old, new).drifted]
    [('x', 'drift'), ('x', 'range')]
    """
    from afterfit.monitoring.checks import check_columns

    budget = BUDGET if budget is None else budget
    if isinstance(budget, bool) or not isinstance(budget, int | float) or not 0.0 < budget < 1.0:
        raise InputError(f"budget = {budget!r}: wanted the chance of any false alarm, between 0 and 1, such as 0.01")
    read = partial(profile, target=target, prediction=prediction, time=time)
    known = reference if isinstance(reference, Reference) else _reference(_profiled(reference, read))
    window = _profiled(current, read)
    columns = dict(window.columns)
    answers = columns.pop(PREDICTION, None) if known.prediction is not None else None
    findings = check_columns(known, columns, alpha=budget, prediction=answers)
    names = {**known.profile.columns, **columns}
    pairs = {name: (known.profile.columns.get(name), columns.get(name)) for name in names}
    if answers is not None:
        pairs[PREDICTION] = (known.prediction, answers)
    return Report(tuple(findings), float(budget), known.profile.n, window.n, pairs)


def _profiled(given: Any, read: Callable[[Any], Profile]) -> Profile:
    return given if isinstance(given, Profile) else read(given)


def _reference(whole: Profile) -> Reference:
    features = {n: c for n, c in whole.columns.items() if n != PREDICTION}
    return Reference(replace(whole, columns=features), whole.columns.get(PREDICTION), {}, 0.0, 0.0)


def _without_time(frame: pd.DataFrame, time: Any) -> tuple[pd.DataFrame, Any]:
    if not isinstance(time, str):
        return frame, time
    return _drop(frame, time), _column(frame, time, "time")


def _drop(frame: pd.DataFrame, time: Any) -> pd.DataFrame:
    return frame.drop(columns=[time], errors="ignore") if isinstance(time, str) else frame


def _column(frame: pd.DataFrame, name: str, what: str) -> pd.Series:
    if name not in frame.columns:
        raise InputError(f"{what} = {name!r}: no such column; the frame has {[str(c) for c in frame.columns]}")
    return frame[name]


def _own_columns(frame: pd.DataFrame, fetched: Fetched) -> pd.DataFrame:
    """The model's columns in its order, from MLflow's signature or from the estimator; else all of the frame."""
    fitted_on = getattr(fetched.model, "feature_names_in_", None)
    names = fetched.columns or (None if fitted_on is None else tuple(fitted_on))
    if names is None:
        return frame
    missing = [n for n in names if n not in frame.columns]
    if missing:
        raise InputError(f"the reference lacks the model's columns {missing}; it has {[str(c) for c in frame.columns]}")
    return frame[list(names)]


def _adopted_task(config: Config, name: str, fetched: Fetched) -> str | None:
    task = _task(config, name)
    if fetched.flavor != "sklearn" and task != "regression":
        raise InputError(
            "the version has no scikit-learn flavor, so MLflow gives its answers but no probabilities by class: it can be "
            f'adopted as a regression only, with task = "regression" in [models.{name}] of afterfit.toml. A classifier '
            "must be logged with mlflow.sklearn"
        )
    return task


def _task(config: Config, name: str) -> str | None:
    return config.models[name].task if name in config.models else None


def _pair(holdout: Any) -> tuple[Any, Any]:
    if not isinstance(holdout, tuple | list) or len(holdout) != 2:
        raise InputError(f"holdout: wanted a pair (X, y), found {type(holdout).__name__}")
    return holdout[0], holdout[1]


def _person() -> str:
    return f"person:{getpass.getuser()}"
