"""One home, opened: the configuration and everything that is kept under it; and the way of a new version into it."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afterfit.config import Config, ModelConfig, config_file, load
from afterfit.errors import SetupError

if TYPE_CHECKING:
    from afterfit.adapters.apprise_notifier import AppriseNotifier
    from afterfit.adapters.control_store import ControlStore
    from afterfit.adapters.delta_lake import DeltaLake
    from afterfit.adapters.mlflow_registry import MlflowRegistry
    from afterfit.adapters.routes_board import FileRoutesBoard
    from afterfit.adapters.subprocess_jobs import SubprocessJobs
    from afterfit.records import ModelVersion
    from afterfit.tracking.draft import Draft


@dataclass(frozen=True)
class Home:
    """The stores of one home; see `docs/architecture.md` for what lies where."""

    config: Config
    store: ControlStore
    lake: DeltaLake
    board: FileRoutesBoard
    registry: MlflowRegistry
    jobs: SubprocessJobs
    notifier: AppriseNotifier

    @classmethod
    def open(cls, config: Config) -> Home:
        """Make the folder if it is not there, and open every store. MLflow is imported when it is first asked.

        Raises:
            SetupError: the folder can't be made or written to.
            StoreError: a store is damaged or can't be reached.
            ConfigError: `database` or `notify` is wrong.
        """
        from afterfit.adapters.apprise_notifier import AppriseNotifier
        from afterfit.adapters.control_store import ControlStore
        from afterfit.adapters.delta_lake import DeltaLake
        from afterfit.adapters.mlflow_registry import MlflowRegistry
        from afterfit.adapters.routes_board import FileRoutesBoard
        from afterfit.adapters.subprocess_jobs import SubprocessJobs

        home = config.home.resolve()
        config = replace(config, home=home, root=config.root.resolve())
        _make(home)
        own = config.tracking_uri is None
        return cls(
            config=config,
            store=ControlStore.open(home, config.database),
            lake=DeltaLake(home / "lake"),
            board=FileRoutesBoard(home),
            registry=MlflowRegistry(
                config.tracking_uri or f"sqlite:///{home / 'mlflow.db'}",
                home / "mlartifacts" if own else None,
                models=home / "models",
                code_root=config.root,
            ),
            jobs=SubprocessJobs(home),
            notifier=AppriseNotifier(home, config.notify),
        )

    def close(self) -> None:
        """Give the connections back; jobs go on."""
        self.store.close()


def find_config(start: Path | None = None) -> Config:
    """Settings of a folder (default: the working folder) with the AFTERFIT_* variables; defaults without a file."""
    return load(config_file(start or Path.cwd()), os.environ)


def put_under_care(made: Draft, home: Home, *, actor: str, card: str | None = None) -> ModelVersion:
    """Profile the training data of a draft, and take both to registry, store and ledger."""
    from afterfit.tracking.register import register

    made = prepared(made, home.config)
    return register(
        made,
        reference_of(made, home.config),
        registry=home.registry,
        versions=home.store,
        ledger=home.store,
        actor=actor,
        card=card,
    )


def prepared(made: Draft, config: Config) -> Draft:
    """The draft with its lane chosen, its rows, and with nothing in what is kept beside the model that may not be logged."""
    return _with_rows(_redacted(with_lane(made, config), config), config)


def _with_rows(made: Draft, config: Config) -> Draft:
    """The draft with the sample of its training rows that windows are held against as a whole; none without times."""
    from afterfit.adapters.kept_rows import FILE, rows_file
    from afterfit.monitoring.columns import frame_columns, kinds_of
    from afterfit.monitoring.reference import block_length
    from afterfit.stats.row_sample import sample_rows

    if made.times is None:
        return made
    length = block_length(made.times, config.models.get(made.version.model, ModelConfig).window)
    kept = sample_rows(made.times.size, made.times, length)
    rows = _as_logged(replace(made, X=made.X.iloc[kept]), config)
    columns = frame_columns(rows, kinds_of(made.version.as_logged.features))
    return replace(made, beside={**made.beside, FILE: rows_file(columns, made.times[kept], length)})


def _redacted(made: Draft, config: Config) -> Draft:
    """Features marked as the settings want; rows that are kept get stand-ins for their values.

    Raises:
        InputError: the settings name a feature that the model does not have, or the model refuses the stand-ins.
    """
    from afterfit.errors import InputError, list_known
    from afterfit.tracking.golden import golden, golden_rows
    from afterfit.tracking.stand_ins import stand_ins

    name = made.version.model
    rules = config.models[name].redact if name in config.models else {}
    if not rules:
        return made
    known = [f.name for f in made.version.features]
    for feature in rules:
        if feature not in known:
            raise InputError(
                f"[models.{name}] redact names {feature!r}, which the model lacks; {list_known(feature, known)}"
            )
    features = tuple(replace(f, redact=rules.get(f.name, "")) for f in made.version.features)
    rows = stand_ins(golden_rows(made.X, features), made.X, features)
    try:
        kept = golden(made.model, rows, made.version.classes)
    except InputError as error:
        raise InputError(
            f"{', '.join(rules)} can't be redacted: rows are kept that prove a loaded copy of the model, with stand-ins for "
            f"these features, and the model refuses them ({error}). Let its encoder take unknown categories and nulls"
        ) from error
    return replace(made, version=replace(made.version, features=features), golden=kept, example=rows)


def with_lane(made: Draft, config: Config) -> Draft:
    """The draft with its lane chosen and tried: files of the model's folder, and tags that say which and why.

    The trial is on the hold-out where there is one, else on the training rows; none where the settings want a process.
    """
    import msgspec

    from afterfit.adapters.lane import GRAPH, PYTHON, RECORD, LaneRecord
    from afterfit.adapters.lane_trial import choose
    from afterfit.adapters.upstream import Upstream

    known = config.models.get(made.version.model)
    if known is not None and known.lane == PYTHON:
        found, graph = LaneRecord(PYTHON, why='lane = "python" in afterfit.toml'), None
    elif isinstance(made.model, Upstream):
        found, graph = LaneRecord(PYTHON, why=f"it answers elsewhere, at {made.model.url}"), None
    else:
        found, graph = choose(made.model, made.version, made.X if made.unseen is None else made.unseen)
    files = {f"model/{RECORD}": msgspec.json.encode(found)} | ({} if graph is None else {f"model/{GRAPH}": graph})
    tags = {**made.version.tags, "lane": found.lane, "lane_why": found.why, "lane_trial": found.trial}
    return replace(made, version=replace(made.version, tags={k: v for k, v in tags.items() if v}), beside=files)


def reference_of(made: Draft, config: Config) -> dict[str, Any]:
    """What windows of this version will be compared with.

    The model's answers to its training rows show how far apart blocks of time lie; but a model that has learned those
    rows by heart answers new ones differently from the first day on. So where the hold-out's answers lie further away
    than any block does (or there are no blocks), they are what later answers are compared with, and those of segments,
    of which the hold-out's are not known, with none.
    """
    from afterfit.monitoring.columns import frame_columns, kinds_of
    from afterfit.monitoring.reference import build_reference, statistics
    from afterfit.monitoring.segments import segmented_reference, without_prediction

    kinds = kinds_of(made.version.as_logged.features)
    known = config.models.get(made.version.model)
    window, segment_by = (known.window, known.segment_by) if known else (ModelConfig.window, ModelConfig.segment_by)
    columns = frame_columns(_as_logged(made, config), kinds)
    reference = segmented_reference(
        columns, kinds=kinds, times=made.times, prediction=made.answers, window=window, segment_by=segment_by
    )
    if made.unseen_answers is not None and reference.prediction is not None:
        unseen = build_reference({}, kinds={}, times=None, prediction=made.unseen_answers, window=window).prediction
        blocks = reference.blocks.get("prediction", {}).get("drift", ())
        if unseen is not None and (not blocks or statistics(unseen, reference.prediction)["drift"] > max(blocks)):
            reference = replace(without_prediction(reference), prediction=unseen)
    return reference.to_dict()


def _as_logged(made: Draft, config: Config) -> Any:
    """The training rows with what the log will have in place of redacted features."""
    from afterfit.adapters.redaction import HASH, redaction_of

    redaction = redaction_of(made.version.features, config.home)
    if redaction is None:
        return made.X
    hashes: dict[str, Any] = {
        f.name: [
            None if null else redaction.hash(f, v)
            for v, null in zip(made.X[f.name], made.X[f.name].isna(), strict=True)
        ]
        for f in made.version.features
        if f.redact == HASH
    }
    return made.X.assign(**hashes)


def _make(home: Path) -> None:
    what = "Afterfit keeps everything there: make it writable, or set `home` in afterfit.toml to another folder"
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"the folder {home} can't be made: {error.strerror}. {what}") from error
    if not os.access(home, os.W_OK | os.X_OK):
        raise SetupError(f"the folder {home} is not writable for this user. {what}")
