"""The journal of one gateway process, on a real SQLite file."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import numpy as np
import pytest

from afterfit.adapters import journal_checkpoint
from afterfit.adapters.journal import SqliteJournal
from afterfit.adapters.journal_blocks import unpack_predictions
from afterfit.adapters.journal_file import JournalReader
from afterfit.adapters.journal_rows import FIELDS, PREDICTION
from afterfit.errors import DuplicateError, InputError, StoreError
from afterfit.records import Outcome, OutcomeKind
from tests.adapters.log_rows import MODEL, hour, outcome, prediction, shadow, write

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal" / "gateway-1.db"


@pytest.fixture
def journal(path: Path) -> Iterator[SqliteJournal]:
    journal = SqliteJournal(path)
    yield journal
    journal.close()


def stored(path: Path) -> list[tuple[int, str, dict[str, object]]]:
    with JournalReader(path) as reader:
        rows = reader.read(0, 1_000_000)
    named = []
    for seq, kind, body in rows:
        for found in zip(*unpack_predictions([body]), strict=True) if kind == PREDICTION else [_decode(body)]:
            fields = dict(zip(FIELDS[kind], found, strict=True))
            if kind == PREDICTION:
                fields["features"] = msgspec.json.decode(fields["features"])
            named.append((seq, kind, fields))
    return named


_decode = msgspec.msgpack.Decoder(list).decode


async def test_what_is_acknowledged_can_be_read_by_another_connection(journal: SqliteJournal, path: Path) -> None:
    await journal.predictions([prediction("a"), prediction("b", features=MappingProxyType({"x": None}))])
    rows = stored(path)
    assert [(kind, row["prediction_id"]) for _, kind, row in rows] == [("prediction", "a"), ("prediction", "b")]
    assert rows[0][2]["features"] == {"distance": 1.5, "carrier": "UA"}
    assert rows[1][2]["features"] == {"x": None}
    assert rows[0][2]["time"] == 1_356_998_400_000_000
    assert rows[0][2]["scores"] == [0.25, 0.75]


async def test_numpy_scalars_are_stored_as_plain_numbers(journal: SqliteJournal, path: Path) -> None:
    row = prediction("a", prediction=np.int64(3), features={"x": np.float32(0.5), "y": np.bool_(True)})
    await journal.predictions([row])
    assert (stored(path)[0][2]["prediction"], stored(path)[0][2]["features"]) == ("3", {"x": 0.5, "y": True})


async def test_many_requests_at_once_share_commits(journal: SqliteJournal, path: Path) -> None:
    commits: list[str] = []
    journal._db.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)
    await asyncio.gather(*(journal.predictions([prediction(f"p{n}")]) for n in range(500)))
    assert len(stored(path)) == 500
    assert 1 <= len(commits) < 100


async def test_what_was_committed_reaches_the_file_while_the_journal_is_open(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write-ahead log alone would be lost with a power cut; nobody but the thread beside the writer syncs it."""
    monkeypatch.setattr(journal_checkpoint, "EVERY", 0.01)
    journal, copy = SqliteJournal(path), path.with_name("copy.db")
    try:
        await asyncio.gather(*(journal.predictions([prediction(f"p{n}")]) for n in range(100)))
        for _ in range(1000):
            await asyncio.sleep(0.01)
            copy.write_bytes(path.read_bytes())
            with closing(sqlite3.connect(f"{copy.as_uri()}?immutable=1", uri=True)) as db:
                if db.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
                    continue  # the tables are still in the log, too
                if db.execute("SELECT count(*) FROM entries").fetchone() == (100,):
                    return
        raise AssertionError("after 10 s the rows were in the log only")
    finally:
        journal.close()


async def test_a_known_id_in_a_large_group_is_found_and_the_others_are_written(
    journal: SqliteJournal, path: Path
) -> None:
    await journal.predictions([prediction("known")])
    asked = [journal.predictions([prediction(f"p{n}-{i}") for i in range(1 + n % 70)]) for n in range(150)]
    asked.insert(70, journal.predictions([prediction("new"), prediction("known")]))
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [i for i, answer in enumerate(answers) if answer is not None] == [70]
    assert isinstance(answers[70], DuplicateError)
    wanted = ["known", *(f"p{n}-{i}" for n in range(150) for i in range(1 + n % 70))]
    assert [row["prediction_id"] for _, _, row in stored(path)] == wanted


async def test_a_known_id_is_refused_and_nothing_of_its_request_is_written(journal: SqliteJournal, path: Path) -> None:
    await journal.predictions([prediction("a")])
    good, bad, other = (
        journal.predictions([prediction("b")]),
        journal.predictions([prediction("c"), prediction("a")]),
        journal.predictions([prediction("a", model="other model")]),
    )
    with pytest.raises(DuplicateError, match=r"prediction id 'a' of model 'flight-delay' was acknowledged before"):
        await bad
    await good
    await other
    assert [row["prediction_id"] for _, _, row in stored(path)] == ["a", "b", "a"]


async def test_an_id_twice_in_one_request_or_in_one_group_is_refused(journal: SqliteJournal, path: Path) -> None:
    twice = journal.predictions([prediction("a"), prediction("a")])
    first, second = journal.predictions([prediction("b")]), journal.predictions([prediction("b")])
    with pytest.raises(DuplicateError, match=r"'a' .* comes twice in this request"):
        await twice
    await first
    with pytest.raises(DuplicateError, match="'b'"):
        await second
    assert [row["prediction_id"] for _, _, row in stored(path)] == ["b"]


async def test_an_id_stays_known_after_the_drain_and_after_a_restart(path: Path) -> None:
    await asyncio.to_thread(write, path, [prediction("a")])
    with JournalReader(path) as reader:
        reader.delete_through(reader.read(0, 10)[-1][0])
    again = SqliteJournal(path)
    try:
        with pytest.raises(DuplicateError):
            await again.predictions([prediction("a")])
        assert await again.outcomes([outcome("a", 1)]) == ["stored"]
    finally:
        again.close()


def test_numbers_never_repeat_and_the_journal_keeps_its_id(path: Path) -> None:
    write(path, [prediction("a"), prediction("b")])
    with JournalReader(path) as reader:
        id, last = reader.journal_id, reader.read(0, 10)[-1][0]
        reader.delete_through(last)
    write(path, [prediction("c")])
    with JournalReader(path) as reader:
        assert reader.journal_id == id
        # far above: a power cut may take back commits whose numbers the lake has seen
        assert reader.read(0, 10)[0][0] > last + 1_000_000
    write(path.with_name("gateway-2.db"), [prediction("a")])
    with JournalReader(path.with_name("gateway-2.db")) as reader:
        assert reader.journal_id != id


def writes_single_rows(path: Path, n: int) -> None:
    opened = SqliteJournal(path)

    async def requests() -> None:
        await asyncio.gather(*(opened.predictions([prediction(f"p{i}")]) for i in range(n)))

    asyncio.run(requests())
    opened.close()


def test_the_reader_pages_and_deletes_only_what_it_is_told(path: Path) -> None:
    writes_single_rows(path, 10_000)
    with JournalReader(path) as reader:
        first = reader.read(0, 6000)
        assert len(first) == 6000
        reader.delete_through(first[-1][0])
        rest = reader.read(0, 6000)
        assert len(rest) == 4000
        assert rest == reader.read(first[-1][0], 6000)
        assert reader.read(rest[-1][0], 1) == []


async def test_what_no_drain_took_yet_is_counted_by_model(path: Path, journal: SqliteJournal) -> None:
    await journal.predictions([prediction("a"), prediction("b")])
    await journal.predictions([prediction("c", model="other")])
    with JournalReader(path) as reader:
        before = reader.waiting(MODEL), reader.waiting("other"), reader.waiting("nobody")
        reader.delete_through(reader.newest() - 1)  # the gateway still has the file open, and deletes later
        assert (reader.waiting(MODEL), reader.waiting("other")) == (0, before[1])
    assert before[1:] == (1, 0)
    assert before[0] >= 1


async def test_outcomes_are_stored_once(journal: SqliteJournal) -> None:
    await journal.predictions([prediction("a")])
    later = outcome("a", 1, known=9.0)  # the same news, told again later
    assert await journal.outcomes([outcome("a", 1), outcome("a", 1), outcome("nobody", 1)]) == [
        "stored",
        "duplicate",
        "waiting",
    ]
    assert await journal.outcomes([later, outcome("nobody", 1)]) == ["duplicate", "duplicate"]
    when_known = [outcome("b", 1, known=at, event_time=hour(at)) for at in (5.0, 6.0)]  # nobody told an event time
    assert await journal.outcomes(when_known) == ["waiting", "duplicate"]
    assert await journal.outcomes([outcome("a", 1, source="person"), outcome("a", 1, model="m")]) == [
        "stored",
        "waiting",
    ]


@pytest.mark.parametrize(
    "change",
    [{"value": 0}, {"value": "1"}, {"value": True}, {"event_time": hour(1)}, {"kind": OutcomeKind.CORRECTION}],
)
async def test_an_outcome_that_says_something_else_is_stored(journal: SqliteJournal, change: dict[str, object]) -> None:
    await journal.predictions([prediction("a")])
    first = outcome("a", 1)
    second = replace(first, **change)  # type: ignore[arg-type]
    assert await journal.outcomes([first, second, second]) == ["stored", "stored", "duplicate"]


async def test_a_correction_back_to_the_first_value_is_stored(journal: SqliteJournal, path: Path) -> None:
    a, b = outcome(None, 1, key="N1", time=hour(0)), outcome(None, 0, key="N1", time=hour(0))
    assert await journal.outcomes([a, b, a, a]) == ["stored", "stored", "stored", "duplicate"]
    assert [row["value"] for _, _, row in stored(path)] == ["1", "0", "1"]


async def test_old_news_does_not_hide_what_is_newest(journal: SqliteJournal) -> None:
    newest, old = outcome("a", 1, known=9), outcome("a", 0, known=4)
    assert await journal.outcomes([newest, old, newest]) == ["waiting", "waiting", "duplicate"]


async def test_an_outcome_before_its_prediction_waits_and_one_in_the_same_group_does_not(
    journal: SqliteJournal,
) -> None:
    early = journal.outcomes([outcome("a", 1)])
    await journal.predictions([prediction("a")])
    assert await early == ["waiting"]
    assert await journal.outcomes([outcome("a", 0)]) == ["stored"]


async def test_an_outcome_that_names_nothing_is_refused(journal: SqliteJournal, path: Path) -> None:
    lost = Outcome(model=MODEL, value=1, event_time=hour(1), known_time=hour(1), key="N1")
    with pytest.raises(InputError, match="by `key` and `time` together; found key='N1' and time=None"):
        await journal.outcomes([outcome("a", 1), lost])
    assert stored(path) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"time": datetime(2013, 1, 1)}, "timezone"),
        ({"version": 2**70}, "row 1 of model 'flight-delay'"),
        ({"features": {"x": object()}}, "found object"),
        ({"key": "\ud800"}, "row 1"),
    ],
)
async def test_a_row_that_cannot_be_stored_is_named(
    journal: SqliteJournal, path: Path, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        await journal.predictions([prediction("a"), prediction("b", **change)])
    assert stored(path) == []


def test_close_writes_shadows_and_all_that_has_gathered(path: Path) -> None:
    open_journal = SqliteJournal(path)

    async def requests() -> None:
        open_journal.shadows([shadow("a")])
        open_journal.predictions([prediction("a")])

    asyncio.run(requests())
    open_journal.close()
    open_journal.close()
    assert [kind for _, kind, _ in stored(path)] == ["shadow", "prediction"]


async def test_a_closed_journal_refuses(path: Path) -> None:
    journal = SqliteJournal(path)
    journal.close()
    with pytest.raises(StoreError, match="is closed"):
        await journal.predictions([prediction("a")])
    journal.shadows([shadow("a")])
    assert journal.lost_shadows == 1


async def test_memory_is_bounded_while_the_disk_is_busy(path: Path) -> None:
    journal = SqliteJournal(path, max_pending=10)
    blocker = sqlite3.connect(path, isolation_level=None)
    try:
        blocker.execute("BEGIN IMMEDIATE")
        kept = [journal.predictions([prediction(f"p{n}")]) for n in range(10)]
        with pytest.raises(StoreError, match=r"rows wait for the journal .* \(at most 10\)"):
            await journal.predictions([prediction("one too many")])
        journal.shadows([shadow("p1")])
        assert journal.lost_shadows == 1
        blocker.execute("ROLLBACK")
        await asyncio.gather(*kept)
    finally:
        blocker.close()
        journal.close()
    assert len(stored(path)) == 10


async def test_a_caller_that_hung_up_disturbs_nobody(journal: SqliteJournal, path: Path) -> None:
    gone, stays = journal.predictions([prediction("a")]), journal.predictions([prediction("b")])
    gone.cancel()
    await stays
    assert len(stored(path)) == 2


async def test_each_loop_gets_its_own_answers(journal: SqliteJournal, path: Path) -> None:
    async def client(name: str) -> None:
        for n in range(50):
            await journal.predictions([prediction(f"{name}{n}")])

    threads = [threading.Thread(target=lambda name=name: asyncio.run(client(name))) for name in ("x", "y")]
    for thread in threads:
        thread.start()
    await client("z")
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert len(stored(path)) == 150


_FULL_DISK = """
import asyncio, resource, signal, sys
from pathlib import Path
from afterfit.adapters.journal import SqliteJournal
from afterfit.errors import StoreError
from tests.adapters.log_rows import prediction, shadow

async def main(journal):
    await journal.predictions([prediction("before")])
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, resource.RLIM_INFINITY))
    acknowledged, refused = ["before"], 0
    for n in range(60):
        rows = [prediction(f"p{n}-{i}", failure="x" * 1000) for i in range(20)]
        try:
            await journal.predictions(rows)
            acknowledged += [row.id for row in rows]
        except StoreError as error:
            assert "nothing of this request was written" in str(error) and "full disk" in str(error), error
            refused += 1
    journal.shadows([shadow("p", failure="x" * 700_000)])
    while not journal.lost_shadows:
        await asyncio.sleep(0.01)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await journal.predictions([prediction("after")])
    print(refused, *acknowledged, "after")

journal = SqliteJournal(Path(sys.argv[1]))
asyncio.run(main(journal))
journal.close()
"""


def test_a_full_disk_fails_requests_whole_and_passes(path: Path) -> None:
    if resource.getrlimit(resource.RLIMIT_FSIZE)[1] != resource.RLIM_INFINITY:
        pytest.skip("the file size is limited from outside")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _FULL_DISK, str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    refused, *acknowledged = done.stdout.split()
    assert int(refused) > 0
    assert len(acknowledged) > 2
    assert [row["prediction_id"] for _, _, row in stored(path)] == acknowledged


@pytest.mark.parametrize("damage", ["header", "middle", "foreign", "id"])
def test_a_damaged_file_says_what_to_do(path: Path, damage: str) -> None:
    write(path, [prediction(f"p{n}") for n in range(2000)])
    if damage == "foreign":
        path.unlink()
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE mine (x)")
        db.close()
    elif damage == "id":
        with sqlite3.connect(path) as db:
            db.execute("DELETE FROM meta")
        db.close()
    else:
        content = bytearray(path.read_bytes())
        at = 0 if damage == "header" else len(content) // 2
        content[at : at + 4096] = b"\xff" * 4096
        path.write_bytes(content)
    words = "is no journal of this Afterfit" if damage == "foreign" else "Move the file .* aside"
    with pytest.raises(StoreError, match=words):
        SqliteJournal(path)
    path.rename(path.with_suffix(".aside"))
    write(path, [prediction("p1")])
    assert len(stored(path)) == 1


def test_a_folder_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="Choose a writable `home`"):
        SqliteJournal(tmp_path / "file" / "gateway-1.db")


def test_a_missing_journal_is_not_made_by_reading_it(path: Path) -> None:
    with pytest.raises(StoreError, match="can't be used"):
        JournalReader(path)
    assert not path.exists()


def test_a_journal_without_tables_yet_reads_as_empty(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    with JournalReader(path) as reader:
        assert reader.read(0, 10) == []
        assert reader.waiting("m") == 0
