"""Profiles of whole data sets: Parquet is streamed column by column on all cores, frames are read where they lie.

A thread takes a column at a time and reads it in spans of row groups of about half a million rows, so memory depends on
neither the number of rows nor the number of columns, and the result on neither the threads nor the row groups.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from afterfit.adapters.column_profile import Rename, arrow_of, column_profile, hidden, numbers, relation
from afterfit.adapters.frames import to_pandas
from afterfit.errors import InputError
from afterfit.stats.profile import Column, Profile
from afterfit.stats.relation import Relation

SPAN = 1 << 19  # rows of one column held at once
_PARQUET = (".parquet", ".pq")
_CSV = (".csv", ".csv.gz", ".tsv", ".tsv.gz")


def profile_of(
    source: Any,
    *,
    target: str | None = None,
    time: str | None = None,
    hash_categories: bool = False,
    what: str = "the data",
) -> Profile:
    """Profile of a data set; see :func:`afterfit.profile` for what it may be.

    Raises:
        InputError: no such file, unreadable, not a frame, two columns of one name, no column of the target's or time's
            name, or one that is numeric in one file and text in another.
    """
    rename: Rename = hidden if hash_categories else str
    names = _Names(target, time)
    if isinstance(source, str | Path):
        files = _files(str(source), what)
        if files[0].name.endswith(_PARQUET):
            return _parquet(files, names, rename, what)
        parts = [_of_table(_csv(file, what), names, rename, what) for file in files]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total
    return _of_table(_table(source, what), names, rename, what)


@dataclass(frozen=True)
class Span:
    """About half a million rows of a data set whose columns are read one at a time."""

    rows: int
    read: Callable[[str], pa.ChunkedArray]


@dataclass(frozen=True)
class Source:
    """A data set that is read span by span, as often as wanted."""

    names: list[str]
    spans: Callable[[], Iterator[Span]]


def held(source: Any, what: str) -> str | pa.Table:
    """A path as it is; a frame as Arrow, so that it can be read twice even if it is a stream."""
    return str(source) if isinstance(source, str | Path) else pa.table(_table(source, what))


def source_of(source: str | pa.Table, what: str) -> Source:
    """The spans of what :func:`held` gave.

    Raises:
        InputError: as :func:`profile_of`; while reading too.
    """
    if not isinstance(source, str):
        return Source(source.column_names, partial(_table_spans, [source]))
    files = _files(source, what)
    if not files[0].name.endswith(_PARQUET):
        tables = [_csv(file, what) for file in files]
        return Source(list(dict.fromkeys(n for t in tables for n in t.column_names)), partial(_table_spans, tables))
    try:
        parts = [_Part(file, meta, meta.schema.to_arrow_schema()) for file, meta in _metadata(files)]
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{what}: a file can't be read: {error}") from error
    return Source(list(dict.fromkeys(n for p in parts for n in p.schema.names)), partial(_part_spans, parts, what))


def _table_spans(tables: list[pa.Table]) -> Iterator[Span]:
    for table in tables:
        for start in range(0, table.num_rows, SPAN):
            part = table.slice(start, SPAN)
            yield Span(part.num_rows, partial(_column_of, part))


def _column_of(table: pa.Table, name: str) -> pa.ChunkedArray:
    return table[name] if name in table.column_names else pa.chunked_array([pa.nulls(table.num_rows)])


def _part_spans(parts: list[_Part], what: str) -> Iterator[Span]:
    for part in parts:
        for groups in _spans(part.meta):
            rows = sum(part.meta.row_group(group).num_rows for group in groups)
            yield Span(rows, partial(_read_span, part, groups, what))


def _read_span(part: _Part, groups: list[int], what: str, name: str) -> pa.ChunkedArray:
    try:
        return next(part.read([groups], name))
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{what}: column {name!r} of {part.file} can't be read: {error}") from error


def _files(source: str, what: str) -> list[Path]:
    """The files of a path, a folder or a pattern, in order of their names."""
    path = Path(source)
    if path.is_dir():
        found = [f for ending in _PARQUET for f in path.rglob(f"*{ending}")]
    elif path.is_file():
        found = [path]
    else:
        found = [Path(f) for f in glob.glob(source, recursive=True)]
    if not found:
        raise InputError(
            f"{what}: no such file: {source}; wanted a .parquet or .csv file, a folder of them, or a pattern"
        )
    kinds = {next((e for e in (*_PARQUET, *_CSV) if f.name.lower().endswith(e)), None) for f in found}
    if None in kinds or (len(kinds) > 1 and kinds & set(_PARQUET) and kinds & set(_CSV)):
        raise InputError(
            f"{what}: {source}: wanted .parquet or .csv, and one of them at a time, found {sorted(f.name for f in found)[:5]}"
        )
    return sorted(found)


def _parquet(files: list[Path], names: _Names, rename: Rename, what: str) -> Profile:
    try:
        parts = [_Part(file, meta, meta.schema.to_arrow_schema()) for file, meta in _metadata(files)]
        for part in parts:
            _refuse_twice(part.schema.names, what)
        kept = names.kept([name for part in parts for name in part.schema.names], what)
        target = _target(parts, names.target)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{what}: {files[0] if len(files) == 1 else 'a file'} can't be read: {error}") from error
    with ThreadPoolExecutor(max(1, min(os.cpu_count() or 1, len(kept)))) as pool:
        found = list(pool.map(partial(_parquet_column, parts, target=target, rename=rename, what=what), kept))
    columns = {name: column for name, (column, _) in zip(kept, found, strict=True)}
    related = {name: relation for name, (_, relation) in zip(kept, found, strict=True) if relation is not None}
    return Profile(sum(part.meta.num_rows for part in parts), columns, related)


@dataclass(frozen=True)
class _Part:
    """One Parquet file of a data set."""

    file: Path
    meta: pq.FileMetaData
    schema: pa.Schema

    def spans(self, name: str) -> Iterator[pa.ChunkedArray]:
        """One column, a span of row groups at a time."""
        yield from self.read(_spans(self.meta), name)

    def read(self, spans: Iterable[list[int]], name: str) -> Iterator[pa.ChunkedArray]:
        """One column of the given spans of row groups; nulls where the file does not have it."""
        if name not in self.schema.names:
            for span in spans:
                yield pa.chunked_array([pa.nulls(sum(self.meta.row_group(group).num_rows for group in span))])
            return
        kind = self.schema.field(name).type
        text = [name] if pa.types.is_string(kind) or pa.types.is_large_string(kind) else None
        with pq.ParquetFile(self.file, metadata=self.meta, read_dictionary=text) as reader:
            for span in spans:
                yield reader.read_row_groups(span, columns=[name], use_threads=False)[name]


def _metadata(files: list[Path]) -> Iterator[tuple[Path, pq.FileMetaData]]:
    return ((file, pq.read_metadata(file)) for file in files)


def _target(parts: list[_Part], name: str | None) -> Any | None:
    """The target's values in order, shape (n_rows,): the one column that is held whole."""
    if name is None:
        return None
    spans = [numbers(span) for part in parts for span in part.spans(name)]
    return None if any(span is None for span in spans) else np.concatenate([*spans, np.empty(0)])


def _parquet_column(
    parts: list[_Part], name: str, *, target: Any | None, rename: Rename, what: str
) -> tuple[Column, Relation | None]:
    total: Column | None = None
    related: Relation | None = None if target is None else Relation()
    row = 0
    for part in parts:
        try:
            for span in part.spans(name):
                total = column_profile(span, rename, total)
                if related is not None:
                    more = relation(span, target[row : row + len(span)]) if target is not None else None
                    related = related + more if more is not None else None
                row += len(span)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{what}: column {name!r} of {part.file} can't be read: {error}") from error
        except TypeError as error:
            raise InputError(f"{what}: column {name!r} of {part.file}: {error}") from error
    if total is None:
        total = column_profile(pa.chunked_array([], parts[0].schema.field(name).type), rename)
    return total, related


def _spans(meta: pq.FileMetaData) -> Iterator[list[int]]:
    span: list[int] = []
    rows = 0
    for group in range(meta.num_row_groups):
        span.append(group)
        rows += meta.row_group(group).num_rows
        if rows >= SPAN:
            yield span
            span, rows = [], 0
    if span:
        yield span


def _csv(file: Path, what: str) -> pa.Table:
    tabs = ".tsv" in file.name.lower()
    try:
        return pyarrow.csv.read_csv(
            file,
            parse_options=pyarrow.csv.ParseOptions(delimiter="\t" if tabs else ","),
            convert_options=pyarrow.csv.ConvertOptions(
                strings_can_be_null=True, null_values=["", "NA", "NaN", "nan", "null", "NULL", "None"]
            ),
        )
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{what}: {file} can't be read: {error}") from error


def _table(frame: Any, what: str) -> dict[str, pa.ChunkedArray]:
    """The columns of a frame as Arrow, each converted on its own, so that a bad one does not take the others along."""
    if isinstance(frame, pa.Table):
        _refuse_twice(frame.column_names, what)
        return {name: frame[name] for name in frame.column_names}
    if hasattr(frame, "__arrow_c_stream__") and not hasattr(frame, "iloc"):
        return _table(pa.table(frame), what)
    pandas = to_pandas(frame, what)
    return {str(name): arrow_of(pandas[name]) for name in pandas.columns}


def _of_table(table: pa.Table | dict[str, pa.ChunkedArray], names: _Names, rename: Rename, what: str) -> Profile:
    columns = table if isinstance(table, dict) else _table(table, what)
    kept = names.kept(columns, what)
    with ThreadPoolExecutor(max(1, min(os.cpu_count() or 1, len(kept) or 1))) as pool:
        found = list(pool.map(lambda name: column_profile(columns[name], rename), kept))
    n = max((len(column) for column in columns.values()), default=0)
    target = numbers(columns[names.target]) if names.target is not None else None
    related = {} if target is None else {name: relation(columns[name], target) for name in kept}
    relations = {name: r for name, r in related.items() if r is not None}
    return Profile(n, dict(zip(kept, found, strict=True)), relations)


@dataclass(frozen=True)
class _Names:
    """Which columns are no features."""

    target: str | None
    time: str | None

    def kept(self, names: Iterable[str], what: str) -> list[str]:
        found = list(dict.fromkeys(names))
        for role, name in (("target", self.target), ("time", self.time)):
            if name is not None and name not in found:
                raise InputError(f"{role} = {name!r}: no such column; {what} has {found}")
        return [name for name in found if name not in (self.target, self.time)]


def _refuse_twice(names: list[str], what: str) -> None:
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise InputError(f"{what} has several columns named {twice}; wanted one name a column")
