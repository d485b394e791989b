"""Sends fuzzed requests over many connections, judges each reply, and compares the log with what was acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tests.fuzz.cases import Case, case
from tests.fuzz.place import Place

CONNECTIONS = 16
PATIENCE = 60.0  # seconds for one reply
SAID = {200, 400, 404, 405, 409, 413, 503}


@dataclass
class Hunt:
    """What came back: (dialect, status or what else happened) -> requests; ids that were acknowledged; complaints."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    acknowledged: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0  # replies that nobody could answer (503)
    complaints: list[str] = field(default_factory=list)

    def judge(self, asked: Case, status: int, headers: dict[str, str], body: bytes) -> None:
        """One reply."""
        self.counts[asked.dialect, str(status)] += 1
        told = _json(body)
        if status == 200:
            self.acknowledged.update(_ids(asked.dialect, told, headers))
        problem = _problem(asked, status, headers, told)
        self.unanswered += status == 503
        if problem:
            self.complaints.append(
                f"{problem}: {asked.dialect}, {asked.kind}: {asked.data[:1500]!r} -> {status} {body[:300]!r}"
            )

    def table(self) -> str:
        """Requests by dialect and status."""
        seen = sorted({status for _, status in self.counts})
        dialects = sorted({dialect for dialect, _ in self.counts})
        lines = [f"{'':10}" + "".join(f"{s:>10}" for s in seen)]
        lines += [f"{d:10}" + "".join(f"{self.counts[d, s]:>10,}" for s in seen) for d in dialects]
        return "\n".join(
            [*lines, f"{'all':10}" + "".join(f"{sum(self.counts[d, s] for d in dialects):>10,}" for s in seen)]
        )


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _ids(dialect: str, told: Any, headers: dict[str, str]) -> list[str]:
    if dialect == "v1" and "predictions" in told:
        return [answer["id"] for answer in told["predictions"]]
    if dialect == "v2" and "outputs" in told:
        return _numbered(headers.get("x-afterfit-id") or told["id"], told["outputs"][0]["shape"][0])
    if dialect == "mlflow" and "predictions" in told:
        return _numbered(headers["x-afterfit-id"], len(told["predictions"]))
    return []


def _numbered(given: str, n: int) -> list[str]:
    return [given] if n == 1 else [f"{given}/{i}" for i in range(n)]


def _problem(asked: Case, status: int, headers: dict[str, str], told: Any) -> str:
    """What is wrong with a reply; empty where nothing is."""
    if status not in SAID:
        return "" if not asked.whole and status < 500 else "a status that nobody documented"
    if "x-request-id" not in headers:  # uvicorn's own word for what is no HTTP
        return "" if not asked.whole and status == 400 else "no x-request-id"
    if status == 503 and "could not answer" not in str(told):
        return "a 503 without a model that could not answer"
    if asked.whole and not isinstance(told, dict):
        return "no JSON object"
    if asked.whole and status >= 400 and not ("error" in told or "error_code" in told):
        return "no error object"
    return ""


async def _worker(host: str, port: int, dice: random.Random, number: int, hunt: Hunt) -> None:
    stream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    for _ in range(number):
        asked = case(dice)
        if stream is None:
            stream = await asyncio.open_connection(host, port, limit=2**24)
        reader, writer = stream
        alive = False
        try:
            writer.write(asked.data)
            if asked.cut:
                writer.write_eof()
            alive = await _reply(reader, asked, hunt) and asked.whole
        except TimeoutError:
            hunt.complaints.append(f"no reply within {PATIENCE:g} s: {asked.data[:1500]!r}")
        except (OSError, asyncio.IncompleteReadError) as error:
            hunt.counts[asked.dialect, "hung up"] += 1
            if asked.whole:
                hunt.complaints.append(f"no reply ({error!r}): {asked.data[:1500]!r}")
        if not alive:
            await _hang_up(writer)
            stream = None
    if stream is not None:
        await _hang_up(stream[1])


async def _hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _reply(reader: asyncio.StreamReader, asked: Case, hunt: Hunt) -> bool:
    """Read and judge one reply, and any others on a connection that is not used again; whether it may be used again."""
    again = True
    first = True
    while first or not asked.whole:
        async with asyncio.timeout(PATIENCE):  # the first reply; then more of them, or the end of the connection
            head = await _head(reader)
        if head is None:
            if first:
                hunt.counts[asked.dialect, "hung up"] += 1
                if asked.whole:
                    hunt.complaints.append(f"hung up without a reply: {asked.data[:1500]!r}")
            return False
        first = False
        status, headers = head
        silent = asked.kind == "methods" and asked.data.startswith(b"HEAD")
        length = 0 if silent else int(headers.get("content-length", 0))
        body = (
            await reader.readexactly(length) if length else b"" if "content-length" in headers else await reader.read()
        )
        hunt.judge(asked, status, headers, body)
        again = headers.get("connection", "") != "close"
        if not asked.cut:
            break
    return again


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]] | None:
    """(status, headers) of the next reply that is not 1xx; None where the server hung up."""
    while True:
        try:
            lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise
            return None
        status = int(lines[0].split()[1])
        if status >= 200:
            return status, {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:] if line)}


async def _all(url: str, requests: int, seed: int, hunt: Hunt) -> None:
    address = urlsplit(url)
    shares = [requests // CONNECTIONS + (i < requests % CONNECTIONS) for i in range(CONNECTIONS)]
    async with asyncio.TaskGroup() as group:
        for i, share in enumerate(shares):
            dice = random.Random(f"{seed}/{i}")
            group.create_task(_worker(address.hostname or "", address.port or 0, dice, share, hunt))


def hunted(place: Place, requests: int, seed: int) -> Hunt:
    """Send so many requests. The gateway still runs afterwards, and nothing was restarted."""
    hunt = Hunt()
    asyncio.run(_all(place.url, requests, seed, hunt))
    if place.process.poll() is not None:
        hunt.complaints.append(f"the gateway died: {place.process.returncode}")
    if place.report().restarts:
        hunt.complaints.append(f"workers died: {place.report().restarts}")
    return hunt


def reconciled(place: Place, hunt: Hunt) -> str:
    """Stop the gateway and compare its log with what was acknowledged: the same ids, each once. Empty if they agree."""
    place.stop()
    logged, errors = place.logged()
    missing, extra = hunt.acknowledged - logged, logged - hunt.acknowledged
    if missing or extra:
        return f"acknowledged but not logged {list(missing)[:5]}, logged but not acknowledged {list(extra)[:5]} ({len(missing)}, {len(extra)})"
    return f"503 was said, but no row says error: {hunt.unanswered}, {errors}" if hunt.unanswered > errors else ""
