"""Clients that never stop asking, and remember every answer."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit

ROW = {"a": 0.5, "b": 1}
LATE = 60.0  # seconds that a client waits
UNLOGGED = "is not in it"  # how a reply says that the log does not have it


@dataclass(frozen=True)
class Seen:
    """One answer as its caller saw it."""

    id: str
    status: int  # 0: the connection broke
    seconds: float
    version: int = -1
    degraded: str = ""

    @property
    def acknowledged(self) -> bool:
        return self.status == 200 and UNLOGGED not in self.degraded


class Load:
    """Clients with one connection each; `address` is asked anew after each break, since a new gateway has a new port."""

    def __init__(self, address: Callable[[], tuple[str, int]], clients: int, *, name: str = "") -> None:
        self.seen: list[Seen] = []  # lists only grow, and appending is atomic
        self._address, self._name = address, name
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(i,), daemon=True) for i in range(clients)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> Sequence[Seen]:
        """Everything that was seen, once the last answer is there."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        return self.seen

    def since(self, start: int) -> list[Seen]:
        """Answers after the first `start`."""
        return self.seen[start:]

    def _ask(self, client: int) -> None:
        connection: HTTPConnection | None = None
        for number in itertools.count():
            if self._stop.is_set():
                break
            id, began = f"{self._name}{client}-{number}", time.monotonic()
            try:
                connection = connection or HTTPConnection(*self._address(), timeout=LATE)
                self.seen.append(ask(connection, id))
            except (OSError, HTTPException):
                self.seen.append(Seen(id, 0, time.monotonic() - began))
                if connection is not None:
                    connection.close()
                connection = None
                time.sleep(0.1)  # it is being started again
        if connection is not None:
            connection.close()


def address(url: str) -> tuple[str, int]:
    """Host and port."""
    found = urlsplit(url)
    return found.hostname or "", found.port or 0


def ask(connection: HTTPConnection, id: str, row: dict[str, Any] | None = None) -> Seen:
    """One row, on a connection that stays open."""
    began = time.monotonic()
    body = json.dumps({"rows": [row or ROW], "id": id})
    connection.request("POST", "/v1/models/m/predict", body)
    reply = connection.getresponse()
    content = reply.read()
    seconds = time.monotonic() - began
    if reply.status != 200:
        return Seen(id, reply.status, seconds)
    (answer,) = json.loads(content)["predictions"]
    assert answer["id"] == id
    return Seen(id, 200, seconds, answer["version"], answer.get("degraded", ""))
