"""What a user calls from Python: register a version, adopt one, profile a frame, compare two."""

from __future__ import annotations

import getpass
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from afterfit.config import Config
from afterfit.errors import InputError
from afterfit.monitoring.drift import PREDICTION
from afterfit.monitoring.reference import Reference
from afterfit.monitoring.report import Report
from afterfit.records import Finding, ModelVersion
from afterfit.stats.profile import Profile

if TYPE_CHECKING:
    import pandas as pd

    from afterfit.adapters.mlflow_registry import Fetched
    from afterfit.monitoring.estimate import Performance, Rows
    from afterfit.ports import ColumnTest

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
    from afterfit.home import Home, find_config, prepared, reference_of
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
            made = prepared(made, home.config)
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
        target: a column that is no feature; left out. If it holds numbers or truth values, the profile keeps how the
            numeric features move with it.
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

    whole = profile_of(frame, target=target, time=time, hash_categories=hash_categories, what="the frame")
    if prediction is not None and prediction not in whole.columns:
        raise InputError(f"prediction = {prediction!r}: no such column; the frame has {list(whole.columns)}")
    return _called(whole, prediction)


def compare(
    reference: Any,
    current: Any,
    *,
    budget: float | None = None,
    target: str | None = None,
    prediction: str | None = None,
    time: str | None = None,
    segment_by: str | Sequence[str] | None = None,
    tests: Sequence[ColumnTest] = (),
    joint: bool = False,
) -> Report:
    """Compare a frame with a reference, column by column. The reference is not changed.

    Args:
        reference: a frame or path (see `profile`), a Profile, or a Reference, which knows how far apart its own days lie.
        current: a frame, a path, or a Profile.
        budget: chance of any false alarm over all columns and checks, in (0, 1); default 0.01. It holds for rows that
            are independent of each other; rows of one day that are alike need a Reference with times.
        target, prediction, time: columns of both frames, as in `profile`.
        segment_by: columns by whose values the rows are judged too, each by itself: at most 20 segments and the rest of
            each. Half of the budget is theirs. The data are read a second time, so both must be frames or paths (or a
            Reference that was made with segments).
        tests: your own (:class:`afterfit.ports.ColumnTest`), of whole columns, beside ours and within the same budget;
            docs/extending.md.
        joint: look for changes that no single column shows, too, in up to 5,000 rows of each: how pairs of columns move
            together, what principal components leave unexplained, and whether a classifier can tell the two apart. A
            tenth of the budget is theirs. Both must be frames or paths, which are read a second time; with `time`, rows
            of one time are taken to be alike.

    Raises:
        InputError: not a frame, a budget outside (0, 1), a column that is not there, or a test that is none.

    >>> import pandas as pd
    >>> old, new = pd.DataFrame({"x": range(100)}), pd.DataFrame({"x": range(50, 150)})
    >>> [(f.column, f.check) for f in compare(old, new).drifted]
    [('x', 'drift'), ('x', 'range')]
    """
    from afterfit.monitoring.checks import check_columns
    from afterfit.monitoring.extension import run_tests
    from afterfit.monitoring.joint import SHARE
    from afterfit.monitoring.segments import WHOLE, names_of

    budget = BUDGET if budget is None else budget
    if isinstance(budget, bool) or not isinstance(budget, int | float) or not 0.0 < budget < 1.0:
        raise InputError(f"budget = {budget!r}: wanted the chance of any false alarm, between 0 and 1, such as 0.01")
    read = partial(profile, target=target, prediction=prediction, time=time)
    cuts = names_of(segment_by)
    if cuts or joint:
        reference, current = _held(reference, "the reference"), _held(current, "the current data")
    if joint and isinstance(reference, Reference):
        raise InputError("joint = True: the reference is a Reference, which keeps no rows; give the frame or the path")
    known = reference if isinstance(reference, Reference) else _reference(_profiled(reference, read))
    window = _profiled(current, read)
    columns = dict(window.columns)
    answers = columns.pop(PREDICTION, None) if known.prediction is not None else None
    names = {**known.profile.columns, **columns}
    pairs = {name: (known.profile.columns.get(name), columns.get(name)) for name in names}
    if answers is not None:
        pairs[PREDICTION] = (known.prediction, answers)
    left, theirs = run_tests(tests, pairs, budget * (1.0 - SHARE) if joint else budget)
    alpha = left * WHOLE if cuts else left
    findings = check_columns(known, columns, alpha=alpha, prediction=answers, relations=window.relations) + theirs
    if cuts:
        findings += _segments(known, reference, current, cuts, prediction, left - alpha)
    if joint:
        findings += _joint(reference, current, (target, prediction), time, findings, budget * SHARE)
    return Report(tuple(findings), float(budget), known.profile.n, window.n, pairs)


def estimate(
    reference: Any,
    current: Any,
    *,
    target: str,
    scores: str | Mapping[Any, str] | None = None,
    prediction: str | None = None,
    metric: str | None = None,
    labels: tuple[Any, Any] | None = None,
    cost: Sequence[Sequence[float]] | None = None,
    reweight: bool = False,
    level: float = 0.95,
) -> Performance:
    """How good are the answers whose outcomes are not known yet? Blind to concept drift, and says so.

    With 30 outcomes in `current`, `blended` corrects by them what is expected of the rest, however the concept moved. That
    holds if they are a random part: outcomes that come sooner for one class are not.

    Args:
        reference: a frame (see `profile`) with outcomes, in time order: rows the model was not trained on, 200 or more.
        current: a frame without outcomes, or with those that are known so far, null for the rest.
        target: column of the outcome.
        scores: column of the positive class's probability, or {label: column} for more than two classes; None: regression.
        prediction: column of the answers; default: the positive class from a score of 0.5, or the class with the most.
        metric: accuracy, precision, recall, f1, roc_auc (default), average_precision, log_loss, brier, cost; mae (default)
            and rmse for regression.
        labels: (negative, positive) for one column of scores; default: the target's two values in order.
        cost: cost[true][predicted] of one row, in the order of the labels; adds the metric `cost`.
        reweight: weigh the reference as the current numeric features lie (covariate shift).
        level: nominal coverage of the intervals, for what will be realised on these very rows (`blended`: the population).

    Raises:
        InputError: a column is missing or no numbers, an unknown metric or class, or nothing can be learned from it.

    >>> import numpy as np, pandas as pd
    >>> p = np.linspace(0.01, 0.99, 4000); y = np.random.default_rng(0).random(4000) < p
    >>> found = estimate(pd.DataFrame({"p": p, "y": y}).sample(frac=1, random_state=0), pd.DataFrame({"p": p}),
    ...     target="y", scores="p")
    >>> bool(0.80 < found.low < found.value < found.high < 0.86)
    True
    """
    from afterfit.adapters.frames import to_pandas
    from afterfit.monitoring.estimate import estimate as run

    if not 0.0 < level < 1.0:
        raise InputError(f"level = {level!r}: wanted a coverage between 0 and 1, such as 0.95")
    if scores is None and prediction is None:
        raise InputError("wanted scores= (a classifier) or prediction= (a regression); found neither")
    old, new = to_pandas(reference, "the reference"), to_pandas(current, "the current data")
    named = {*([scores] if isinstance(scores, str) else (scores or {}).values()), prediction, target}
    features = [str(c) for c in old.select_dtypes(["number", "bool"]) if c in new.columns and c not in named]
    read = partial(_answers, scores=scores, prediction=prediction, features=features)
    return run(
        read(old, target=target),
        read(new, target=target if target in new.columns else None),
        metric=metric,
        labels=tuple(scores) if isinstance(scores, Mapping) else labels,
        level=level,
        cost=cost,
        reweight=reweight,
    )


def _answers(
    frame: pd.DataFrame,
    *,
    scores: str | Mapping[Any, str] | None,
    prediction: str | None,
    target: str | None,
    features: list[str],
) -> Rows:
    import pandas as pd

    from afterfit.adapters.frames import to_floats
    from afterfit.monitoring.estimate import Rows

    of_scores = [] if scores is None else [scores] if isinstance(scores, str) else list(scores.values())
    values = [to_floats(_column(frame, name, "scores"), "scores") for name in of_scores]
    numeric = frame[features].apply(pd.to_numeric, errors="coerce")
    plain = to_floats if scores is None else (lambda c, _: c.to_numpy(dtype=object, na_value=None))
    return Rows(
        prediction=None if prediction is None else plain(_column(frame, prediction, "prediction"), "prediction"),
        scores=None if not values else values[0] if isinstance(scores, str) else np.column_stack(values),
        outcome=plain(_column(frame, target, "target"), "target") if target is not None else None,
        features=numeric.to_numpy(dtype=float, na_value=math.nan) if features else None,
    )


def _called(whole: Profile, prediction: str | None) -> Profile:
    """The column of the answers under the name that the checks know it by."""
    if prediction is None:
        return whole
    called = {prediction: PREDICTION}
    return replace(
        whole,
        columns={called.get(name, name): column for name, column in whole.columns.items()},
        relations={called.get(name, name): relation for name, relation in whole.relations.items()},
    )


def _held(given: Any, what: str) -> Any:
    """What can be read twice."""
    from afterfit.adapters.profiler import held

    if isinstance(given, Profile):
        raise InputError(f"segment_by, joint: {what} is a Profile, which keeps no rows; give the frame or the path")
    return given if isinstance(given, Reference) else held(given, what)


def _joint(
    reference: Any, current: Any, answers: Sequence[str | None], time: str | None, known: list[Finding], alpha: float
) -> list[Finding]:
    """Findings about the columns together, from a sample of the rows of both."""
    from afterfit.adapters.profiler import source_of
    from afterfit.adapters.row_sample import sample_of
    from afterfit.monitoring.joint import JointReference, check_joint
    from afterfit.monitoring.reference import block_length

    skip = {name for name in (*answers, time) if name is not None}
    window, now, span = sample_of(source_of(current, "the current data"), skip, time, "the current data")
    cut = partial(block_length, window=span) if span > 0.0 else None
    old = JointReference(*sample_of(source_of(reference, "the reference"), skip, time, "the reference", cut))
    return check_joint(old, window, alpha=alpha, moved=[f.column for f in known if f.drifted], times=now)


def _segments(
    known: Reference, reference: Any, current: Any, cuts: tuple[str, ...], prediction: str | None, alpha: float
) -> list[Finding]:
    """How the rows were cut, and the findings of the segments."""
    from afterfit.adapters.profiler import source_of
    from afterfit.adapters.segment_profiler import cells_of, plan
    from afterfit.monitoring.checks import FEW_ROWS
    from afterfit.monitoring.segments import FEW_REFERENCE, check_cells, note, plans_of, refuse_missing

    new = source_of(current, "the current data")
    refuse_missing(cuts, new.names, "the current data")
    names = [*known.profile.columns, *([prediction] if prediction is not None else [])]
    if isinstance(reference, Reference):
        refuse_missing(cuts, list(known.segments), "the reference's list of segments")
        plans = {by: p for by, p in plans_of(known).items() if by in cuts}
    else:
        old = source_of(reference, "the reference")
        refuse_missing(cuts, old.names, "the reference")
        plans = {by: plan(old, new, by, least=FEW_REFERENCE, needed=FEW_ROWS) for by in cuts}
        before = cells_of(old, plans, names, "the reference")
        known = replace(known, segments=_each(before, lambda cell: _reference(_called(cell, prediction))))
    cells = _each(
        cells_of(new, plans, [n for n in names if n in new.names], "the current data"),
        partial(_called, prediction=prediction),
    )
    return [note(by, p.said) for by, p in plans.items() if p.said] + check_cells(known, cells, cuts, alpha=alpha)


def _each(cells: Mapping[str, Mapping[str, Profile]], change: Callable[[Profile], Any]) -> dict[str, dict[str, Any]]:
    return {by: {segment: change(cell) for segment, cell in parts.items()} for by, parts in cells.items()}


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
