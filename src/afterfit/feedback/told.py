"""What somebody says came true, as it is told by a request or by a service: checked, and made an outcome.

What is wrong is told by name, place and kind, never with the value: an error travels through logs and proxies.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from afterfit.errors import InputError, list_known
from afterfit.records import ModelVersion, Outcome, OutcomeKind, Task, Value

_KINDS = {bool: "boolean", int: "integer", float: "number", str: "text", dict: "object", list: "array"}
_OUTCOME_KEYS = ("prediction_id", "key", "time", "value", "event_time", "known_time", "source", "kind")


def outcome(model: str, item: object, version: ModelVersion, now: datetime) -> Outcome:
    """One item of an outcomes body.

    Raises:
        InputError: says what was wanted; the other items of the request are not affected.
    """
    if not isinstance(item, dict):
        raise InputError(f"wanted an object, found {type(item).__name__}")
    known_keys(item, _OUTCOME_KEYS, "the outcome")
    prediction_id, key = item.get("prediction_id"), item.get("key")
    if prediction_id is None and (key is None or item.get("time") is None):
        raise InputError('wanted "prediction_id", or "key" and "time" of the prediction')
    for name, value in (("prediction_id", prediction_id), ("key", key), ("source", item.get("source"))):
        if value is not None and not (isinstance(value, str) and value):
            raise InputError(f'"{name}": wanted text, found {kind_of(value)}')
    kind = item.get("kind", OutcomeKind.OUTCOME.value)
    if not isinstance(kind, str) or kind not in set(OutcomeKind):
        raise InputError(f'"kind": {list_known(str(kind), [k.value for k in OutcomeKind])}')
    if "value" not in item:
        raise InputError('"value" is missing')
    known = moment(item["known_time"], "known_time") if item.get("known_time") is not None else now
    return Outcome(
        model=model,
        value=_outcome_value(item["value"], version, OutcomeKind(kind)),
        event_time=moment(item["event_time"], "event_time") if item.get("event_time") is not None else known,
        known_time=known,
        prediction_id=prediction_id,
        key=key,
        time=moment(item["time"], "time") if item.get("time") is not None else None,
        source=item.get("source") or "api",
        kind=OutcomeKind(kind),
    )


def moment(value: object, name: str) -> datetime:
    """A time given as RFC 3339 text or epoch seconds, in UTC."""
    wanted = 'wanted a time such as "2013-07-15T12:00:00Z" or epoch seconds'
    try:
        if isinstance(value, str):
            found = datetime.fromisoformat(value)
            return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise InputError(f'"{name}": the {kind_of(value)} is no time; {wanted}') from error
    raise InputError(f'"{name}": {wanted}, found {kind_of(value)}')


def _outcome_value(value: Any, version: ModelVersion, kind: OutcomeKind) -> Value:
    if kind is OutcomeKind.RETRACTION:
        return None
    if version.task is Task.REGRESSION:
        fine = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
        if not fine or not math.isfinite(value):
            raise InputError(f'"value": wanted a finite number, found {kind_of(value)}')
        return float(value)
    for label in version.classes or ():
        if value == label and isinstance(value, bool) == isinstance(label, bool):
            return label
    raise InputError(f'"value": wanted one of {list(version.classes or ())}, found another {kind_of(value)}')


def kind_of(value: object) -> str:
    """What a value is, without the value.

    >>> kind_of("Ann"), kind_of(2**64), kind_of(float("nan")), kind_of(None)
    ('text', 'integer beyond 64 bits', 'no finite number', 'null')
    """
    if isinstance(value, float) and not math.isfinite(value):
        return "no finite number"
    if type(value) is int and not -(2**63) <= value < 2**63:
        return "integer beyond 64 bits"
    return "null" if value is None else _KINDS.get(type(value), type(value).__name__)


def known_keys(data: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in data:
        if key not in known:
            raise InputError(f"{where} has an unknown key {key!r}; {list_known(key, known)}")
