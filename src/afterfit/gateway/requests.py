"""Bodies of requests become typed values, or an error that says what was wanted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import uuid_utils

from afterfit.config import Config
from afterfit.errors import InputError
from afterfit.feedback.told import kind_of, known_keys, moment
from afterfit.gateway.signature import Body, Columns, Signature
from afterfit.records import Value

MOST_ROWS = Config.max_rows  # of a request, where the settings say nothing else
_PREDICT_KEYS = ("rows", "key", "id", "time")


@dataclass(slots=True)
class PredictRequest:
    """A predict body that fits the champion's signature; all lists have one entry a row."""

    rows: Sequence[Mapping[str, Value]]
    columns: Columns  # of the champion
    ids: list[str]
    keys: list[str]
    times: list[datetime]

    def only(self, at: Sequence[int]) -> PredictRequest:
        """The rows at these positions."""
        return PredictRequest(
            [self.rows[i] for i in at],
            {name: [values[i] for i in at] for name, values in self.columns.items()},
            [self.ids[i] for i in at],
            [self.keys[i] for i in at],
            [self.times[i] for i in at],
        )


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
    found = re.search(rb'(?:"([^"]{1,100})"\s*:|[\[,])\s*(NaN|-?Infinity|-?\d+e\d{3,})', body)
    if found is None:
        return ""
    name, value = ((part or b"").decode(errors="replace") for part in found.groups())
    return f". {repr(name) if name else 'A value in a list'} is {value}; wanted a finite number, or null where a null was seen in training"


def predict_request(content: bytes, signature: Signature, now: datetime, most: int = MOST_ROWS) -> PredictRequest:
    """`{"rows": [...], "key"?, "id"?, "time"?}`; key, id and time may be one value or one a row.

    Raises:
        SignatureError: the rows do not fit.
        InputError: the rest does not.
    """
    packed = signature.read(content)
    body = packed if packed is not None else _by_hand(content)
    return _request(body, signature, now, most, packed=packed is not None)


def rows_request(
    rows: list[Any],
    signature: Signature,
    now: datetime,
    most: int,
    *,
    id: object = None,
    key: object = None,
    time: object = None,
) -> PredictRequest:
    """The same of rows that came in another dialect; raises the same errors."""
    return _request(Body(rows, key, id, time), signature, now, most, packed=False)


def _request(body: Body, signature: Signature, now: datetime, most: int, *, packed: bool) -> PredictRequest:
    n_rows = len(body.rows)
    if not n_rows:
        raise InputError("there are no rows; wanted at least one row")
    if n_rows > most:
        raise InputError(f"found {n_rows} rows; wanted at most {most} a request")
    ids = _ids(body.id, n_rows)
    keys = ids if body.key is None else _texts(body.key, n_rows, "key")
    times = [now] * n_rows if body.time is None else [moment(t, "time") for t in _spread(body.time, n_rows, "time")]
    rows, columns = signature.unpack(body.rows) if packed else (body.rows, signature.columns(body.rows))
    return PredictRequest(rows, columns, ids, keys, times)


def _by_hand(content: bytes) -> Body:
    data = decode(content)
    known_keys(data, _PREDICT_KEYS, "the body")
    rows = data.get("rows")
    if not isinstance(rows, list):
        raise InputError('wanted {"rows": [{feature: value}, ...]}, found no list "rows"')
    return Body(rows, data.get("key"), data.get("id"), data.get("time"))


def _ids(given: object, n: int) -> list[str]:
    if given is None:
        made = str(uuid_utils.uuid7())
        return [made] if n == 1 else [f"{made}/{i}" for i in range(n)]
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
            found = f"{len(value)}" if isinstance(value, str) else kind_of(value)
            raise InputError(f'"{name}": wanted text of 1 to 500 characters, found {found}')
    return values


def _spread(given: object, n: int, name: str) -> list[Any]:
    if not isinstance(given, list):
        return [given] * n
    if len(given) != n:
        raise InputError(f'"{name}" has {len(given)} entries for {n} rows; wanted one for each row, or a single value')
    return given
