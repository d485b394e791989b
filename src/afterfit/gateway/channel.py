"""Length-prefixed msgpack between a gateway and the process of one version: the gateway's end and the process's."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from io import BufferedReader
from typing import Any, cast

import msgspec

_HEADER = struct.Struct("!I")


class Channel(asyncio.Protocol):
    """The gateway's end, without tasks: what arrives is handed over as it comes.

    Attributes:
        greeting: the first message.
        ended: what went wrong, once the process is gone or was given up.
    """

    def __init__(self, heard: Callable[[Any], None]) -> None:
        loop = asyncio.get_running_loop()
        self.greeting: asyncio.Future[Any] = loop.create_future()
        self.ended: asyncio.Future[str] = loop.create_future()
        self._heard = heard  # the messages after the first
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    @property
    def open(self) -> bool:
        """Whether there is still a process to be asked."""
        return self._transport is not None and not self.ended.done()

    def say(self, message: Any) -> None:
        """Send one message."""
        assert self._transport is not None
        self._transport.write(_pack(message))

    def end(self, problem: str) -> None:
        """Give the process up."""
        if not self.ended.done():
            self.ended.set_result(problem)
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not say that it is one

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self.open and len(self._buffer) >= _HEADER.size:
            end = _HEADER.size + _HEADER.unpack_from(self._buffer)[0]
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_HEADER.size : end])
            del self._buffer[:end]
            try:
                message = msgspec.msgpack.decode(body)
            except msgspec.MsgspecError as error:
                self.end(f"crash: it spoke nonsense: {error}")
                return
            if self.greeting.done():
                self._heard(message)
            else:
                self.greeting.set_result(message)

    def connection_lost(self, _error: Exception | None) -> None:
        self.end("crash: its process died")


def send(channel: socket.socket, message: Any) -> None:
    """One message from the process to its gateway."""
    channel.sendall(_pack(message))


def receive(channel: BufferedReader) -> Any:
    """The next message for the process, or None once the gateway is gone."""
    header = channel.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    size = _HEADER.unpack(header)[0]
    body = channel.read(size)
    return None if len(body) < size else msgspec.msgpack.decode(body)


def _pack(message: Any) -> bytes:
    body = msgspec.msgpack.encode(message)
    return _HEADER.pack(len(body)) + body
