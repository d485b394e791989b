"""The nouns of the domain as frozen data: what was predicted, what came true, what was found, what was decided.

Nothing here reads a clock or opens a file. All times are timezone-aware UTC; all durations are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, overload

Value = str | float | int | bool | None  # one cell: a feature, a prediction or an outcome
Json = Mapping[str, Any]


class Task(StrEnum):
    """What a model predicts."""

    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"


class Role(StrEnum):
    """The part a version plays in a reply."""

    CHAMPION = "champion"
    CANARY = "canary"
    SHADOW = "shadow"
    STANDBY = "standby"  # the champion before: loaded and probed, so that a rollback can't fail
    HISTORY = "history"  # imported rows that no version answered (version 0)
    FALLBACK = "fallback"  # no version answered: the configured value did (version 0)


class Status(StrEnum):
    """How an attempt to predict ended."""

    OK = "ok"
    FALLBACK = "fallback"  # the routed version failed, another one answered; the role says which
    SKIPPED = "skipped"  # the same, but the routed version was not asked: its breaker was open, or its process away
    ERROR = "error"  # nobody answered; the caller got a 503
    TIMEOUT = "timeout"
    DROPPED = "dropped"  # a shadow request that was not attempted
    UNLOGGED = "unlogged"  # answered, but the log took no rows; only in replies and counters, never in the log


class OutcomeKind(StrEnum):
    """What an outcome row says about the ones before it."""

    OUTCOME = "outcome"
    CORRECTION = "correction"
    RETRACTION = "retraction"


class Outlook(StrEnum):
    """The five verdicts. Only PASS promotes (promise 3)."""

    PASS = "pass"
    HARM = "harm"
    UNDECIDED = "undecided"
    NO_DATA = "no_data"
    INVALID = "invalid"


class Severity(StrEnum):
    """How much a finding matters to whoever is woken by it."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """To sort by: 0 for what matters least.

        >>> max(Severity, key=lambda s: s.rank)
        <Severity.CRITICAL: 'critical'>
        """
        return list(Severity).index(self)


# --- the log ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Prediction:
    """One served row. `id` is unique; a row is acknowledged to the caller only after it is in the journal."""

    id: str
    model: str
    version: int  # the version whose answer the caller got
    role: Role
    time: datetime  # when the prediction is about (event time; the caller may give it)
    logged_at: datetime  # when the gateway answered
    features: Mapping[str, Value]
    prediction: Value
    scores: tuple[float, ...] | None = None  # class probabilities, in the order of the model's classes
    key: str | None = None  # what assignment sticks to: a customer, a plane, a session
    propensity: float = 1.0  # chance that this version was chosen for this key
    rollout: str | None = None  # id of the event that started the rollout; salt of the assignment
    routes: int = 0  # number of the routes snapshot that was in force
    status: Status = Status.OK
    failed_version: int | None = None  # FALLBACK, SKIPPED: the version that should have answered
    failure: str | None = None  # why it did not: crash, timeout, invalid output, ...
    latency_ms: float = 0.0


class Predictions(Sequence[Prediction]):
    """Many rows that one version answered together, column by column; each row is made when it is asked for.

    Args:
        shared: any of the rows, for what all of them have in common.
        own: field -> one value a row, of the fields in which they differ; `id` among them.

    >>> from datetime import UTC
    >>> now = datetime(2013, 1, 1, tzinfo=UTC)
    >>> first = Prediction("a/0", "m", 1, Role.CHAMPION, now, now, {"x": 1.5}, 0)
    >>> both = Predictions(first, {"id": ["a/0", "a/1"], "prediction": [0, 1]})
    >>> both[1].id, both[1].features, column(both, "prediction"), column(both, "version")
    ('a/1', {'x': 1.5}, [0, 1], [1, 1])
    """

    __slots__ = ("_own", "_shared")

    def __init__(self, shared: Prediction, own: Mapping[str, Sequence[Any]]) -> None:
        self._shared = shared
        self._own = own

    def __len__(self) -> int:
        return len(self._own["id"])

    @overload
    def __getitem__(self, at: int) -> Prediction: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Prediction]: ...
    def __getitem__(self, at: int | slice) -> Prediction | Sequence[Prediction]:
        own: dict[str, Any] = {name: values[at] for name, values in self._own.items()}
        return Predictions(self._shared, own) if isinstance(at, slice) else replace(self._shared, **own)

    def column(self, name: str) -> Sequence[Any]:
        """One field of all rows."""
        own = self._own.get(name)
        return [getattr(self._shared, name)] * len(self) if own is None else own


def column(rows: Sequence[Prediction], name: str) -> Sequence[Any]:
    """One field of all rows, whether they are a list or :class:`Predictions`."""
    return rows.column(name) if isinstance(rows, Predictions) else [getattr(row, name) for row in rows]


@dataclass(frozen=True, slots=True)
class ShadowScore:
    """What another version would have answered to an already served row; nobody saw it."""

    prediction_id: str
    model: str
    version: int
    time: datetime  # event time of the served row
    logged_at: datetime
    prediction: Value
    scores: tuple[float, ...] | None = None
    rollout: str | None = None
    status: Status = Status.OK
    failure: str | None = None
    latency_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came true. Bitemporal and append-only: the row with the latest `known_time` wins.

    Found by `prediction_id`, or by `key` + `time` of the prediction.
    """

    model: str
    value: Value
    event_time: datetime  # when it happened
    known_time: datetime  # when we learned it
    prediction_id: str | None = None
    key: str | None = None
    time: datetime | None = None
    source: str = "api"
    kind: OutcomeKind = OutcomeKind.OUTCOME


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the served rows of a rollout and their shadow scores count to.

    An attempt is what one version gets at once: rows with the same measured latency, or one row without a latency. Skipped
    rows and dropped shadows are no attempts. The last three count a part of the rows only: those of the present stage.
    """

    asked: Mapping[int, int]  # version -> attempts, as the one that was to serve and as a shadow
    failed: Mapping[int, int]  # version -> those that were errors, timeouts or fallbacks
    rows: int
    requests: int  # rows that the version in question was to serve and that were put to it
    keys: int  # distinct keys of the rows that it was to serve
    other_keys: int  # distinct keys of the others


# --- versions and routes ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of a model's signature.

    `kind` is number, integer, boolean or text; `dtype` is the pandas dtype the model was fitted on
    (`category` keeps its `categories`); `nullable` says whether a null was seen in training. `redact` says that it is
    logged as a hash (`hash`) or not at all (`drop`).
    """

    name: str
    kind: str
    dtype: str
    nullable: bool = False
    categories: tuple[str, ...] | None = None
    redact: str = ""


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A registered version: where it lives and all that is known about how it was made."""

    model: str
    version: int  # MLflow registry version
    task: Task
    created_at: datetime
    folder: str  # local copy under home: model/, version.json, reference.json
    uri: str  # where it lives in MLflow
    run_id: str | None
    model_sha256: str  # over all files of the model, in sorted order
    data_sha256: str | None  # over the whole training frame
    n_rows: int  # training rows
    features: tuple[Feature, ...]
    classes: tuple[Value, ...] | None  # order of the scores; None for regression
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)  # holdout_loss, baseline_loss, ... and the user's own
    data_from: datetime | None = None  # event times of the training rows, where known
    data_to: datetime | None = None
    loss_scale: float = 1.0  # regression: absolute error at which the bounded loss is 1
    origin: str = "register"  # register | adopt | retrain
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def as_logged(self) -> ModelVersion:
        """The version with the features that the log has: without dropped ones, and a hashed one is text."""
        features = tuple(
            Feature(f.name, "text", "str", f.nullable, redact=f.redact) if f.redact else f
            for f in self.features
            if f.redact != "drop"
        )
        return replace(self, features=features)


@dataclass(frozen=True, slots=True)
class Target:
    """One version that a gateway must have loaded, and its share of the traffic."""

    version: int
    role: Role
    weight: float  # share of the served traffic; 0 for a shadow or a warm stand-by
    folder: str
    sha256: str


@dataclass(frozen=True, slots=True)
class ModelRoutes:
    """The routes of one model. The weights of its targets sum to 1."""

    model: str
    task: Task
    targets: tuple[Target, ...]
    rollout: str  # salt of the sticky assignment; a new one per rollout
    timeout: float = 1.0  # seconds a version may take to answer
    deadline: float = 20.0  # seconds a caller may wait in all
    fallback: Value = "none"  # none | prior | last | a constant: the answer when no version has one
    worker_memory: float | None = None  # MB that a worker process may take; None: half of the machine's


@dataclass(frozen=True, slots=True)
class Routes:
    """An immutable, numbered snapshot of all routes; the only thing the control plane tells a gateway."""

    number: int
    made_at: datetime
    models: Mapping[str, ModelRoutes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What a gateway says about the routes it runs: `number` applied, and what it could not load."""

    gateway: str
    number: int
    at: datetime
    pid: int
    url: str
    problems: Mapping[str, str] = field(default_factory=dict)  # "model/version" -> why it does not answer
    served: Mapping[str, int] = field(default_factory=dict)  # model -> rows acknowledged since start
    dropped: Mapping[str, int] = field(default_factory=dict)  # reason -> shadow requests dropped
    restarts: Mapping[str, int] = field(default_factory=dict)  # "model/version" -> deaths of its worker since start
    degraded: Mapping[str, int] = field(default_factory=dict)  # "model/role that answered instead, or nobody" -> rows
    memory: Mapping[str, float] = field(default_factory=dict)  # "model/version" -> most MB its process took so far


# --- what the monitor sees -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Window:
    """A half-open stretch of event time, [start, end)."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Finding:
    """One check on one column in one window: one shape for every check.

    `statistic` and `p_value` are evidence, `distance` is effect; `threshold` is the value of the statistic
    above which the check drifts at the budget.
    """

    column: str
    check: str  # drift | nulls | unseen | constant | range | unit | prediction | performance | ...
    method: str
    statistic: float
    distance: float
    p_value: float
    threshold: float
    drifted: bool
    severity: Severity
    message: str
    n_reference: int
    n_window: int
    segment: str | None = None  # such as `origin=JFK`; None: the whole window


@dataclass(frozen=True, slots=True)
class Incident:
    """Findings of one model that belong together, from the first window that shows them to the last."""

    id: str
    model: str
    kind: str  # quality | drift | concept | performance | serving
    opened_at: datetime
    updated_at: datetime
    severity: Severity
    title: str
    columns: tuple[str, ...]
    checks: tuple[str, ...]
    messages: tuple[str, ...]
    version: int | None = None
    closed_at: datetime | None = None
    quiet_windows: int = 0  # windows in a row without a finding


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a metric."""

    value: float
    labels: Mapping[str, str] = field(default_factory=dict)
    suffix: str = ""  # of the name; only a histogram's have one


@dataclass(frozen=True, slots=True)
class Family:
    """One metric as Prometheus knows it; what it counts is told in words too."""

    name: str
    kind: str  # counter | gauge | histogram
    help: str
    samples: tuple[Sample, ...]


# --- what is decided -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verdict:
    """An outlook with the numbers behind it, for a person to read and a replay to check."""

    outlook: Outlook
    reasons: tuple[str, ...]
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the ledger. `hash` covers all other fields, so a changed past shows.

    `kind` is `event` (lifecycle, changes the state), `fact` (something worth remembering), `done` (a command of an
    event was carried out) or `token` (one of the gateway was made, rotated or revoked; `model` is empty, as no model's is).
    """

    number: int
    id: str
    at: datetime
    model: str
    kind: str
    name: str
    actor: str  # controller, or person:<login>
    data: Mapping[str, Any]
    previous: str
    hash: str
