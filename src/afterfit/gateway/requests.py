"""Bodies of requests become typed values, or an error that says what was wanted."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import uuid_utils

from afterfit.errors import InputError, list_known
from afterfit.gateway.signature import Body, Columns, Signature
from afterfit.records import ModelVersion, Outcome, OutcomeKind, Task, Value

MOST_ROWS = 10_000
_PREDICT_KEYS = ("rows", "key", "id", "time")
_OUTCOME_KEYS = ("prediction_id", "key", "time", "value", "event_time", "known_time", "source", "kind")


@dataclass(slots=True)
class PredictRequest:
    """A predict body that fits the champion's signature; all lists have one entry a row."""

    rows: Sequence[Mapping[str, Value]]
    columns: Columns  # of the champion
    ids: list[str]
    keys: list[str]
    times: list[datetime]


def decode(body: bytes) -> dict[str, Any]:
    """The JSON object of a body."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"the body is not valid JSON: {error}{_hint(body)}") from error
    except RecursionError as error:
        raise InputError("the body is nested too deeply; wanted an object of lists and values") from error
    if not isinstance(value, dict):
        raise InputError(f"wanted a JSON object, found {type(value).__name__}")
    return value


def _hint(body: bytes) -> str:
    """Python's json writes NaN and Infinity, which JSON does not know: say where the first one stands."""
    found = re.search(rb'"([^"]{1,100})"\s*:\s*(NaN|-?Infinity|-?\d+e\d{3,})', body)
    if found is None:
        return ""
    name, value = (part.decode(errors="replace") for part in found.groups())
    return f". {name!r} is {value}; wanted a finite number, or null where a null was seen in training"


def predict_request(content: bytes, signature: Signature, now: datetime) -> PredictRequest:
    """`{"rows": [...], "key"?, "id"?, "time"?}`; key, id and time may be one value or one a row.

    Raises:
        SignatureError: the rows do not fit.
        InputError: the rest does not.
    """
    packed = signature.read(content)
    body = packed if packed is not None else _by_hand(content)
    n_rows = len(body.rows)
    if not n_rows:
        raise InputError('"rows" is empty; wanted at least one row')
    if n_rows > MOST_ROWS:
        raise InputError(f'"rows" has {n_rows} rows; wanted at most {MOST_ROWS} a request')
    ids = _ids(body.id, n_rows)
    keys = ids if body.key is None else _texts(body.key, n_rows, "key")
    times = [now] * n_rows if body.time is None else [moment(t, "time") for t in _spread(body.time, n_rows, "time")]
    rows, columns = (body.rows, signature.columns(body.rows)) if packed is None else signature.unpack(body.rows)
    return PredictRequest(rows, columns, ids, keys, times)


def _by_hand(content: bytes) -> Body:
    data = decode(content)
    _known_keys(data, _PREDICT_KEYS, "the body")
    rows = data.get("rows")
    if not isinstance(rows, list):
        raise InputError('wanted {"rows": [{feature: value}, ...]}, found no list "rows"')
    return Body(rows, data.get("key"), data.get("id"), data.get("time"))


def outcome(model: str, item: object, version: ModelVersion, now: datetime) -> Outcome:
    """One item of an outcomes body.

    Raises:
        InputError: says what was wanted; the other items of the request are not affected.
    """
    if not isinstance(item, dict):
        raise InputError(f"wanted an object, found {type(item).__name__}")
    _known_keys(item, _OUTCOME_KEYS, "the outcome")
    prediction_id, key = item.get("prediction_id"), item.get("key")
    if prediction_id is None and (key is None or item.get("time") is None):
        raise InputError('wanted "prediction_id", or "key" and "time" of the prediction')
    for name, value in (("prediction_id", prediction_id), ("key", key), ("source", item.get("source"))):
        if value is not None and not (isinstance(value, str) and value):
            raise InputError(f'"{name}": wanted text, found {_short(value)}')
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
    try:
        if isinstance(value, str):
            found = datetime.fromisoformat(value)
            return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise InputError(f'"{name}": {_short(value)} is no time: {error}') from error
    raise InputError(f'"{name}": wanted a time such as "2013-07-15T12:00:00Z" or epoch seconds, found {_short(value)}')


def _outcome_value(value: Any, version: ModelVersion, kind: OutcomeKind) -> Value:
    if kind is OutcomeKind.RETRACTION:
        return None
    if version.task is Task.REGRESSION:
        fine = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
        if not fine or not math.isfinite(value):
            raise InputError(f'"value": wanted a finite number, found {_short(value)}')
        return float(value)
    for label in version.classes or ():
        if value == label and isinstance(value, bool) == isinstance(label, bool):
            return label
    raise InputError(f'"value": wanted one of {list(version.classes or ())}, found {_short(value)}')


def _short(value: object) -> str:
    """A value for a message; Python refuses to print integers of thousands of digits."""
    if isinstance(value, int) and abs(value) >= 10**40:
        return "an integer beyond 64 bits"
    return f"{value!r:.60}" if isinstance(value, str) else repr(value)[:60]


def _known_keys(data: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in data:
        if key not in known:
            raise InputError(f"{where} has an unknown key {key!r}; {list_known(key, known)}")


def _ids(given: object, n: int) -> list[str]:
    if given is None:
        return [str(uuid_utils.uuid7()) for _ in range(n)]
    if isinstance(given, str) and n > 1:
        return [f"{_texts(given, 1, 'id')[0]}/{i}" for i in range(n)]
    ids = _texts(given, n, "id")
    if len(set(ids)) < n:
        twice = Counter(ids).most_common(1)[0][0]
        raise InputError(f'"id": {twice!r} stands twice in this request; wanted a different id for each row')
    return ids


def _texts(given: object, n: int, name: str) -> list[str]:
    values = _spread(given, n, name)
    for value in values:
        if not isinstance(value, str) or not 0 < len(value) <= 500:
            raise InputError(f'"{name}": wanted text of 1 to 500 characters, found {_short(value)}')
    return values


def _spread(given: object, n: int, name: str) -> list[Any]:
    if not isinstance(given, list):
        return [given] * n
    if len(given) != n:
        raise InputError(f'"{name}" has {len(given)} entries for {n} rows; wanted one for each row, or a single value')
    return given
