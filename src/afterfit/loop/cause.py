"""Why the live champion got worse: its newest mature windows beside the earlier ones that it answered."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from afterfit.errors import InputError
from afterfit.home import Home
from afterfit.loop.answers import answers, labelled_rows
from afterfit.loop.windows import LOOKED_AT, of_version
from afterfit.monitoring.cause import Cause, cause
from afterfit.monitoring.checks import check_window
from afterfit.monitoring.columns import columns_of, kinds_of
from afterfit.monitoring.reference import build_reference
from afterfit.records import ModelVersion, Window
from afterfit.stats.cause import FEWEST_ROWS

if TYPE_CHECKING:
    import pandas as pd

NEWEST, EARLIER = 7, 28  # windows that are explained, and those before them that they are held against
BUDGET = 0.01  # chance of any false finding about the features, as in af.compare
TARGET, ANSWER = "_outcome", "_answer"


def cause_of(home: Home, champion: ModelVersion, window: float, ripe: datetime, now: datetime) -> Cause:
    """What :func:`afterfit.cause` says of the champion's own rows, of windows that ended before `ripe`.

    Args:
        window: seconds of one.
        ripe: before it nearly all outcomes are known.

    Raises:
        InputError: too few rows of this version have an outcome.
    """
    middle, start = ripe - timedelta(seconds=NEWEST * window), ripe - timedelta(seconds=(NEWEST + EARLIER) * window)
    old, new = (_rows(home, champion, Window(a, b), now) for a, b in ((start, middle), (middle, ripe)))
    if min(len(old), len(new)) < FEWEST_ROWS:
        raise InputError(
            f"version {champion.version} answered {len(old)} rows with an outcome before {middle:%Y-%m-%d %H:%M} and "
            f"{len(new)} after it; wanted {FEWEST_ROWS} of each: wait for more outcomes"
        )
    features = [f.name for f in champion.features]
    kinds = kinds_of(champion.features)
    reference = build_reference(
        {f: old[f].to_numpy() for f in features}, kinds=kinds, times=None, prediction=None, window=window
    )
    found = check_window(reference, {f: new[f].to_numpy() for f in features}, alpha=BUDGET)
    scores = None if champion.classes is None else {c: f"{ANSWER}_{i}" for i, c in enumerate(champion.classes)}
    prediction = ANSWER if scores is None else None
    return cause(old, new, found, target=TARGET, scores=scores, prediction=prediction, features=features, seed=0)


def in_short(found: Cause) -> str:
    """One sentence for an incident: the cause, and the first place that carries it."""
    if found.largest is None:
        losses = f"{found.loss} {found.reference_loss:.4g} → {found.current_loss:.4g}, within noise"
        return (
            f"why: its last {NEWEST} windows are no worse than the {EARLIER} before ({losses}): it answered like this from the "
            "start, and the hold-out was an easier time"
        )
    first, *rest = str(found).splitlines()
    places = [line for line in rest if line.startswith(("Broken:", "Where:", "Shifted:"))]
    return f"why: {first}{' ' + places[0] if places else ''}"


def _rows(home: Home, champion: ModelVersion, window: Window, now: datetime) -> pd.DataFrame:
    """Features, outcome and answers of the rows of a stretch of time that the champion answered."""
    import pandas as pd

    table = home.lake.labelled(
        champion.model, window, features=champion.features, as_of=now, known=True, most=LOOKED_AT
    )
    outcome, rows = labelled_rows(of_version(table, champion))
    prediction, scores = answers(rows, champion)
    columns: dict[str, Any] = dict(columns_of(rows, champion.features))
    columns[TARGET] = outcome
    if scores is None:
        columns[ANSWER] = prediction
    else:
        columns |= {f"{ANSWER}_{i}": scores[:, i] for i in range(scores.shape[1])}
    return pd.DataFrame(columns)
