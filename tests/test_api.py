"""The public functions on a real home: register for each task, adopt, profile, compare; and how a home opens."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression

import afterfit as af
from afterfit.adapters.lane import read_lane
from afterfit.adapters.mlflow_session import visit
from afterfit.adapters.model_folder import Scorer, folder_sha256
from afterfit.api import adopt, compare, profile
from afterfit.config import Config, parse
from afterfit.errors import ConfigError, InputError, SetupError, UnknownNameError
from afterfit.home import Home, find_config
from afterfit.monitoring.reference import Reference, build_reference
from afterfit.records import Task
from afterfit.tracking.draft import Labelled, draft
from tests.adapters.mlflow_kit import AT, copy_template, uri

RNG = np.random.default_rng(9)
X = pd.DataFrame({"a": RNG.normal(size=400), "city": RNG.choice(["rom", "oslo"], 400)})
SIGNAL = X["a"] + RNG.normal(size=400)
NUMBERS = X[["a"]]
LABELS = (SIGNAL > 0).astype(int).rename("late")
TIMES = pd.date_range("2024-01-01", periods=400, freq="h", tz="UTC")
TRAIN, TEST = slice(0, 300), slice(300, 400)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    copy_template(tmp_path / ".afterfit")
    return parse({"models": {"rent": {"task": "regression", "window": "1d"}}}, root=tmp_path)


@pytest.fixture
def home(config: Config) -> Iterator[Home]:
    opened = Home.open(config)
    yield opened
    opened.close()


def test_a_registered_version_is_known_everywhere(config: Config, home: Home) -> None:
    model = LogisticRegression().fit(NUMBERS[TRAIN], LABELS[TRAIN])
    version = af.register(
        "late",
        model,
        pl.from_pandas(NUMBERS[TRAIN]),
        LABELS[TRAIN].to_numpy(),
        holdout=(NUMBERS[TEST], LABELS[TEST]),
        time=TIMES[TRAIN],
        card="# Late or not",
        tags={"team": "x"},
        params={"C": 1.0},
        metrics={"cost": 2.0},
        config=config,
    )
    assert home.store.version("late", 1) == version
    assert (version.task, version.classes, version.n_rows) == (Task.BINARY, (0, 1), 300)
    assert (version.data_from, version.data_to) == (TIMES[0], TIMES[299])
    assert (version.params, version.tags["team"], version.tags["lane"]) == ({"C": 1.0}, "x", "onnx")
    assert version.metrics["cost"] == 2.0
    assert version.metrics["holdout_loss"] < version.metrics["baseline_loss"]
    (entry,) = home.store.entries("late")
    assert (entry.kind, entry.name, entry.data["data_sha256"]) == ("fact", "registered", version.data_sha256)
    assert entry.actor.startswith("person:")
    folder = Path(version.folder)
    assert (folder / "card.md").read_text() == "# Late or not"
    reference = Reference.from_dict(json.loads((folder / "reference.json").read_text()))
    assert reference.profile.n == 300
    assert reference.window == 7 * 86400.0
    assert len(reference.blocks["a"]["drift"]) > 1
    lane = read_lane(folder)
    assert (lane.lane, lane.agreement, entry.data["lane"]) == ("onnx", 1.0, "onnx")
    assert (folder / "model" / "graph.onnx").stat().st_size == lane.size
    assert folder_sha256(folder / "model") == version.model_sha256  # which covers both
    scorer = Scorer(version)
    scorer.probe()
    assert scorer.answer(NUMBERS[TEST])[0] == model.predict(NUMBERS[TEST]).tolist()


def test_multiclass_and_regression_with_a_time_column(config: Config) -> None:
    timed = NUMBERS.assign(when=TIMES)
    classes = pd.Series(np.where(SIGNAL > 0.5, "up", np.where(SIGNAL < -0.5, "down", "flat")))
    three = af.register(
        "three", LogisticRegression().fit(NUMBERS[TRAIN], classes[TRAIN]), NUMBERS[TRAIN], classes[TRAIN], config=config
    )
    assert (three.task, three.classes) == (Task.MULTICLASS, ("down", "flat", "up"))
    assert three.data_from is None
    rent = af.register(
        "rent",
        LinearRegression().fit(NUMBERS[TRAIN], SIGNAL[TRAIN]),
        timed[TRAIN],
        SIGNAL[TRAIN],
        holdout=(timed[TEST], SIGNAL[TEST]),
        time="when",
        config=config,
    )
    assert (rent.task, [f.name for f in rent.features]) == (Task.REGRESSION, ["a"])
    assert rent.data_to == TIMES[299]
    kept = json.loads((Path(rent.folder) / "reference.json").read_text())
    assert kept["window"] == 86400.0
    assert len(kept["blocks"]["prediction"]["drift"]) == 12  # the half day at the end is too short


def test_answers_learned_by_heart_are_no_reference_for_new_ones(config: Config) -> None:
    model = RandomForestClassifier(20, random_state=0).fit(NUMBERS[TRAIN], LABELS[TRAIN])
    version = af.register(
        "forest",
        model,
        NUMBERS[TRAIN],
        LABELS[TRAIN],
        holdout=(NUMBERS[TEST], LABELS[TEST]),
        config=config,
    )
    kept = json.loads((Path(version.folder) / "reference.json").read_text())
    assert kept["prediction"]["n"] == 100  # the hold-out's: there are no blocks to tell how far apart is usual


def test_the_configured_task_is_checked_and_a_wrong_registration_leaves_nothing(config: Config, home: Home) -> None:
    model = LogisticRegression().fit(NUMBERS[TRAIN], LABELS[TRAIN])
    with pytest.raises(InputError, match="says task = 'regression'"):
        af.register("rent", model, NUMBERS[TRAIN], LABELS[TRAIN], config=config)
    with pytest.raises(InputError, match="wanted letters"):
        af.register("a/b", model, NUMBERS[TRAIN], LABELS[TRAIN], config=config)
    with pytest.raises(InputError, match=r"pair \(X, y\), found DataFrame"):
        af.register("late", model, NUMBERS[TRAIN], LABELS[TRAIN], holdout=NUMBERS, config=config)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"time = 'when': no such column; the frame has \['a'\]"):
        af.register("late", model, NUMBERS[TRAIN], LABELS[TRAIN], time="when", config=config)
    assert home.store.models() == []
    assert home.store.entries() == []


def test_afterfit_toml_of_the_working_folder_is_read(
    tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "afterfit.toml").write_text('[models.late]\ntask = "multiclass"\n')
    monkeypatch.chdir(tmp_path)
    assert find_config().models["late"].task == "multiclass"
    model = LogisticRegression().fit(NUMBERS[TRAIN], LABELS[TRAIN])
    with pytest.raises(InputError, match="says task = 'multiclass'"):
        af.register("late", model, NUMBERS[TRAIN], LABELS[TRAIN])
    monkeypatch.setenv("AFTERFIT_HOME", str(tmp_path / "elsewhere"))
    assert find_config(tmp_path).home == tmp_path / "elsewhere"


# --- adoption ------------------------------------------------------------------------------------------------------


def log_as_a_user(folder: Path, save: Any) -> None:
    """A version `churn/1` in the user's own MLflow."""
    with visit(uri(folder)) as client:
        run = client.create_run(client.create_experiment("mine", (folder / "mine").as_uri()))
        client.log_param(run.info.run_id, "C", 0.25)
        client.log_metric(run.info.run_id, "f1", 0.75)
        save(str(folder / "saved"))
        client.log_artifacts(run.info.run_id, str(folder / "saved"), "model")
        client.create_registered_model("churn")
        client.create_model_version("churn", f"runs:/{run.info.run_id}/model", run.info.run_id)


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    folder = tmp_path / "theirs"
    copy_template(folder)
    return folder


def test_a_version_of_the_users_own_mlflow_is_adopted(config: Config, home: Home, theirs: Path) -> None:
    frame = X.assign(when=TIMES, late=LABELS)
    model = LogisticRegression(C=0.25).fit(NUMBERS, LABELS)
    log_as_a_user(
        theirs,
        lambda path: mlflow.sklearn.save_model(
            model, path, serialization_format="cloudpickle", pip_requirements=["scikit-learn"]
        ),
    )
    version = adopt(
        "late", "models:/churn/1", frame, target="late", time="when", tracking_uri=uri(theirs), config=config
    )
    assert (version.version, version.origin, version.task) == (1, "adopt", Task.BINARY)
    assert [f.name for f in version.features] == ["a"]  # `city` is not the model's
    assert (dict(version.params), dict(version.metrics)) == ({"C": "0.25"}, {"f1": 0.75})
    assert version.data_to == TIMES[399]
    assert version.tags["adopted_from"] == "models:/churn/1"
    assert Scorer(version).answer(NUMBERS)[0] == model.predict(NUMBERS).tolist()
    assert [e.name for e in home.store.entries("late")] == ["registered"]
    with pytest.raises(InputError, match=r"lacks the model's columns \['a'\]"):
        adopt("late", "models:/churn/1", X[["city"]], tracking_uri=uri(theirs), config=config)
    with pytest.raises(UnknownNameError, match="known: 'models:/churn/1'"):
        adopt("late", "models:/churn/2", frame, tracking_uri=uri(theirs), config=config)


def test_other_flavors_are_adopted_as_regressions_only(config: Config, theirs: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow warns about itself when this module is imported for the first time
        importlib.import_module("mlflow.pyfunc")

    class Twice(mlflow.pyfunc.PythonModel):  # type: ignore[misc,name-defined]
        def predict(self, context: Any, model_input: pd.DataFrame) -> Any:
            return 2 * model_input["a"].to_numpy()

    signature = mlflow.models.infer_signature(NUMBERS, NUMBERS["a"].to_numpy())
    log_as_a_user(
        theirs,
        lambda path: mlflow.pyfunc.save_model(
            path, python_model=Twice(), pip_requirements=["cloudpickle"], signature=signature
        ),
    )
    version = adopt("rent", "models:/churn/1", X, tracking_uri=uri(theirs), config=config)
    assert (version.task, [f.name for f in version.features]) == (Task.REGRESSION, ["a"])
    assert Scorer(version).answer(NUMBERS)[0] == pytest.approx((2 * NUMBERS["a"]).tolist())
    with pytest.raises(InputError, match="no scikit-learn flavor"):
        adopt("late", "models:/churn/1", X, tracking_uri=uri(theirs), config=config)


# --- profile and compare ---------------------------------------------------------------------------------------------


def test_profiles_of_parts_add_up_and_leave_out_what_is_no_feature() -> None:
    frame = X.assign(when=TIMES, late=LABELS, answer=SIGNAL)
    read = partial(profile, target="late", prediction="answer", time="when")
    whole, parts = read(frame), read(frame[:100]) + read(frame[100:])
    assert set(whole.columns) == {"a", "city", "prediction"}
    assert whole.n == parts.n == 400
    assert whole.columns["city"] == parts.columns["city"]
    assert set(profile(frame).columns) == {"a", "city", "late", "answer", "when"}
    assert profile(frame).columns["when"].kind == "time"
    assert set(profile(frame.drop(columns="when").assign(day=1), time="day").columns) == {"a", "city", "late", "answer"}
    with pytest.raises(InputError, match="target = 'y': no such column"):
        profile(frame, target="y")


def test_compare_finds_what_moved_and_only_that(tmp_path: Path) -> None:
    moved = X.assign(a=X["a"] + 1.0)
    report = compare(X[:200], moved[200:])
    assert {f.column for f in report.drifted} == {"a"}
    assert (report.budget, report.n_reference, report.n_window) == (0.01, 200, 200)
    assert compare(X[:200], X[200:]).drifted == ()
    X[:200].to_parquet(tmp_path / "before.parquet")
    moved[200:].to_csv(tmp_path / "now.csv", index=False)
    assert {f.column for f in compare(tmp_path / "before.parquet", tmp_path / "now.csv").drifted} == {"a"}
    assert {f.column for f in compare(profile(X[:200]), pl.from_pandas(moved[200:])).drifted} == {"a"}
    assert compare(X[:200], moved[200:], budget=1e-30).drifted == ()


def test_compare_takes_a_reference_and_answers() -> None:
    columns = {"a": X["a"][:200].to_numpy()}
    known = build_reference(columns, kinds={"a": "number"}, times=None, prediction=SIGNAL[:200].to_numpy(), window=1.0)
    before = known.to_dict()
    frame = NUMBERS[200:].assign(answer=SIGNAL[200:] + 2.0)
    assert {f.column for f in compare(known, frame, prediction="answer").drifted} == {"prediction"}
    assert known.to_dict() == before
    steady = NUMBERS.assign(answer=SIGNAL)
    assert compare(steady[:200], steady[200:], prediction="answer").drifted == ()


@pytest.mark.parametrize("budget", [0.0, 1.0, -1, True, "1 per 90d"])
def test_a_budget_that_is_no_chance_is_refused(budget: Any) -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        compare(X, X, budget=budget)


# --- a home ------------------------------------------------------------------------------------------------------------


def test_opening_a_home_imports_no_mlflow(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from afterfit.config import Config; from afterfit.home import Home\n"
        "home = Home.open(Config(home=Path(sys.argv[1]), root=Path(sys.argv[1]))); home.jobs.poll('x'); home.close()\n"
        "print([m for m in ('mlflow', 'sklearn', 'apprise') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "home")], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_home_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match=r"can't be made.*set `home`"):
        Home.open(Config(home=tmp_path / "file" / "home", root=tmp_path))


def test_a_home_that_is_not_writable_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o500)
    if os.geteuid() == 0:  # root may write anywhere, so the system's answer is put in its mouth
        monkeypatch.setattr("afterfit.home.os.access", lambda *_: False)
    with pytest.raises(SetupError, match="is not writable"):
        Home.open(Config(home=tmp_path, root=tmp_path))


def test_a_relative_home_means_one_folder_wherever_we_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    home = Home.open(parse({}))
    home.close()
    assert home.config.home == tmp_path / ".afterfit"
    assert home.config.root == tmp_path


def test_a_wrong_file_is_an_error_not_a_default(tmp_path: Path) -> None:
    (tmp_path / "afterfit.toml").write_text("hom = 'x'")
    with pytest.raises(ConfigError, match="'home'"):
        find_config(tmp_path)


def test_a_draft_of_a_nullable_category_survives_the_whole_way(config: Config, home: Home) -> None:
    from sklearn.ensemble import HistGradientBoostingClassifier

    from afterfit.home import put_under_care

    frame = X.assign(city=pd.Categorical(X["city"].where(X["a"] < 1)))
    model = HistGradientBoostingClassifier(max_iter=5).fit(frame, LABELS)
    version = put_under_care(draft("cat", model, Labelled(frame, LABELS), at=AT), home, actor="controller")
    assert version.features[1].categories == ("oslo", "rom")
    assert version.features[1].nullable
    Scorer(version).probe()


def test_a_report_prints_what_stands_out_worst_first() -> None:
    rng = np.random.default_rng(11)
    old = pd.DataFrame({"moved": rng.normal(size=4000), "broken": rng.normal(size=4000), "same": rng.normal(size=4000)})
    new = pd.DataFrame(
        {"moved": rng.normal(1, 1, 900), "broken": np.where(rng.random(900) < 0.3, np.nan, 0.1), "same": 0}
    )
    new["same"] = rng.normal(size=900)
    lines = str(af.compare(old, new)).splitlines()
    assert lines[0].startswith("critical  broken:")
    assert any(line.startswith("warning   moved: the distribution moved") for line in lines)
    assert not any("same" in line for line in lines)
    assert "checks drifted at budget 0.01" in lines[-1]
