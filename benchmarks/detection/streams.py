"""Seeded streams of rows: healthy ones of five kinds, and known changes of one column each."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

DAY = 86_400.0
REFERENCE, LIVE = 60, 60  # days
BEGINS, LASTS = 20, 30  # a change begins after so many live days, and is looked for so long
RAMP = 20  # days that a gradual change takes
CYCLE, ON = 10, 5  # a recurring change is there for the first five of every ten days
KINDS = ("independent", "levels", "season", "heavy", "discrete")
MIDDLE, SPREAD = 60.0, 15.0  # of number columns, as a temperature in °F has them
MEMORY, LEVEL = 0.6, 0.5  # of the day levels: correlation from day to day, sd in sd of the rows
NATURAL_NULLS = 0.02  # in every fifth column
SHARES = np.array([0.4, 0.3, 0.2, 0.1])  # of the categories a to d
Floats = NDArray[np.float64]
Values = NDArray[Any]


@dataclass(frozen=True)
class Change:
    """Something that happens to one column. `size` is in sd for a mean, a factor for a scale, else a share."""

    family: str  # mean, scale, unit, nulls, category or shares
    size: float
    shape: str  # abrupt, gradual or recurring
    column: str

    @property
    def name(self) -> str:
        """Also the name of the changed column in its file."""
        return f"{self.family} {self.size:g} {self.shape}"


@dataclass(frozen=True)
class Stream:
    """`features` columns with `rows` rows a day; every fifth column (f04, f09 ...) is text."""

    kind: str
    features: int
    rows: int
    seed: int
    changes: tuple[Change, ...] = ()

    @property
    def group(self) -> str:
        """What streams have in common that differ in their seed only."""
        return f"{self.kind} {self.features}x{self.rows}"

    @property
    def name(self) -> str:
        """Also the name of its file."""
        return f"{self.group} {self.seed}"

    @property
    def columns(self) -> tuple[str, ...]:
        """f00, f01 ..."""
        return tuple(f"f{i:02d}" for i in range(self.features))


def changes(kind: str) -> tuple[Change, ...]:
    """The known changes that make sense in a stream of this kind: counts have no unit, names that always come anew
    have no shares."""
    means = [*((s, "abrupt") for s in (0.05, 0.1, 0.2, 0.3, 0.5))]
    means += [(s, shape) for shape in ("gradual", "recurring") for s in (0.1, 0.2, 0.5)]
    found = [Change("mean", size, shape, "f01") for size, shape in means]
    found += [Change("nulls", size, "abrupt", "f03") for size in (0.01, 0.05, 0.2)]
    found += [Change("nulls", 0.05, "gradual", "f03"), Change("nulls", 0.2, "recurring", "f03")]
    found += [Change("category", size, "abrupt", "f04") for size in (0.01, 0.05)]
    found.append(Change("category", 0.05, "recurring", "f04"))
    if kind != "discrete":
        found += [Change("scale", 1.2, shape, "f02") for shape in ("abrupt", "gradual")]
        found.append(Change("scale", 1.5, "abrupt", "f02"))
        found += [Change("unit", 1 / 1.8, shape, "f00") for shape in ("abrupt", "recurring")]
        found.append(Change("unit", 1000.0, "abrupt", "f05"))
    if kind != "heavy":
        found += [Change("shares", size, "abrupt", "f09") for size in (0.05, 0.1, 0.2)]
        found.append(Change("shares", 0.1, "gradual", "f09"))
    return tuple(found)


def strength(shape: str, day: int) -> float:
    """How much of a change is there on its `day`, counted from 0, in [0, 1]."""
    if shape == "gradual":
        return min(1.0, (day + 1) / RAMP)
    if shape == "recurring":
        return float(day % CYCLE < ON)
    return 1.0


def changed_days(shape: str) -> list[bool]:
    """For each of the days that a change is looked for, whether anything of it is there."""
    return [strength(shape, day) > 0 for day in range(LASTS)]


def moments(stream: Stream) -> Floats:
    """Seconds since the first midnight, sorted; the same number of rows each day."""
    rng = _generator(stream, "moments")
    inside = np.sort(rng.uniform(0, DAY, (REFERENCE + LIVE, stream.rows)), axis=1)
    return (inside + DAY * np.arange(REFERENCE + LIVE)[:, None]).ravel()


def healthy(stream: Stream, column: str, times: Floats) -> Values:
    """One column at these moments; columns do not depend on each other, nor on how many there are."""
    rng = _generator(stream, column)
    index = int(column[1:])
    level = _level(stream.kind, rng, times)
    if index % 5 == 4:
        return _text(stream.kind, rng, level)
    if stream.kind == "discrete":
        values = rng.poisson((3.0, 0.1, 40.0)[(index + 2) % 3], times.size).astype(float)
    else:
        noise = rng.standard_t(2, times.size) if stream.kind == "heavy" else rng.normal(size=times.size)
        values = MIDDLE + SPREAD * (level + noise)
    return np.where(rng.random(times.size) < NATURAL_NULLS, np.nan, values) if index % 5 == 3 else values


def changed(values: Values, change: Change, times: Floats, seed: int) -> Values:
    """The same column with the change in it, from day REFERENCE + BEGINS on."""
    day = np.floor(times / DAY).astype(int) - REFERENCE - BEGINS
    amount = np.array([strength(change.shape, d) for d in range(LASTS)])
    now = np.where((day >= 0) & (day < LASTS), amount[np.clip(day, 0, LASTS - 1)], 0.0)
    rng = np.random.default_rng([seed, zlib.crc32(change.name.encode())])
    return _apply(values, change, now, rng)


def write(stream: Stream, folder: Path) -> None:
    """`<name>.parquet` with the healthy columns, `<name> changes.parquet` with one column a change and the reference."""
    times = moments(stream)
    data = {column: healthy(stream, column, times) for column in stream.columns}
    _save(folder / f"{stream.name}.parquet", times, data)
    if stream.changes:
        day = np.floor(times / DAY).astype(int) - REFERENCE
        kept = (day < 0) | ((day >= BEGINS) & (day < BEGINS + LASTS))
        shown = {c.name: changed(data[c.column], c, times, stream.seed)[kept] for c in stream.changes}
        _save(folder / f"{stream.name} changes.parquet", times[kept], shown)


def _save(path: Path, times: Floats, data: dict[str, Values]) -> None:
    moment = pa.array((times * 1e6).astype(np.int64), pa.timestamp("us"))
    columns = {name: pa.array(values, from_pandas=True) for name, values in data.items()}
    pq.write_table(pa.table({"time": moment, **columns}), path)


def _generator(stream: Stream, what: str) -> np.random.Generator:
    return np.random.default_rng([stream.seed, stream.rows, *(zlib.crc32(w.encode()) for w in (stream.kind, what))])


def _level(kind: str, rng: np.random.Generator, times: Floats) -> Floats:
    """What moves all rows of a moment together, in sd of the rows."""
    day = np.floor(times / DAY).astype(int)
    if kind == "levels":
        steps = rng.normal(size=REFERENCE + LIVE)
        for i in range(1, steps.size):
            steps[i] = MEMORY * steps[i - 1] + np.sqrt(1 - MEMORY**2) * steps[i]
        return np.asarray(LEVEL * steps[day])
    if kind == "season":
        hours = 0.8 * np.sin(2 * np.pi * (times / DAY + rng.random()))
        return np.asarray(hours + 0.5 * rng.normal(size=7)[day % 7])
    return np.zeros(times.size)


def _text(kind: str, rng: np.random.Generator, level: Floats) -> Values:
    if kind == "heavy":
        return np.array([f"z{v}" for v in rng.zipf(2.0, level.size)], dtype=object)
    weights = SHARES * np.exp(0.4 * level[:, None] * np.array([1.0, 0.0, -1.0, 0.0]))
    limits = np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1)
    place = (rng.random(level.size)[:, None] > limits).sum(axis=1)
    names: Values = np.array(["a", "b", "c", "d"], dtype=object)[np.minimum(place, 3)]
    return names


def _apply(values: Values, change: Change, now: Floats, rng: np.random.Generator) -> Values:
    hit = rng.random(values.size) < change.size * now
    match change.family:
        case "mean":
            step = change.size * now * spread(values)
            whole = np.array_equal(values, np.round(values))
            return np.asarray(values + (rng.poisson(step) if whole else step))  # counts stay whole numbers
        case "scale":
            middle = np.nanmedian(values)
            return np.where(now > 0, middle + (values - middle) * (1.0 + (change.size - 1.0) * now), values)
        case "unit":
            shift = 32.0 if change.size < 1.0 else 0.0  # °F → °C
            return np.where(now > 0, (values - shift) * change.size, values)
        case "nulls":
            return np.where(hit, np.nan, values)
        case "category":
            return np.where(hit, "new", values)
        case "shares":  # so many of all rows go from a to d
            moved = (values == "a") & (rng.random(values.size) < change.size * now / SHARES[0])
            return np.where(moved, "d", values)
    raise ValueError(f"no such family of changes: {change.family!r}")


def spread(values: Values) -> float:
    """The sd of a normal column with the same quartiles: heavy tails have no sd. For counts the sd itself."""
    if np.array_equal(values, np.round(values)):
        return float(values.std())
    low, high = np.nanquantile(values, [0.25, 0.75])
    return float((high - low) / 1.349)
