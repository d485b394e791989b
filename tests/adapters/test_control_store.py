"""One contract for the control store on SQLite and PostgreSQL, then what only a file can suffer."""

from __future__ import annotations

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from sqlalchemy import create_engine, inspect, text

from afterfit.adapters import control_open, schema
from afterfit.adapters.control_store import ControlStore
from afterfit.adapters.ledger_chain import entry_hash
from afterfit.errors import ConfigError, ConflictError, InputError, SetupError, StoreError, UnknownNameError
from afterfit.ports import Ledger, Monitor, Versions
from afterfit.records import Entry, Feature, Finding, Incident, ModelVersion, Severity, Task, Window

pytest_plugins = ("tests.adapters.postgres",)

T0 = datetime(2013, 7, 15, 12, 30, 0, 123457, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path / 'control.db'}"


@pytest.fixture
def store(url: str) -> Iterator[ControlStore]:
    with ControlStore(url) as opened:
        yield opened


@pytest.fixture
def execute(url: str) -> Callable[[str], None]:
    """Change the database behind the store's back."""

    def run(statement: str) -> None:
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.exec_driver_sql(statement)
        engine.dispose()

    return run


def add(store: Ledger, model: str = "flight", **changes: Any) -> Entry:
    given: dict[str, Any] = {
        "at": T0,
        "kind": "event",
        "name": "trained",
        "actor": "controller",
        "data": {"version": 2},
    }
    return store.append(model=model, **{**given, **changes})


def version(number: int = 1, **changes: Any) -> ModelVersion:
    made = ModelVersion(
        model="flight", version=number, task=Task.MULTICLASS, created_at=T0, folder="models/flight/1",
        uri="models:/flight/1", run_id=None, model_sha256="ab", data_sha256="cd", n_rows=1000,
        features=(Feature("carrier", "text", "category", True, ("AA", "UA")), Feature("a b", "number", "float64")),
        classes=("late", 1, 1.0, True, None), params={"depth": 3, "grid": [1, 2.5], "deep": {"é": None}},
        metrics={"holdout_loss": 0.1 + 0.2, "worst": float("inf")}, data_from=T0 - 90 * DAY, data_to=T0,
    )  # fmt: skip
    return replace(made, **changes)


def finding(column: str = "temp", **changes: Any) -> Finding:
    made = Finding(column, "unit", "scale", 12.5, 0.7, 1e-300, 3.0, True, Severity.CRITICAL, "°F to °C", 1000, 50)
    return replace(made, **changes)


INCIDENT = Incident(
    id="i1", model="flight", kind="quality", opened_at=T0, updated_at=T0, severity=Severity.WARNING, title="temp: unit",
    columns=("temp", "wind"), checks=("unit",), messages=("°F to °C",), version=1,
)  # fmt: skip


class TestLedger:
    def test_it_fills_the_ports(self, store: ControlStore) -> None:
        ports: tuple[Ledger, Versions, Monitor] = (store, store, store)  # mypy compares the signatures
        assert all(port is store for port in ports)

    def test_an_entry_comes_back_as_it_was_returned(self, store: ControlStore) -> None:
        local = T0.astimezone(timezone(timedelta(hours=-4)))
        data = {"text": "naïve \x00 ☃", "list": [1, 2.5, None, True], "deep": {"b": 1, "a": {}}, "whole": 1.0}
        entry = add(store, at=local, data=data)
        assert store.entries() == [entry]
        assert (entry.number, entry.model, entry.kind, entry.name) == (1, "flight", "event", "trained")
        assert entry.at == T0
        assert entry.at.tzinfo is UTC
        assert entry.data == data
        assert isinstance(entry.data["whole"], float)

    def test_data_may_hold_what_decisions_are_made_of(self, store: ControlStore) -> None:
        data = {"reasons": ("a", "b"), "e": float("inf"), "loss": np.float64(0.25), "n": np.int64(3), "at": T0}
        entry = add(store, data=MappingProxyType(data))
        assert entry.data == {
            "reasons": ["a", "b"], "e": float("inf"), "loss": 0.25, "n": 3, "at": "2013-07-15T12:30:00.123457+00:00",
        }  # fmt: skip
        assert store.entries() == [entry]
        assert store.verify() == []

    def test_numbers_are_dense_over_all_models_and_the_hashes_make_a_chain(self, store: ControlStore) -> None:
        made = [add(store, model=model) for model in ("flight", "fraud", "flight", "churn")]
        assert [entry.number for entry in made] == [1, 2, 3, 4]
        assert [entry.previous for entry in made] == ["0" * 64, *(entry.hash for entry in made[:-1])]
        assert [entry.hash for entry in made] == [entry_hash(entry) for entry in made]
        assert store.verify() == []

    def test_ids_made_here_are_unique_and_ordered(self, store: ControlStore) -> None:
        ids = [add(store).id for _ in range(5)]
        assert len(set(ids)) == 5
        assert ids == sorted(ids)

    def test_filters(self, store: ControlStore) -> None:
        for model, kind in (("flight", "event"), ("fraud", "event"), ("flight", "done"), ("flight", "event")):
            add(store, model=model, kind=kind)

        def numbers(**given: Any) -> list[int]:
            return [entry.number for entry in store.entries(**given)]

        assert numbers() == [1, 2, 3, 4]
        assert numbers(model="flight") == [1, 3, 4]
        assert numbers(after=2) == [3, 4]
        assert numbers(kind="event") == [1, 2, 4]
        assert numbers(model="flight", after=1, kind="event") == [4]
        assert numbers(model="nobody") == []

    def test_the_same_id_gives_the_entry_that_is_there(self, store: ControlStore) -> None:
        first = add(store, id="e1")
        add(store)
        again = add(store, id="e1", name="else", data={}, expected=0)  # not even a stale `expected` matters
        assert again == first
        assert len(store.entries()) == 2

    def test_expected_counts_entries_of_the_same_model_only(self, store: ControlStore) -> None:
        first = add(store, expected=0)
        add(store, model="fraud", expected=0)
        assert add(store, expected=first.number).number == 3

    def test_a_conflict_writes_nothing(self, store: ControlStore) -> None:
        add(store)
        add(store)
        with pytest.raises(ConflictError, match=r"newest entry of 'flight' is 2, the caller had seen 1"):
            add(store, expected=1)
        assert len(store.entries()) == 2
        assert add(store).number == 3
        assert store.verify() == []

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"kind": "rumour"}, "'rumour'.*wanted one of event, fact, done"),
            ({"at": datetime(2013, 1, 1)}, "no time zone"),
            ({"data": {"x": object()}}, "builtins.object"),
            ({"data": {"x": {"y": datetime(2013, 1, 1)}}}, "no time zone"),
        ],
    )
    def test_what_cannot_be_kept_is_refused(self, store: ControlStore, changes: dict[str, Any], words: str) -> None:
        with pytest.raises(InputError, match=words):
            add(store, **changes)
        assert store.entries() == []
        assert add(store).number == 1

    def test_two_processes_append_at_once(self, url: str) -> None:
        """Both open the empty database, at the same time, too."""
        run_together(url, "flight", "fraud")
        with ControlStore(url) as store:
            entries = store.entries()
            assert [entry.number for entry in entries] == list(range(1, 201))
            for model in ("flight", "fraud"):
                assert [entry.data["i"] for entry in entries if entry.model == model] == list(range(100))
            assert store.verify() == []

    def test_of_writers_with_the_same_expectation_one_wins(self, store: ControlStore) -> None:
        barrier, outcomes = threading.Barrier(8), []

        def write() -> None:
            barrier.wait()
            try:
                outcomes.append(add(store, expected=0).number)
            except ConflictError:
                outcomes.append(0)

        threads = [threading.Thread(target=write) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == [0] * 7 + [1]
        assert len(store.entries()) == 1

    @pytest.mark.parametrize(
        ("statement", "words"),
        [
            ("UPDATE ledger SET data = '{\"version\":3}' WHERE number = 3", ["entry 3 was changed"]),
            ("UPDATE ledger SET actor = 'person:eve' WHERE number = 5", ["entry 5 was changed"]),
            ("UPDATE ledger SET at = '2013-07-15T12:30:00.123458+00:00' WHERE number = 1", ["entry 1 was changed"]),
            ("UPDATE ledger SET at = 'soon' WHERE number = 2", ["entry 2 .* can't be read"]),
            ("UPDATE ledger SET at = '2013-07-15T12:30:00' WHERE number = 2", ["entry 2 .* can't be read.*time zone"]),
            ("UPDATE ledger SET data = '{' WHERE number = 2", ["entry 2 .* can't be read"]),
            ("DELETE FROM ledger WHERE number = 3", ["entry 3 is missing"]),
            ("DELETE FROM ledger WHERE number IN (1, 2)", ["entries 1 to 2 are missing"]),
            ("DELETE FROM ledger WHERE number >= 4", ["entries 4 to 5 are missing"]),
            ("DELETE FROM ledger", ["entries 1 to 5 are missing"]),
            (
                "UPDATE ledger SET previous = 'x' WHERE number = 4",
                ["entry 4 does not link to entry 3", "4 was changed"],
            ),
            (
                "UPDATE ledger SET hash = 'x' WHERE number = 2",
                ["entry 2 was changed", "entry 3 does not link to entry 2"],
            ),
            ("UPDATE ledger SET hash = 'x' WHERE number = 5", ["entry 5 was changed", "entry 5 is not the one"]),
            ("UPDATE ledger SET number = 0 WHERE number = 1", ["entry 0 does not belong", "entry 1 is missing"]),
            (
                "UPDATE ledger SET number = 9 WHERE number = 5",
                ["entries 5 to 8 are missing", "9 was changed", "entry 9 is"],
            ),
            ("DELETE FROM ledger_head", ["the head of the ledger is missing"]),
        ],
    )
    def test_tampering_is_named(
        self, store: ControlStore, execute: Callable[[str], None], statement: str, words: list[str]
    ) -> None:
        for _ in range(5):
            add(store)
        assert store.verify() == []
        execute(statement)
        problems = store.verify()
        assert len(problems) == len(words), problems
        for problem, word in zip(problems, words, strict=True):
            assert re.search(word, problem), problem

    def test_a_forger_who_mends_the_hash_breaks_the_next_link(
        self, store: ControlStore, execute: Callable[[str], None]
    ) -> None:
        made = [add(store) for _ in range(3)]
        forged = entry_hash(replace(made[1], actor="person:eve"))
        execute(f"UPDATE ledger SET actor = 'person:eve', hash = '{forged}' WHERE number = 2")
        problems = store.verify()
        assert len(problems) == 1
        assert "entry 3 does not link to entry 2" in problems[0]

    def test_a_spoiled_entry_is_not_read_as_if_nothing_were(
        self, store: ControlStore, execute: Callable[[str], None]
    ) -> None:
        add(store)
        execute("UPDATE ledger SET data = '[1]' WHERE number = 1")
        with pytest.raises(StoreError, match=r"entry 1 of the ledger can't be read.*backup"):
            store.entries()

    def test_nothing_is_added_to_a_ledger_that_disagrees_with_its_head(
        self, store: ControlStore, execute: Callable[[str], None]
    ) -> None:
        add(store)
        add(store)
        execute("UPDATE ledger_head SET number = 1")
        with pytest.raises(StoreError, match=r"afterfit doctor"):
            add(store)
        execute("DELETE FROM ledger_head")
        with pytest.raises(StoreError, match=r"head of the ledger is missing"):
            add(store)
        assert len(store.entries()) == 2


class TestVersions:
    def test_a_version_comes_back_exactly(self, store: ControlStore) -> None:
        store.add_version(version())
        found = store.version("flight", 1)
        assert found == version()
        assert [type(value) for value in found.classes or ()] == [str, int, float, bool, type(None)]
        assert isinstance(found.task, Task)
        assert isinstance(found.features[0], Feature)
        assert found.created_at.tzinfo is UTC

    def test_the_same_record_again_does_nothing(self, store: ControlStore) -> None:
        store.add_version(version(loss_scale=1.0))
        store.add_version(version(loss_scale=1))
        store.add_version(store.version("flight", 1))
        assert store.versions("flight") == [version()]

    def test_another_record_under_the_number_is_refused(self, store: ControlStore) -> None:
        store.add_version(version())
        with pytest.raises(StoreError, match=r"version 1 of 'flight'.*n_rows is 1000, now 7.*register a new one"):
            store.add_version(version(n_rows=7))
        assert store.version("flight", 1).n_rows == 1000

    def test_lists_are_ordered(self, store: ControlStore) -> None:
        for number in (10, 9, 2):
            store.add_version(version(number))
        store.add_version(version(1, model="a"))
        assert [record.version for record in store.versions("flight")] == [2, 9, 10]
        assert store.models() == ["a", "flight"]
        assert store.versions("nobody") == []

    def test_unknown_names_list_the_known(self, store: ControlStore) -> None:
        with pytest.raises(UnknownNameError, match="none is known yet"):
            store.version("flight", 1)
        store.add_version(version(3))
        with pytest.raises(UnknownNameError, match=r"unknown version of 'flight' '4'; known: '3'"):
            store.version("flight", 4)
        with pytest.raises(UnknownNameError, match=r"unknown model 'flihgt'; known: 'flight'"):
            store.version("flihgt", 3)

    def test_a_spoiled_record_is_named(self, store: ControlStore, execute: Callable[[str], None]) -> None:
        store.add_version(version())
        execute("UPDATE versions SET record = '{\"model\": 1}'")
        with pytest.raises(StoreError, match=r"version 1 of 'flight' can't be read"):
            store.versions("flight")


class TestMonitor:
    def test_a_window_is_remembered_once(self, store: ControlStore) -> None:
        window = Window(T0, T0 + DAY)
        numbers = {"rows": 50.0, "loss": 0.1 + 0.2}
        assert store.add_window("flight", "data", window, [finding(), finding("wind")], numbers)
        assert not store.add_window("flight", "data", Window(T0, T0 + 2 * DAY), [], {})
        assert store.add_window("flight", "performance", window, [], {})
        assert store.add_window("fraud", "data", window, [], {})
        assert store.windows("flight", "data") == [(window, [finding(), finding("wind")], numbers)]
        assert store.windows("flight", "performance") == [(window, [], {})]

    def test_numbers_that_could_not_be_computed_survive(self, store: ControlStore) -> None:
        odd = finding(statistic=float("nan"), distance=float("inf"), p_value=np.float64(0.5))
        store.add_window("flight", "data", Window(T0, T0 + DAY), [odd], {"loss": float("nan"), "n": -float("inf")})
        ((_, (found,), numbers),) = store.windows("flight", "data")
        assert np.isnan(found.statistic)
        assert (found.distance, found.p_value) == (float("inf"), 0.5)
        assert np.isnan(numbers["loss"])
        assert numbers["n"] == -float("inf")

    def test_windows_are_ordered_and_since_includes_its_moment(self, store: ControlStore) -> None:
        starts = [T0, T0 + timedelta(microseconds=1), T0 - DAY, datetime(2013, 7, 15, 12, 30, tzinfo=UTC)]
        for start in starts:
            store.add_window("flight", "data", Window(start, start + DAY), [], {})
        found = [window.start for window, _, _ in store.windows("flight", "data")]
        assert found == sorted(starts)
        since = T0.astimezone(timezone(timedelta(hours=9)))
        assert [w.start for w, _, _ in store.windows("flight", "data", since=since)] == [T0, starts[1]]

    def test_a_spoiled_window_is_named(self, store: ControlStore, execute: Callable[[str], None]) -> None:
        store.add_window("flight", "data", Window(T0, T0 + DAY), [], {})
        execute("UPDATE windows SET window_end = 'soon'")
        with pytest.raises(StoreError, match=r"window of 'flight' from 2013-07-15T12:30.* can't be read"):
            store.windows("flight", "data")

    def test_incidents_are_replaced_by_id(self, store: ControlStore) -> None:
        later = replace(INCIDENT, id="i0", opened_at=T0 + DAY, severity=Severity.CRITICAL)
        other = replace(INCIDENT, id="i2", model="fraud", opened_at=T0 - DAY)
        for incident in (later, INCIDENT, other):
            store.save_incident(incident)
        assert store.incidents() == [other, INCIDENT, later]
        closed = replace(INCIDENT, closed_at=T0 + 2 * DAY, updated_at=T0 + 2 * DAY, quiet_windows=2, columns=("temp",))
        store.save_incident(closed)
        assert store.incidents("flight") == [closed, later]
        assert store.incidents("flight", open_only=True) == [later]
        store.save_incident(INCIDENT)  # opened again
        assert store.incidents("flight", open_only=True) == [INCIDENT, later]


class TestOpening:
    def test_opening_again_changes_nothing(self, url: str) -> None:
        with ControlStore(url) as store:
            entry = add(store)
            before = dump(url)
        for _ in range(2):
            with ControlStore(url) as store:
                assert store.entries() == [entry]
        assert dump(url) == before

    def test_migrating_an_up_to_date_store_is_a_no_op(self, url: str) -> None:
        from afterfit.adapters.migrations import upgrade

        with ControlStore(url) as store:
            add(store)
            before = dump(url)
            with store._writing() as connection:
                upgrade(connection)
            assert dump(url) == before

    def test_the_migrations_make_the_tables_of_the_schema(self, url: str) -> None:
        from alembic.autogenerate import compare_metadata
        from alembic.migration import MigrationContext

        with ControlStore(url) as store, store._reading() as connection:
            options = {"version_table": schema.VERSION_TABLE, "compare_type": True}
            context = MigrationContext.configure(connection, opts=options)
            assert context.get_current_heads() == (schema.HEAD,)
            assert compare_metadata(context, schema.metadata) == []

    def test_a_store_of_a_newer_afterfit_is_left_alone(self, url: str, execute: Callable[[str], None]) -> None:
        ControlStore(url).close()
        execute(f"UPDATE {schema.VERSION_TABLE} SET version_num = '9999'")
        before = dump(url)
        with pytest.raises(StoreError, match=r"schema '9999'.*newer Afterfit wrote it. Upgrade"):
            ControlStore(url)
        assert dump(url) == before

    def test_a_failed_migration_leaves_no_table(self, url: str, execute: Callable[[str], None]) -> None:
        execute("CREATE TABLE incidents (mine INTEGER)")  # the last table of the first revision
        with pytest.raises(StoreError, match="incidents"):
            ControlStore(url)
        engine = create_engine(url)
        with engine.connect() as connection:
            assert inspect(connection).get_table_names() == ["incidents"]
        engine.dispose()

    @pytest.mark.parametrize(
        ("database", "words"),
        [
            ("mysql://root@localhost/x", "'mysql' is not supported; wanted \"postgresql"),
            ("nonsense", "not a database URL; wanted"),
            ("oracel://u:geheim@h/x", "'oracel' is not supported"),
            ("sqlite://", "can't live in memory"),
        ],
    )
    def test_another_kind_of_database_is_a_mistake_in_the_configuration(
        self, tmp_path: Path, database: str, words: str
    ) -> None:
        with pytest.raises(ConfigError, match=words) as caught:
            ControlStore.open(tmp_path / "home", database)
        assert "geheim" not in str(caught.value)
        assert not (tmp_path / "home").exists()

    def test_an_unreachable_database_says_where_but_not_the_password(self, tmp_path: Path) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets the port, nobody answers
            port = taken.getsockname()[1]
            with pytest.raises(StoreError, match=rf"127.0.0.1:{port}.*Check that PostgreSQL is up") as caught:
                ControlStore.open(tmp_path / "home", f"postgresql://me:geheim@127.0.0.1:{port}/x")
        assert "geheim" not in str(caught.value)
        assert not (tmp_path / "home").exists()


class TestFile:
    def test_home_is_made_and_the_file_is_in_wal_mode(self, tmp_path: Path) -> None:
        home = tmp_path / "a b%20?#é" / "home"
        with ControlStore.open(home) as store:
            add(store)
            assert (home / "control.db").is_file()
            assert sqlite3_value(home / "control.db", "PRAGMA journal_mode") == "wal"
        with ControlStore.open(home, None) as store:
            assert len(store.entries()) == 1

    def test_a_file_in_place_of_home(self, tmp_path: Path) -> None:
        (tmp_path / "home").write_text("mine")
        for home in (tmp_path / "home", tmp_path / "home" / "below"):
            with pytest.raises(SetupError, match=r"home.* can't be made.*`home` in afterfit.toml"):
                ControlStore.open(home)
        assert (tmp_path / "home").read_text() == "mine"

    def test_a_folder_in_place_of_the_file(self, tmp_path: Path) -> None:
        (tmp_path / "control.db").mkdir()
        with pytest.raises(SetupError, match=r"control.db can't be opened for writing"):
            ControlStore.open(tmp_path)

    def test_a_database_that_may_only_be_read(self, tmp_path: Path) -> None:
        ControlStore.open(tmp_path).close()
        with ControlStore(f"sqlite:///file:{tmp_path / 'control.db'}?mode=ro&uri=true") as store:
            assert store.entries() == []
            with pytest.raises(SetupError, match=r"can't be opened for writing.*readonly"):
                add(store)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_a_folder_that_may_not_be_written(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o500)
        with pytest.raises(SetupError, match=r"can't be opened for writing"):
            ControlStore.open(tmp_path)

    def test_something_else_in_place_of_the_file(self, tmp_path: Path) -> None:
        (tmp_path / "control.db").write_bytes(b"this is a letter\n" * 100)
        with pytest.raises(StoreError, match=r"control.db is damaged: file is not a database.*Put a backup"):
            ControlStore.open(tmp_path)
        assert os.listdir(tmp_path) == ["control.db"]
        assert (tmp_path / "control.db").read_bytes() == b"this is a letter\n" * 100

    @pytest.mark.parametrize("part", ["middle", "end"])
    def test_a_damaged_file_is_noticed_before_anything_starts(self, tmp_path: Path, part: str) -> None:
        with ControlStore.open(tmp_path) as store:
            for _ in range(50):
                add(store, data={"text": "x" * 500})
        path = tmp_path / "control.db"
        content = bytearray(path.read_bytes())
        assert len(content) > 8 * 4096
        if part == "middle":
            content[4096 : 5 * 4096] = os.urandom(4 * 4096)
        else:
            del content[-3 * 4096 :]
        path.write_bytes(content)
        with pytest.raises(StoreError, match=r"control.db is damaged.*Put a backup"):
            ControlStore.open(tmp_path)
        assert path.read_bytes() == content

    def test_a_disk_that_goes_bad_later_is_a_store_error(self, tmp_path: Path) -> None:
        with ControlStore.open(tmp_path) as store:
            for _ in range(50):
                add(store, data={"text": "x" * 500})
        with ControlStore.open(tmp_path) as store:
            store._engine.dispose()  # forget the pages that were read
            with (tmp_path / "control.db").open("r+b") as file:
                file.seek(4096)
                file.write(b"\xff" * 10 * 4096)
            for use in (store.entries, store.verify, lambda: add(store)):
                with pytest.raises(StoreError, match=r"control.db is damaged: .*malformed.*Put a backup"):
                    use()

    def test_a_lock_that_is_not_given_back(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(control_open, "PATIENCE", 0.05)
        with ControlStore.open(tmp_path) as store:
            other = sqlite3.connect(tmp_path / "control.db", isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError, match=r"locked by another process"):
                add(store)
            assert store.entries() == []  # readers do not wait for writers
            other.execute("ROLLBACK")
            other.close()
            assert add(store).number == 1

    def test_a_writer_killed_at_any_moment_leaves_a_whole_chain(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path / 'control.db'}"
        ControlStore(url).close()
        seen = 0
        for _ in range(3):
            process = start(url, "flight", 100_000)
            with ControlStore(url) as store:
                while len(store.entries(after=seen)) < 20:
                    assert process.poll() is None
                    time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            with ControlStore(url) as store:
                assert store.verify() == []
                numbers = [entry.number for entry in store.entries()]
                assert numbers == list(range(1, len(numbers) + 1))
                seen = len(numbers)


WRITER = """
import sys
from datetime import UTC, datetime
from afterfit.adapters.control_store import ControlStore

url, model, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
with ControlStore(url) as store:
    for i in range(count):
        store.append(at=datetime.now(UTC), model=model, kind="fact", name="noted", actor="test", data={"i": i})
"""


def start(url: str, model: str, count: int, *, go: bool = True) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, url, model, str(count)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    if go:
        process.stdin.write("go\n")
        process.stdin.flush()
    return process


def run_together(url: str, *models: str) -> None:
    """One process per model, 100 entries each; all are let go at the same moment."""
    processes = [start(url, model, 100, go=False) for model in models]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")


def dump(url: str) -> dict[str, list[tuple[Any, ...]]]:
    engine = create_engine(url)
    with engine.connect() as connection:
        tables = sorted(inspect(connection).get_table_names())
        found = {table: [tuple(row) for row in connection.execute(text(f"SELECT * FROM {table}"))] for table in tables}
    engine.dispose()
    return found


def sqlite3_value(path: Path, statement: str) -> Any:
    connection = sqlite3.connect(path)
    value = connection.execute(statement).fetchone()[0]
    connection.close()
    return value
