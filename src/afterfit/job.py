"""The child process of one job: trains and registers a candidate, or scores two versions on the same rows.

`python -m afterfit.job FOLDER` reads `inputs.json` and the tables, and leaves `result.json`. Whatever goes wrong is a
problem in plain words there; the champion never notices.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from afterfit.adapters.subprocess_jobs import over_time, write_result
from afterfit.config import Config
from afterfit.errors import AfterfitError, JobError, list_known
from afterfit.records import ModelVersion

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that wait give their core to the workers that serve

if TYPE_CHECKING:
    import pandas as pd

    from afterfit.adapters.model_folder import Scorer

_WATCH = 0.2  # seconds between two looks of the watchdog
_NICE = 5  # training gives way to serving


def main(folder: Path) -> int:
    """Run the job of a folder. Returns the exit code: 0 when it succeeded, 1 when it left a problem."""
    began = time.monotonic()
    job = json.loads((folder / "inputs.json").read_text(encoding="utf-8"))
    done = threading.Event()
    threading.Thread(target=_watch, args=(folder, float(job["time_limit"]), done), daemon=True).start()
    os.nice(_NICE)
    data: Mapping[str, Any] = {}
    problem = None
    try:
        data = KINDS[job["kind"]](folder, job["inputs"])
    except AfterfitError as error:
        traceback.print_exc()
        problem = str(error)
    except BaseException as error:  # noqa: BLE001  the boundary of the process: SystemExit of the user's code included
        traceback.print_exc()
        problem = f"unexpected {_said(error)}; the whole story is in {folder / 'log.txt'}"
    sys.stdout.flush()
    sys.stderr.flush()
    done.set()
    write_result(folder, data, problem, time.monotonic() - began)
    return 0 if problem is None else 1


def train(folder: Path, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Fit a candidate with the user's function, register it, and compare it with the champion on the hold-out.

    Inputs: `model`; `config`; `now` (ISO); `seed`; `reason`; `champion` (folder of its version). Tables `train` and
    `holdout` with columns `f:<name>`, `outcome` (JSON text) and `time`.
    """
    from afterfit.adapters.frames import to_times, typed_frame
    from afterfit.adapters.model_folder import Scorer, read_version
    from afterfit.home import Home, put_under_care
    from afterfit.tracking.draft import Labelled, draft

    config = msgspec.convert(inputs["config"], Config, dec_hook=_path)
    champion = read_version(inputs["champion"])
    training, holdout = (pq.read_table(folder / f"{name}.parquet") for name in ("train", "holdout"))
    frames = [
        Labelled(typed_frame(table, champion.features), _labels(table, champion)) for table in (training, holdout)
    ]
    seed = int(inputs["seed"])
    model = _fit(config, inputs["model"], frames[0], seed)
    with _told("the trained model does not answer as a model should"):
        made = draft(
            inputs["model"],
            model,
            frames[0],
            at=datetime.fromisoformat(inputs["now"]),
            holdout=frames[1],
            task=champion.task.value,
            times=to_times(training["time"]),
            tags={"reason": str(inputs["reason"])[:500]},
            origin="retrain",
            before=champion,
        )
    before = Scorer(champion)  # a damaged champion is found before anything is registered
    losses = _losses(folder, holdout, frames[1].X, champion, Scorer(made.version, model), before)
    home = Home.open(config)
    try:
        version = put_under_care(made, home, actor="controller")
    finally:
        home.close()
    return {"version": version.version, "metrics": dict(version.metrics), "losses": losses}


def gate(folder: Path, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Losses of two registered versions on the same rows. `losses` is left out when there are no rows.

    Inputs: `candidate` and `champion` (folders of versions). Table `holdout` as in :func:`train`.
    """
    from afterfit.adapters.frames import typed_frame
    from afterfit.adapters.model_folder import Scorer, read_version

    table = pq.read_table(folder / "holdout.parquet")
    if table.num_rows == 0:
        return {}
    candidate, champion = (Scorer(read_version(inputs[part])) for part in ("candidate", "champion"))
    frame = typed_frame(table, champion.version.features)
    return {"losses": _losses(folder, table, frame, champion.version, candidate, champion)}


KINDS: Mapping[str, Callable[[Path, Mapping[str, Any]], dict[str, Any]]] = {"train": train, "gate": gate}


def _losses(
    folder: Path, table: pa.Table, frame: pd.DataFrame, judge: ModelVersion, candidate: Scorer, champion: Scorer
) -> str:
    """Bounded losses of both on each row, on the champion's scale, as `losses.parquet`: time, candidate, champion."""
    from afterfit.adapters.frames import typed_frame
    from afterfit.stats.losses import bounded_loss

    outcome = _labels(table, judge).to_numpy()
    columns: dict[str, Any] = {"time": table["time"].cast(pa.timestamp("us", "UTC"))}
    for who, scorer in (("candidate", candidate), ("champion", champion)):
        version = scorer.version
        own = frame if version.features == judge.features else typed_frame(table, version.features)
        prediction, scores = scorer.answer(own)
        columns[who] = bounded_loss(
            judge.task, outcome, np.asarray(prediction), scores, version.classes, judge.loss_scale
        )
    path = folder / "losses.parquet"
    pq.write_table(pa.table(columns).sort_by("time"), path)
    return str(path)


def _labels(table: pa.Table, version: ModelVersion) -> pd.Series:
    """Outcomes as the targets the champion knows: `true` and 1.0 are its class 1; numbers for a regression."""
    import pandas as pd

    values = json.loads("[" + ",".join(table["outcome"].to_pylist()) + "]")  # one call for all rows
    if version.classes is None:
        strange = sorted({repr(v) for v in values if isinstance(v, str) or v is None})
        if strange:
            raise JobError(
                f"outcomes such as {', '.join(strange[:3])} are no numbers, but {version.model} is a regression"
            )
        return pd.Series(values, dtype=float)
    known = {c: c for c in version.classes}
    return pd.Series([known.get(v, v) for v in values])


def _fit(config: Config, name: str, data: Any, seed: int) -> Any:
    """What the user's function returns for these rows."""
    from afterfit.tracking.scoring import task_of

    target = config.model(name).train
    if target is None:
        raise JobError(f'[models.{name}] has no `train`, so there is nothing to train with; add: train = "train:fit"')
    function = _function(target, config.root)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # the user's code may draw from the global state; this process is its own
    try:
        model = function(data.X, data.y, None)
    except (Exception, SystemExit) as error:
        raise JobError(f"{target} raised {_said(error)}{_where(error)}") from error
    if model is None:
        raise JobError(f"{target} returned None; wanted the fitted estimator. Is there a `return` at its end?")
    with _told(f"{target} returned a {type(model).__name__}"):
        task_of(model, config.model(name).task)
    return model


def _function(target: str, root: Path) -> Callable[..., Any]:
    module_name, _, name = target.partition(":")
    os.chdir(root)  # files that the user's code opens are meant from here
    sys.path.insert(0, str(root))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and module_name.startswith(error.name):
            raise JobError(
                f'train = "{target}": there is no module {module_name!r}; looked in {root} and the installed packages. '
                "Correct `train` in afterfit.toml, or put the file there"
            ) from error
        raise JobError(f'train = "{target}": importing {module_name} failed: {_said(error)}{_where(error)}') from error
    except (Exception, SystemExit) as error:
        raise JobError(f'train = "{target}": importing {module_name} failed: {_said(error)}{_where(error)}') from error
    function = getattr(module, name, None)
    if not callable(function):
        own = (n for n, v in vars(module).items() if inspect.isfunction(v) and v.__module__ == module.__name__)
        known = list_known(name, sorted(n for n in own if not n.startswith("_")))
        raise JobError(f'train = "{target}": {module_name} has no function {name!r}; {known}')
    try:
        inspect.signature(function).bind(None, None, None)
    except TypeError as error:
        raise JobError(
            f'train = "{target}": wanted a function of (X, y, sample_weight), found {name}{inspect.signature(function)}'
        ) from error
    return function  # type: ignore[no-any-return]


class _told:  # noqa: N801  reads as a sentence in `with`
    """Errors of the candidate get a beginning that says whose they are."""

    def __init__(self, beginning: str) -> None:
        self._beginning = beginning

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, AfterfitError):
            raise JobError(f"{self._beginning}: {error}") from error


def _said(error: BaseException) -> str:
    """The last line of a traceback."""
    return "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]


def _where(error: BaseException) -> str:
    """The innermost line of the user's code."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "site-packages" not in f.filename]
    frames = [f for f in frames if Path(f.filename) != Path(__file__) and not f.filename.startswith("<frozen")]
    return f" (line {frames[-1].lineno} of {frames[-1].filename})" if frames else ""


def _path(kind: type, value: Any) -> Any:
    return Path(value) if issubclass(kind, Path) else value


def _watch(folder: Path, limit: float, done: threading.Event) -> None:
    """Ends the whole process group when time is up, or when somebody has spoken about this job already."""
    deadline = time.monotonic() + limit
    while not done.wait(_WATCH):
        if time.monotonic() > deadline:
            write_result(folder, {}, over_time(limit), limit)
        if (folder / "result.json").exists():
            os.killpg(os.getpgid(0), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
