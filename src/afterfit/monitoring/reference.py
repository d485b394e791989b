"""What is kept of the world a model was trained in: its profile, and how far apart its own days lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from afterfit.stats import chi2, ks, units
from afterfit.stats.profile import Categorical, Column, Numeric, Profile, column_from_dict, column_to_dict, profile
from afterfit.stats.shares import Shares
from afterfit.stats.smooth import Directions

Floats = NDArray[np.float64]
SCHEMA = 3
TRAILING = 7  # blocks before a block that its unit check is measured against
STRETCHES = 24  # parts of a block between which a sudden step is looked for: hours of a day
ENOUGH = 20  # blocks wanted beyond the first TRAILING; windows too long for that are halved, at most HALVINGS times
HALVINGS = 4
SMALL_BLOCK = 20  # rows below which a block says nothing about the spread between blocks


@dataclass(frozen=True)
class Reference:
    """Profile of the training rows, of the model's own answers to them, and the statistics between blocks of time.

    `blocks[column][check]` holds one value a block: how strange that block looks beside the rest of the reference. It
    is empty when the rows had no times.
    """

    profile: Profile
    prediction: Column | None
    blocks: Mapping[str, Mapping[str, tuple[float, ...]]]
    window: float  # seconds that one look covers
    block: float  # seconds a block covers: a window, or a half, quarter ... of one where the reference is short
    places: tuple[int, ...] = ()  # of the blocks in time: moment / block
    segments: Mapping[str, Mapping[str, Reference]] = field(default_factory=dict)  # column that cuts -> segment -> rows

    def to_dict(self) -> dict[str, Any]:
        """JSON-able and versioned."""
        return {
            "schema": SCHEMA,
            "profile": self.profile.to_dict(),
            "prediction": column_to_dict(self.prediction) if self.prediction is not None else None,
            "blocks": {c: {k: list(v) for k, v in checks.items()} for c, checks in self.blocks.items()},
            "window": self.window,
            "block": self.block,
            "places": list(self.places),
            "segments": {by: {s: part.to_dict() for s, part in cells.items()} for by, cells in self.segments.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`."""
        if data.get("schema") != SCHEMA:
            raise ValueError(
                f"a reference of schema {data.get('schema')!r}; this version reads schema {SCHEMA}. "
                "Register the version again to make its reference anew"
            )
        return cls(
            profile=Profile.from_dict(data["profile"]),
            prediction=column_from_dict(data["prediction"]) if data["prediction"] is not None else None,
            blocks={c: {k: tuple(v) for k, v in checks.items()} for c, checks in data["blocks"].items()},
            window=data["window"],
            block=data["block"],
            places=tuple(data["places"]),
            segments={
                by: {s: cls.from_dict(part) for s, part in cells.items()}
                for by, cells in data.get("segments", {}).items()
            },
        )


def build_reference(
    columns: Mapping[str, Any],
    *,
    kinds: Mapping[str, str],
    times: Floats | None,
    prediction: Any | None,
    window: float,
) -> Reference:
    """The reference of a training frame.

    Args:
        columns: arrays of shape (n_rows,); numbers as float with NaN for null, text as objects with None.
        kinds: number, integer, boolean or text by column.
        times: event times in epoch seconds, shape (n_rows,), or None: then rows are taken as independent.
        prediction: one number a row (see `prediction_column`), or text labels, or None.
        window: seconds that one look will cover; the reference is cut into blocks of this length. Where that gives too
            few blocks to judge their spread, into shorter ones: those lie further apart, so the null errs on the safe
            side.
    """
    data, all_kinds = dict(columns), dict(kinds)
    if prediction is not None:
        data["prediction"] = prediction
        all_kinds["prediction"] = "number" if np.asarray(prediction).dtype.kind == "f" else "text"
    whole = profile(data, all_kinds)
    block = block_length(times, window) if times is not None else window
    blocks, places = _between_blocks(data, all_kinds, whole, times, block) if times is not None else ({}, ())
    features = {name: column for name, column in whole.columns.items() if name in columns}
    return Reference(Profile(whole.n, features), whole.columns.get("prediction"), blocks, window, block, places)


def statistics(column: Column, rest: Column) -> dict[str, float]:
    """How strange a column looks beside another of the same kind; larger is stranger."""
    found = {"nulls": float(np.arcsin(np.sqrt(column.nulls / column.n))) if column.n else 0.0}
    if isinstance(column, Numeric) and isinstance(rest, Numeric):
        d = ks.distance(column, rest)
        found |= {"drift": logit(d, column.values), "range": excess(column, rest)}
    elif isinstance(column, Categorical) and isinstance(rest, Categorical):
        found["drift"] = logit(chi2.total_variation(rest, column), column.values)
    return found


def logit(distance: float, n: int) -> float:
    """A distance in [0, 1] stretched to the line, so that a tail can be fitted to it; finite for n rows."""
    edge = 1.0 / (2.0 * max(n, 1) + 1.0)
    d = min(max(distance, edge), 1.0 - edge)
    return float(np.log(d / (1.0 - d)))


def outside(column: Numeric, rest: Numeric) -> float:
    """Share of values beyond the smallest and largest value of the other column (up to a bin's width)."""
    if not column.values or not rest.values:
        return 0.0
    column, rest = column.at_shift(rest.shift), rest.at_shift(column.shift)
    beyond = (column.bins < rest.bins[0]) | (column.bins > rest.bins[-1])
    return float(column.counts[beyond].sum() / column.values)


def excess(column: Numeric, rest: Numeric) -> float:
    """Mean distance of the values beyond the range of the other column (0 inside), in spreads of the other column."""
    if not column.values or not rest.values:
        return 0.0
    column, rest = column.at_shift(rest.shift), rest.at_shift(column.shift)
    if rest.bins[0] <= column.bins[0] and column.bins[-1] <= rest.bins[-1]:
        return 0.0
    middles, (low, *_, high) = column.middles, (rest.middles if len(rest.bins) > 1 else np.repeat(rest.middles, 2))
    beyond = np.maximum(low - middles, 0.0) + np.maximum(middles - high, 0.0)
    beyond[(column.bins >= rest.bins[0]) & (column.bins <= rest.bins[-1])] = 0.0
    width = units.spread(rest) or rest.sd or 1.0
    with np.errstate(over="ignore"):
        return float((beyond * (column.counts / column.values / width)).sum())


def top_share(column: Column) -> float:
    """Share of the most frequent value, 0 to 1; 0 without values."""
    most = max(column.counts.values(), default=0) if isinstance(column, Categorical) else column.counts.max(initial=0)
    return float(most / column.values) if column.values else 0.0


def is_constant(column: Column) -> bool:
    """Whether all values are the same (and there is one)."""
    if isinstance(column, Numeric):
        return column.values > 0 and column.low == column.high
    return column.values > 0 and len(column.counts) == 1 and not column.folded


def block_length(times: Floats, window: float) -> float:
    """Seconds of the blocks that rows of these times are cut into: a window, or a half, quarter ... of one."""
    length = window
    for _ in range(HALVINGS):
        _, rows = np.unique(np.floor(times / length), return_counts=True)
        if (rows >= SMALL_BLOCK).sum() >= ENOUGH + TRAILING or np.median(rows) < 2 * SMALL_BLOCK:
            break
        length /= 2.0
    return length


def _between_blocks(
    data: Mapping[str, Any], kinds: Mapping[str, str], whole: Profile, times: Floats, window: float
) -> tuple[dict[str, dict[str, tuple[float, ...]]], tuple[int, ...]]:
    """(statistics by column and check, one value a block; places of the blocks in time)."""
    moments, block = np.unique(np.floor(times / window), return_inverse=True)
    order = np.argsort(block, kind="stable")
    cuts = np.searchsorted(block[order], np.arange(1, block.max(initial=0) + 1))
    parts = [rows for rows in np.split(order, cuts) if len(rows) >= SMALL_BLOCK]
    places = tuple(int(p) for p, rows in zip(moments, np.split(order, cuts), strict=True) if len(rows) >= SMALL_BLOCK)
    found: dict[str, dict[str, list[float]]] = {name: {} for name in data}
    for name, values in data.items():
        array = np.asarray(values)
        kind = {name: kinds[name]}
        own = [profile({name: array[rows]}, kind).columns[name] for rows in parts]
        found[name] |= _deviations(whole.columns[name], own)
        for at, column in enumerate(own):
            for check, value in statistics(column, _without(whole.columns[name], column)).items():
                found[name].setdefault(check, []).append(value)
            found[name].setdefault("constant", []).append(top_share(column))
            if isinstance(column, Numeric) and at >= TRAILING:
                before = _merged(own[at - TRAILING : at])
                jump = units.gap(column, before)
                found[name].setdefault("unit", []).append(0.0 if np.isnan(jump) else jump)
                found[name].setdefault("ratio", []).append(units.log_ratio(column, before))
                found[name].setdefault("width", []).append(units.log_width(column, before))
                found[name].setdefault("step", []).append(
                    step_size(array[parts[at]], times[parts[at]], before, window)[0]
                )
    rounded = {n: {k: tuple(float(f"{x:.6g}") for x in v) for k, v in checks.items()} for n, checks in found.items()}
    return rounded, places


def directions_of(column: Column) -> Directions | Shares:
    """The directions in which a column that has values is watched."""
    return Directions.of(column) if isinstance(column, Numeric) else Shares.of(column)


def moved(directions: Directions | Shares, column: Column) -> tuple[Floats, int]:
    """(mean deviation in each direction, rows that count) of a column of the kind that the directions are of."""
    if isinstance(directions, Directions) and isinstance(column, Numeric):
        return directions.deviations(column), directions.rows(column)
    if isinstance(directions, Shares) and isinstance(column, Categorical):
        return directions.deviations(column), directions.rows(column)
    raise TypeError("a column and its reference are of one kind")


def _deviations(whole: Column, own: list[Column]) -> dict[str, list[float]]:
    """How far each block lies from the whole in each direction."""
    if not whole.values:
        return {}
    directions = directions_of(whole)
    parts = [moved(directions, c)[0] for c in own]
    return {name: [float(p[i]) for p in parts] for i, name in enumerate(directions.names)}


def _without(whole: Column, part: Column) -> Column:
    """The rest of the reference once a block is taken out; only what the statistics read is exact."""
    if isinstance(whole, Numeric) and isinstance(part, Numeric):
        part = part.at_shift(whole.shift)
        counts = whole.counts.copy()
        counts[np.searchsorted(whole.bins, part.bins)] -= part.counts
        kept = counts > 0
        return replace(
            whole,
            n=whole.n - part.n,
            nulls=whole.nulls - part.nulls,
            infinite=whole.infinite - part.infinite,
            bins=whole.bins[kept],
            counts=counts[kept],
        )
    if isinstance(whole, Categorical) and isinstance(part, Categorical):
        part = part.fold() if whole.folded else part
        left = {k: v - part.counts.get(k, 0) for k, v in whole.counts.items()}
        return replace(
            whole, n=whole.n - part.n, nulls=whole.nulls - part.nulls, counts={k: v for k, v in left.items() if v > 0}
        )
    raise TypeError("a block has the kind of its whole")


def step_size(values: Any, times: Floats, baseline: Numeric, window: float) -> tuple[float, float, float]:
    """(largest step between neighbouring stretches in units of the baseline's spread, median before, median after)."""
    before, after = units.largest_step(np.asarray(values, dtype=float), times, window / STRETCHES)
    width = units.spread(baseline)
    step = abs(after - before) / width if width > 0 else 0.0
    return (0.0 if np.isnan(step) else step), before, after


def _merged(columns: list[Column]) -> Numeric:
    numeric = [c for c in columns if isinstance(c, Numeric)]
    total = numeric[0]
    for column in numeric[1:]:
        total = total + column
    return total
