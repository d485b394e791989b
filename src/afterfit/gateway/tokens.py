"""Who asks, and whether they may: tokens are looked up by their hash, and taken over from the home while requests go on."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path

from afterfit.adapters.token_store import Token, TokenStore
from afterfit.errors import StoreError
from afterfit.gateway.defects import where
from afterfit.gateway.limits import Caller, RefusedError

log = logging.getLogger("afterfit.gateway")
LOOK_EVERY = 0.5  # seconds between two looks whether tokens changed (a stat of one file)
_CHALLENGE = b'Bearer realm="afterfit"'
_INVALID = (b"www-authenticate", _CHALLENGE + b', error="invalid_token"')
_FOREVER = float("inf")
_MOST_MET = 1000
Found = tuple[Caller, float]  # whose a token is, and the end of its time in seconds since the epoch


class NoTokenError(RefusedError):
    """No token came, or one that is not known."""


class RoleError(RefusedError):
    """The token lacks the role."""


class Tokens:
    """The tokens in force. A header that came before costs one look-up, a new one a SHA-256 too.

    Args:
        always: demand a token even while none was ever made, as where other machines can reach the gateway.
        clock: seconds since the epoch, for the end of a rotation.

    Raises:
        StoreError: the tokens are there and can't be read.
    """

    def __init__(self, home: Path, *, always: bool, clock: Callable[[], float] = time.time) -> None:
        self.demanded = True
        self.problem = ""  # why a change was not taken over; what was in force still is
        self._store = TokenStore(home)
        self._always = always
        self._clock = clock
        self._callers: dict[str, Caller] = {}
        self._known: dict[bytes, Found] = {}  # by SHA-256
        self._met: dict[bytes, Found] = {}  # by the header as it came
        self._seen = self._state()
        self._take_over(self._store.all(), self._store.exists())

    def caller(self, authorization: bytes, role: str | None) -> Caller | None:
        """Who asks with this header; None where no token is demanded.

        Raises:
            NoTokenError: there is no valid token in it.
            RoleError: the token lacks the role; says which.
        """
        if role is None or not self.demanded:
            return None
        caller, until = self._met.get(authorization) or self._meet(authorization, role)
        if until is not _FOREVER and self._clock() > until:
            raise NoTokenError("the token was rotated, and its time of grace is over", [_INVALID])
        if role not in caller.grants:
            told = f"token {caller.name!r} lacks the role {role!r}; it has {', '.join(sorted(caller.grants))}"
            wanted = b', error="insufficient_scope", scope="%s"' % role.encode()
            raise RoleError(told, [(b"www-authenticate", _CHALLENGE + wanted)])
        return caller

    def _meet(self, authorization: bytes, role: str) -> Found:
        """Look up a header that did not come before; only what is known is remembered, so junk fills nothing."""
        scheme, _, secret = authorization.partition(b" ")
        if scheme.lower() != b"bearer":
            told = f"this needs a token with the role {role!r}: send the header `Authorization: Bearer TOKEN`"
            raise NoTokenError(told, [(b"www-authenticate", _CHALLENGE)])
        found = self._known.get(sha256(secret.strip()).digest())
        if found is None:
            told = "the token is not known: it was revoked or rotated, or belongs to another gateway"
            raise NoTokenError(told, [_INVALID])
        if len(self._met) >= _MOST_MET:  # one token may be written in many ways
            self._met.clear()
        self._met[authorization] = found
        return found

    async def follow(self) -> None:
        """Take over changes until cancelled; what can't be read changes nothing and is told."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            try:
                now = self._state()
                if now == self._seen:
                    continue
                self._take_over(await asyncio.to_thread(self._store.all), self._store.exists())
                self._seen, self.problem = now, ""
            except (StoreError, OSError) as error:
                self._stay(str(error))
            except Exception as error:  # noqa: BLE001  a defect must not close the only road of a revocation to this process
                self._stay(f"a defect while taking over tokens: {where(error)}")

    def _stay(self, why: str) -> None:
        if self.problem != why:
            self.problem = why
            log.error("the tokens in force stay: %s", why)

    def _state(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self._store.path)
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _take_over(self, tokens: Iterable[Token], there: bool) -> None:
        """Replace all at once; a token that keeps its name keeps what it has under way."""
        now, callers = time.monotonic(), {}
        known: dict[bytes, Found] = {}
        for token in tokens:
            caller = callers[token.name] = self._callers.get(token.name) or Caller(token.name)
            caller.allow(token.grants, token.rate, token.concurrency, now)
            known[bytes.fromhex(token.sha256)] = caller, _FOREVER
            if token.previous is not None and token.previous_until is not None:
                known[bytes.fromhex(token.previous)] = caller, token.previous_until.timestamp()
        self._callers, self._known, self._met = callers, known, {}
        self.demanded = self._always or there
