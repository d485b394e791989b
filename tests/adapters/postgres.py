"""A throw-away PostgreSQL for tests; tests/conftest.py makes its fixtures known.

Skips with the reason when the machine has no PostgreSQL programs; any other failure is an error.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

_PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin", "/opt/local/lib/*/bin")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Base URL (`postgresql://...`, database `postgres`) of a server that lives as long as the test session."""
    programs = _programs()
    if programs is None:
        pytest.skip("no PostgreSQL on this machine: initdb and postgres are neither on PATH nor in the usual folders")
    folder = Path(tempfile.mkdtemp(prefix="afterfit-pg-"))
    try:
        with _Server(programs, folder) as port:
            yield f"postgresql://afterfit@127.0.0.1:{port}/postgres"
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """SQLAlchemy URL of an empty schema of its own, dropped after the test."""
    name = f"t{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}".encode())
    yield f"{postgres_server.replace('postgresql', 'postgresql+psycopg', 1)}?options=-csearch_path%3D{name}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute("SET client_min_messages = warning")
        connection.execute(f"DROP SCHEMA {name} CASCADE".encode())


def _programs() -> Path | None:
    """The folder with `initdb` and `postgres`; the newest if there are several."""
    folders = [Path(folder) for folder in os.get_exec_path()]
    for place in _PLACES:
        folders += sorted(Path("/").glob(place.lstrip("/")), reverse=True)
    for folder in folders:
        if (folder / "initdb").is_file() and (folder / "postgres").is_file():
            return folder
    return None


def _as_whom() -> dict[str, Any]:
    """PostgreSQL refuses to run as root, so root hands it to a user with fewer rights."""
    if os.geteuid() != 0:
        return {}
    known = {user.pw_name: user for user in pwd.getpwall()}
    user = known.get("postgres") or known["nobody"]
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


class _Server:
    """Starts on entry, on a free port of 127.0.0.1; stopped on exit."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self._folder, self._log = programs, folder, folder / "server.log"
        self._whom = _as_whom()

    def __enter__(self) -> int:
        if self._whom:
            os.chown(self._folder, self._whom["user"], self._whom["group"])
        data = self._folder / "data"
        options = ["--no-sync", "--auth=trust", "--username=afterfit", "--encoding=UTF8", "--locale=C"]
        made = subprocess.run(
            [self._programs / "initdb", "-D", data, *options],
            cwd=self._folder, capture_output=True, text=True, check=False, **self._whom,
        )  # fmt: skip
        assert made.returncode == 0, made.stdout + made.stderr
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
        settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": self._folder}
        settings |= {"fsync": "off", "full_page_writes": "off", "shared_buffers": "16MB"}
        command = [
            str(self._programs / "postgres"),
            "-D",
            str(data),
            *(f"--{key}={value}" for key, value in settings.items()),
        ]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, cwd=self._folder, stdout=log, stderr=log, **self._whom)
        self._await(port)
        return port

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)  # "fast": sessions that are left are ended
        self._process.wait(30)

    def _await(self, port: int) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(host="127.0.0.1", port=port, user="afterfit", dbname="postgres").close()
                return
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self._process.kill()
                    pytest.fail(f"PostgreSQL did not start:\n{self._log.read_text()}")
                time.sleep(0.05)
