"""The exception tree. Each error says what was wanted, what was found and what to do; none knows HTTP.

AfterfitError
├── ConfigError (ValueError)        afterfit.toml or an environment variable is wrong
├── InputError (ValueError)         a request, frame or argument from the user is wrong
│   └── DuplicateError              an id that was acknowledged before came again with other content
├── UnknownNameError (LookupError)  a model, version, metric or column that does not exist; lists the known ones
├── LifecycleError (RuntimeError)   an event that the life of a model does not allow in its present state
├── StoreError (RuntimeError)       a store can't be opened, is damaged or refused a write
│   └── ConflictError               somebody else wrote first; read again and retry
├── JobError (RuntimeError)         training or scoring failed in its own process
├── WorkerError (RuntimeError)      a version can't be loaded or did not answer
└── SetupError (RuntimeError)       the machine is not ready: port in use, folder not writable, extra not installed
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AfterfitError(Exception):
    """Base of everything Afterfit raises on purpose."""


class ConfigError(AfterfitError, ValueError):
    """afterfit.toml or an environment variable is wrong."""


class InputError(AfterfitError, ValueError):
    """A request, frame or argument from the user is wrong."""


class DuplicateError(InputError):
    """An id that was acknowledged before came again."""


class UnknownNameError(AfterfitError, LookupError):
    """A name that does not exist; the message lists the known ones.

    >>> raise UnknownNameError("model", "flihgt", ["flight", "fraud"])
    Traceback (most recent call last):
    ...
    afterfit.errors.UnknownNameError: unknown model 'flihgt'; known: 'flight', 'fraud'. Did you mean 'flight'?
    """

    def __init__(self, what: str, found: str, known: Iterable[str], *, why: str = "") -> None:
        self.found = found
        self.known = tuple(known)
        super().__init__(f"unknown {what} {found!r}; {list_known(found, self.known)}{why and '. ' + why}")


class LifecycleError(AfterfitError, RuntimeError):
    """An event that the life of a model does not allow in its present state."""


class StoreError(AfterfitError, RuntimeError):
    """A store can't be opened, is damaged or refused a write."""


class ConflictError(StoreError):
    """Somebody else wrote first; read again and retry."""


class JobError(AfterfitError, RuntimeError):
    """Training or scoring failed in its own process."""


class WorkerError(AfterfitError, RuntimeError):
    """A version can't be loaded or did not answer."""


class SetupError(AfterfitError, RuntimeError):
    """The machine is not ready: port in use, folder not writable, extra not installed."""


def list_known(found: str, known: Iterable[str]) -> str:
    """The tail of an error about an unknown name: the known names and the nearest one."""
    names = list(known)
    if not names:
        return "none is known yet"
    nearest = difflib.get_close_matches(found, names, n=1)
    hint = f". Did you mean {nearest[0]!r}?" if nearest else ""
    return "known: " + ", ".join(repr(n) for n in names) + hint
