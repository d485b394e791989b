"""The lake on real Delta tables: exactly once, newest outcome as of a moment, one row per prediction."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from afterfit.adapters import delta_lake, lake_table
from afterfit.adapters.delta_lake import DeltaLake
from afterfit.adapters.journal_file import JournalReader
from afterfit.adapters.journal_rows import OUTCOME, PREDICTION, pack_outcome, pack_prediction
from afterfit.adapters.lake_schema import SCHEMAS, TABLES
from afterfit.adapters.lake_table import LakeTable
from afterfit.errors import SetupError, StoreError
from afterfit.ports import Drained
from afterfit.records import Feature, Outcome, OutcomeKind, Prediction, Role, Status, Traffic, Window
from tests.adapters.log_rows import MODEL, START, YEAR, hour, outcome, prediction, shadow, write

KINDS_OF_FEATURES = (
    Feature("a number", "number", "float64"),
    Feature("ganz/e [Zahl]", "integer", "int64"),
    Feature("flag", "boolean", "bool"),
    Feature("text", "text", "category"),
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def lake(home: Path) -> DeltaLake:
    return DeltaLake(home / "lake")


def journal_of(home: Path, name: str = "g1") -> Path:
    return home / "journal" / f"{name}.db"


def ids(table: pa.Table) -> list[str]:
    found: list[str] = table["prediction_id"].to_pylist()
    return found


def outcomes_of(lake: DeltaLake, as_of: datetime | None = None) -> dict[str, str | None]:
    table = lake.labelled(MODEL, YEAR, as_of=as_of)
    assert table.num_rows == len(set(ids(table)))
    return dict(zip(ids(table), table["outcome"].to_pylist(), strict=True))


# --- empty ------------------------------------------------------------------------------------------------------


def test_an_absent_lake_is_empty_and_has_the_right_columns(lake: DeltaLake, home: Path) -> None:
    assert lake.predictions(MODEL, YEAR).schema == SCHEMAS[PREDICTION]
    labelled = lake.labelled(MODEL, YEAR, features=KINDS_OF_FEATURES)
    pairs, counts = lake.pairs(MODEL, "r1"), lake.counts(MODEL)
    assert lake.traffic(MODEL, "r1", version=2, since=0) == Traffic({}, {}, rows=0, requests=0, keys=0, other_keys=0)
    assert counts == {"predictions": 0, "outcomes": 0, "shadows": 0, "waiting": 0}
    assert lake.drain(home / "journal") == Drained()
    write(journal_of(home), [prediction("a", features={})])
    lake.drain(home / "journal")
    assert labelled.num_rows == 0
    assert labelled.schema == lake.labelled(MODEL, YEAR, features=KINDS_OF_FEATURES).schema
    assert pairs.schema == lake.pairs(MODEL, "r1").schema
    assert lake.predictions("another model", YEAR).schema == SCHEMAS[PREDICTION]


# --- drain ------------------------------------------------------------------------------------------------------


def test_all_fields_come_back(lake: DeltaLake, home: Path) -> None:
    row = prediction(
        "a", 1.5, key="N1", propensity=0.05, rollout="r1", routes=7, status=Status.FALLBACK, failed_version=2,
        failure="timeout", latency_ms=1.25, role=Role.CANARY, scores=None, prediction="spät",
    )  # fmt: skip
    write(
        journal_of(home), [row], [outcome("a", 1.5, source="airport")], [shadow("a", 1.5, scores=(1.0, float("nan")))]
    )
    assert lake.drain(home / "journal") == Drained(predictions=1, shadows=1, outcomes=1)
    (found,) = lake.predictions(MODEL, YEAR).to_pylist()
    assert found == {
        "prediction_id": "a", "model": MODEL, "version": 1, "role": "canary", "time": hour(1.5),
        "logged_at": hour(1.5), "key": "N1", "features": '{"distance":1.5,"carrier":"UA"}', "prediction": '"spät"',
        "scores": None, "propensity": 0.05, "rollout": "r1", "routes": 7, "status": "fallback", "failed_version": 2,
        "failure": "timeout", "latency_ms": 1.25,
    }  # fmt: skip
    (known,) = DeltaTable(str(home / "lake" / "outcomes")).to_pyarrow_table().to_pylist()
    assert known == {
        "model": MODEL, "prediction_id": "a", "key": None, "time": None, "value": "1.5", "event_time": hour(2),
        "known_time": hour(3), "source": "airport", "kind": "outcome", "sequence": known["sequence"],
    }  # fmt: skip
    assert known["sequence"] > 0
    table = DeltaTable(str(home / "lake" / "shadows")).to_pyarrow_table()
    assert table.column_names == SCHEMAS["shadow"].names
    assert table["scores"].to_pylist()[0][0] == 1.0


def test_several_journals_and_batches_are_moved_once(
    lake: DeltaLake, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delta_lake, "BATCH", 7)
    for gateway in ("g1", "g2"):
        rows = [prediction(f"{gateway}-{n}") for n in range(20)]
        write(journal_of(home, gateway), rows, [outcome(row.id, 1) for row in rows], [shadow(row.id) for row in rows])
    assert lake.drain(home / "journal") == Drained(40, 40, 40)
    assert lake.drain(home / "journal") == Drained()
    assert sorted(ids(lake.predictions(MODEL, YEAR))) == sorted(f"{g}-{n}" for g in ("g1", "g2") for n in range(20))
    assert lake.counts(MODEL) == {"predictions": 40, "outcomes": 40, "shadows": 40, "waiting": 0}
    with JournalReader(journal_of(home)) as journal:
        assert journal.read(0, 10) == []


@pytest.mark.parametrize("dies_after", ["one table", "all tables"])
def test_a_drain_that_died_is_finished_by_the_next(
    lake: DeltaLake, home: Path, monkeypatch: pytest.MonkeyPatch, dies_after: str
) -> None:
    class Dead(BaseException):
        pass

    def die(*_: object) -> None:
        raise Dead

    write(journal_of(home), [prediction("a"), prediction("b")], [outcome("a", 1)])
    with monkeypatch.context() as patch:
        if dies_after == "all tables":
            patch.setattr(JournalReader, "delete_through", die)
        else:
            patch.setattr(lake._tables[OUTCOME], "append", die)
        with pytest.raises(Dead):
            lake.drain(home / "journal")
    write(journal_of(home), [prediction("c")], [outcome("b", 0)])
    rest = Drained(predictions=1, outcomes=2 if dies_after == "one table" else 1)
    assert DeltaLake(home / "lake").drain(home / "journal") == rest
    assert outcomes_of(lake) == {"a": "1", "b": "0", "c": None}


def test_how_far_a_journal_came_survives_compaction_and_checkpoint(
    lake: DeltaLake, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(journal_of(home), [prediction("a"), prediction("b")])
    copy = journal_of(home).read_bytes()
    lake.drain(home / "journal")
    monkeypatch.setattr(lake_table, "MANY_FILES", 1)
    fresh = DeltaLake(home / "lake")
    assert fresh.drain(home / "journal") == Drained()
    assert list((home / "lake" / "predictions" / "_delta_log").glob("*.checkpoint.parquet"))
    journal_of(home).write_bytes(copy)  # as if the rows had not been deleted
    assert DeltaLake(home / "lake").drain(home / "journal") == Drained()
    assert ids(lake.predictions(MODEL, YEAR)) == ["a", "b"]


def test_two_drains_at_once_take_turns(home: Path) -> None:
    for gateway in ("g1", "g2", "g3"):
        write(journal_of(home, gateway), [prediction(f"{gateway}-{n}") for n in range(500)])
    moved: list[Drained] = []
    lakes = [DeltaLake(home / "lake") for _ in range(4)]
    threads = [threading.Thread(target=lambda lake=lake: moved.append(lake.drain(home / "journal"))) for lake in lakes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(done.predictions for done in moved) == 1500
    assert all(
        sorted(ids(lake.predictions(MODEL, YEAR))) == sorted(ids(lakes[0].predictions(MODEL, YEAR))) for lake in lakes
    )
    assert len(set(ids(lakes[0].predictions(MODEL, YEAR)))) == 1500


def test_a_drain_ends_although_the_gateway_writes_faster(
    lake: DeltaLake, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delta_lake, "BATCH", 5)
    append = LakeTable.append
    writes = iter(range(20))

    def append_while_more_comes(table: LakeTable, journal_id: str, rows: Sequence[tuple[int, bytes]]) -> int:
        n = next(writes)  # StopIteration fails the test of a drain that runs after the gateway for ever
        write(journal_of(home), [prediction(f"later {n}-{i}") for i in range(10)])
        return append(table, journal_id, rows)

    monkeypatch.setattr(LakeTable, "append", append_while_more_comes)
    write(journal_of(home), [prediction(f"p{n}") for n in range(12)])
    assert 12 <= lake.drain(home / "journal").predictions < 12 + 5
    assert {f"p{n}" for n in range(12)} <= set(ids(lake.predictions(MODEL, YEAR)))


def test_a_damaged_journal_is_named_and_holds_nobody_up(lake: DeltaLake, home: Path) -> None:
    write(journal_of(home, "g2"), [prediction("a")])
    journal_of(home, "g1").write_bytes(b"this is no database" * 1000)
    journal_of(home, "g0").touch()
    with pytest.raises(StoreError, match=r"g1\.db is damaged.*aside"):
        lake.drain(home / "journal")
    assert ids(lake.predictions(MODEL, YEAR)) == ["a"]


def test_a_journal_whose_rows_are_damaged_is_named_and_holds_nobody_up(lake: DeltaLake, home: Path) -> None:
    write(journal_of(home, "g1"), [prediction("a")])
    write(journal_of(home, "g2"), [prediction("b")])
    with closing(sqlite3.connect(journal_of(home, "g1"))) as db, db:
        db.execute("UPDATE entries SET body = x'c1ff'")
    with pytest.raises(StoreError, match=r"g1\.db is damaged: .* can't be unpacked.*aside"):
        lake.drain(home / "journal")
    assert ids(lake.predictions(MODEL, YEAR)) == ["b"]


def test_a_lake_that_cannot_be_written_leaves_the_journal_alone(home: Path) -> None:
    write(journal_of(home), [prediction("a")])
    (home / "lake").mkdir()
    (home / "lake" / "predictions").touch()
    with pytest.raises(StoreError, match=r"predictions can't be .* stay in the journal"):
        DeltaLake(home / "lake").drain(home / "journal")
    (home / "lake" / "predictions").unlink()
    assert DeltaLake(home / "lake").drain(home / "journal").predictions == 1
    (home / "occupied").touch()
    with pytest.raises(StoreError, match="choose another `home`"):
        DeltaLake(home / "occupied" / "lake").drain(home / "journal")


# --- compaction -------------------------------------------------------------------------------------------------


def test_small_files_of_the_busy_model_are_merged_and_old_ones_go_after_an_hour(
    lake: DeltaLake, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lake_table, "MANY_FILES", 10)
    table, other = LakeTable(home / "lake", PREDICTION), DeltaLake(home / "lake")
    rows = [(n, pack_prediction(prediction(f"p{n:02}", n))) for n in range(1, 13)]
    table.append("j", [(100, pack_prediction(prediction("x", model="quiet model")))])
    for seq, body in rows[:10]:
        table.append("j", [(seq + 100, body)])
    assert len(ids(other.predictions(MODEL, YEAR))) == 10  # `other` now holds this snapshot
    table.compact_if_due()
    assert (len(table.files(MODEL)), len(table.files("quiet model"))) == (1, 1)
    folder = next(p for p in (home / "lake" / "predictions").iterdir() if p.name == f"model={MODEL}")
    assert len(list(folder.glob("*.parquet"))) == 11  # readers may still hold the old ones
    long_ago = time.time() - 7200
    for file in (home / "lake" / "predictions").rglob("*"):
        os.utime(file, (long_ago, long_ago))
    for seq, body in rows[10:]:
        table.append("j", [(seq + 100, body)])
    monkeypatch.setattr(lake_table, "MANY_FILES", 2)
    monkeypatch.setattr(lake_table, "_KEEP_HOURS", 0)
    again = LakeTable(home / "lake", PREDICTION)
    again.compact_if_due()
    assert len(list(folder.glob("*.parquet"))) == 1
    assert len(list((home / "lake" / "predictions" / "_delta_log").glob("*.json"))) < 12  # the old log is gone
    assert ids(other.predictions(MODEL, YEAR)) == [f"p{n:02}" for n in range(1, 13)]
    assert ids(other.predictions("quiet model", YEAR)) == ["x"]


def test_a_lake_that_is_removed_under_a_running_process_starts_anew(lake: DeltaLake, home: Path) -> None:
    reader = DeltaLake(home / "lake")
    for n in range(3):
        write(journal_of(home), [prediction(f"p{n}")])
        lake.drain(home / "journal")
    assert len(ids(reader.predictions(MODEL, YEAR))) == 3
    shutil.rmtree(home / "lake")
    assert ids(reader.predictions(MODEL, YEAR)) == []
    for n in range(6):
        write(journal_of(home), [prediction(f"q{n}")])
        lake.drain(home / "journal")
    for some in (reader, lake, DeltaLake(home / "lake")):
        assert ids(some.predictions(MODEL, YEAR)) == [f"q{n}" for n in range(6)]


def test_a_failed_compaction_loses_nothing_and_is_tried_again(
    lake: DeltaLake, home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(lake_table, "MANY_FILES", 1)
    write(journal_of(home), [prediction("a")])
    with monkeypatch.context() as patch:
        patch.setattr(LakeTable, "_compact", fail)
        assert lake.drain(home / "journal").predictions == 1
    assert "can't be compacted: No space left" in caplog.text
    assert ids(lake.predictions(MODEL, YEAR)) == ["a"]
    lake.drain(home / "journal")
    assert list((home / "lake" / "predictions" / "_delta_log").glob("*.checkpoint.parquet"))


# --- reading ----------------------------------------------------------------------------------------------------


def test_a_window_is_half_open_and_reads_only_its_files(lake: DeltaLake, home: Path) -> None:
    table = LakeTable(home / "lake", PREDICTION)
    for day in range(5):
        table.append("j", [(day + 1, pack_prediction(prediction(f"d{day}", 24 * day)))])
    window = Window(hour(24), hour(72))
    assert ids(lake.predictions(MODEL, window)) == ["d1", "d2"]
    assert len(table.files(MODEL)) == 5
    assert len(table.files(MODEL, Window(hour(25), hour(47)))) == 0
    ever = Window(datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
    assert ids(lake.predictions(MODEL, ever)) == [f"d{day}" for day in range(5)]
    assert len(table.files(MODEL, window)) <= 3  # statistics are cut to milliseconds: the edge may be read for nothing


@pytest.mark.parametrize("name", ["a b", "Größe/50%", "it's", "x=y&z", "[a-z]*?", ".."])
def test_any_model_name_and_folder_can_be_read(tmp_path: Path, name: str) -> None:
    home = tmp_path / "my *files*?" / "it's 100% é"
    write(
        journal_of(home), [prediction("a", model=name), prediction("b", model="other")], [outcome("a", 1, model=name)]
    )
    lake = DeltaLake(home / "lake")
    lake.drain(home / "journal")
    table = lake.labelled(name, YEAR)
    assert table.select(["prediction_id", "model", "outcome"]).to_pylist() == [
        {"prediction_id": "a", "model": name, "outcome": "1"}
    ]


@pytest.mark.parametrize("sign", "[]^|\\")
def test_a_folder_that_delta_cannot_use_is_refused_at_the_start(tmp_path: Path, sign: str) -> None:
    with pytest.raises(SetupError, match="Rename that folder"):
        DeltaLake(tmp_path / f"a{sign}b" / "lake")


def test_features_become_typed_columns_and_a_wrong_cell_becomes_null(lake: DeltaLake, home: Path) -> None:
    a, b, c, d = (feature.name for feature in KINDS_OF_FEATURES)
    good: dict[str, Any] = {a: 1.5, b: 2**53 + 1, c: True, d: "é\n\u2028"}
    rows: list[tuple[dict[str, Any], tuple[Any, ...]]] = [
        (good, (1.5, 2**53 + 1, True, "é\n\u2028")),
        ({a: 3, "extra": [1]}, (3.0, None, None, None)),
        ({a: None, b: None, c: None, d: None}, (None, None, None, None)),
        ({}, (None, None, None, None)),
        ({a: "3", b: "4", c: "true", d: 5}, (None, None, None, None)),
        ({a: True, b: True, c: 1, d: False}, (None, None, None, None)),
        ({a: {"x": 1}, b: 1.5, c: [True], d: ["x"]}, (None, None, None, None)),
        ({a: 2**70, b: 2**70, c: False, d: ""}, (float(2**70), None, False, "")),
        ({a: -0.5, b: 3.0, c: False, d: "2013-01-01"}, (-0.5, 3, False, "2013-01-01")),
    ]
    for chosen in (rows[:4], rows):  # without and with cells of a wrong type
        model = f"model of {len(chosen)}"
        path = journal_of(home, model)
        write(path, [prediction(f"{n}", n, features=cells, model=model) for n, (cells, _) in enumerate(chosen)])
        lake.drain(home / "journal")
        table = lake.predictions(model, YEAR, features=KINDS_OF_FEATURES)
        columns = [f"f:{feature.name}" for feature in KINDS_OF_FEATURES]
        assert [table.schema.field(c).type for c in columns] == [pa.float64(), pa.int64(), pa.bool_(), pa.string()]
        found = [tuple(row.values()) for row in table.select(columns).to_pylist()]
        assert found == [wanted for _, wanted in chosen]
        assert "features" not in table.column_names


# --- outcomes ---------------------------------------------------------------------------------------------------


def test_late_corrected_retracted_and_unknown_outcomes(lake: DeltaLake, home: Path) -> None:
    predictions = [prediction("by id"), prediction("by key", 1, key="N1"), prediction("both", 2, key="N2")]
    predictions += [prediction("retracted", 3), prediction("null", 4), prediction("never", 5, key="N1")]
    write(journal_of(home), predictions)
    news = [
        outcome("by id", 1, known=9, kind=OutcomeKind.CORRECTION),
        outcome("by id", 0, known=5),  # out of order: older news arrives later
        outcome(None, 7, key="N1", time=hour(1)),
        outcome("both", 1, known=4),
        outcome(None, 0, known=6, key="N2", time=hour(2)),
        outcome("retracted", 1, known=4),
        outcome("retracted", None, known=8, kind=OutcomeKind.RETRACTION),
        outcome("null", None, known=4),
        outcome("nobody", 1),
        outcome(None, 1, key="N1", time=hour(99)),
    ]
    write(journal_of(home), outcomes=news)
    lake.drain(home / "journal")
    assert outcomes_of(lake) == {
        "by id": "1", "by key": "7", "both": "0", "retracted": None, "null": None, "never": None,
    }  # fmt: skip
    assert lake.counts(MODEL) == {"predictions": 6, "outcomes": 10, "shadows": 0, "waiting": 2}
    assert outcomes_of(lake, hour(5)) == {
        "by id": "0", "by key": "7", "both": "1", "retracted": "1", "null": None, "never": None,
    }  # fmt: skip
    row = {r["prediction_id"]: r for r in lake.labelled(MODEL, YEAR).to_pylist()}
    assert (row["by id"]["outcome_time"], row["by id"]["known_time"]) == (hour(2), hour(9))
    assert (row["retracted"]["outcome_time"], row["retracted"]["known_time"]) == (None, None)
    write(journal_of(home), [prediction("nobody", 6)])
    lake.drain(home / "journal")
    assert outcomes_of(lake)["nobody"] == "1"
    assert lake.counts(MODEL)["waiting"] == 1


def test_at_the_same_known_time_the_later_row_wins(lake: DeltaLake, home: Path) -> None:
    write(journal_of(home), [prediction("a")], [outcome("a", 1), outcome("a", 0), outcome("a", 1)])
    lake.drain(home / "journal")
    assert outcomes_of(lake) == {"a": "1"}


def test_an_old_training_set_is_rebuilt_as_it_was(lake: DeltaLake, home: Path) -> None:
    write(journal_of(home), [prediction(f"p{n}", n) for n in range(5)], [outcome(f"p{n}", n, n + 1) for n in range(4)])
    lake.drain(home / "journal")
    then = hour(10)
    seen = lake.labelled(MODEL, YEAR, as_of=then)
    write(
        journal_of(home),
        [prediction("late row", 2, logged_at=hour(11))],
        [
            outcome("p1", 9, known=12, kind=OutcomeKind.CORRECTION),
            outcome("p2", None, known=12, kind=OutcomeKind.RETRACTION),
            outcome("p4", 1, known=12),
        ],
    )
    lake.drain(home / "journal")
    assert lake.labelled(MODEL, YEAR, as_of=then).equals(seen)
    assert outcomes_of(lake) == {"p0": "0", "p1": "9", "p2": None, "late row": None, "p3": "3", "p4": "1"}
    assert lake.predictions(MODEL, YEAR, as_of=then).num_rows == 5
    for as_of in (then, None):
        whole = lake.labelled(MODEL, YEAR, as_of=as_of).select(["time", "known_time"])
        order = [("time", "ascending"), ("known_time", "ascending")]
        assert lake.delays(MODEL, YEAR, as_of=as_of).sort_by(order).equals(whole.sort_by(order))


def test_of_many_rows_a_share_is_drawn_the_same_for_everybody(lake: DeltaLake, home: Path) -> None:
    rows = [prediction(f"p{n}", n / 500) for n in range(2000)]
    write(journal_of(home), rows, [outcome(f"p{n}", n, 10) for n in range(0, 2000, 2)])
    lake.drain(home / "journal")
    assert (lake.served(MODEL, YEAR), lake.served(MODEL, YEAR, known=True)) == (2000, 1000)
    assert lake.served(MODEL, YEAR, as_of=hour(5), known=True) == 0
    drawn = lake.predictions(MODEL, YEAR, most=500)
    # 500 are expected, with a standard deviation of 19: more than 100 beside it once in ten million draws, and the ids are fixed
    assert abs(drawn.num_rows - 500) < 100
    assert drawn.equals(DeltaLake(home / "lake").predictions(MODEL, YEAR, most=500))
    assert drawn["time"].to_pylist() == sorted(drawn["time"].to_pylist())
    assert lake.predictions(MODEL, YEAR, most=2000).num_rows == 2000
    known = lake.labelled(MODEL, YEAR, known=True)
    assert (known.num_rows, known["outcome"].null_count) == (1000, 0)
    some = lake.labelled(MODEL, YEAR, known=True, most=500)
    assert abs(some.num_rows - 500) < 100
    assert set(ids(some)) < set(ids(known))
    assert lake.labelled(MODEL, YEAR, most=1000).num_rows == lake.delays(MODEL, YEAR, most=1000).num_rows < 1200


def test_an_id_that_two_gateways_gave_multiplies_nothing(lake: DeltaLake, home: Path) -> None:
    for gateway in ("g1", "g2"):
        write(journal_of(home, gateway), [prediction("a", rollout="r")], [outcome("a", 1)], [shadow("a", rollout="r")])
    lake.drain(home / "journal")
    assert lake.labelled(MODEL, YEAR)["outcome"].to_pylist() == ["1", "1"]
    assert lake.pairs(MODEL, "r")["outcome"].to_pylist() == ["1", "1"]


_EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", "nobody"]),
        st.booleans(),  # by id, or by key and time
        st.integers(0, 2),  # value
        st.integers(0, 5),  # known hours after START
        st.sampled_from(list(OutcomeKind)),
    ),
    max_size=12,
)


@settings(max_examples=20, deadline=None)
@given(events=_EVENTS, as_of=st.one_of(st.none(), st.integers(0, 6)), commits=st.integers(1, 3))
def test_the_newest_outcome_as_of_a_moment_is_what_a_plain_loop_finds(
    events: Sequence[tuple[str, bool, int, int, OutcomeKind]], as_of: int | None, commits: int
) -> None:
    at = {"a": 0, "b": 1, "c": 2, "nobody": 3}
    rows = [prediction(id, at[id], key=f"key {id}") for id in ("a", "b", "c")]
    news = [
        Outcome(MODEL, value, hour(0), hour(known), id, kind=kind)
        if by_id
        else Outcome(MODEL, value, hour(0), hour(known), key=f"key {id}", time=hour(at[id]), kind=kind)
        for id, by_id, value, known, kind in events
    ]
    moment = None if as_of is None else hour(as_of)
    wanted: dict[str, tuple[int, str | None]] = {}
    for id, _, value, known, kind in events:
        if (as_of is None or known <= as_of) and known >= wanted.get(id, (-1, None))[0]:
            wanted[id] = (known, None if kind is OutcomeKind.RETRACTION else str(value))
    expected = {row.id: wanted.get(row.id, (0, None))[1] for row in rows if moment is None or row.logged_at <= moment}
    with tempfile.TemporaryDirectory() as folder:
        _append(Path(folder), rows, news, commits)
        assert outcomes_of(DeltaLake(Path(folder)), moment) == expected


def _append(folder: Path, rows: Sequence[Prediction], news: Sequence[Outcome], commits: int) -> None:
    """Straight into the tables, in several commits, without a journal: only the join is under test."""
    LakeTable(folder, PREDICTION).append("j", [(n + 1, pack_prediction(row)) for n, row in enumerate(rows)])
    numbered = [(n + 1, pack_outcome(row)) for n, row in enumerate(news)]
    step = len(numbered) // commits + 1
    for start in range(0, len(numbered), step):
        LakeTable(folder, OUTCOME).append("j", numbered[start : start + step])


# --- pairs ------------------------------------------------------------------------------------------------------


def test_pairs_and_traffic_of_a_rollout(lake: DeltaLake, home: Path) -> None:
    served = [
        prediction("paired", 1, rollout="r1", key="N1", latency_ms=2.0),
        prediction("canary", 2, rollout="r1", version=2, role=Role.CANARY, routes=4),
        prediction("fallback", 3, rollout="r1", status=Status.FALLBACK, failed_version=2, failure="crash", routes=4),
        prediction("skipped", 4, rollout="r1", status=Status.SKIPPED, failed_version=2, key="N1", routes=5),
        prediction("before", 4, rollout="r0"),
        prediction("outside", 5),
    ]
    shadows = [
        shadow("paired", 1, rollout="r1", scores=(0.5, 0.5), latency_ms=4.0),
        shadow("paired", 1, rollout="r0", version=9),
        shadow("canary", 2, rollout="r1", version=1, prediction=None, status=Status.TIMEOUT),
        shadow("canary", 2, rollout="r1", version=2),  # itself: no pair
        shadow("fallback", 3, rollout="r1"),  # nobody knows yet what came true
        shadow("before", 4, rollout="r0"),
        shadow("unknown", 4, rollout="r1"),
    ]
    write(journal_of(home), served, [outcome("paired", 1), outcome("canary", 0, known=9)], shadows)
    lake.drain(home / "journal")
    assert lake.pairs(MODEL, "r1").to_pylist() == [
        {
            "prediction_id": "paired", "time": hour(1), "routes": 0, "served_version": 1, "prediction": "1",
            "scores": [0.25, 0.75], "shadow_version": 2, "shadow_prediction": "0", "shadow_scores": [0.5, 0.5],
            "outcome": "1", "known_time": hour(3),
        }
    ]  # fmt: skip
    assert lake.traffic(MODEL, "r1", version=2, since=4) == Traffic(
        asked={1: 2, 2: 4}, failed={1: 1, 2: 1}, rows=4, requests=2, keys=2, other_keys=0
    )
    assert lake.traffic(MODEL, "r1", version=2, since=0, as_of=hour(1)) == Traffic(
        asked={1: 1, 2: 1}, failed={1: 0, 2: 0}, rows=1, requests=0, keys=0, other_keys=1
    )
    assert lake.pairs(MODEL, "r1", as_of=hour(2)).num_rows == 0


def test_a_shadow_that_came_later_is_hidden_as_of_before(lake: DeltaLake, home: Path) -> None:
    write(journal_of(home), [prediction("a", rollout="r")], [outcome("a", 1)], [shadow("a", 5, rollout="r")])
    lake.drain(home / "journal")
    for then, seen in ((4, 0), (5, 1)):
        assert lake.pairs(MODEL, "r", as_of=hour(then)).num_rows == seen
        assert lake.traffic(MODEL, "r", version=2, since=0, as_of=hour(then)).asked.get(2, 0) == seen


def test_threads_may_read_while_another_drains_and_gives_memory_back(lake: DeltaLake, home: Path) -> None:
    problems: list[BaseException] = []
    stop = threading.Event()

    def read() -> None:
        last = 0
        try:
            while not stop.is_set():
                n = lake.labelled(MODEL, Window(START, START + timedelta(days=1))).num_rows
                assert n >= last
                last = n
        except BaseException as error:  # noqa: BLE001  a thread's failure must reach the test
            problems.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for n in range(8):
        write(journal_of(home), [prediction(f"p{n}")], [outcome(f"p{n}", 1)])
        lake.drain(home / "journal")
        lake.release()
    stop.set()
    for reader in readers:
        reader.join()
    assert problems == []
    assert lake.counts(MODEL)["predictions"] == 8


def test_every_kind_has_its_table() -> None:
    assert TABLES == {
        "prediction": "predictions",
        "shadow": "shadows",
        "outcome": "outcomes",
        "loss": "losses",
    }
    assert set(SCHEMAS) == set(TABLES)
