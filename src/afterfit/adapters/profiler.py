"""Profiles of whole data sets: Parquet is streamed column by column on all cores, frames are read where they lie.

A thread takes a column at a time and reads it in spans of row groups of about 260,000 rows, so memory depends on
neither the number of rows nor the number of columns, and the result on neither the threads nor the row groups.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from afterfit.adapters.column_profile import Rename, arrow_of, column_profile, hidden, joined
from afterfit.adapters.frames import to_pandas
from afterfit.errors import InputError
from afterfit.stats.profile import Column, Profile

SPAN = 1 << 18  # rows of one column held at once
_PARQUET = (".parquet", ".pq")
_CSV = (".csv", ".csv.gz", ".tsv", ".tsv.gz")


def profile_of(
    source: Any,
    *,
    leave_out: Collection[str] = (),
    hash_categories: bool = False,
    what: str = "the data",
) -> Profile:
    """Profile of a data set; see :func:`afterfit.profile` for what it may be.

    Raises:
        InputError: no such file, unreadable, not a frame, two columns of one name, a column to leave out that is not
            there, or one that is numeric in one file and text in another.
    """
    rename: Rename = hidden if hash_categories else str
    if isinstance(source, str | Path):
        files = _files(str(source), what)
        if files[0].name.endswith(_PARQUET):
            return _parquet(files, leave_out, rename, what)
        parts = [_of_table(_csv(file, what), leave_out, rename, what) for file in files]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total
    return _of_table(_table(source, what), leave_out, rename, what)


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


def _parquet(files: list[Path], leave_out: Collection[str], rename: Rename, what: str) -> Profile:
    try:
        metas = [pq.read_metadata(file) for file in files]
        schemas = [meta.schema.to_arrow_schema() for meta in metas]
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{what}: {files[0] if len(files) == 1 else 'a file'} can't be read: {error}") from error
    for schema in schemas:
        _refuse_twice(schema.names, what)
    names = _kept([name for schema in schemas for name in schema.names], leave_out, what)
    sources = list(zip(files, metas, schemas, strict=True))
    with ThreadPoolExecutor(max(1, min(os.cpu_count() or 1, len(names)))) as pool:
        columns = list(pool.map(partial(_parquet_column, sources, rename=rename, what=what), names))
    return Profile(sum(meta.num_rows for meta in metas), dict(zip(names, columns, strict=True)))


def _parquet_column(
    sources: list[tuple[Path, pq.FileMetaData, pa.Schema]], name: str, *, rename: Rename, what: str
) -> Column:
    total: Column | None = None
    for file, meta, schema in sources:
        if name not in schema.names:
            part = column_profile(pa.chunked_array([pa.nulls(meta.num_rows)]))
            total = part if total is None else _joined(total, part, name, what)
            continue
        kind = schema.field(name).type
        text = [name] if pa.types.is_string(kind) or pa.types.is_large_string(kind) else None
        try:
            with pq.ParquetFile(file, metadata=meta, read_dictionary=text) as reader:
                for span in _spans(meta):
                    read = reader.read_row_groups(span, columns=[name], use_threads=False)[name]
                    part = column_profile(read, rename, total)
                    total = part
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{what}: column {name!r} of {file} can't be read: {error}") from error
        except TypeError as error:
            raise InputError(f"{what}: column {name!r} of {file}: {error}") from error
    if total is None:
        raise AssertionError("a column comes from some file")
    return total


def _joined(a: Column, b: Column, name: str, what: str) -> Column:
    try:
        return joined(a, b)
    except TypeError as error:
        raise InputError(f"{what}: column {name!r}: {error}") from error


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


def _of_table(
    table: pa.Table | dict[str, pa.ChunkedArray], leave_out: Collection[str], rename: Rename, what: str
) -> Profile:
    columns = table if isinstance(table, dict) else _table(table, what)
    names = _kept(columns, leave_out, what)
    with ThreadPoolExecutor(max(1, min(os.cpu_count() or 1, len(names) or 1))) as pool:
        found = list(pool.map(lambda name: column_profile(columns[name], rename), names))
    n = max((len(column) for column in columns.values()), default=0)
    return Profile(n, dict(zip(names, found, strict=True)))


def _kept(names: Iterable[str], leave_out: Collection[str], what: str) -> list[str]:
    found = list(dict.fromkeys(names))
    missing = [name for name in leave_out if name not in found]
    if missing:
        raise InputError(f"{what}: no such column: {missing}; it has {found}")
    return [name for name in found if name not in leave_out]


def _refuse_twice(names: list[str], what: str) -> None:
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise InputError(f"{what} has several columns named {twice}; wanted one name a column")
