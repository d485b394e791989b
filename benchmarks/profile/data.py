"""The data of the benchmark: 35 float, 10 string (5 to 200 levels) and 5 integer columns with 2 % nulls, as Parquet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

FLOATS, STRINGS, INTEGERS = 35, 10, 5
NULLS = 0.02
GROUP = 100_000  # rows a row group, and rows made at a time


def write(path: Path, rows: int, seed: int, shift: float = 0.0) -> None:
    """Write `rows` rows; five float columns are moved by `shift` standard deviations."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    unfinished = path.with_suffix(".part")
    writer = None
    for start in range(0, rows, GROUP):
        table = _part(rng, min(GROUP, rows - start), shift)
        writer = writer or pq.ParquetWriter(unfinished, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()
    unfinished.rename(path)


def _part(rng: np.random.Generator, n: int, shift: float) -> pa.Table:
    columns = {}
    for i in range(FLOATS):
        values = rng.normal(size=n) + (shift if i < 5 else 0.0)
        values = values if i % 3 == 0 else np.exp(values) if i % 3 == 1 else 1000.0 + 10.0 * values
        columns[f"f{i:02d}"] = pa.array(values, mask=rng.random(n) < NULLS)
    for i in range(STRINGS):
        levels = int(np.geomspace(5, 200, STRINGS)[i])
        weights = 1.0 / np.arange(1, levels + 1)
        places = rng.choice(levels, size=n, p=weights / weights.sum()).astype(np.int32)
        names = pa.array([f"level-{k:03d}" for k in range(levels)])
        coded = pa.DictionaryArray.from_arrays(pa.array(places, mask=rng.random(n) < NULLS), names)
        columns[f"s{i:02d}"] = coded.cast(pa.string())
    for i in range(INTEGERS):
        columns[f"i{i:02d}"] = pa.array(rng.integers(0, 10 ** (i + 1), n), mask=rng.random(n) < NULLS)
    return pa.table(columns)
