"""Jobs as real processes: they succeed, raise, hang, vanish, are cancelled, and outlive the one who started them."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

from afterfit import job
from afterfit.adapters.record_json import to_json
from afterfit.adapters.subprocess_jobs import SubprocessJobs, write_result
from afterfit.config import Config, parse
from afterfit.errors import InputError, JobError
from afterfit.home import Home, put_under_care
from afterfit.records import ModelVersion
from afterfit.stats.losses import bounded_loss
from afterfit.tracking.draft import Labelled, draft
from tests.adapters.mlflow_kit import copy_template

RNG = np.random.default_rng(5)
X = pd.DataFrame({"a": RNG.normal(size=300), "b": RNG.normal(size=300)})
SIGNAL = X["a"] + RNG.normal(size=300)
Y = (SIGNAL > 0).astype(int).rename(None)
TIMES = pd.Series(pd.date_range("2024-01-01", periods=300, freq="h", tz="UTC"))
NOW = datetime(2024, 2, 1, tzinfo=UTC)

TRAIN = """
import os, random, sys, time
import numpy as np

def _model():
    from sklearn.linear_model import LogisticRegression
    return LogisticRegression(C=0.5)

def fit(X, y, sample_weight=None):
    print("fitting", len(X), "rows of", list(X.columns))
    return _model().fit(X, y, sample_weight=sample_weight)

def noisy(X, y, sample_weight):
    rng = np.random.default_rng(random.randrange(10**6) + np.random.randint(10**6))
    return _model().fit(X + rng.normal(size=X.shape), y)

def raises(X, y, sample_weight):
    raise ValueError("column 'hour' is missing")

def leaves(X, y, sample_weight):
    sys.exit("no data today")

def hangs(X, y, sample_weight):
    print("pid", os.getpid(), flush=True)
    if os.fork() == 0:
        time.sleep(600)  # a child of the training, which must not survive it either
    time.sleep(600)

def dies(X, y, sample_weight):
    print("just before the crash", flush=True)
    os._exit(139)

def returns_none(X, y, sample_weight):
    _model().fit(X, y)

def returns_text(X, y, sample_weight):
    return "model"

def unfitted(X, y, sample_weight):
    return _model()

class Half:
    classes_ = np.array([0, 1])

    def predict(self, X):
        return np.zeros(len(X) // 2, dtype=int)

    def predict_proba(self, X):
        return np.full((len(X) // 2, 2), 0.5)

def answers_half(X, y, sample_weight):
    return Half()

class Dizzy(Half):
    def predict(self, X):
        return np.zeros(len(X), dtype=int)

    def predict_proba(self, X):
        return np.full((len(X), 2), np.nan)

def answers_nan(X, y, sample_weight):
    return Dizzy()

def two_arguments(X, y):
    return _model().fit(X, y)

not_a_function = 3
"""


def config_for(root: Path, function: str = "train:fit", task: str = "binary") -> Config:
    return parse({"models": {"m": {"task": task, "train": function}}}, root=root)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    root = tmp_path_factory.mktemp("project")
    (root / "train.py").write_text(TRAIN)
    config = config_for(root)
    copy_template(config.home)
    opened = Home.open(config)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def champion(home: Home) -> ModelVersion:
    training = Labelled(X[:200], Y[:200])
    model = LogisticRegression().fit(training.X, training.y)
    made = draft("m", model, training, at=NOW, holdout=Labelled(X[200:], Y[200:]), times=TIMES[:200])
    return put_under_care(made, home, actor="person:ann")


def table(rows: slice, outcomes: Any = None) -> pa.Table:
    values = Y[rows] if outcomes is None else outcomes[rows]
    columns = {f"f:{name}": X[name][rows].to_numpy() for name in X}
    texts = [json.dumps(v) for v in values.tolist()]
    times = pa.array(TIMES[rows].dt.as_unit("us"), pa.timestamp("us", "UTC"))
    return pa.table({**columns, "outcome": texts, "time": times, "key": [None] * len(texts)})


TABLES = {"train": table(slice(0, 200)), "holdout": table(slice(200, 300))}


def inputs(config: Config, champion: ModelVersion, **more: Any) -> dict[str, Any]:
    values = {"model": "m", "config": config, "now": NOW.isoformat(), "seed": 4, "reason": "schedule"}
    return {**values, "champion": champion.folder, **more}


def start(home: Home, champion: ModelVersion, id: str, function: str, limit: float = 60) -> None:
    config = config_for(home.config.root, function)
    home.jobs.start(id, "train", inputs(config, champion), TABLES, limit)


def await_line(home: Home, id: str, words: str) -> str:
    log = home.config.home / "jobs" / id / "log.txt"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        lines = [line for line in (log.read_text() if log.exists() else "").splitlines() if words in line]
        if lines:
            return lines[0]
        time.sleep(0.02)
    raise AssertionError(f"{words!r} never appeared in {log}")


# --- processes -------------------------------------------------------------------------------------------------------


def test_a_training_gives_a_registered_version_and_paired_losses(home: Home, champion: ModelVersion) -> None:
    start(home, champion, "good", "train:fit")
    start(home, champion, "good", "train:raises")  # the same id again does nothing
    result = home.jobs.wait("good")
    assert result.problem is None
    assert result.seconds > 0
    assert "fitting 200 rows of ['a', 'b']" in Path(result.log).read_text()
    version = home.store.version("m", result.data["version"])
    assert (version.origin, version.created_at, version.n_rows) == ("retrain", NOW, 200)
    assert (version.tags["reason"], version.tags["lane"]) == ("schedule", "onnx")
    assert version.data_to == TIMES[199]
    assert version.data_sha256 == champion.data_sha256  # the same rows came back with the same types
    assert dict(version.metrics) == result.data["metrics"]
    losses = pq.read_table(result.data["losses"]).to_pandas()
    assert losses.columns.tolist() == ["time", "candidate", "champion"]
    assert losses["time"].tolist() == TIMES[200:].tolist()
    own = LogisticRegression().fit(X[:200], Y[:200]).predict_proba(X[200:])
    wanted = bounded_loss("binary", Y[200:], [0] * 100, own, (0, 1))
    assert losses["champion"].tolist() == pytest.approx(wanted.tolist())
    assert losses["candidate"].mean() == pytest.approx(version.metrics["holdout_loss"])
    facts = [e for e in home.store.entries("m") if e.data.get("version") == version.version]
    assert [(e.name, e.actor, e.at) for e in facts] == [("registered", "controller", NOW)]
    assert json.loads((Path(version.folder) / "reference.json").read_text())["profile"]["n"] == 200


def test_a_gate_job_scores_two_versions_from_their_folders(home: Home, champion: ModelVersion) -> None:
    ids = {"candidate": champion.folder, "champion": champion.folder}
    home.jobs.start("gate", "gate", {"model": "m", **ids}, {"holdout": TABLES["holdout"]}, 60)
    result = home.jobs.wait("gate")
    assert result.problem is None
    losses = pq.read_table(result.data["losses"]).to_pandas()
    assert losses["candidate"].tolist() == losses["champion"].tolist()
    assert losses["champion"].mean() == pytest.approx(champion.metrics["holdout_loss"])


def test_a_job_that_hangs_is_stopped_at_its_limit(home: Home, champion: ModelVersion) -> None:
    start(home, champion, "hang", "train:hangs", limit=2)
    pid = json.loads((home.config.home / "jobs" / "hang" / "process.json").read_text())["pid"]
    assert home.jobs.poll("hang") is None
    assert SubprocessJobs(home.config.home).poll("hang") is None  # a restarted controller sees it run
    result = SubprocessJobs(home.config.home).wait("hang")
    assert result.problem is not None
    assert "longer than its time limit of 2 s" in result.problem
    _await_death(pid)


def test_a_job_that_stops_its_own_watchdog_is_stopped_all_the_same(home: Home, champion: ModelVersion) -> None:
    start(home, champion, "frozen", "train:hangs", limit=1)
    folder = home.config.home / "jobs" / "frozen"
    pid = json.loads((folder / "process.json").read_text())["pid"]
    os.killpg(pid, signal.SIGSTOP)  # as code that never gives the interpreter back
    result = home.jobs.wait("frozen")
    assert "longer than its time limit of 1 s" in str(result.problem)
    _await_death(pid)


def test_a_job_is_cancelled_by_any_process_and_its_children_with_it(home: Home, champion: ModelVersion) -> None:
    start(home, champion, "cancel", "train:hangs")
    pid = int(await_line(home, "cancel", "pid").split()[1])
    children = psutil.Process(pid).children()
    SubprocessJobs(home.config.home).cancel("cancel")
    assert home.jobs.wait("cancel").problem == "it was cancelled"
    _await_death(pid, *(child.pid for child in children))
    home.jobs.cancel("cancel")
    home.jobs.cancel("nobody")
    assert not (home.config.home / "jobs" / "nobody").exists()


def test_a_killed_job_and_one_that_crashed_have_a_problem(home: Home, champion: ModelVersion) -> None:
    start(home, champion, "killed", "train:hangs")
    start(home, champion, "crashed", "train:dies")
    pid = int(await_line(home, "killed", "pid").split()[1])
    children = psutil.Process(pid).children()
    os.kill(pid, signal.SIGKILL)  # it alone, as the kernel does when memory runs out
    problem = home.jobs.wait("killed").problem
    _await_death(*(child.pid for child in children))
    assert problem is not None
    assert "vanished" in problem
    assert f"the log ends: pid {pid}" in problem
    crashed = home.jobs.wait("crashed")
    assert crashed.problem is not None
    assert "just before the crash" in crashed.problem
    start(home, champion, "crashed", "train:fit")  # a job is tried once
    assert home.jobs.poll("crashed") == crashed


def _await_death(*pids: int) -> None:
    deadline = time.monotonic() + 10
    while any(psutil.pid_exists(p) and psutil.Process(p).status() != psutil.STATUS_ZOMBIE for p in pids):
        assert time.monotonic() < deadline, f"{pids} live on"
        time.sleep(0.02)


def test_unknown_ids_and_kinds(home: Home) -> None:
    assert home.jobs.poll("nobody").problem == "job nobody was never started"  # type: ignore[union-attr]
    with pytest.raises(InputError, match="wanted one of train, gate"):
        home.jobs.start("x", "tidy", {}, {}, 1)
    with pytest.raises(InputError, match="it names a folder"):
        home.jobs.start("../x", "gate", {}, {}, 1)


def test_one_who_died_while_starting_a_job_leaves_it_to_be_started_again(tmp_path: Path) -> None:
    jobs = SubprocessJobs(tmp_path)
    (tmp_path / "jobs" / "half").mkdir(parents=True)
    (tmp_path / "jobs" / "half" / "inputs.json").write_text("{")
    assert "died before" in str(jobs.poll("half"))
    empty = {"holdout": TABLES["holdout"].slice(0, 0)}
    jobs.start("half", "gate", {"candidate": "", "champion": ""}, empty, 60)
    result = jobs.wait("half")
    assert (result.problem, result.data) == (None, {})  # no rows: no losses, and that is no failure


def test_a_process_id_of_somebody_else_is_not_killed(tmp_path: Path) -> None:
    folder = tmp_path / "jobs" / "old"
    folder.mkdir(parents=True)
    who = {"pid": os.getpid(), "born": 1.0, "started": 0.0, "time_limit": 1.0}
    (folder / "process.json").write_text(json.dumps(who))
    jobs = SubprocessJobs(tmp_path)
    assert "vanished" in str(jobs.poll("old"))
    jobs.cancel("old")  # we are still here
    assert "cancelled" in str(jobs.poll("old"))


def test_the_first_word_about_a_job_stands(tmp_path: Path) -> None:
    write_result(tmp_path, {}, "it was cancelled", 0.0)
    write_result(tmp_path, {"version": 3}, None, 1.0)
    assert json.loads((tmp_path / "result.json").read_text())["problem"] == "it was cancelled"


# --- what a training may do wrong, in this process --------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path, home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A job's folder with its tables; module search path and working folder are put back."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(home.config.root)
    monkeypatch.delitem(sys.modules, "train", raising=False)
    for name, rows in TABLES.items():
        pq.write_table(rows, tmp_path / f"{name}.parquet")
    yield tmp_path
    sys.modules.pop("train", None)


def encoded(values: Mapping[str, Any]) -> Any:
    from afterfit.adapters.subprocess_jobs import _plain

    return json.loads(msgspec.json.encode(values, enc_hook=_plain))


WRONG = {
    "train:raises": "raised ValueError: column 'hour' is missing (line",
    "train:leaves": "raised SystemExit: no data today",
    "train:returns_none": "returned None",
    "train:returns_text": "returned a str: str has no predict()",
    "train:unfitted": "has no classes_, which makes it regression",
    "train:answers_half": "shape (100,) to 200 rows",
    "train:answers_nan": "NaN or infinity for 200 of 200 rows",
    "train:two_arguments": "wanted a function of (X, y, sample_weight), found two_arguments(X, y)",
    "train:nothing": "has no function 'nothing'; known: 'answers_half'",
    "train:not_a_function": "has no function 'not_a_function'",
    "nowhere:fit": "there is no module 'nowhere'; looked in",
    "broken:fit": "importing broken failed: NameError",
    "needs:fit": "importing needs failed: ModuleNotFoundError: No module named 'not_installed'",
}


@pytest.mark.parametrize("function", WRONG)
def test_a_wrong_train_function_is_told_in_plain_words(
    function: str, here: Path, home: Home, champion: ModelVersion
) -> None:
    (home.config.root / "broken.py").write_text("undefined\n")
    (home.config.root / "needs.py").write_text("import not_installed\n")
    known = home.store.versions("m")
    with pytest.raises(JobError) as caught:
        job.train(here, encoded(inputs(config_for(home.config.root, function), champion)))
    assert WRONG[function] in str(caught.value)
    assert home.store.versions("m") == known


def test_a_model_without_train_function_is_told(here: Path, home: Home, champion: ModelVersion) -> None:
    config = parse({"models": {"m": {"task": "binary"}}}, root=home.config.root)
    with pytest.raises(JobError, match=r'has no `train`.*train = "train:fit"'):
        job.train(here, encoded(inputs(config, champion)))


def test_the_seed_decides_what_unseeded_code_draws(here: Path, home: Home) -> None:
    config, data = config_for(home.config.root, "train:noisy"), Labelled(X[:200], Y[:200])
    first, again, other = (job._fit(config, "m", data, seed).coef_.tolist() for seed in (1, 1, 2))
    assert first == again != other


def test_a_damaged_champion_stops_the_gate(here: Path, champion: ModelVersion, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    folder.mkdir()
    (folder / "model").mkdir()
    (folder / "model" / "model.pkl").write_bytes(b"something else")
    (folder / "version.json").write_text(to_json(replace(champion, folder=str(folder))))
    with pytest.raises(Exception, match="not what was registered"):
        job.gate(here, {"candidate": champion.folder, "champion": str(folder)})


def test_outcomes_become_the_targets_the_champion_knows(champion: ModelVersion) -> None:
    rows = pa.table({"outcome": ["true", "0", "1.0", "false"]})
    assert job._labels(rows, champion).tolist() == [1, 0, 1, 0]
    regression = replace(champion, classes=None)
    assert job._labels(pa.table({"outcome": ["1", "2.5"]}), regression).tolist() == [1.0, 2.5]
    with pytest.raises(JobError, match="'late' are no numbers"):
        job._labels(pa.table({"outcome": ["1", '"late"']}), regression)


def test_a_regression_is_compared_on_the_champions_scale(
    tmp_path: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = Labelled(X[:200], SIGNAL[:200])
    model = LinearRegression().fit(training.X, training.y)
    made = draft("r", model, training, at=NOW, holdout=Labelled(X[200:], SIGNAL[200:]))
    version = put_under_care(made, home, actor="person:ann")
    pq.write_table(table(slice(200, 300), SIGNAL), tmp_path / "holdout.parquet")
    paths = {"candidate": version.folder, "champion": version.folder}
    losses = pq.read_table(job.gate(tmp_path, paths)["losses"]).to_pandas()
    assert losses["champion"].mean() == pytest.approx(version.metrics["holdout_loss"])
    assert version.loss_scale != 1.0
