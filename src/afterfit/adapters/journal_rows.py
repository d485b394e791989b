"""How one log row is packed: the columns of each lake table, in order, as a msgpack array. No file is touched here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar

import msgspec
import numpy as np

from afterfit.adapters.packed_row import PackedRow
from afterfit.errors import InputError
from afterfit.records import Outcome, Prediction, ShadowScore, Value

PREDICTION, SHADOW, OUTCOME, LOSS = KINDS = ("prediction", "shadow", "outcome", "loss")

# Order of the packed fields. `sequence` of an outcome is not packed: it is the number of the journal row.
FIELDS: Mapping[str, tuple[str, ...]] = {
    PREDICTION: (
        *("prediction_id", "model", "version", "role", "time", "logged_at", "key", "features", "prediction", "scores"),
        *("propensity", "rollout", "routes", "status", "failed_version", "failure", "latency_ms"),
    ),
    SHADOW: (
        *("prediction_id", "model", "version", "time", "logged_at", "prediction", "scores", "rollout", "status"),
        *("failure", "latency_ms"),
    ),
    OUTCOME: ("model", "prediction_id", "key", "time", "value", "event_time", "known_time", "source", "kind"),
    LOSS: ("model", "time", "until", "rows"),
}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class _HasModel(Protocol):
    @property
    def model(self) -> str: ...


Row = TypeVar("Row", bound=_HasModel)


def micros(moment: datetime) -> int:
    """Microseconds since 1970 of a timezone-aware time.

    >>> micros(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))
    1000000
    """
    return (moment - _EPOCH) // _MICROSECOND


def pack_prediction(row: Prediction) -> bytes:
    """The features go in as they are, and become text when the row is drained: nobody waits for that."""
    try:
        return pack(_fields(row, row.features))
    except OverflowError:  # an integer beyond 64 bits, which only text can hold
        return pack(_fields(row, json_text(row.features)))


def _fields(row: Prediction, features: object) -> tuple[object, ...]:
    time = micros(row.time)
    return (
        row.id,
        row.model,
        row.version,
        row.role,
        time,
        time if row.logged_at is row.time else micros(row.logged_at),
        row.key,
        features,
        json_text(row.prediction),
        row.scores,
        row.propensity,
        row.rollout,
        row.routes,
        row.status,
        row.failed_version,
        row.failure,
        row.latency_ms,
    )


def pack_shadow(row: ShadowScore) -> bytes:
    return pack(
        (
            row.prediction_id,
            row.model,
            row.version,
            micros(row.time),
            micros(row.logged_at),
            json_text(row.prediction),
            row.scores,
            row.rollout,
            row.status,
            row.failure,
            row.latency_ms,
        )
    )


def pack_outcome(row: Outcome) -> bytes:
    return pack(
        (
            row.model,
            row.prediction_id,
            row.key,
            None if row.time is None else micros(row.time),
            json_text(row.value),
            micros(row.event_time),
            micros(row.known_time),
            row.source,
            row.kind,
        )
    )


def pack_loss(model: str, start: datetime, end: datetime, rows: int) -> bytes:
    """So many rows with event times in [start, end) were answered and could not be logged."""
    return pack((model, micros(start), micros(end), rows))


def outcome_identity(row: Outcome) -> str:
    """What an outcome is about: the id of its prediction, or key and time of it."""
    if row.prediction_id is not None:
        return f"id:{row.prediction_id}"
    if row.key is None or row.time is None:
        raise InputError(
            "an outcome names its prediction by `prediction_id`, or by `key` and `time` together; "
            f"found key={row.key!r} and time={row.time!r}. Send one of the two"
        )
    return f"key:{micros(row.time)}:{row.key}"


def outcome_state(row: Outcome) -> str:
    """What an outcome says, without when it was learned; equal texts are a repetition. An event time that nobody told is
    that at which it was learned."""
    told = "" if row.event_time == row.known_time else micros(row.event_time)
    return f"{row.kind}|{told}|{json_text(row.value)}"


def pack_rows(rows: Sequence[Row], how: Callable[[Row], Any]) -> list[Any]:
    """Pack all rows, or raise InputError that says which row can't be stored and why."""
    packed: list[Any] = []
    for number, row in enumerate(rows):
        try:
            packed.append(how(row))
        except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
            raise InputError(
                f"row {number} of model {row.model!r} can't be stored: {error}. Wanted: times with a timezone, ids and "
                "texts of valid Unicode, and values that are text, number, bool or null"
            ) from error
    return packed


def json_text(value: Value | Mapping[str, Value]) -> str:
    """JSON of a value. JSON knows no NaN and no infinity: they become null."""
    return _json(value).decode()


def _plain(value: object) -> object:
    """What msgspec does not know: a mapping that is no dict, and numpy scalars."""
    if isinstance(value, PackedRow):
        return value.struct
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"wanted text, number, bool or null, found {type(value).__name__} {value!r}")


pack = msgspec.msgpack.Encoder(enc_hook=_plain).encode
_json = msgspec.json.Encoder(enc_hook=_plain).encode
