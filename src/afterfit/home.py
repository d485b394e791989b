"""One home, opened: the configuration and everything that is kept under it."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from afterfit.config import Config, load
from afterfit.errors import SetupError

if TYPE_CHECKING:
    from afterfit.adapters.apprise_notifier import AppriseNotifier
    from afterfit.adapters.control_store import ControlStore
    from afterfit.adapters.delta_lake import DeltaLake
    from afterfit.adapters.mlflow_registry import MlflowRegistry
    from afterfit.adapters.routes_board import FileRoutesBoard
    from afterfit.adapters.subprocess_jobs import SubprocessJobs

CONFIG_FILE = "afterfit.toml"


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
    """afterfit.toml of a folder (default: the working folder) with the AFTERFIT_* variables; defaults without a file."""
    return load((start or Path.cwd()) / CONFIG_FILE, os.environ)


def _make(home: Path) -> None:
    what = "Afterfit keeps everything there: make it writable, or set `home` in afterfit.toml to another folder"
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"the folder {home} can't be made: {error.strerror}. {what}") from error
    if not os.access(home, os.W_OK | os.X_OK):
        raise SetupError(f"the folder {home} is not writable for this user. {what}")
