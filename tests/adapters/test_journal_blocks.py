"""Many rows of one request are one entry and one run of ids, and say in the lake what rows written one by one say."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from afterfit.adapters import journal_file, journal_room
from afterfit.adapters.delta_lake import DeltaLake
from afterfit.adapters.journal import SqliteJournal
from afterfit.adapters.journal_blocks import LEAST, pack_predictions, unpack_predictions
from afterfit.adapters.journal_file import JournalReader
from afterfit.adapters.journal_rows import pack_prediction
from afterfit.adapters.packed_row import PackedRows
from afterfit.adapters.redaction import Redaction
from afterfit.errors import DuplicateError, InputError
from afterfit.gateway.signature import Signature
from afterfit.records import Feature, Prediction, Predictions, Status, Value
from tests.adapters.log_rows import MODEL, YEAR, hour, outcome, prediction, write

N = 20
SIGNATURE = Signature([Feature("distance", "number", "float64"), Feature("carrier", "text", "str", True)], ["also"])


def sent(n: int = N, **more: Any) -> PackedRows:
    """Rows as the gateway reads them."""
    rows = [{"distance": i / 2, "carrier": None if i % 3 else "UA", **more} for i in range(n)]
    body = SIGNATURE.read(msgspec.json.encode({"rows": rows}))
    assert body is not None
    found, _ = SIGNATURE.unpack(body.rows)
    assert isinstance(found, PackedRows)
    return found


def request(base: str = "r", n: int = N, **own: Any) -> Predictions:
    ids = [f"{base}/{i}" for i in range(n)]
    columns = {"id": ids, "key": ids, "features": sent(n), "prediction": [i % 2 for i in range(n)]}
    return Predictions(prediction(ids[0], rollout="r", routes=3), columns | own)


CASES: dict[str, Sequence[Prediction]] = {
    "of the gateway": request(),
    "keys of their own": request(key=[f"plane-{i % 4}" for i in range(N)]),
    "no keys": request(key=[None] * N),
    "ids of their own": request(id=[f"x-{i}" for i in range(N)]),
    "ids that do not begin at 0": request(id=[f"r/{i + 1}" for i in range(N)]),
    "times": request(time=[hour(i) for i in range(N)], logged_at=[hour(i + 1) for i in range(N)]),
    "scores": request(scores=[(i / N, 1 - i / N) for i in range(N)]),
    "a value that only some have": request(features=[*sent(N // 2), *sent(N - N // 2, also=[1])]),
    "a value that is not there": request(features=sent(also="x")),
    "an integer that only text holds": request(features=[{"x": 2**70}] * N),
    "values": request(prediction=[i / 3 for i in range(N - 2)] + [float("nan"), np.float64(0.5)]),
    "texts": request(prediction=["é", "late"] * (N // 2)),
    "degraded": [
        prediction(f"d{i}", status=Status.FALLBACK if i % 2 else Status.OK, failure="crash") for i in range(N)
    ],
    "versions": [prediction(f"v{i}", version=i % 3, propensity=0.5) for i in range(N)],
    "few": request(n=LEAST - 1),
    "numpy": [prediction(f"n{i}", features={"x": np.float32(i), "é": np.bool_(True)}) for i in range(N)],
}


@pytest.mark.parametrize("name", CASES)
def test_a_block_says_what_its_rows_say(name: str) -> None:
    rows = CASES[name]
    one_by_one = unpack_predictions(pack_prediction(row) for row in rows)
    (packed,) = pack_predictions(rows)
    assert len(packed.bodies) == (1 if len(rows) >= LEAST and "only text" not in name else len(rows))
    assert unpack_predictions(packed.bodies) == one_by_one
    mixed = [pack_prediction(rows[0]), *packed.bodies, pack_prediction(rows[0])]
    assert [len(column) for column in unpack_predictions(mixed)] == [len(rows) + 2] * len(one_by_one)


@pytest.mark.parametrize(
    "change", [{"time": datetime(2013, 1, 1)}, {"features": {"x": object()}}, {"key": "\ud800"}, {"version": 2**70}]
)
def test_a_row_of_a_block_that_cannot_be_stored_is_named(change: dict[str, Any]) -> None:
    rows = [prediction(f"p{i}", **(change if i == 11 else {})) for i in range(N)]
    with pytest.raises(InputError, match="row 11 of model 'flight-delay' can't be stored"):
        pack_predictions(rows)


def test_models_of_one_call_are_kept_apart(tmp_path: Path) -> None:
    rows = [prediction(f"p{i}", model="a" if i < N else "b") for i in range(2 * N)]
    write(tmp_path / "journal" / "g.db", rows)
    lake = DeltaLake(tmp_path / "lake")
    assert lake.drain(tmp_path / "journal").predictions == 2 * N
    assert [lake.counts(model)["predictions"] for model in "ab"] == [N, N]


@pytest.mark.parametrize(
    ("first", "second", "known"),
    [
        (request(), request(), "r/0"),
        (request(n=3), request(), "r/0"),
        (request(), [prediction("r/7")], "r/7"),
        (request(), [prediction("new"), prediction("r/0")], "r/0"),
        ([prediction("r/19")], request(), "r/19"),
        ([prediction("r/20")], request(), None),
        (request(), [prediction("r/20")], None),
        (
            request(),
            [prediction("r/07"), prediction("r"), prediction("r/"), prediction("r/x"), prediction("r/-1")],
            None,
        ),
        (request(), [prediction("r/7", model="other")], None),
        (request("r/1"), request("r"), None),
        (request("r"), request("r/1"), None),
    ],
)
@pytest.mark.parametrize("together", [False, True])
def test_an_id_is_known_whether_it_came_in_a_run_or_alone(
    tmp_path: Path, first: Sequence[Prediction], second: Sequence[Prediction], known: str | None, together: bool
) -> None:
    async def ask(*requests: Sequence[Prediction]) -> list[Any]:
        return await asyncio.gather(*(journal.predictions(rows) for rows in requests), return_exceptions=True)

    journal = SqliteJournal(tmp_path / "g.db")
    try:
        answers = asyncio.run(ask(first, second)) if together else [*asyncio.run(ask(first)), *asyncio.run(ask(second))]
        told = asyncio.run(_outcomes(journal, first))
    finally:
        journal.close()
    assert answers[0] is None
    assert told == ["stored"] * len(first)
    if known is None:
        assert answers[1] is None
    else:
        assert isinstance(answers[1], DuplicateError)
        assert f"prediction id {known!r}" in str(answers[1])


async def _outcomes(journal: SqliteJournal, rows: Sequence[Prediction]) -> list[str]:
    return await journal.outcomes([outcome(row.id, 1, model=row.model) for row in rows])


def test_an_outcome_of_a_row_beyond_a_run_waits(tmp_path: Path) -> None:
    assert write(tmp_path / "g.db", request(), [outcome("r/19", 1), outcome("r/20", 1)]) == ["stored", "waiting"]


def test_a_request_of_many_rows_is_one_entry_and_one_row_of_ids(tmp_path: Path) -> None:
    path = tmp_path / "g.db"
    write(path, request(n=10_000))
    with closing(sqlite3.connect(path)) as db:
        assert [db.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in ("entries", "runs", "ids")] == [1, 1, 0]


def test_rows_of_a_block_are_redacted_before_they_are_written(tmp_path: Path) -> None:
    redaction = Redaction([Feature("carrier", "text", "str", redact="drop")], b"salt")
    journal = SqliteJournal(tmp_path / "journal" / "g.db", redact=lambda _model: redaction)
    rows = [replace(row, features={**row.features, "carrier": "SECRET"}) for row in request()]
    journal.predictions_now(rows)
    journal.close()
    assert b"SECRET" not in (tmp_path / "journal" / "g.db").read_bytes()
    assert b"carrier" not in (tmp_path / "journal" / "g.db").read_bytes()
    lake = DeltaLake(tmp_path / "lake")
    lake.drain(tmp_path / "journal")
    assert sorted(lake.predictions(MODEL, YEAR)["features"].to_pylist()) == sorted(
        f'{{"distance":{i / 2}}}' for i in range(N)
    )


def test_large_entries_are_read_and_deleted_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "g.db"
    for base in "abcd":
        write(path, request(base))
    with JournalReader(path) as reader:
        size = len(reader.read(0, 1)[0][2])
        monkeypatch.setattr(journal_file, "_MOST_BYTES", size + 1)
        monkeypatch.setattr(journal_room, "STEP_BYTES", size + 1)
        first = reader.read(0, 100)
        assert len(first) == 2
        rest = reader.read(first[-1][0], 100)
        assert len(rest) == 2
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            assert [journal_room.delete_some(db, rest[0][0]) for _ in range(3)] == [2, 1, 0]
        assert reader.read(0, 100) == rest[1:]


def test_a_value_of_a_slice_or_a_row_is_that_of_its_column() -> None:
    rows = request(scores=[(i / N,) for i in range(N)])
    assert [row.scores for row in rows[3:5]] == [(3 / N,), (4 / N,)]
    assert rows[-1].id == "r/19"
    features: Sequence[dict[str, Value]] = [dict(row.features) for row in rows]
    assert features == [dict(row) for row in sent()]
    with pytest.raises(IndexError):
        rows[N]
