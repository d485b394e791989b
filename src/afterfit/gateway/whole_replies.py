"""uvicorn's HTTP protocol with one write a reply: uvicorn writes head and body apart, and each write is a packet.

Measured on a busy machine with a model that costs nothing, 32 connections, medians of paired runs: 9 % and 16 % less
processor time a request in two series.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class HttpProtocol(HttpToolsProtocol):
    """For `uvicorn.Config(http=...)`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast(asyncio.Transport, _WholeReplies(transport)))

    def on_response_complete(self) -> None:
        cast(_WholeReplies, self.transport).flush()  # a reply to HEAD has no body that the head could wait for
        super().on_response_complete()


class _WholeReplies:
    """A transport that keeps the head of a reply back until its body comes. Everything else is the transport's own."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""
        self.is_closing = transport.is_closing  # asked after each reply

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._head and data.endswith(b"\r\n\r\n") and not data.startswith(b"HTTP/1.1 100 "):
            self._head = data
            return
        head, self._head = self._head, b""
        self._transport.write(head + data)

    def flush(self) -> None:
        """Send what was kept back."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        self.flush()
        self._transport.close()
