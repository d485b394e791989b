"""Certificate and key of the gateway's TLS: read and checked before it listens, so that a wrong file is told at once, and again
when they change."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from pathlib import Path

from afterfit.errors import SetupError

log = logging.getLogger("afterfit.gateway")
LOOK_EVERY = 1.0  # seconds between two looks whether the files changed


class Certificate:
    """A pair of files that may be renewed while the server runs: who connects after that gets the new certificate.

    Raises:
        SetupError: as `server_context`.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self.problem = ""  # why a renewal was not taken over; the pair in force still is
        self._files = certificate, key
        self._seen = self._state()
        self.context = self._newest = server_context(certificate, key)
        self.context.sni_callback = self._choose

    async def follow(self) -> None:
        """Take over renewals until cancelled. Both files are read into a context of their own, so half a renewal harms nobody."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            now = self._state()
            if now == self._seen:
                continue
            try:
                self._newest = await asyncio.to_thread(server_context, *self._files)
            except SetupError as error:  # the other file may be on its way: the next look tries again
                if self.problem != str(error):
                    self.problem = str(error)
                    log.error("the TLS certificate in force stays: %s", error)
            else:
                self._seen, self.problem = now, ""
                log.info("took over the renewed TLS certificate %s", self._files[0])

    def _choose(self, connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _old: ssl.SSLContext) -> None:
        """Called at the start of each connection, whether its client names a server or not."""
        connection.context = self._newest

    def _state(self) -> list[tuple[int, int, int] | None]:
        found: list[tuple[int, int, int] | None] = []
        for path in self._files:
            try:
                stat = os.stat(path)
            except OSError:
                found.append(None)
            else:
                found.append((stat.st_mtime_ns, stat.st_ino, stat.st_size))
        return found


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 or newer with this certificate (PEM, with its chain) and its key (PEM, not encrypted).

    Raises:
        SetupError: a file is missing or can't be read, is no PEM, or the key is not the certificate's.
    """
    for what, path in (("tls_certificate", certificate), ("tls_key", key)):
        try:
            path.read_bytes()
        except OSError as error:
            raise SetupError(
                f"{what} = {str(path)!r} can't be read: {error.strerror}. Check its path, owner and mode"
            ) from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, _no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise SetupError(
                f"tls_key = {str(key)!r} is not the key of tls_certificate = {str(certificate)!r}: name the two that were "
                "made together"
            ) from error
        raise SetupError(
            f"tls_certificate = {str(certificate)!r} and tls_key = {str(key)!r} are no certificate and key: "
            f"{error.reason or error}. Wanted two PEM files, the first with the chain"
        ) from error
    return context


def _no_password() -> str:
    raise SetupError("tls_key is encrypted, and nobody is there to type its password: wanted a key without one")
