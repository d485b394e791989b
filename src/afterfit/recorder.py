"""The log for a service or job of your own: predictions and outcomes as durable as the gateway's, without a gateway."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import uuid_utils

from afterfit.adapters.atomic_file import cannot_write
from afterfit.adapters.journal import SqliteJournal
from afterfit.adapters.journal_room import own_journal
from afterfit.adapters.record_json import from_json
from afterfit.adapters.redaction import Redaction, redaction_of
from afterfit.adapters.routes_board import FileRoutesBoard
from afterfit.config import CONFIG_FILE, Config, config_file, load
from afterfit.errors import InputError, SetupError, StoreError, UnknownNameError
from afterfit.feedback.told import moment, outcome
from afterfit.records import ModelVersion, Outcome, Prediction, Role, Value

log = logging.getLogger("afterfit.recorder")
TOGETHER = 5_000  # rows of `log_many` a commit
_ROLE = Role.CHAMPION  # a caller got the answer, whatever version gave it


class Recorder:
    """Logs what a model of your own service answered, and what came true, so that Afterfit can monitor it.

    The model is registered once, in the training job, by :func:`afterfit.register`: that keeps what its windows are
    compared with. `afterfit up` (its controller) moves what is logged into the lake and looks at it.

    `log` returns once the row is in `journal/recorder-<model>.db` of the home and would survive the death of the process
    at any instant (`durability` in afterfit.toml; docs/recording.md). Where the journal can't take a row, a full disk say,
    your service goes on: the loss is logged, counted in `lost`, and known to the monitor, which does not judge a window
    whose log is incomplete. One recorder serves any number of threads; processes, also forked ones, may write side by side.

    Args:
        model: its registered name.
        home: folder of the home (`.afterfit`); default: that of the afterfit.toml in the working folder.
        version: the version that your service runs; default: the champion at this moment, or the newest registered one.

    Raises:
        UnknownNameError: no such model or version is registered in this home.
        SetupError: the home is not there, or its journal folder can't be written to.

    >>> import tempfile; from pathlib import Path; from afterfit.config import Config
    >>> import afterfit as af, pandas as pd; from sklearn.linear_model import LinearRegression
    >>> home = Path(tempfile.mkdtemp()) / ".afterfit"
    >>> X, y = pd.DataFrame({"size": [1.0, 2.0, 3.0]}), [10.0, 20.0, 30.0]
    >>> _ = af.register("rent", LinearRegression().fit(X, y), X, y, config=Config(home=home, root=home.parent))
    >>> with Recorder("rent", home) as rec:
    ...     id = rec.log({"size": 2.5}, 25.0)
    ...     rec.outcome(id, 24.0)
    'stored'
    """

    def __init__(self, model: str, home: Path | str | None = None, *, version: int | None = None) -> None:
        config = _config(home)
        self.home = config.home.resolve()
        self.model = model
        self.version = _version(self.home, model, version)
        self._durability = config.durability
        self._features = {f.name for f in self.version.features}
        self._redaction = redaction_of(self.version.features, self.home)
        self._strangers: set[str] = set()  # features that were told to be none of the model's
        self._complained = False
        self._lock = threading.Lock()
        self._journal: SqliteJournal | None = None
        self._folder = _journal_folder(self.home)
        self._of_parents: list[SqliteJournal] = []  # kept, for being collected would close what is a parent's
        self._taken: int | None = None  # handle that keeps a journal for this process alone
        _living.add(self)

    @property
    def lost(self) -> int:
        """Rows that could not be logged since this process began to record."""
        return 0 if self._journal is None else sum(self._journal.losses.by_model.values())

    def log(
        self,
        features: Mapping[str, Any],
        prediction: Any,
        *,
        scores: Any = None,
        version: int | None = None,
        key: str | None = None,
        id: str | None = None,
        time: datetime | str | float | None = None,
    ) -> str:
        """Log one answer; returns its id, once it is durable. Outcomes name it, so give it to whoever will tell them.

        Args:
            features: what the model was asked about, by name. What is no feature of the model is not logged.
            prediction: the label or value that was answered.
            scores: a classifier's probabilities in the order of the model's classes; of two classes the second's alone
                will do. Without them no drift of the answers is seen.
            version: the version that answered; default: the recorder's.
            key: what it was about: a customer, a plane. Outcomes may name key and time in place of the id.
            id: yours, at most 500 characters, unique; default: a new one.
            time: when the prediction is about; default: now. A datetime has a timezone.

        Raises:
            InputError: something can't be logged whatever the state of the disk; says what was wanted.
            DuplicateError: a prediction with this id was logged before.
        """
        row = self._row(features, prediction, scores, version, key=key, id=id, time=time)
        self._write([row])
        return row.id

    async def log_async(self, features: Mapping[str, Any], prediction: Any, **more: Any) -> str:
        """As `log`, for an `async def`: other requests go on while the row is committed."""
        row = self._row(features, prediction, **{"scores": None, "version": None, **more})
        try:
            await self._open().predictions([row])
        except StoreError as error:
            self._lose([row], error)
        return row.id

    def log_many(
        self,
        frame: Any,
        predictions: Iterable[Any],
        *,
        scores: Any = None,
        version: int | None = None,
        keys: Iterable[str] | None = None,
        ids: Iterable[str] | None = None,
        times: Iterable[Any] | None = None,
    ) -> list[str]:
        """Log the answers to a frame (any that Afterfit reads, or a list of rows); their ids, in its order.

        Args:
            frame: one row an answer.
            predictions: one a row.
            scores: probabilities (n_rows, n_classes), or (n_rows,) of the second of two classes.
            version: the version that answered; default: the recorder's.
            keys, ids, times: as in `log`, one a row.

        Raises:
            InputError, DuplicateError: as `log`, and where the lengths differ; rows before the wrong ones are logged.
        """
        rows = _rows_of(frame)
        columns: dict[str, list[Any]] = {
            "prediction": list(predictions),
            "scores": _spread(scores, len(rows)),
            "key": _spread(keys, len(rows)),
            "id": _spread(ids, len(rows)),
            "time": _spread(times, len(rows)),
        }
        for name, values in columns.items():
            if len(values) != len(rows):
                raise InputError(f"{name.rstrip('s')}s: wanted one for each of {len(rows)} rows, found {len(values)}")
        logged: list[str] = []
        for start in range(0, len(rows), TOGETHER):
            some = [
                self._row(rows[i], version=version, **{name: values[i] for name, values in columns.items()})
                for i in range(start, min(start + TOGETHER, len(rows)))
            ]
            self._write(some)
            logged += [row.id for row in some]
        return logged

    def outcome(self, prediction_id: str | None, value: Any, **more: Any) -> str:
        """Log what came true; returns `stored`, `duplicate` (said before) or `waiting` (for its prediction).

        Args:
            prediction_id: id of the prediction; None where `key` and `time` of it are given.
            value: the label or number that came true.
            more: `key`, `time`, `event_time` (when it happened), `known_time` (when it was learned), `source`, and `kind`:
                outcome, correction or retraction.

        Raises:
            InputError: the outcome names no prediction, or can't be one of this model.
            StoreError: it was not written; unlike a prediction, an outcome can be told again.
        """
        return self._open().outcomes_now([self._outcome(prediction_id, value, more)])[0]

    async def outcome_async(self, prediction_id: str | None, value: Any, **more: Any) -> str:
        """As `outcome`, for an `async def`."""
        told: list[str] = await self._open().outcomes([self._outcome(prediction_id, value, more)])
        return told[0]

    def close(self) -> None:
        """Write what waits, and give the file back. Logging again opens it again."""
        with self._lock:
            journal, self._journal = self._journal, None
        if journal is not None:
            journal.close()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _row(
        self,
        features: Mapping[str, Any],
        prediction: Any,
        scores: Any,
        version: int | None,
        *,
        key: str | None = None,
        id: str | None = None,
        time: Any = None,
    ) -> Prediction:
        id = _text(id, "id") or str(uuid_utils.uuid7())
        now = datetime.now(UTC)
        return Prediction(
            id=id,
            model=self.model,
            version=self.version.version if version is None else version,
            role=_ROLE,
            time=now if time is None else _moment(time, "time"),
            logged_at=now,
            features=self._known(features),
            prediction=_plain(prediction, "prediction"),
            scores=_scores(scores, self.version),
            key=_text(key, "key") or id,
        )

    def _known(self, features: Mapping[str, Any]) -> dict[str, Value]:
        """Those that are the model's; the first time that another one comes, it is told."""
        if not isinstance(features, Mapping):
            raise InputError(f"features: wanted a mapping of names to values, found {type(features).__name__}")
        strange = features.keys() - self._features - self._strangers
        if strange:
            self._strangers |= strange
            log.warning(
                "%s are no features of %s version %d and are not logged; it has %s",
                sorted(map(str, strange)), self.model, self.version.version, sorted(self._features),
            )  # fmt: skip
        return {k: _plain(v, f"feature {k!r}") for k, v in features.items() if k in self._features}

    def _outcome(self, prediction_id: str | None, value: Any, more: Mapping[str, Any]) -> Outcome:
        item = {k: v for k, v in {"prediction_id": prediction_id, **more}.items() if v is not None}
        for name in ("time", "event_time", "known_time"):
            if isinstance(item.get(name), datetime):
                item[name] = _moment(item[name], name).isoformat()
        return outcome(self.model, {**item, "value": _plain(value, "value")}, self.version, datetime.now(UTC))

    def _write(self, rows: Sequence[Prediction]) -> None:
        try:
            self._open().predictions_now(rows)
        except StoreError as error:
            self._lose(rows, error)

    def _lose(self, rows: Sequence[Prediction], error: StoreError) -> None:
        """The service goes on; what it lost is told once, and counted."""
        if self._journal is not None:
            self._journal.losses.add(rows)
        if not self._complained:
            log.error(
                "%d predictions of %s are not logged, and later ones may not be either: %s",
                len(rows),
                self.model,
                error,
            )
        self._complained = True

    def _open(self) -> SqliteJournal:
        """The journal, opened by the first row: a server that forks its workers after loading the app opens none before."""
        with self._lock:
            if self._journal is None:
                path = self._folder / f"recorder-{self.model}.db"
                if self._of_parents:
                    path, self._taken = own_journal(self._folder, f"recorder-{self.model}")
                self._journal = SqliteJournal(path, durability=self._durability, redact=self._redacted)
            return self._journal

    def _redacted(self, _model: str) -> Redaction | None:
        return self._redaction

    def _before_fork(self) -> None:
        self._lock.acquire()
        if self._journal is not None:
            self._journal.before_fork()

    def _after_fork(self) -> None:
        if self._journal is not None:
            self._journal.after_fork()
        self._lock.release()

    def _forked(self) -> None:
        """In a child: the threads of the parent are not here, and its file, of which SQLite thinks that it has it open
        and locked, is none for this process any more."""
        self._of_parents += [] if self._journal is None else [self._journal]
        self._journal, self._lock, self._complained = None, threading.Lock(), False


_living: weakref.WeakSet[Recorder] = weakref.WeakSet()


def _each(act: Callable[[Recorder], None]) -> Callable[[], None]:
    def act_on_all() -> None:
        for recorder in list(_living):
            act(recorder)

    return act_on_all


def _at_exit() -> None:
    for recorder in list(_living):
        recorder.close()


if hasattr(os, "register_at_fork"):  # not on Windows, which can't fork
    os.register_at_fork(
        before=_each(Recorder._before_fork),
        after_in_parent=_each(Recorder._after_fork),
        after_in_child=_each(Recorder._forked),
    )
atexit.register(_at_exit)


def _config(home: Path | str | None) -> Config:
    """The settings of the working folder; of a home that was named, those of the folder it lies in, where there are any."""
    if home is None:
        return load(config_file(Path.cwd()), os.environ)
    folder = Path(home)
    beside = folder.resolve().parent / CONFIG_FILE
    return replace(load(beside if beside.exists() else config_file(folder.resolve().parent), os.environ), home=folder)


def _version(home: Path, model: str, number: int | None) -> ModelVersion:
    """The record of a registered version; read from its folder, since a service needs neither database nor MLflow."""
    folder = home / "models" / str(model)
    known = sorted(int(path.parent.name) for path in folder.glob("[0-9]*/version.json"))
    if not known:
        if not home.is_dir():
            raise SetupError(
                f"there is no home at {home}: pass home=, the `.afterfit` folder of the training job, or start in the "
                "folder with its afterfit.toml"
            )
        names = sorted(path.name for path in (home / "models").glob("*") if path.is_dir())
        raise UnknownNameError("model", str(model), names)
    if number is None:
        live = FileRoutesBoard(home).current().models.get(model)
        champion = [] if live is None else [t.version for t in live.targets if t.role is Role.CHAMPION]
        number = champion[0] if champion else known[-1]
    if number not in known:
        raise UnknownNameError(f"version of {model}", str(number), [str(n) for n in known])
    path = folder / str(number) / "version.json"
    try:
        return from_json(path.read_bytes(), ModelVersion)
    except OSError as error:
        raise StoreError(f"{path} can't be read: {error}") from error


def _journal_folder(home: Path) -> Path:
    folder = home / "journal"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise SetupError(str(cannot_write(folder, error))) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SetupError(f"the folder {folder} is not writable for this user: the recorder's journal lies there")
    return folder


def _rows_of(frame: Any) -> list[dict[str, Any]]:
    if isinstance(frame, list | tuple) and all(isinstance(row, Mapping) for row in frame):
        return [dict(row) for row in frame]
    from afterfit.adapters.frames import as_lists, to_pandas

    columns = as_lists(to_pandas(frame, "the frame"))
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def _spread(given: Any, n: int) -> list[Any]:
    return [None] * n if given is None else list(given)


def _plain(value: Any, name: str) -> Value:
    """A numpy scalar as the Python value it stands for; NaN is null."""
    found = value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value
    if found is None or found != found:  # noqa: PLR0124  NaN, and pandas' NaT
        return None
    if not isinstance(found, str | int | float | bool):
        raise InputError(f"{name}: wanted text, a number, a truth value or null, found {type(value).__name__}")
    if isinstance(found, int) and not -(2**63) <= found < 2**63:
        raise InputError(f"{name}: an integer beyond 64 bits; write it as text")
    return found


def _scores(given: Any, version: ModelVersion) -> tuple[float, ...] | None:
    """One share a class, from such a list or, of two classes, the second's share alone."""
    if given is None:
        return None
    classes = version.classes
    if classes is None:
        raise InputError(f"scores: {version.model} is a regression, which has none; leave them out")
    try:
        values = [float(given)] if not hasattr(given, "__len__") else [float(v) for v in given]
    except (TypeError, ValueError) as error:
        raise InputError(f"scores: wanted numbers, found {given!r:.60}") from error
    if len(values) == 1 and len(classes) == 2:
        values = [1.0 - values[0], values[0]]
    if len(values) != len(classes):
        raise InputError(
            f"scores: wanted one for each class of {list(classes)[:10]}, in this order, found {len(values)}"
        )
    return tuple(values)


def _moment(value: Any, name: str) -> datetime:
    if not isinstance(value, datetime):
        return moment(value, name)
    if value.tzinfo is None:
        raise InputError(f'"{name}": {value} has no timezone; wanted one, such as datetime.now(UTC)')
    return value.astimezone(UTC)


def _text(given: str | None, name: str) -> str | None:
    if given is not None and not (isinstance(given, str) and 0 < len(given) <= 500):
        raise InputError(f"{name}: wanted text of 1 to 500 characters, found {given!r:.60}")
    return given
