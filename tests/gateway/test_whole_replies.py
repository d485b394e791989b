"""Replies through uvicorn come whole: head and body in one write, and nothing is kept back that a client waits for."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Any

import uvicorn

from afterfit.gateway.whole_replies import HttpProtocol

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
HEAD = b"POST /%s HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n"


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers what it was sent; `/broken` dies between head and body."""
    body = (await receive())["body"] + b"\r\n\r\n"  # ends as a head ends
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    if scope["path"] == "/broken":
        raise RuntimeError("out of luck")
    await send({"type": "http.response.body", "body": body})


class Counted(HttpProtocol):
    """Remembers what is written to the sockets."""

    writes: list[bytes]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(_Spy(transport, self.writes))  # type: ignore[arg-type]


class _Spy:
    def __init__(self, transport: asyncio.Transport, writes: list[bytes]) -> None:
        self._transport, self._writes = transport, writes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        self._writes.append(data)
        self._transport.write(data)


def talk(act: Talk) -> list[bytes]:
    """What was written while `act` talked to a server."""

    async def run() -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(echo, http=Counted, loop="none", lifespan="off", log_level="critical")
        server = uvicorn.Server(config)
        server.capture_signals = nullcontext  # type: ignore[method-assign, assignment]
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        async with asyncio.timeout(20):
            await act(reader, writer)
        writer.close()
        server.should_exit = True
        await serving

    Counted.writes = []
    asyncio.run(run())
    return Counted.writes


async def reply(reader: asyncio.StreamReader) -> bytes:
    await reader.readuntil(b"\r\n\r\n")
    return await reader.readexactly(7)


def test_one_write_a_reply_also_for_requests_that_were_sent_together() -> None:
    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((HEAD % b"" + b"\r\nabc") * 3)
        assert [await reply(reader) for _ in range(3)] == [b"abc\r\n\r\n"] * 3

    written = talk(act)
    assert len(written) == 3
    assert all(data.startswith(b"HTTP/1.1 200") and data.endswith(b"abc\r\n\r\n") for data in written)


def test_a_client_that_asks_before_it_sends_is_told_to_go_on() -> None:
    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD % b"" + b"expect: 100-continue\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"abc")
        assert await reply(reader) == b"abc\r\n\r\n"

    assert len(talk(act)) == 2


def test_head_is_answered_and_the_connection_goes_on() -> None:
    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((HEAD % b"").replace(b"POST", b"HEAD", 1) + b"\r\nabc")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        writer.write(HEAD % b"" + b"\r\nabc")
        assert await reply(reader) == b"abc\r\n\r\n"

    assert len(talk(act)) == 2


def test_a_reply_that_broke_off_ends_the_connection() -> None:
    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD % b"broken" + b"\r\nabc")
        assert (await reader.read()).endswith(b"\r\n\r\n")

    assert len(talk(act)) == 1
