"""The outside world as seen from inside: small Protocols that adapters fill and the four systems rely on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from afterfit.records import (
    Acknowledgement,
    Entry,
    Feature,
    Finding,
    Incident,
    ModelVersion,
    Outcome,
    Prediction,
    Routes,
    ShadowScore,
    Traffic,
    Window,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from afterfit.stats.profile import Column


class Clock(Protocol):
    """Where `now` comes from: the machine, or a simulated year."""

    def now(self) -> datetime: ...


class Ledger(Protocol):
    """Append-only and hash-chained; the truth about what is live. See :class:`afterfit.records.Entry`."""

    def append(
        self,
        *,
        at: datetime,
        model: str,
        kind: str,
        name: str,
        actor: str,
        data: Mapping[str, Any],
        expected: int | None = None,
        id: str | None = None,
    ) -> Entry:
        """Add one entry. `expected` is the number of the newest entry of *this model* that the caller has seen
        (0: none); if another was written since, ConflictError is raised and nothing is written. An entry with
        an `id` that exists already is returned as it stands."""
        ...

    def entries(self, model: str | None = None, *, after: int = 0, kind: str | None = None) -> list[Entry]: ...

    def verify(self) -> list[str]:
        """Problems of the chain in plain words; empty when it is whole."""
        ...


class Versions(Protocol):
    """The versions Afterfit knows, with their local folders."""

    def add_version(self, version: ModelVersion) -> None: ...

    def version(self, model: str, version: int) -> ModelVersion:
        """Raises UnknownNameError, listing the known ones."""
        ...

    def versions(self, model: str) -> list[ModelVersion]: ...

    def models(self) -> list[str]: ...


class Monitor(Protocol):
    """What the monitor has seen: processed windows with their findings, and incidents."""

    def add_window(
        self, model: str, kind: str, window: Window, findings: Sequence[Finding], numbers: Mapping[str, float]
    ) -> bool:
        """Remember a processed window; False (and nothing written) when it was processed before."""
        ...

    def windows(
        self, model: str, kind: str, *, since: datetime | None = None
    ) -> list[tuple[Window, list[Finding], dict[str, float]]]: ...

    def save_incident(self, incident: Incident) -> None: ...

    def incidents(self, model: str | None = None, *, open_only: bool = False) -> list[Incident]: ...


class Journal(Protocol):
    """The durable buffer of one gateway process. A ticket is done when its rows would survive SIGKILL."""

    def predictions(self, rows: Sequence[Prediction]) -> Any:
        """An awaitable that is done after the commit. Raises DuplicateError (nothing written) for a known id."""
        ...

    def lost(self, rows: Sequence[Prediction]) -> None:
        """These were answered although they are not in the log: counted, and told once it takes rows again."""
        ...

    def shadows(self, rows: Sequence[ShadowScore]) -> None:
        """Written with the next commit; nobody waits."""
        ...

    def outcomes(self, rows: Sequence[Outcome]) -> Any:
        """An awaitable for a list with one of stored | duplicate | waiting per row, after the commit."""
        ...


@dataclass(frozen=True, slots=True)
class Drained:
    """How many rows one drain moved from the journals into the lake."""

    predictions: int = 0
    shadows: int = 0
    outcomes: int = 0


class Lake(Protocol):
    """All predictions, shadow scores and outcomes; `docs/architecture.md` lists the columns.

    With `features`, the JSON text column `features` is replaced by one typed column `f:<name>` per feature.
    `as_of` hides what was logged or known later.
    """

    def drain(self, journal_folder: Path) -> Drained:
        """Move what the journals hold into the lake, exactly once, and compact when it is due."""
        ...

    def predictions(
        self,
        model: str,
        window: Window,
        *,
        features: Sequence[Feature] = (),
        as_of: datetime | None = None,
        most: int | None = None,
    ) -> pa.Table:
        """Served rows by event time; where there are more than `most`, a share of them, drawn by their ids."""
        ...

    def labelled(
        self,
        model: str,
        window: Window,
        *,
        features: Sequence[Feature] = (),
        as_of: datetime | None = None,
        known: bool = False,
        most: int | None = None,
    ) -> pa.Table:
        """Served rows plus `outcome` (text), `outcome_time`, `known_time` of the newest outcome; null where none
        is known or it was retracted, or without those rows if `known`."""
        ...

    def served(self, model: str, window: Window, *, as_of: datetime | None = None, known: bool = False) -> int:
        """How many rows were served, or of those how many have a known outcome."""
        ...

    def delays(self, model: str, window: Window, *, as_of: datetime | None = None, most: int | None = None) -> pa.Table:
        """`time` and `known_time` of the rows of `labelled`, in no order: little to hold, however many rows there are."""
        ...

    def pairs(self, model: str, rollout: str, *, as_of: datetime | None = None) -> pa.Table:
        """Rows of one rollout that one version served and another answered as a shadow, with the known outcome."""
        ...

    def traffic(self, model: str, rollout: str, *, version: int, since: int, as_of: datetime | None = None) -> Traffic:
        """What all rows of one rollout count to, and those under the routes `since` and later: `version`'s and others'."""
        ...

    def lost(self, model: str, window: Window) -> int:
        """Rows of the window that were answered and could not be logged."""
        ...

    def counts(self, model: str) -> dict[str, int]:
        """predictions, outcomes, shadows, waiting (outcomes whose prediction has not arrived)."""
        ...


class RoutesBoard(Protocol):
    """Where the control plane pins the routes and the gateways their acknowledgements."""

    def publish(self, routes: Routes) -> None:
        """Atomic and idempotent; a lower number than the published one is ignored. The same number may come with other
        settings."""
        ...

    def current(self) -> Routes: ...

    def acknowledgements(self) -> list[Acknowledgement]:
        """Of gateways that are alive."""
        ...


@dataclass(frozen=True, slots=True)
class JobResult:
    """How a job ended. `data` is what the job wrote; `problem` is None on success, else plain words."""

    data: Mapping[str, Any] = field(default_factory=dict)
    problem: str | None = None
    log: str = ""  # path of the job's log
    seconds: float = 0.0


class Jobs(Protocol):
    """Training and scoring, each in a process of its own with a log and a time limit."""

    def start(
        self, id: str, kind: str, inputs: Mapping[str, Any], tables: Mapping[str, pa.Table], time_limit: float
    ) -> None:
        """Start `train` or `gate`; starting the same id again does nothing."""
        ...

    def poll(self, id: str) -> JobResult | None:
        """None while it runs. A job that nobody started, or whose process vanished, has a problem."""
        ...

    def cancel(self, id: str) -> None: ...

    def wait(self, id: str) -> JobResult: ...


class Registry(Protocol):
    """The user's model registry. Never on the request path. Raises StoreError when it can't be reached."""

    def log(self, draft: ModelVersion, model: Any, example: Any, files: Mapping[str, Path]) -> ModelVersion:
        """Log run, parameters, metrics, signature, environment, model and `files`, and register a version.

        Returns the draft with version, uri, run_id, folder and model_sha256 filled in, and the model copied to its
        folder."""
        ...

    def adopt(self, draft: ModelVersion, uri: str) -> ModelVersion:
        """The same for a version that is in the registry already (`models:/name/3`)."""
        ...

    def champion(self, model: str) -> int | None:
        """Where the alias `champion` points."""
        ...

    def set_champion(self, model: str, version: int) -> None:
        """Sets the alias and reads it back."""
        ...


class Notifier(Protocol):
    """Tells people."""

    def notify(self, title: str, body: str, *, severity: str, model: str) -> None: ...


class Compared(NamedTuple):
    """What a test of one column found. `statistic` and `p_value` are evidence, `distance` is effect; all are numbers."""

    statistic: float
    distance: float
    p_value: float  # in [0, 1]; 1 where there is nothing to tell


class ColumnTest(Protocol):
    """Somebody's own test of a column: `afterfit.compare(..., tests=[it])`. `afterfit.testing.column_test` checks one.

    It is deterministic and changes neither column. `p_value` is at most alpha in at most a share alpha of healthy pairs.
    """

    @property
    def name(self) -> str:
        """Of the method, as findings show it."""
        ...

    def accepts(self, reference: Column) -> bool:
        """Whether this column is one for it. Told from the reference alone, so that the budget is shared beforehand."""
        ...

    def compare(self, reference: Column, window: Column) -> Compared:
        """Both are Numeric or both Categorical; :mod:`afterfit.stats.expand` turns them into values."""
        ...


class StreamDetector(Protocol):
    """Watches numbers in time order, such as a model's losses. `afterfit.testing.stream_detector` checks one."""

    @property
    def alarm(self) -> bool:
        """Whether a change was seen since the start or the last reset: whoever looks once a batch misses none."""
        ...

    def update(self, value: float) -> None:
        """Take the next number. Raises InputError when it is none (NaN, infinite) or outside the detector's range."""
        ...

    def reset(self) -> None:
        """As it was when it was made."""
        ...
