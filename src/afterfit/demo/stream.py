"""The client of the demo: posts flights and landings, hour by hour in event time, to the real gateway."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import msgspec
import numpy as np
import pandas as pd

from afterfit.demo.data import FEATURES

IN_FLIGHT = 3  # hourly batches on their way at once
PATIENCE = 60.0  # seconds a client waits for a reply


@dataclass
class Tally:
    """What the client has seen; the gateway's own counts are compared with it at the end."""

    sent: int = 0
    acknowledged: int = 0
    failed: int = 0
    outcomes_sent: int = 0
    outcomes_acknowledged: int = 0
    by_version: dict[int, int] = field(default_factory=dict)


class Stream:
    """A few clients with a connection each, in front of one model of one gateway."""

    def __init__(self, url: str, model: str) -> None:
        self._host = urlsplit(url).netloc
        self._path = f"/v1/models/{model}"
        self._pool = ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="client")
        self._own = threading.local()
        self._lock = threading.Lock()
        self.tally = Tally()

    def close(self) -> None:
        """Let the clients go home."""
        self._pool.shutdown()

    def play(self, flights: pd.DataFrame, landings: pd.DataFrame) -> None:
        """Predictions for `flights` in batches by hour, then the outcomes of `landings` in batches by hour."""
        self._all(self._predict, _predict_bodies(flights))
        self._all(self._outcomes, _outcome_bodies(landings))

    def _all(self, post: Callable[[tuple[int, bytes]], None], bodies: Iterator[tuple[int, bytes]]) -> None:
        for _ in self._pool.map(post, bodies):
            pass

    def _predict(self, batch: tuple[int, bytes]) -> None:
        rows, body = batch
        status, reply = self._post("predict", body)
        with self._lock:
            self.tally.sent += rows
            if status != 200:
                self.tally.failed += rows
                return
            for answer in reply["predictions"]:
                self.tally.acknowledged += 1
                self.tally.by_version[answer["version"]] = self.tally.by_version.get(answer["version"], 0) + 1

    def _outcomes(self, batch: tuple[int, bytes]) -> None:
        rows, body = batch
        status, reply = self._post("outcomes", body)
        with self._lock:
            self.tally.outcomes_sent += rows
            if status == 200:
                self.tally.outcomes_acknowledged += sum(r["status"] != "rejected" for r in reply["results"])

    def _post(self, what: str, body: bytes) -> tuple[int, Any]:
        """Status and decoded reply; 0 when the connection broke, which counts as a failure.

        A connection that was closed while it lay idle, as any server may do, is opened again once: ids make a request
        safe to repeat.
        """
        for _ in range(2):
            connection: HTTPConnection | None = getattr(self._own, "connection", None)
            fresh = connection is None
            if connection is None:
                connection = self._own.connection = HTTPConnection(self._host, timeout=PATIENCE)
            try:
                connection.request("POST", f"{self._path}/{what}", body)
                reply = connection.getresponse()
                return reply.status, msgspec.json.decode(reply.read())
            except (OSError, HTTPException):
                connection.close()
                self._own.connection = None
                if fresh:
                    break
        return 0, None


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON-able dicts; a missing measurement is null."""
    columns = {c: frame[c].astype(object).where(frame[c].notna(), None).tolist() for c in frame.columns}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _predict_bodies(flights: pd.DataFrame) -> Iterator[tuple[int, bytes]]:
    rows, ids, keys = records(flights[FEATURES]), flights["id"].tolist(), flights["key"].tolist()
    times = _epoch(flights["time"])
    for part in _hours(times):
        body = {"rows": rows[part], "id": ids[part], "key": keys[part], "time": times[part].tolist()}
        yield len(rows[part]), msgspec.json.encode(body)


def _outcome_bodies(landings: pd.DataFrame) -> Iterator[tuple[int, bytes]]:
    ids, late, landed = landings["id"].tolist(), landings["late"].tolist(), _epoch(landings["landed"])
    items = [
        {"prediction_id": id, "value": int(value), "event_time": at, "known_time": at, "source": "airport"}
        for id, value, at in zip(ids, late, landed.tolist(), strict=True)
    ]
    for part in _hours(landed):
        yield len(items[part]), msgspec.json.encode({"outcomes": items[part]})


def _hours(times: Any) -> Iterator[slice]:
    """Runs of rows within one hour; the times are in order."""
    cuts = np.flatnonzero(np.diff(times // 3600)) + 1
    edges = [0, *cuts.tolist(), len(times)] if len(times) else [0]
    for start, end in pairwise(edges):
        yield slice(start, end)


def _epoch(times: pd.Series) -> Any:
    return times.astype("int64").to_numpy() / float(pd.Timedelta(seconds=1) / pd.Timedelta(1, unit=times.dt.unit))
