"""The routes board with real files, real processes and a real kill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from afterfit.adapters.routes_board import FileRoutesBoard, GatewayDesk, routes_from_json, routes_to_json
from afterfit.errors import InputError, StoreError
from afterfit.ports import RoutesBoard
from afterfit.records import Acknowledgement, ModelRoutes, Role, Routes, Target, Task

T0 = datetime(2013, 7, 15, 12, 30, 0, 5, tzinfo=UTC)


def routes(number: int, rows: int = 1) -> Routes:
    targets = tuple(Target(version, Role.CHAMPION, 1.0 / rows, "models/flight", "ab") for version in range(rows))
    return Routes(number, T0, {"flight": ModelRoutes("flight", Task.BINARY, targets, "e1", 0.5)})


def acknowledgement(pid: int, gateway: str = "g1", number: int = 3) -> Acknowledgement:
    problems, served, dropped = {"flight/2": "crashed"}, {"flight": 10}, {"queue full": 1}
    return Acknowledgement(gateway, number, T0, pid, "http://127.0.0.1:8600", problems, served, dropped)


@pytest.fixture
def board(tmp_path: Path) -> FileRoutesBoard:
    return FileRoutesBoard(tmp_path)


def test_it_fills_the_port(board: FileRoutesBoard) -> None:
    port: RoutesBoard = board  # mypy compares the signatures
    assert port.current().number == 0


def test_without_routes_there_is_number_zero(board: FileRoutesBoard, tmp_path: Path) -> None:
    assert board.current() == Routes(0, datetime(1970, 1, 1, tzinfo=UTC), {})
    assert board.acknowledgements() == []
    assert list(tmp_path.iterdir()) == []  # reading makes nothing


def test_published_routes_are_read_back(board: FileRoutesBoard, tmp_path: Path) -> None:
    board.publish(routes(3))
    assert board.current() == FileRoutesBoard(tmp_path).current() == routes(3)
    assert routes_from_json((tmp_path / "routes.json").read_bytes()) == routes(3)
    assert routes_from_json(routes_to_json(routes(4))) == routes(4)


def test_a_lower_number_is_ignored(board: FileRoutesBoard) -> None:
    board.publish(routes(3))
    board.publish(routes(2, rows=2))
    assert board.current() == routes(3)


def test_the_same_number_replaces_only_what_is_other_under_new_settings(board: FileRoutesBoard, tmp_path: Path) -> None:
    board.publish(routes(3))
    before = (tmp_path / "routes.json").stat()
    board.publish(replace(routes(3), made_at=T0 + timedelta(days=1)))  # the same decision, carried out twice
    assert (tmp_path / "routes.json").stat().st_mtime_ns == before.st_mtime_ns
    slower = replace(routes(3).models["flight"], timeout=9.0)
    board.publish(replace(routes(3), models={"flight": slower}))
    assert board.current().models["flight"].timeout == 9.0


@pytest.mark.parametrize("content", [b"", b'{"number": 3', b"\xff\xfe", b'{"number": "three"}'])
def test_damaged_routes_are_named_and_the_next_publication_heals_them(
    board: FileRoutesBoard, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "routes.json").write_bytes(content)
    with pytest.raises(StoreError, match=r"routes.json (is damaged.*Remove it|can't be read)"):
        board.current()
    board.publish(routes(1))
    assert board.current() == routes(1)


def test_many_writers_end_with_the_highest_number_and_readers_never_see_half(tmp_path: Path) -> None:
    board = FileRoutesBoard(tmp_path)
    board.publish(routes(1))
    done = threading.Event()
    seen: list[int] = []

    def read() -> None:
        while not done.is_set():
            seen.append(board.current().number)

    def write(numbers: list[int]) -> None:
        for number in numbers:
            FileRoutesBoard(tmp_path).publish(routes(number, rows=200))

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(list(range(start, 62, 3)),)) for start in (2, 3, 4)]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert board.current().number == 61
    assert seen == sorted(seen)
    assert len(set(seen)) > 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["routes.json", "routes.lock"]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("mine")
    with pytest.raises(StoreError, match=r"can't be written.*`home` in afterfit.toml"):
        FileRoutesBoard(tmp_path / "home").publish(routes(1))
    with pytest.raises(StoreError, match=r"can't be written"):
        GatewayDesk(tmp_path / "home", "g1").keep(routes(1))


def test_a_failed_write_leaves_the_old_file_and_no_scrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = FileRoutesBoard(tmp_path)
    board.publish(routes(1))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left on device"):
        board.publish(routes(2))
    assert board.current() == routes(1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["routes.json", "routes.lock"]


class TestAcknowledgements:
    def test_of_gateways_that_are_alive_in_order(self, board: FileRoutesBoard, tmp_path: Path) -> None:
        GatewayDesk(tmp_path, "g2").acknowledge(acknowledgement(os.getpid(), "g2"))
        GatewayDesk(tmp_path, "g1").acknowledge(acknowledgement(os.getpid()))
        GatewayDesk(tmp_path, "g3").keep(routes(1))  # has not said anything yet
        assert board.acknowledgements() == [acknowledgement(os.getpid()), acknowledgement(os.getpid(), "g2")]

    def test_the_latest_word_counts(self, board: FileRoutesBoard, tmp_path: Path) -> None:
        desk = GatewayDesk(tmp_path, "g1")
        for number in (3, 4):
            desk.acknowledge(acknowledgement(os.getpid(), number=number))
        assert [said.number for said in board.acknowledgements()] == [4]

    def test_a_killed_gateway_is_gone_even_before_its_parent_noticed(
        self, board: FileRoutesBoard, tmp_path: Path
    ) -> None:
        process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
        try:
            GatewayDesk(tmp_path, "g1").acknowledge(acknowledgement(process.pid))
            assert len(board.acknowledgements()) == 1
        finally:
            process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and a zombie until it is waited for
        assert board.acknowledgements() == []
        process.communicate()
        assert board.acknowledgements() == []

    def test_a_pid_that_belongs_to_somebody_else_by_now(self, board: FileRoutesBoard, tmp_path: Path) -> None:
        GatewayDesk(tmp_path, "g1").acknowledge(acknowledgement(os.getpid()))
        path = tmp_path / "gateways" / "g1" / "ack.json"
        note = json.loads(path.read_text())
        note["started"] -= 3600  # the gateway that wrote it started an hour before this process
        path.write_text(json.dumps(note))
        assert board.acknowledgements() == []

    def test_of_a_process_that_never_was(self, board: FileRoutesBoard, tmp_path: Path) -> None:
        GatewayDesk(tmp_path, "g1").acknowledge(acknowledgement(2**22 + 1))  # above the largest pid of Linux
        assert board.acknowledgements() == []

    def test_a_damaged_one_is_named(self, board: FileRoutesBoard, tmp_path: Path) -> None:
        GatewayDesk(tmp_path, "g1").acknowledge(acknowledgement(os.getpid()))
        (tmp_path / "gateways" / "g1" / "ack.json").write_text("{")
        with pytest.raises(StoreError, match=r"g1/ack.json is damaged"):
            board.acknowledgements()


class TestDesk:
    def test_last_good(self, tmp_path: Path) -> None:
        desk = GatewayDesk(tmp_path, "g1")
        assert desk.last_good() is None
        desk.keep(routes(3))
        desk.keep(routes(2))  # the gateway decides, not the desk
        assert GatewayDesk(tmp_path, "g1").last_good() == routes(2)
        assert GatewayDesk(tmp_path, "g2").last_good() is None
        (tmp_path / "gateways" / "g1" / "routes.json").write_text("")
        with pytest.raises(StoreError, match=r"g1/routes.json is damaged"):
            desk.last_good()

    def test_changed(self, board: FileRoutesBoard, tmp_path: Path) -> None:
        desk = GatewayDesk(tmp_path, "g1")
        assert [desk.changed(), desk.changed()] == [False, False]
        for number in range(10, 40):  # quickly, and files of the same size
            board.publish(routes(number))
            assert [desk.changed(), desk.changed()] == [True, False]
        board.publish(routes(1))  # ignored
        assert not desk.changed()
        assert GatewayDesk(tmp_path, "g2").changed()
        (tmp_path / "routes.json").unlink()
        assert [desk.changed(), desk.changed()] == [True, False]

    @pytest.mark.parametrize("name", ["", "..", "a/b", "/etc", ".hidden", "a\n", "x" * 101])
    def test_an_id_is_a_folder_name(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(InputError, match="it names a folder"):
            GatewayDesk(tmp_path, name)
