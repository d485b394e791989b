"""Features that nobody may find in a log: left out, or replaced by a keyed hash, before anything is written.

The hash is BLAKE2b with 32 random bytes that lie in the home (`redaction.salt`): equal values have equal hashes, so that
drift of a hashed category is still seen, and without the salt nobody finds a value by hashing all there are. It is no
anonymity: who has log and salt can try values.
"""

from __future__ import annotations

import os
import re
import secrets
import tempfile
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path

from afterfit.adapters.atomic_file import cannot_write
from afterfit.config import REDACTIONS
from afterfit.errors import StoreError
from afterfit.records import Feature, Value

DROP, HASH = REDACTIONS
_BYTES = 32
_DIGEST = 8  # bytes; among a million values two have the same hash with a chance of 3e-8
_TELLS = re.compile(r"^(?P<what>(?:(?!: ).)*(?:raised \w+|dtypes)|(?:(?!: ).)*): .*", re.DOTALL)


class Redaction:
    """What becomes of the features of a row.

    >>> keep = Redaction([Feature("name", "text", "str", redact="drop"), Feature("age", "integer", "int64")], b"salt")
    >>> keep.row({"name": "Ann", "age": 41})
    {'age': 41}
    """

    def __init__(self, features: Iterable[Feature], salt: bytes) -> None:
        self._rules = {f.name: f for f in features if f.redact}
        self._salt = salt

    def __bool__(self) -> bool:
        return bool(self._rules)

    def row(self, features: Mapping[str, Value]) -> dict[str, Value]:
        """The row as it may be written."""
        kept = dict(features)
        for name, feature in self._rules.items():
            if name not in kept:
                continue
            if feature.redact == DROP:
                del kept[name]
            else:
                kept[name] = self.hash(feature, kept[name])
        return kept

    def hash(self, feature: Feature, value: Value) -> str | None:
        """16 hexadecimal digits; None for a null. 2 and 2.0 of a feature that is a number are one value."""
        if value is None or value != value:  # noqa: PLR0124  NaN is a null
            return None
        if feature.kind == "number" and not isinstance(value, str):
            value = float(value)
        return blake2b(
            f"{feature.name}={value}".encode(errors="replace"), digest_size=_DIGEST, key=self._salt
        ).hexdigest()

    def failure(self, text: str | None) -> str | None:
        """Why a version failed, without what it may have said about the row."""
        if text is None or (short := without_row(text)) == text:
            return text
        return f"{short} (the rest is left out, since features are redacted)"


def without_row(failure: str) -> str:
    """Why a version failed, up to where the model's own words begin: those may quote the row.

    >>> without_row("version 1 raised ValueError: could not convert 'Ann'")
    'version 1 raised ValueError'
    """
    found = None if failure.startswith(("timeout", "crash")) else _TELLS.match(failure)
    return failure if found is None else found["what"]


def redaction_of(features: Iterable[Feature], home: Path) -> Redaction | None:
    """How rows with these features are redacted; None where none of them is.

    Raises:
        StoreError: the salt of the home can't be read or made.
    """
    marked = [f for f in features if f.redact]
    return Redaction(marked, salt_of(home)) if marked else None


def salt_of(home: Path) -> bytes:
    """The key of this home's hashes, made at the first call.

    Raises:
        StoreError: it can't be read or made, or is damaged.
    """
    path = home / "redaction.salt"
    try:
        if not path.exists():
            _make(path)
        salt = path.read_bytes()
    except OSError as error:
        raise cannot_write(path, error) from error
    if len(salt) != _BYTES:
        raise StoreError(
            f"{path} has {len(salt)} bytes, wanted {_BYTES}. Restore it from a backup; a new one would make all hashed "
            "categories look as if they had never been seen"
        )
    return salt


def _make(path: Path) -> None:
    """A file that only this user may read, whole from the first moment; of two processes the first one wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(_BYTES))
            file.flush()
            os.fsync(file.fileno())
        os.link(aside, path)
    except FileExistsError:
        pass
    finally:
        os.unlink(aside)
