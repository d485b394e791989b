"""Which rows the next version learns from, and which newest ones it is judged on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from afterfit.errors import InputError
from afterfit.records import Window

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Two tables of labelled rows in time order, the older one for training, and what was left out and why."""

    train: pa.Table
    holdout: pa.Table
    excluded: Mapping[str, int] = field(default_factory=dict)


def split(
    table: pa.Table,
    *,
    now: datetime,
    recency: float | None,
    holdout: float,
    embargo: float,
    min_rows: int,
    exclude: Sequence[Window] = (),
    unlabelled: int = 0,
) -> TrainingSet:
    """Split rows of `Lake.labelled` by event time: train | embargo | hold-out | immature.

    Args:
        table: with `time`, `outcome` (null: not known) and feature columns.
        recency: seconds of history to keep, None: all.
        holdout: seconds of the newest mature rows that are kept for the gate.
        embargo: seconds outcomes take; rows younger than this are not mature, and as long a gap lies between the
            training rows and the hold-out, so that no training row's outcome became known during the hold-out.
        min_rows: fewest training rows.
        exclude: windows with a broken feed, left out of both.
        unlabelled: rows without a known outcome that were served and are not in the table; only told.

    Raises:
        InputError: not enough rows; says how many there are and how many it takes.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    ripe = now - timedelta(seconds=embargo)
    cut = ripe - timedelta(seconds=holdout)
    excluded = {"outcome not known": unlabelled + table.num_rows}
    table = table.filter(table["outcome"].is_valid())
    excluded["outcome not known"] -= table.num_rows
    for window in exclude:
        inside = _within(table["time"], window.start, window.end)
        excluded["broken feed"] = excluded.get("broken feed", 0) + int(pc.sum(inside).as_py() or 0)
        table = table.filter(pc.invert(inside))
    table = table.sort_by("time")
    train = table.filter(pc.less(table["time"], pa.scalar(cut - timedelta(seconds=embargo), table["time"].type)))
    if recency is not None:
        train = train.filter(_within(train["time"], now - timedelta(seconds=recency), now))
    newest = table.filter(_within(table["time"], cut, ripe))
    excluded["embargo, immature or too old"] = table.num_rows - train.num_rows - newest.num_rows
    if train.num_rows < min_rows or newest.num_rows == 0:
        raise InputError(
            f"not enough labelled rows to train: {train.num_rows} before the hold-out (wanted {min_rows}) and "
            f"{newest.num_rows} in it (wanted at least 1); left out: {excluded}. Wait for outcomes, or lower "
            "min_rows or holdout in [models.NAME.retrain]"
        )
    return TrainingSet(train, newest, excluded)


def _within(column: Any, start: datetime, end: datetime) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    after = pc.greater_equal(column, pa.scalar(start, column.type))
    return pc.and_(after, pc.less(column, pa.scalar(end, column.type)))
