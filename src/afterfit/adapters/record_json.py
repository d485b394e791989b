"""Records to JSON text and back, exactly: times are UTC to the microsecond, and a NaN stays a NaN.

NaN and infinity are written as Python does (`NaN`, `Infinity`): a number that can't be computed must not become null,
nor stop the loop. Keys are sorted, so equal content gives equal text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from afterfit.errors import InputError, StoreError

T = TypeVar("T")


def to_json(value: Any) -> str:
    """Canonical JSON of a record, or of plain data made of JSON values, tuples, mappings, datetimes and numpy scalars.

    Inside fields typed `Any`, a tuple comes back as a list and a datetime as text: JSON knows neither.

    Raises:
        InputError: something inside has no JSON form, or a datetime has no time zone.

    >>> to_json({"b": (1, 2.0), "a": float("nan")})
    '{"a":NaN,"b":[1,2.0]}'
    """
    try:
        plain = msgspec.to_builtins(value, builtin_types=(datetime,), str_keys=True, enc_hook=_plain)
        return json.dumps(plain, sort_keys=True, separators=(",", ":"), default=_moment)
    except (TypeError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{type(value).__name__} can't be stored as JSON: {error}. Use plain values") from error


def from_json(text: str | bytes, kind: type[T]) -> T:
    """The record (or the plain data) that :func:`to_json` wrote. Unknown fields, of a newer Afterfit, are ignored.

    Raises:
        StoreError: the text is not JSON, or not of that kind.

    >>> from_json('{"start": "2013-07-15T00:00:00Z"}', dict[str, str])
    {'start': '2013-07-15T00:00:00Z'}
    """
    try:
        return msgspec.convert(json.loads(text), kind)
    except (ValueError, TypeError) as error:  # msgspec.ValidationError and json.JSONDecodeError are ValueErrors
        name = getattr(kind, "__name__", str(kind))
        raise StoreError(f"not a stored {name}: {error}") from error


def utc_text(moment: datetime) -> str:
    """ISO 8601 in UTC with six decimals, always: as text it sorts as in time.

    >>> utc_text(datetime(2013, 7, 15, tzinfo=UTC))
    '2013-07-15T00:00:00.000000+00:00'
    """
    if moment.tzinfo is None:
        raise InputError(f"{moment!r} has no time zone; wanted an aware time such as datetime.now(UTC)")
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _moment(value: object) -> str:
    if isinstance(value, datetime):
        return utc_text(value)
    raise TypeError(f"no JSON form for {type(value).__name__}")


def _plain(value: Any) -> Any:
    """What msgspec does not know: other mappings, and numpy scalars such as a metric computed by numpy."""
    if isinstance(value, Mapping):
        return dict(value)
    if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        return value.item()
    raise TypeError(f"no JSON form for {type(value).__module__}.{type(value).__name__}")
