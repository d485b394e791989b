"""What is asked of the lake, in SQL: DuckDB reads the Parquet files that a Delta snapshot lists, without extension."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import duckdb
import pyarrow as pa

from afterfit.adapters.journal_rows import LOSS, OUTCOME, PREDICTION, SHADOW
from afterfit.adapters.lake_schema import SCHEMAS, TIME
from afterfit.errors import StoreError
from afterfit.records import Window

_DUCK = {pa.string(): "VARCHAR", pa.int64(): "BIGINT", pa.float64(): "DOUBLE", TIME: "TIMESTAMPTZ"}
_OUTCOME_COLUMNS = [("outcome", pa.string()), ("outcome_time", TIME), ("known_time", TIME)]
_PAIR_COLUMNS = [
    *(("prediction_id", pa.string()), ("time", TIME), ("routes", pa.int64()), ("served_version", pa.int64())),
    *(("prediction", pa.string()), ("scores", pa.list_(pa.float64())), ("shadow_version", pa.int64())),
    *(("shadow_prediction", pa.string()), ("shadow_scores", pa.list_(pa.float64()))),
    *(("outcome", pa.string()), ("known_time", TIME)),
]
_ATTEMPT_COLUMNS = [(name, pa.int64()) for name in ("version", "asked", "failed")]
_STAGE_COLUMNS = [(name, pa.int64()) for name in ("rows", "requests", "keys", "other_keys")]

_SERVED = """
served AS (
    SELECT * FROM {predictions}
    WHERE time >= $start AND time < $end AND ($as_of IS NULL OR logged_at <= $as_of)
          AND ($every = 1 OR hash(prediction_id) % $every = 0)
)"""

# The newest outcome of each row of `served`, by id or by key and time. Grouping by what was matched on gives at most
# one row each, so the joins below never multiply a prediction, even one whose id was logged by two gateways.
_NEWEST = """
known AS (
    SELECT prediction_id, key, time, known_time, sequence, event_time,
           kind <> 'retraction' AND value <> 'null' AS holds, value
    FROM {outcomes}
    WHERE $as_of IS NULL OR known_time <= $as_of
),
hits AS (
    SELECT s.prediction_id, s.key, s.time, k.known_time, k.sequence, k.event_time, k.holds, k.value
    FROM served s JOIN known k ON k.prediction_id = s.prediction_id
    UNION ALL
    SELECT s.prediction_id, s.key, s.time, k.known_time, k.sequence, k.event_time, k.holds, k.value
    FROM served s JOIN known k ON k.prediction_id IS NULL AND k.key = s.key AND k.time = s.time
),
newest AS (
    SELECT prediction_id, key, time, known_time, event_time AS outcome_time, value AS outcome
    FROM (
        SELECT * FROM hits
        QUALIFY row_number() OVER (
            PARTITION BY prediction_id, key, time ORDER BY known_time DESC, sequence DESC, value
        ) = 1
    )
    WHERE holds
)"""

_JOIN_NEWEST = """
LEFT JOIN newest n ON n.prediction_id = s.prediction_id AND n.time = s.time AND n.key IS NOT DISTINCT FROM s.key"""

# All rows of a rollout are too many to hold: what asks for them more than once reads them again.
_LOGGED = """
logged AS NOT MATERIALIZED (
    SELECT prediction_id, time, key, version, routes, status, failed_version, prediction, scores, latency_ms
    FROM {predictions} WHERE rollout = $rollout AND ($as_of IS NULL OR logged_at <= $as_of)
)"""

# The newest shadow score of each row that has one, of another version than the one that served it.
_SHADOWED = """
other AS (
    SELECT prediction_id, version, status, prediction, scores, latency_ms, logged_at
    FROM {shadows} WHERE rollout = $rollout AND ($as_of IS NULL OR logged_at <= $as_of)
),
shadowed AS (
    SELECT l.prediction_id, o.version, o.status, o.prediction, o.scores, o.latency_ms
    FROM logged l JOIN other o ON o.prediction_id = l.prediction_id AND o.version <> l.version
    QUALIFY row_number() OVER (PARTITION BY l.prediction_id ORDER BY o.logged_at DESC, o.version DESC) = 1
)"""

_PAIRS = """
WITH {logged}, {shadowed},
served AS (
    SELECT l.prediction_id, l.time, l.key, l.routes, l.version AS served_version, l.prediction, l.scores,
           o.version AS shadow_version, o.prediction AS shadow_prediction, o.scores AS shadow_scores
    FROM logged l JOIN shadowed o ON o.prediction_id = l.prediction_id AND o.status = 'ok'
),
{newest}
SELECT s.* EXCLUDE (key), n.outcome, n.known_time
FROM served s {join_newest} WHERE n.outcome IS NOT NULL
ORDER BY s.time, s.prediction_id
"""

# Rows of one request carry one measured latency, to the last bit; those without one are `NULL` here and count each.
_ATTEMPTS = """
WITH {logged}, {shadowed},
put AS (
    SELECT false AS shadow, coalesce(failed_version, version) AS version, failed_version IS NOT NULL AS failed, latency_ms
    FROM logged WHERE status <> 'skipped'
    UNION ALL
    SELECT true AS shadow, o.version, o.status IN ('error', 'timeout') AS failed, o.latency_ms
    FROM logged l JOIN shadowed o ON o.prediction_id = l.prediction_id AND o.status <> 'dropped'
),
requests AS (
    SELECT version, CASE WHEN latency_ms > 0 THEN latency_ms END AS measured, count(*) AS n, count(*) FILTER (failed) AS bad
    FROM put GROUP BY shadow, version, measured
)
SELECT version, sum(CASE WHEN measured IS NULL THEN n ELSE 1 END)::BIGINT AS asked,
       sum(CASE WHEN measured IS NULL THEN bad ELSE least(bad, 1) END)::BIGINT AS failed
FROM requests GROUP BY version
"""

_STAGE = """
WITH {logged},
keys AS (
    SELECT version = $version OR coalesce(failed_version = $version, false) AS mine, key,
           count(*) FILTER (status <> 'skipped') AS n
    FROM logged WHERE routes >= $since GROUP BY mine, key
)
SELECT (SELECT count(*) FROM logged) AS rows, coalesce(sum(n) FILTER (mine), 0)::BIGINT AS requests,
       count(*) FILTER (mine) AS keys, count(*) FILTER (NOT mine) AS other_keys
FROM keys
"""

# Two plain anti-joins, so that DuckDB hashes the outcomes, which are few, and not each prediction ever made.
_WAITING = """
SELECT (
    SELECT count(*) FROM {outcomes} o
    WHERE NOT EXISTS (SELECT 1 FROM {predictions} p WHERE p.prediction_id = o.prediction_id)
      AND o.prediction_id IS NOT NULL
) + (
    SELECT count(*) FROM {outcomes} o
    WHERE NOT EXISTS (SELECT 1 FROM {predictions} p WHERE p.key = o.key AND p.time = o.time)
      AND o.prediction_id IS NULL
) AS waiting
"""

_LOST = """
SELECT coalesce(sum(rows), 0)::BIGINT AS lost FROM {losses} WHERE time < $end AND until > $start
"""


class LakeQueries:
    """Runs the queries in one in-memory DuckDB; each has a cursor of its own, so threads may ask at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._db: duckdb.DuckDBPyConnection | None = None

    def predictions(
        self, files: Sequence[str], model: str, window: Window, as_of: datetime | None, every: int
    ) -> pa.Table:
        served = _SERVED.format(predictions=_rows(PREDICTION, files, model))
        query = f"WITH {served} SELECT * FROM served ORDER BY time, prediction_id"
        return self._ask(query, _between(window, as_of, every), SCHEMAS[PREDICTION])

    def labelled(
        self,
        files: Sequence[str],
        outcomes: Sequence[str],
        model: str,
        window: Window,
        as_of: datetime | None,
        known: bool,
        every: int,
    ) -> pa.Table:
        query = (
            f"{_with_newest(files, outcomes, model)} SELECT s.*, n.outcome, n.outcome_time, n.known_time FROM served s {_JOIN_NEWEST} "
            f"{'WHERE n.outcome IS NOT NULL' if known else ''} ORDER BY s.time, s.prediction_id"
        )
        schema = pa.schema([*SCHEMAS[PREDICTION], *_OUTCOME_COLUMNS])
        return self._ask(query, _between(window, as_of, every), schema)

    def served(
        self, files: Sequence[str], outcomes: Sequence[str] | None, model: str, window: Window, as_of: datetime | None
    ) -> int:
        if outcomes is None:
            served = _SERVED.format(predictions=_rows(PREDICTION, files, model))
            query = f"WITH {served} SELECT count(*) AS n FROM served"
        else:
            query = f"{_with_newest(files, outcomes, model)} SELECT count(*) AS n FROM newest"
        return int(self._ask(query, _between(window, as_of), pa.schema([("n", pa.int64())]))["n"][0].as_py())

    def delays(
        self,
        files: Sequence[str],
        outcomes: Sequence[str],
        model: str,
        window: Window,
        as_of: datetime | None,
        every: int,
    ) -> pa.Table:
        query = f"{_with_newest(files, outcomes, model)} SELECT s.time, n.known_time FROM served s {_JOIN_NEWEST}"
        return self._ask(query, _between(window, as_of, every), pa.schema([("time", TIME), ("known_time", TIME)]))

    def pairs(
        self,
        files: Sequence[str],
        shadows: Sequence[str],
        outcomes: Sequence[str],
        model: str,
        rollout: str,
        as_of: datetime | None,
    ) -> pa.Table:
        query = _PAIRS.format(
            logged=_LOGGED.format(predictions=_rows(PREDICTION, files, model)),
            shadowed=_SHADOWED.format(shadows=_rows(SHADOW, shadows, model)),
            newest=_NEWEST.format(outcomes=_rows(OUTCOME, outcomes, model)),
            join_newest=_JOIN_NEWEST,
        )
        return self._ask(query, {"rollout": rollout, "as_of": as_of}, pa.schema(_PAIR_COLUMNS))

    def attempts(
        self, files: Sequence[str], shadows: Sequence[str], model: str, rollout: str, as_of: datetime | None
    ) -> pa.Table:
        query = _ATTEMPTS.format(
            logged=_LOGGED.format(predictions=_rows(PREDICTION, files, model)),
            shadowed=_SHADOWED.format(shadows=_rows(SHADOW, shadows, model)),
        )
        return self._ask(query, {"rollout": rollout, "as_of": as_of}, pa.schema(_ATTEMPT_COLUMNS))

    def stage(
        self, files: Sequence[str], model: str, rollout: str, version: int, since: int, as_of: datetime | None
    ) -> dict[str, int]:
        query = _STAGE.format(logged=_LOGGED.format(predictions=_rows(PREDICTION, files, model)))
        asked = {"rollout": rollout, "as_of": as_of, "version": version, "since": since}
        found: dict[str, int] = self._ask(query, asked, pa.schema(_STAGE_COLUMNS)).to_pylist()[0]
        return found

    def waiting(self, files: Sequence[str], outcomes: Sequence[str], model: str) -> int:
        query = _WAITING.format(predictions=_rows(PREDICTION, files, model), outcomes=_rows(OUTCOME, outcomes, model))
        return int(self._ask(query, {}, pa.schema([("waiting", pa.int64())]))["waiting"][0].as_py())

    def lost(self, files: Sequence[str], model: str, window: Window) -> int:
        query = _LOST.format(losses=_rows(LOSS, files, model))
        between = {"start": window.start, "end": window.end}
        return int(self._ask(query, between, pa.schema([("lost", pa.int64())]))["lost"][0].as_py())

    def release(self) -> None:
        """Give back what DuckDB keeps of past answers (100 MB and more); the next question begins anew, in 10 ms."""
        with self._lock:
            self._db = None  # not closed: it lives on for as long as a cursor of another thread does

    def _ask(self, query: str, parameters: Mapping[str, Any], schema: pa.Schema) -> pa.Table:
        try:
            with self._cursor() as cursor:
                return cursor.sql(query, params=dict(parameters)).to_arrow_table().cast(schema)
        except duckdb.Error as error:
            raise StoreError(
                f"the lake can't be read: {error}. If a file of it was removed or damaged by hand, restore it from a "
                "backup; otherwise try again"
            ) from error

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        with self._lock:
            if self._db is None:
                self._db = duckdb.connect(":memory:")
            cursor = self._db.cursor()
        cursor.execute("SET TimeZone = 'UTC'")
        return cursor


def _with_newest(files: Sequence[str], outcomes: Sequence[str], model: str) -> str:
    served = _SERVED.format(predictions=_rows(PREDICTION, files, model))
    return f"WITH {served}, {_NEWEST.format(outcomes=_rows(OUTCOME, outcomes, model))}"


def _between(window: Window, as_of: datetime | None, every: int = 1) -> dict[str, Any]:
    return {"start": window.start, "end": window.end, "as_of": as_of, "every": every}


def _rows(kind: str, files: Sequence[str], model: str) -> str:
    """The rows of one model as something to select from; the model itself is the partition, not in the files."""
    schema = SCHEMAS[kind]
    if not files:
        nulls = ", ".join(f'NULL::{_DUCK.get(field.type, "DOUBLE[]")} AS "{field.name}"' for field in schema)
        return f"(SELECT {nulls} WHERE false)"
    columns = ", ".join(f"{_text(model)} AS model" if name == "model" else f'"{name}"' for name in schema.names)
    paths = ", ".join(_text(_no_glob(path)) for path in files)
    return f"(SELECT {columns} FROM read_parquet([{paths}], hive_partitioning = false))"


def _no_glob(path: str) -> str:
    """DuckDB takes a path for a pattern; a bracketed sign stands for itself."""
    return "".join(f"[{sign}]" if sign in "*?[" else sign for sign in path)


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
