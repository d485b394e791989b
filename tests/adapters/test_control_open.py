"""Opening the control store on both databases, then what only a file can suffer."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, inspect, text

from afterfit.adapters import control_open, schema
from afterfit.adapters.control_store import ControlStore
from afterfit.errors import ConfigError, SetupError, StoreError
from tests.adapters.control_store_kit import add, start


class TestOpening:
    def test_opening_again_changes_nothing(self, url: str) -> None:
        with ControlStore(url) as store:
            entry = add(store)
            before = dump(url)
        for _ in range(2):
            with ControlStore(url) as store:
                assert store.entries() == [entry]
        assert dump(url) == before

    def test_many_may_open_an_empty_database_at_once(self, url: str) -> None:
        barrier = threading.Barrier(4)

        def open_and_add() -> int:
            barrier.wait()
            with ControlStore(url) as store:
                return add(store).number

        with ThreadPoolExecutor(4) as pool:
            futures = [pool.submit(open_and_add) for _ in range(4)]
        assert sorted(future.result() for future in futures) == [1, 2, 3, 4]

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

    @pytest.mark.parametrize("part", ["middle", "end", "one page of the ledger"])
    def test_a_damaged_file_is_noticed_before_anything_starts(self, tmp_path: Path, part: str) -> None:
        with ControlStore.open(tmp_path) as store:
            for _ in range(50):
                add(store, data={"text": "x" * 500})
        path = tmp_path / "control.db"
        content = bytearray(path.read_bytes())
        assert len(content) > 8 * 4096
        if part == "middle":
            content[4096 : 5 * 4096] = os.urandom(4 * 4096)
        elif part == "end":
            del content[-3 * 4096 :]
        else:
            content[-4096:] = bytes(4096)
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
