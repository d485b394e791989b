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
from afterfit.gateway.limits import Caller, RefusedError

log = logging.getLogger("afterfit.gateway")
LOOK_EVERY = 0.5  # seconds between two looks whether tokens changed (a stat of one file)
_CHALLENGE = b'Bearer realm="afterfit"'


class NoTokenError(RefusedError):
    """No token came, or one that is not known."""


class RoleError(RefusedError):
    """The token lacks the role."""


class Tokens:
    """The tokens in force. One look-up costs a SHA-256, about a microsecond, so no secret is kept to save it.

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
        self._known: dict[bytes, tuple[Caller, float]] = {}  # SHA-256 -> whose it is, and until when it is valid
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
        scheme, _, secret = authorization.partition(b" ")
        if scheme.lower() != b"bearer":
            told = f"this needs a token with the role {role!r}: send the header `Authorization: Bearer TOKEN`"
            raise NoTokenError(told, [(b"www-authenticate", _CHALLENGE)])
        caller, until = self._known.get(sha256(secret.strip()).digest(), (None, 0.0))
        if caller is None or self._clock() > until:
            told = "the token is not known: it was revoked or rotated, or belongs to another gateway"
            raise NoTokenError(told, [(b"www-authenticate", _CHALLENGE + b', error="invalid_token"')])
        if role not in caller.grants:
            told = f"token {caller.name!r} lacks the role {role!r}; it has {', '.join(sorted(caller.grants))}"
            wanted = b', error="insufficient_scope", scope="%s"' % role.encode()
            raise RoleError(told, [(b"www-authenticate", _CHALLENGE + wanted)])
        return caller

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
                if self.problem != str(error):
                    self.problem = str(error)
                    log.error("the tokens in force stay: %s", error)

    def _state(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self._store.path)
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _take_over(self, tokens: Iterable[Token], there: bool) -> None:
        """Replace all at once; a token that keeps its name keeps what it has under way."""
        now, callers = time.monotonic(), {}
        known: dict[bytes, tuple[Caller, float]] = {}
        for token in tokens:
            caller = callers[token.name] = self._callers.get(token.name) or Caller(token.name)
            caller.allow(token.grants, token.rate, token.concurrency, now)
            known[bytes.fromhex(token.sha256)] = caller, float("inf")
            if token.previous is not None and token.previous_until is not None:
                known[bytes.fromhex(token.previous)] = caller, token.previous_until.timestamp()
        self._callers, self._known, self.demanded = callers, known, self._always or there
