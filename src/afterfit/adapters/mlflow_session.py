"""A short visit to an MLflow server or store: quiet, without telemetry, soon over when nobody answers, nothing left behind."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from afterfit.adapters.atomic_file import locked
from afterfit.errors import StoreError

_SETTINGS = {  # for the time of a visit, unless the user has set them
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # MLflow's own 7 with back-off take minutes to say that nobody answers
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
_LOGGERS = ("mlflow", "alembic", "sqlalchemy")


@contextmanager
def visit(uri: str) -> Iterator[Any]:
    """An `MlflowClient` for that tracking and registry URI; the global URI of the process is neither read nor changed.

    Raises:
        StoreError: the store can't be reached or refused; also from what is done inside.
    """
    with ExitStack() as stack:
        stack.enter_context(_environment())
        stack.enter_context(_quiet())
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
        from requests import RequestException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield _client(MlflowClient, uri)
        except (MlflowException, SQLAlchemyError, RequestException, OSError) as error:
            raise StoreError(
                f"MLflow at {_without_password(uri)} can't be reached or refused: {_first_line(error)}. Check that it is up "
                "and that `tracking_uri` is right; what is live does not depend on it"
            ) from error


def _client(kind: Any, uri: str) -> Any:
    """Two processes that open a new SQLite file at once would both make its tables, so they take turns."""
    if not uri.startswith("sqlite:///"):
        return kind(tracking_uri=uri, registry_uri=uri)
    path = Path(uri.removeprefix("sqlite:///"))
    with locked(path.with_name(path.name + ".lock")):
        return kind(tracking_uri=uri, registry_uri=uri)


@contextmanager
def _environment() -> Iterator[None]:
    mine = {key: value for key, value in _SETTINGS.items() if key not in os.environ}
    os.environ.update(mine)
    try:
        yield
    finally:
        for key in mine:
            os.environ.pop(key, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """MLflow warns about its own use of SQLAlchemy and hints at what we decided knowingly; errors still raise."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow  # noqa: F401  it sets the level of its logger when it is first imported

        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return _without_password(text.splitlines()[0][:300])


def _without_password(text: str) -> str:
    return re.sub(r"//[^/@\s]+@", "//", text)
