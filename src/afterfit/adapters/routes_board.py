"""The folder where both planes meet: `routes.json` from the control plane, one desk per gateway for its answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from afterfit.adapters.atomic_file import locked, read_if_there, write_atomic
from afterfit.adapters.record_json import from_json, to_json
from afterfit.errors import InputError, StoreError
from afterfit.records import Acknowledgement, Family, Routes

NO_ROUTES = Routes(number=0, made_at=datetime(1970, 1, 1, tzinfo=UTC))
_SAME_START = 1.0  # seconds; two readings of a process's start differ by the clock's steps only


def routes_to_json(routes: Routes) -> str:
    """Routes as JSON text.

    >>> routes_from_json(routes_to_json(NO_ROUTES)) == NO_ROUTES
    True
    """
    return to_json(routes)


def routes_from_json(text: str | bytes) -> Routes:
    """Routes from JSON text; StoreError if it is none."""
    return from_json(text, Routes)


class FileRoutesBoard:
    """Implements the port `RoutesBoard` with files under home; any number of processes may read and publish.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> board = FileRoutesBoard(Path(folder.name))
    >>> board.publish(Routes(7, datetime(2013, 7, 15, tzinfo=UTC)))
    >>> board.publish(Routes(6, datetime(2013, 7, 16, tzinfo=UTC)))
    >>> board.current().number
    7
    >>> folder.cleanup()
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._path = home / "routes.json"
        self._told = home / "controller.json"

    def publish(self, routes: Routes) -> None:
        """Put up a snapshot, unless one with a higher number hangs there, or the same one. A damaged file is replaced.

        One with the same number and other content is the same decision under new settings: a timeout, a fallback.
        """
        with locked(self._home / "routes.lock"):
            there = self._published()
            if (
                there is None
                or routes.number > there.number
                or (routes.number == there.number and routes.models != there.models)
            ):
                write_atomic(self._path, routes_to_json(routes))

    def current(self) -> Routes:
        """The published snapshot; number 0 and no models when there is none.

        Raises:
            StoreError: `routes.json` is damaged.
        """
        return _read_routes(self._path) or NO_ROUTES

    def acknowledgements(self) -> list[Acknowledgement]:
        """What the gateways that are alive say, in the order of their names.

        Raises:
            StoreError: an `ack.json` is damaged.
        """
        notes = [_read_note(path) for path in sorted(self._home.glob("gateways/*/ack.json"))]
        return [note.acknowledgement for note in notes if note is not None and _is_alive(note)]

    def tell(self, metrics: Sequence[Family]) -> None:
        """Put up what the controller has to say on the gateways' page of metrics, in place of what it said before."""
        write_atomic(self._told, to_json(tuple(metrics)))

    def told(self) -> tuple[Family, ...]:
        """What the controller said last; nothing before its first look.

        Raises:
            StoreError: the file is damaged.
        """
        text = read_if_there(self._told)
        if text is None:
            return ()
        try:
            return from_json(text, tuple[Family, ...])
        except StoreError as error:
            raise StoreError(
                f"{self._told} is damaged: {error}. The controller writes it anew at its next look"
            ) from error

    def _published(self) -> Routes | None:
        try:
            return _read_routes(self._path)
        except StoreError:
            return None  # what is there can't be used by anyone; the new snapshot heals it


class GatewayDesk:
    """One gateway's folder, `home/gateways/<id>`: what it runs, and the routes to start from when all else is away."""

    def __init__(self, home: Path, gateway_id: str) -> None:
        if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", gateway_id) is None:
            raise InputError(
                f"gateway id {gateway_id!r}: it names a folder; wanted letters, digits, `.`, `_` and `-`, at most 100"
            )
        self._folder = home / "gateways" / gateway_id
        self._board = home / "routes.json"
        self._seen: tuple[int, int, int] | None = None

    def acknowledge(self, acknowledgement: Acknowledgement) -> None:
        """Say what this gateway runs. Flushed to disk (milliseconds): on a busy event loop call it in a thread."""
        note = _Note(acknowledgement, _started(acknowledgement.pid))
        write_atomic(self._folder / "ack.json", to_json(note))

    def keep(self, routes: Routes) -> None:
        """Remember routes that work."""
        write_atomic(self._folder / "routes.json", routes_to_json(routes))

    def last_good(self) -> Routes | None:
        """The routes kept last; None when there are none, StoreError when the file is damaged."""
        return _read_routes(self._folder / "routes.json")

    def changed(self) -> bool:
        """Whether the published `routes.json` is another file than at the last call; True at first if there is one.

        One `stat`, so it may be asked many times a second. Ask first and read then: a snapshot that arrives between
        the two is read now and reported once more.
        """
        try:
            stat = self._board.stat()
            now = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
        except FileNotFoundError:
            now = None
        before, self._seen = self._seen, now
        return now != before


@dataclass(frozen=True, slots=True)
class _Note:
    """An acknowledgement with the start of its process: a pid alone may belong to somebody else by now."""

    acknowledgement: Acknowledgement
    started: float | None  # seconds since the epoch; None: that process was not running


def _read_routes(path: Path) -> Routes | None:
    text = read_if_there(path)
    if text is None:
        return None
    try:
        return routes_from_json(text)
    except StoreError as error:
        raise StoreError(
            f"{path} is damaged: {error}. Remove it; `afterfit up` publishes the routes again from the ledger"
        ) from error


def _read_note(path: Path) -> _Note | None:
    text = read_if_there(path)
    if text is None:  # removed since the folder was listed
        return None
    try:
        return from_json(text, _Note)
    except StoreError as error:
        raise StoreError(f"{path} is damaged: {error}. Remove it; a gateway that is alive writes it again") from error


def _is_alive(note: _Note) -> bool:
    started = _started(note.acknowledgement.pid)
    return started is not None and note.started is not None and abs(started - note.started) <= _SAME_START


def _started(pid: int) -> float | None:
    """When the process started; None when there is none, or only its zombie."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except (psutil.NoSuchProcess, ValueError):
        return None
