"""The last word of a soak: what callers were told, beside what the lake holds. Each row once, and no row of nobody's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
from deltalake import DeltaTable

_ROWS = """
SELECT split_part(prediction_id, '-', 1) AS connection, count(*) AS rows, count(DISTINCT prediction_id) AS ids,
       max(split_part(split_part(prediction_id, '-', 2), '/', 1)::BIGINT) AS newest,
       count(DISTINCT prediction_id) FILTER (
           list_contains($unacknowledged, split_part(prediction_id, '/', 1))
       ) AS unacknowledged
FROM read_parquet($files, hive_partitioning = false) GROUP BY ALL
"""
_OUTCOMES = "SELECT count(*), count(DISTINCT prediction_id) FROM read_parquet($files, hive_partitioning = false)"


@dataclass(frozen=True)
class Log:
    """Rows of all models."""

    predictions: int  # without those that were not acknowledged, of which some may be there
    twice: int
    strangers: int  # connections and requests that nobody made
    outcomes: int
    outcomes_twice: int


def counted(home: Path, issued: dict[str, int], unacknowledged: list[str]) -> Log:
    """All that is in the lake."""
    rows = [] if not (files := _files(home, "predictions")) else _ask(_ROWS, files, unacknowledged=unacknowledged)
    n, ids = _ask(_OUTCOMES, files)[0] if (files := _files(home, "outcomes")) else (0, 0)
    return Log(
        predictions=sum(ids - there for _, _, ids, _, there in rows),
        twice=sum(rows_ - ids for _, rows_, ids, _, _ in rows),
        strangers=sum(newest >= issued.get(connection, 0) for connection, _, _, newest, _ in rows),
        outcomes=ids,
        outcomes_twice=n - ids,
    )


def n_predictions(home: Path) -> int:
    """Rows by the log of the table alone."""
    path = home / "lake" / "predictions"
    return DeltaTable(str(path)).count() if DeltaTable.is_deltatable(str(path)) else 0


def _files(home: Path, table: str) -> list[str]:
    path = home / "lake" / table
    return DeltaTable(str(path)).file_uris() if DeltaTable.is_deltatable(str(path)) else []


def _ask(query: str, files: list[str], **more: Any) -> list[Any]:
    with duckdb.connect(":memory:") as db:
        db.execute("SET memory_limit = '2GB'")
        return db.execute(query, {"files": files, **more}).fetchall()
