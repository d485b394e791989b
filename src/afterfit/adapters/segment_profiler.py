"""Profiles of the segments of a data set: read once more, span by span, each span sorted by segment.

Memory depends on neither the number of rows nor that of the names that the column which cuts has.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from afterfit.adapters.column_profile import column_profile
from afterfit.adapters.profiler import Source, Span
from afterfit.errors import InputError
from afterfit.stats.cuts import NULL, Plan, choose, name_of
from afterfit.stats.heavy_hitters import HeavyHitters
from afterfit.stats.profile import Column, Profile

Cut = tuple[pa.Array, list[tuple[str, int, int]]]  # order of the rows; segment, first and last place in it


def plan(old: Source, new: Source, by: str, *, least: int, needed: int) -> Plan:
    """The segments of a column of two data sets; see :func:`afterfit.stats.cuts.choose`."""
    counts = [count_names(s, by, what) for s, what in ((old, "the reference"), (new, "the current data"))]
    return choose(by, *counts, least=least, needed=needed)


def count_names(source: Source, by: str, what: str) -> HeavyHitters:
    """Rows by name of the column that cuts.

    Raises:
        InputError: the column holds lists, structs or others that are no names.
    """
    total = HeavyHitters()
    for span in source.spans():
        codes, names = _names(span.read(by), by, what)
        counts: dict[str, int] = {}
        for name, count in zip(names, np.bincount(codes, minlength=len(names)).tolist(), strict=True):
            counts[name] = counts.get(name, 0) + count
        total += HeavyHitters({name: count for name, count in counts.items() if count})
    return total


def cells_of(
    source: Source, plans: Mapping[str, Plan], columns: Sequence[str], what: str
) -> dict[str, dict[str, Profile]]:
    """Profile of each segment, by the column that cuts: of all `columns` but that one."""
    rows: dict[str, dict[str, int]] = {by: {} for by in plans}
    totals: dict[str, dict[str, dict[str, Column]]] = {by: {} for by in plans}  # by, column, segment
    for by in plans:
        totals[by] = {name: {} for name in columns if name != by}
    with ThreadPoolExecutor(max(1, min(os.cpu_count() or 1, len(columns) or 1))) as pool:
        for span in source.spans():
            cuts = {by: _cut(span, by, plan, what) for by, plan in plans.items()}
            for by, (_, places) in cuts.items():
                for segment, first, last in places:
                    rows[by][segment] = rows[by].get(segment, 0) + last - first
            list(pool.map(partial(_add, totals, span, cuts), columns))
    return {
        by: {
            segment: Profile(n, {name: found[segment] for name, found in totals[by].items() if segment in found})
            for segment, n in of.items()
        }
        for by, of in rows.items()
    }


def _add(totals: dict[str, dict[str, dict[str, Column]]], span: Span, cuts: Mapping[str, Cut], name: str) -> None:
    """The span's rows of one column, added to its segments; a thread at a time has a column."""
    values = _whole(span.read(name))
    for by, (order, places) in cuts.items():
        if name == by:
            continue
        take = _sorted(values, order)
        found = totals[by][name]
        for segment, first, last in places:
            part = pa.chunked_array([take(first, last)])
            found[segment] = column_profile(part, before=found.get(segment))


def _sorted(values: pa.Array, order: pa.Array) -> Callable[[int, int], pa.Array]:
    """Rows from a place to another in the order of the segments."""
    taken = values.take(order)
    return lambda first, last: taken.slice(first, last - first)


def _cut(span: Span, by: str, plan: Plan, what: str) -> Cut:
    codes, names = _names(span.read(by), by, what)
    segments = sorted({s for s in map(plan.segment, names) if s is not None})
    place = {segment: i for i, segment in enumerate(segments)}
    left = len(segments)  # names that nothing can be compared with
    of_name = np.array([left if (s := plan.segment(n)) is None else place[s] for n in names], dtype=np.uint16)
    of_row = of_name[codes] if len(names) else np.empty(0, dtype=np.uint16)
    order = np.argsort(of_row, kind="stable")
    bounds = np.searchsorted(of_row[order], np.arange(left + 1))
    places = [(s, int(bounds[i]), int(bounds[i + 1])) for i, s in enumerate(segments) if bounds[i + 1] > bounds[i]]
    return pa.array(order[: bounds[left]]), places


def _names(column: pa.ChunkedArray, by: str, what: str) -> tuple[NDArray[np.int64], list[str]]:
    """(place of each row's name, names): null is one of them."""
    values = _whole(column)
    try:
        coded = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
    except pa.ArrowNotImplementedError as error:
        raise InputError(
            f"segment_by = {by!r}: {what} holds {values.type} there; wanted text, numbers or truth values"
        ) from error
    names = [name_of(value) for value in coded.dictionary.to_pylist()]
    codes = coded.indices.fill_null(len(names)).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes, [*names, NULL]


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """One array; dictionaries that differ by chunk become one."""
    one = column.unify_dictionaries().combine_chunks()
    if isinstance(one, pa.ChunkedArray):  # more text than one array holds
        one = pa.concat_arrays([c.cast(pa.large_string()) for c in one.chunks]) if one.num_chunks else pa.nulls(0)
    one = one.storage if isinstance(one, pa.ExtensionArray) else one
    return one.cast(pa.large_string()) if pa.types.is_string_view(one.type) else one
