"""API tokens of a gateway: `tokens.json` in the home, which names each token's roles and limits and holds no token.

A token is 32 random bytes as text, shown once. What is kept is its SHA-256: nobody finds 256 random bits by trying, so
the slow hash that passwords need would only make each request slow. The file is replaced whole, and only its owner may
read it. It lies beside `routes.json`, not in the control store, for the gateway opens no database.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

from afterfit.adapters.atomic_file import locked, read_if_there, write_atomic
from afterfit.adapters.record_json import from_json, to_json
from afterfit.config import is_loopback
from afterfit.errors import InputError, SetupError, StoreError, UnknownNameError, list_known

PREDICT, OUTCOME, VIEW, OPERATE, ADMIN = ROLES = ("predict", "outcome", "view", "operate", "admin")
_IMPLIED = {OPERATE: (OPERATE, VIEW), ADMIN: ROLES}
_PREFIX = "afterfit_"  # so that scanners of source code and logs know one when they see it
_BYTES = 32


@dataclass(frozen=True, slots=True)
class Token:
    """One token as it is kept."""

    name: str
    sha256: str  # of its text, hexadecimal
    roles: tuple[str, ...]  # as given; `grants` has those that they imply too
    created_at: datetime  # of the secret that is in force
    rate: float | None = None  # requests a second; None: no limit
    concurrency: int | None = None  # requests under way at once; None: no limit
    previous: str | None = None  # SHA-256 of the secret before the last rotation ...
    previous_until: datetime | None = None  # ... which is valid until then

    @property
    def grants(self) -> frozenset[str]:
        """The roles that it has, with those that they imply."""
        return frozenset(implied for role in self.roles for implied in _IMPLIED.get(role, (role,)))


Before = Callable[[Token], None]


class TokenStore:
    """The tokens of one home.

    >>> import tempfile
    >>> from datetime import UTC
    >>> folder = tempfile.TemporaryDirectory()
    >>> store, now = TokenStore(Path(folder.name)), datetime(2026, 1, 5, tzinfo=UTC)
    >>> secret = store.add("shop", ["predict"], now=now)
    >>> [token.sha256 == digest(secret) for token in store.all()]
    [True]
    >>> store.revoke("shop")[1]
    0
    >>> folder.cleanup()
    """

    def __init__(self, home: Path) -> None:
        self.path = home / "tokens.json"
        self._lock = home / "tokens.lock"

    def exists(self) -> bool:
        """Whether there ever was a token; from then on the gateway demands one, also when the last one was revoked."""
        return self.path.exists()

    def all(self) -> list[Token]:
        """The tokens in the order they were made.

        Raises:
            StoreError: the file can't be read, or is damaged.
        """
        text = read_if_there(self.path)
        if text is None:
            return []
        try:
            tokens = from_json(text, list[Token])
            for token in tokens:
                _check(token)
            return tokens
        except (StoreError, InputError) as error:
            raise StoreError(
                f"{self.path} is damaged: {error}. Restore it from a backup, or remove it and make new tokens with "
                "`afterfit tokens add`"
            ) from error

    def add(
        self,
        name: str,
        roles: Sequence[str],
        *,
        now: datetime,
        rate: float | None = None,
        concurrency: int | None = None,
        before: Before | None = None,
    ) -> str:
        """Make a token and return it; it can't be read again.

        Args:
            name: who uses it.
            roles: of ROLES.
            now: when it is made.
            rate: requests a second; None is no limit.
            concurrency: requests under way at once; None is no limit.
            before: called with the token once it is known to be right; where it fails, nothing is made.

        Raises:
            InputError: the name is taken or is none, a role is unknown, a limit is not positive.
        """
        secret = _secret()
        token = Token(name, digest(secret), tuple(dict.fromkeys(roles)), now, rate, concurrency)
        _check(token)

        def added(tokens: list[Token]) -> list[Token]:
            if any(known.name == name for known in tokens):
                raise InputError(f"token {name!r} is there already; rotate or revoke it, or take another name")
            return [*tokens, token]

        self._change(added, name, before)
        return secret

    def rotate(self, name: str, *, now: datetime, grace: float = 0.0, before: Before | None = None) -> str:
        """A new secret for a token, with the same roles and limits; the old one is valid for `grace` seconds more.

        `before` is called as by `add`.

        Raises:
            UnknownNameError: there is no such token.
        """
        secret = _secret()

        def rotated(tokens: list[Token]) -> list[Token]:
            old = _named(tokens, name)
            until = now + timedelta(seconds=grace) if grace > 0 else None
            previous = old.sha256 if until else None
            new = replace(old, sha256=digest(secret), created_at=now, previous=previous, previous_until=until)
            return [new if token is old else token for token in tokens]

        self._change(rotated, name, before)
        return secret

    def revoke(self, name: str) -> tuple[Token, int]:
        """Take a token away, with what is left of a rotation; returns it, and how many are left.

        Raises:
            UnknownNameError: there is no such token.
        """

        with locked(self._lock):
            tokens = self.all()
            old = _named(tokens, name)
            left = [token for token in tokens if token is not old]
            self._write(left)
        return old, len(left)

    def _change(self, change: Callable[[list[Token]], list[Token]], name: str, before: Before | None) -> None:
        with locked(self._lock):
            tokens = change(self.all())
            if before is not None:
                before(_named(tokens, name))
            self._write(tokens)

    def _write(self, tokens: list[Token]) -> None:
        write_atomic(self.path, to_json(tokens))  # made with mode 0600


def digest(secret: str) -> str:
    """What is kept of a token."""
    return sha256(secret.encode()).hexdigest()


def refuse_open(host: str, home: Path) -> None:
    """Nobody but this machine may reach a gateway that asks nobody who they are.

    Raises:
        SetupError: `host` is no loopback address and there is no token; says how to make one.
        StoreError: the tokens can't be read.
    """
    if not is_loopback(host) and not TokenStore(home).all():
        raise SetupError(
            f"host = {host!r} can be reached from other machines, and there is no token: anybody could ask and report "
            "outcomes. Make one with `afterfit tokens add NAME --role predict`, or set host to 127.0.0.1"
        )


def _check(token: Token) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", token.name):
        raise InputError(f"token {token.name!r}: wanted a name of letters, digits, '-', '_' and '.', at most 100")
    if not token.roles:
        raise InputError(f"token {token.name!r} has no role; wanted one or more of {', '.join(ROLES)}")
    for role in token.roles:
        if role not in ROLES:
            raise InputError(f"role {role!r} is unknown; {list_known(role, ROLES)}")
    if token.rate is not None and not 0.0 < token.rate <= 1e6:
        raise InputError(f"rate {token.rate:g}: wanted requests a second above 0 and at most a million")
    if token.concurrency is not None and token.concurrency < 1:
        raise InputError(f"concurrency {token.concurrency}: wanted a whole number of at least 1")
    for kept in (token.sha256, token.previous):
        if kept is not None and not re.fullmatch("[0-9a-f]{64}", kept):
            raise InputError(f"token {token.name!r}: what is kept of it is no SHA-256")


def _secret() -> str:
    return _PREFIX + secrets.token_urlsafe(_BYTES)


def _named(tokens: Sequence[Token], name: str) -> Token:
    for token in tokens:
        if token.name == name:
            return token
    raise UnknownNameError("token", name, [token.name for token in tokens])
