"""The client of the demo: posts flights and landings, hour by hour in event time, to the real gateway."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec
import pandas as pd

from afterfit.demo.data import FEATURES

IN_FLIGHT = 3  # hourly batches on their way at once


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
    """One connection pool to one gateway and one model."""

    def __init__(self, url: str, model: str) -> None:
        self._url = f"{url}/v1/models/{model}"
        self._loop = asyncio.new_event_loop()
        self._client = httpx.AsyncClient(timeout=60.0)
        self.tally = Tally()

    def close(self) -> None:
        """Close the connections."""
        self._loop.run_until_complete(self._client.aclose())
        self._loop.close()

    def play(self, flights: pd.DataFrame, landings: pd.DataFrame) -> None:
        """Predictions for `flights` in batches by hour, then the outcomes of `landings` in batches by hour."""
        self._loop.run_until_complete(self._all("predict", "time", flights, self._predict))
        self._loop.run_until_complete(self._all("outcomes", "landed", landings, self._outcomes))

    async def _all(self, path: str, by: str, rows: pd.DataFrame, post: Any) -> None:
        gate = asyncio.Semaphore(IN_FLIGHT)

        async def one(batch: pd.DataFrame) -> None:
            async with gate:
                await post(f"{self._url}/{path}", batch)

        await asyncio.gather(*(one(batch) for _, batch in rows.groupby(rows[by].dt.floor("h"))))

    async def _predict(self, url: str, batch: pd.DataFrame) -> None:
        body = {
            "rows": records(batch[FEATURES]),
            "id": batch["id"].tolist(),
            "key": batch["key"].tolist(),
            "time": (batch["time"].astype("int64") / _per_second(batch["time"])).tolist(),
        }
        self.tally.sent += len(batch)
        reply = await self._client.post(url, content=msgspec.json.encode(body))
        if reply.status_code != httpx.codes.OK:
            self.tally.failed += len(batch)
            return
        for answer in msgspec.json.decode(reply.content)["predictions"]:
            self.tally.acknowledged += 1
            self.tally.by_version[answer["version"]] = self.tally.by_version.get(answer["version"], 0) + 1

    async def _outcomes(self, url: str, batch: pd.DataFrame) -> None:
        landed = (batch["landed"].astype("int64") / _per_second(batch["landed"])).tolist()
        items = [
            {"prediction_id": id, "value": int(late), "event_time": at, "known_time": at, "source": "airport"}
            for id, late, at in zip(batch["id"], batch["late"], landed, strict=True)
        ]
        self.tally.outcomes_sent += len(items)
        reply = await self._client.post(url, content=msgspec.json.encode({"outcomes": items}))
        reply.raise_for_status()
        self.tally.outcomes_acknowledged += sum(
            r["status"] != "rejected" for r in msgspec.json.decode(reply.content)["results"]
        )


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON-able dicts; a missing measurement is null."""
    columns = {c: frame[c].astype(object).where(frame[c].notna(), None).tolist() for c in frame.columns}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _per_second(times: pd.Series) -> float:
    return float(pd.Timedelta(seconds=1) / pd.Timedelta(1, unit=times.dt.unit))
