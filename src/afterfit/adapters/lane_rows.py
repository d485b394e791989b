"""Rows to try a lane with: some that the model was judged on, and made ones at the edges of what a request may hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from afterfit.adapters.lane import bounds_of
from afterfit.records import Feature, Value

MOST_KNOWN = 4_000  # rows of the hold-out, evenly spaced
MOST_AROUND = 10  # pairs of neighbouring values of a column between which trees may have put a threshold
MOST_TEXTS = 30  # known texts of a column
_NUMBERS = (0.0, -0.0, 1.0, -1.0, 0.1, 1 / 3, 16777217.0, 1e-310, 1e30, -1e30)
_BEYOND = (
    3.5e38,
    -3.5e38,
    1e300,
    -1e300,
)  # what 32 bits can't hold; many models raise, which takes a call a row to see
_INTEGERS = (0, 1, -1, 255, 2**24 + 1, -(2**31) - 1, 2**53 + 1, 2**63 - 1, -(2**63))
_TEXTS = ("", "nan", "None", "another", "é 中 😀")

Rows = dict[str, list[Value]]


def trial_rows(known: pd.DataFrame, features: Sequence[Feature], thresholds: np.ndarray) -> Rows:
    """Columns of rows as a request brings them: those of `known`, then the made ones, alike beside alike.

    Args:
        known: rows that fit the model.
        features: its columns.
        thresholds: of its trees, in whatever columns; some are tried in each numeric column.
    """
    step = -(-len(known) // MOST_KNOWN)
    columns = {f.name: as_values(known[f.name].iloc[::step]) for f in features}
    base = _base(columns, features)
    made = [{f.name: value} for f in features for value in _edges(f, columns[f.name], thresholds)]
    made += [{f.name: n for f in features if f.kind == "number"} for n in _NUMBERS]
    made += [{f.name: None for f in features if f.nullable}]
    # those that a model may refuse come last and together, so that few calls tell which they are
    made += [{f.name: value} for f in features for value in _strange(f, columns[f.name])]
    made += [{f.name: t for f in features if f.kind == "text"} for t in _TEXTS]
    made += [{f.name: _BEYOND[i % 4]} for i, f in enumerate(features) if f.kind == "number"]
    made += [{f.name: n for f in features if f.kind == "number"} for n in _BEYOND]
    for row in made:
        for f in features:
            columns[f.name].append(row.get(f.name, base[f.name]))
    return columns


def as_values(column: pd.Series) -> list[Value]:
    """Plain values, None for a null."""
    missing = column.isna().to_numpy()
    values = column.astype(object).to_numpy()
    return [None if null else _plain(v) for v, null in zip(values, missing, strict=True)]


def _plain(value: object) -> Value:
    return value.item() if isinstance(value, np.generic) else value  # type: ignore[return-value]


def _base(columns: Mapping[str, Sequence[Value]], features: Sequence[Feature]) -> dict[str, Value]:
    """A row without nulls where the rows allow it: the first known value of each column."""
    return {f.name: next((v for v in columns[f.name] if v is not None), None) for f in features}


def _edges(feature: Feature, values: Sequence[Value], thresholds: np.ndarray) -> Iterator[Value]:
    if feature.kind == "text":
        texts = sorted({v for v in values if isinstance(v, str)} | set(feature.categories or ()))
        some = texts[:: -(-len(texts) // MOST_TEXTS)] if texts else []
        yield from some
    elif feature.kind == "boolean":
        yield from (True, False)
    else:
        yield from _numbers(feature, np.array([v for v in values if v is not None], dtype=float), thresholds)
    if feature.nullable:
        yield None


def _numbers(feature: Feature, values: np.ndarray, thresholds: np.ndarray) -> Iterator[Value]:
    distinct = np.unique(values)
    at = np.unique(np.linspace(0, max(len(distinct) - 2, 0), MOST_AROUND).astype(int))
    around = distinct[at] / 2 + distinct[np.minimum(at + 1, len(distinct) - 1)] / 2 if len(distinct) else distinct
    some = (
        thresholds[np.unique(np.linspace(0, len(thresholds) - 1, MOST_AROUND).astype(int))] if len(thresholds) else []
    )
    told = np.concatenate([distinct[:1], distinct[-1:], around, some])
    if feature.kind == "integer":
        yield from (int(v) for v in np.unique(np.floor(told[np.abs(told) < 2.0**62])) if _fits(int(v), feature))
        return
    told = np.concatenate([told, np.float32(told).astype(float)])
    told = told[np.isfinite(told)]
    for v in (told, np.nextafter(told, -np.inf), np.nextafter(told, np.inf)):
        yield from v[np.isfinite(v)].tolist()
    yield from _NUMBERS


def _strange(feature: Feature, values: Sequence[Value]) -> Iterator[Value]:
    """Texts and integers that were hardly in the training data."""
    if feature.kind == "text":
        some = next((v for v in values if isinstance(v, str)), "")
        yield from dict.fromkeys((*_TEXTS, some.swapcase(), f"{some} "))
    elif feature.kind == "integer":
        yield from (v for v in _INTEGERS if _fits(v, feature))


def _fits(value: int, feature: Feature) -> bool:
    low, high = bounds_of(feature)
    return low <= value <= high
