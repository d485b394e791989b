"""What a user calls to learn why a model got worse: reads two frames, checks them, and asks the monitor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from afterfit.api import compare
from afterfit.errors import InputError, list_known
from afterfit.monitoring.cause_rows import names_of

if TYPE_CHECKING:
    import pandas as pd

    from afterfit.monitoring.cause import Cause


def cause(
    reference: Any,
    current: Any,
    *,
    target: str,
    scores: str | Mapping[Any, str] | None = None,
    prediction: str | None = None,
    features: Sequence[str] | None = None,
    seed: int = 0,
) -> Cause:
    """Why is the mean loss of the current rows another one: broken rows, other rows, other outcomes, or another relation?

    What it can tell and what not stands in docs/methods.md. Of more than 50,000 rows so many are drawn.

    Args:
        reference: a frame (see `profile`) with outcomes and the model's answers: rows that it was not trained on, 200 or
            more, such as its hold-out.
        current: the same columns, of rows whose outcomes are known, 200 or more.
        target: column of the outcome.
        scores: column of the positive class's probability (of the target's two values the later one), or
            {label: column} with one for each class; the loss is Brier's.
        prediction: column of a regression's answers; the loss is the absolute error.
        features: columns that the model sees; default: all others but times.
        seed: of folds, trees and draws.

    Raises:
        InputError: a column is missing or of the wrong kind, or too few rows have an outcome.

    >>> import numpy as np, pandas as pd
    >>> rng = np.random.default_rng(0)
    >>> x = rng.random(4000); frame = pd.DataFrame({"x": x, "p": x, "y": rng.random(4000) < x})
    >>> now = frame.assign(y=rng.random(4000) < 1 - x)  # what was likely is unlikely now
    >>> print(str(cause(frame, now, target="y", scores="p")).split(":")[0])
    The model got worse, mainly by concept (100%)
    """
    from afterfit.adapters.frames import to_pandas
    from afterfit.monitoring.cause import cause as run

    if scores is None and prediction is None:
        raise InputError("wanted scores= (a classifier) or prediction= (a regression); found neither")
    old, new = to_pandas(reference, "the reference"), to_pandas(current, "the current data")
    answers = names_of(scores) if scores is not None else (str(prediction),)
    for name, what in ((target, "target"), *((a, "prediction" if scores is None else "scores") for a in answers)):
        _refuse_missing(name, what, {"reference": old, "current data": new})
    named = {target, *names_of(scores), prediction}
    seen = _features(old, features, named)
    found = compare(old[seen], new[[f for f in seen if f in new]]).findings if seen else ()
    return run(old, new, found, target=target, scores=scores, prediction=prediction, features=seen, seed=seed)


def _refuse_missing(name: str, what: str, frames: Mapping[str, pd.DataFrame]) -> None:
    for side, frame in frames.items():
        if name not in frame.columns:
            columns = [str(c) for c in frame.columns]
            raise InputError(f"{what} = {name!r}: the {side} has no such column; {list_known(name, columns)}")


def _features(old: pd.DataFrame, asked: Sequence[str] | None, named: set[str | None]) -> list[str]:
    from pandas.api.types import is_datetime64_any_dtype

    times = [str(c) for c in old.columns if is_datetime64_any_dtype(old[c].dtype)]
    if asked is None:
        return [str(c) for c in old.columns if c not in named and c not in times]
    given = [asked] if isinstance(asked, str) else [str(a) for a in asked]
    for name in given:
        _refuse_missing(name, "features", {"reference": old})
        if name in named:
            raise InputError(f"features holds {name!r}, which is the target or an answer of the model; leave it out")
        if name in times:
            raise InputError(
                f"features holds the time {name!r}: times always move. Give what the model sees of it, such as the hour"
            )
    return list(dict.fromkeys(given))
