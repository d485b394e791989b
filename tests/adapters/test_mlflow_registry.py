"""The registry on a real MLflow: what is logged, what is copied, the alias, adoption, and servers that do not answer."""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline

from afterfit.adapters.atomic_file import locked
from afterfit.adapters.mlflow_registry import MlflowRegistry
from afterfit.adapters.mlflow_session import visit
from afterfit.adapters.model_folder import Scorer, folder_sha256, read_version
from afterfit.errors import InputError, StoreError, UnknownNameError
from tests.adapters.mlflow_kit import AT, TARGETS, X, a_draft, registry, uri


@pytest.fixture
def here(tmp_path: Path) -> MlflowRegistry:
    return registry(tmp_path)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    made = tmp_path / "given"
    made.mkdir()
    (made / "reference.json").write_text('{"n": 1}')
    return {"reference.json": made / "reference.json"}


@pytest.mark.parametrize("task", TARGETS)
def test_a_version_is_logged_registered_and_copied(
    task: str, tmp_path: Path, here: MlflowRegistry, files: dict[str, Path]
) -> None:
    model = LinearRegression() if task == "regression" else LogisticRegression(C=0.5)
    made = a_draft(model, task, tags={"team": "x"})
    version = here.log(made.version, made.model, X.head(3), files)
    folder = tmp_path / "models" / "m" / "1"
    assert (version.version, version.folder, version.uri) == (1, str(folder), "models:/m/1")
    assert version.model_sha256 == folder_sha256(folder / "model")
    assert read_version(folder) == version
    assert (folder / "reference.json").read_text() == '{"n": 1}'
    assert [p.name for p in folder.parent.iterdir()] == ["1"]  # nothing half-made lies about

    with visit(uri(tmp_path)) as client:
        run = client.get_run(version.run_id)
        assert client.get_experiment(run.info.experiment_id).name == "afterfit/m"
        assert run.info.status == "FINISHED"
        assert run.data.metrics["holdout_loss"] == pytest.approx(version.metrics["holdout_loss"])
        assert run.data.params["estimator"] == type(model).__name__
        assert run.data.tags["team"] == "x"
        assert run.data.tags["afterfit.data_sha256"] == version.data_sha256
        kept = {item.path for item in client.list_artifacts(version.run_id)}
        assert kept == {"model", "reference.json", "version.json"}
        assert client.get_model_version("m", "1").tags == {"team": "x", "python": sys.executable}
        loaded = mlflow.sklearn.load_model(str(folder / "model"))
        signature = mlflow.models.get_model_info(str(folder / "model")).signature
    assert loaded.predict(X).tolist() == made.model.predict(X).tolist()
    assert signature.inputs.input_names() == ["a", "b"]
    assert (folder / "model" / "input_example.json").exists()
    pinned = (folder / "model" / "requirements.txt").read_text().split()
    assert any(line.startswith("scikit-learn==") for line in pinned)
    predictions, scores = Scorer(version).answer(X.head(5))
    assert predictions == made.model.predict(X.head(5)).tolist()
    assert (scores is None) == (task == "regression")


def test_versions_count_up_and_the_alias_is_mirrored_and_read_back(here: MlflowRegistry) -> None:
    made = a_draft(LogisticRegression())
    assert here.champion("m") is None
    assert [here.log(made.version, made.model, X.head(2), {}).version for _ in range(2)] == [1, 2]
    assert here.champion("m") is None
    here.set_champion("m", 2)
    assert here.champion("m") == 2
    here.set_champion("m", 1)
    assert here.champion("m") == 1
    with pytest.raises(StoreError, match="Model Version"):
        here.set_champion("m", 9)
    assert here.champion("m") == 1


def test_an_alias_that_reads_otherwise_than_it_was_set_is_told(
    here: MlflowRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = a_draft(LogisticRegression())
    here.log(made.version, made.model, X.head(2), {})
    monkeypatch.setattr(here, "champion", lambda _: 7)
    with pytest.raises(StoreError, match="set to version 1, but reads as 7"):
        here.set_champion("m", 1)


TRAIN = """
import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from helpers_of_the_user import double

class Doubler(BaseEstimator, TransformerMixin):
    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        return double(np.asarray(X))
"""


def test_code_of_the_user_is_loaded_in_a_fresh_process_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "train_of_the_user.py").write_text(TRAIN)
    (project / "helpers_of_the_user.py").write_text("def double(x):\n    return 2 * x\n")
    monkeypatch.syspath_prepend(str(project))
    import train_of_the_user  # type: ignore[import-not-found]

    here = registry(tmp_path / "home", code_root=project)
    made = a_draft(make_pipeline(train_of_the_user.Doubler(), LogisticRegression()))
    version = here.log(made.version, made.model, X.head(2), {})
    shutil.move(project, tmp_path / "gone")
    code = (
        "import sys, pickle, pandas as pd\n"
        "m = pickle.load(open(sys.argv[1], 'rb'))\n"
        "print(m.predict(pd.read_json(sys.stdin)).tolist())\n"
        "assert 'train_of_the_user' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(version.folder) / "model" / "model.pkl")],
        input=X.head(4).to_json(),
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    assert json.loads(done.stdout) == made.model.predict(X.head(4)).tolist()


def test_an_object_that_quacks_like_an_estimator_is_kept_whole(here: MlflowRegistry) -> None:
    class Threshold:
        classes_ = np.array([0, 1])

        def fit(self, X: Any, y: Any) -> None:
            pass

        def predict_proba(self, X: Any) -> Any:
            share = 1 / (1 + np.exp(-X["a"].to_numpy()))
            return np.column_stack([1 - share, share])

        def predict(self, X: Any) -> Any:
            return (X["a"].to_numpy() > 0).astype(int)

    made = a_draft(Threshold())
    version = here.log(made.version, made.model, X.head(2), {})
    predictions, scores = Scorer(version).answer(X.head(6))
    assert predictions == made.model.predict(X.head(6)).tolist()
    assert scores == made.model.predict_proba(X.head(6)).tolist()


def test_a_model_that_cannot_be_pickled_is_told_and_leaves_nothing(tmp_path: Path, here: MlflowRegistry) -> None:
    made = a_draft(LogisticRegression())
    made.model.lock = threading.Lock()
    with pytest.raises(InputError, match=r"LogisticRegression.*can't be pickled.*lock"):
        here.log(made.version, made.model, X.head(2), {})
    assert not (tmp_path / "models").exists()


def test_a_crash_before_the_rename_leaves_no_version_folder(
    tmp_path: Path, here: MlflowRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    made = a_draft(LogisticRegression())
    monkeypatch.setattr("afterfit.adapters.mlflow_registry.os.rename", full)
    with pytest.raises(StoreError, match="No space left on device"):
        here.log(made.version, made.model, X.head(2), {})
    assert list((tmp_path / "models" / "m").iterdir()) == []
    with visit(uri(tmp_path)) as client:
        runs = client.search_runs([client.get_experiment_by_name("afterfit/m").experiment_id])
        assert [run.info.status for run in runs] == ["FAILED"]


def test_a_version_folder_is_never_overwritten(tmp_path: Path, here: MlflowRegistry) -> None:
    (tmp_path / "models" / "m" / "1").mkdir(parents=True)
    made = a_draft(LogisticRegression())
    with pytest.raises(StoreError, match="is there already"):
        here.log(made.version, made.model, X.head(2), {})


def test_a_deleted_experiment_is_told(tmp_path: Path, here: MlflowRegistry) -> None:
    with visit(uri(tmp_path)) as client:
        client.delete_experiment(client.create_experiment("afterfit/m"))
    made = a_draft(LogisticRegression())
    with pytest.raises(StoreError, match="restore --experiment-id"):
        here.log(made.version, made.model, X.head(2), {})


def test_parameters_of_any_number_and_name_are_logged(tmp_path: Path, here: MlflowRegistry) -> None:
    params = {f"p{i}": i for i in range(150)} | {"what?!": "x" * 9000}
    made = a_draft(LogisticRegression(), params=params)
    version = here.log(made.version, made.model, X.head(2), {})
    with visit(uri(tmp_path)) as client:
        kept = client.get_run(version.run_id).data.params
    assert len(kept) == 151
    assert (kept["p149"], len(kept["what__"])) == ("149", 6000)
    assert version.params == params


# --- adoption ------------------------------------------------------------------------------------------------------


def log_as_a_user(folder: Path, name: str, model: Any) -> None:
    """What somebody did with plain MLflow before Afterfit came."""
    with visit(uri(folder)):
        before = mlflow.get_tracking_uri()
        mlflow.set_tracking_uri(uri(folder))
        try:
            experiment = mlflow.MlflowClient().get_experiment_by_name("mine")
            wanted = (folder / "mine").as_uri()
            number = mlflow.create_experiment("mine", wanted) if experiment is None else experiment.experiment_id
            with mlflow.start_run(experiment_id=number):
                mlflow.log_param("C", 0.25)
                mlflow.log_metric("f1", 0.75)
                mlflow.sklearn.log_model(
                    model,
                    name="model",
                    registered_model_name=name,
                    serialization_format="cloudpickle",
                    pip_requirements=["scikit-learn"],
                    signature=mlflow.models.infer_signature(X.head(5), model.predict(X.head(5))),
                )
        finally:
            mlflow.set_tracking_uri(before)


def test_a_version_in_our_own_registry_keeps_its_number(tmp_path: Path, here: MlflowRegistry) -> None:
    made = a_draft(LogisticRegression(C=0.25))
    for _ in range(2):
        log_as_a_user(tmp_path, "m", made.model)
    version = here.adopt(made.version, "models:/m/2")
    assert (version.version, version.uri) == (2, "models:/m/2")
    assert version.folder == str(tmp_path / "models" / "m" / "2")
    assert Scorer(version).answer(X.head(3))[0] == made.model.predict(X.head(3)).tolist()
    here.set_champion("m", 2)
    assert here.adopt(replace(made.version, model="other"), "models:/m@champion").version == 1  # a copy of another name
    with pytest.raises(StoreError, match="adopted before"):
        here.adopt(made.version, "models:/m/2")


def test_a_version_from_another_server_is_copied_with_its_origin(tmp_path: Path, files: dict[str, Path]) -> None:
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    registry(theirs)
    here = registry(ours)
    made = a_draft(LogisticRegression(C=0.25))
    for _ in range(3):
        log_as_a_user(theirs, "churn", made.model)
    found = here.fetch("models:/churn/3", tmp_path / "fetched", uri(theirs))
    assert (found.flavor, found.columns) == ("sklearn", ("a", "b"))
    assert (dict(found.params), dict(found.metrics)) == ({"C": "0.25"}, {"f1": 0.75})
    version = here.adopt(made.version, "models:/churn/3", files=files, fetched=found, tracking_uri=uri(theirs))
    assert (version.version, version.uri) == (1, "models:/m/1")
    adopted = {"adopted_from": "models:/churn/3", "adopted_from_store": uri(theirs)}
    assert version.tags == {**adopted, "python": sys.executable}
    assert (ours / "models" / "m" / "1" / "reference.json").exists()
    here.set_champion("m", 1)
    assert here.champion("m") == 1
    with visit(uri(theirs)) as client:
        assert client.get_registered_model("churn").aliases == {}  # nothing was written there


@pytest.mark.parametrize("wrong", ["churn/3", "runs:/abc/model", "models:/m-123", "models:/a/latest"])
def test_other_uris_are_refused(wrong: str, here: MlflowRegistry) -> None:
    with pytest.raises(InputError, match="wanted models:/NAME/VERSION"):
        here.adopt(a_draft(LogisticRegression()).version, wrong)


def test_an_unknown_version_names_the_known_ones(tmp_path: Path, here: MlflowRegistry) -> None:
    made = a_draft(LogisticRegression())
    log_as_a_user(tmp_path, "m", made.model)
    for wrong in ("models:/m/4", "models:/m@best"):
        with pytest.raises(UnknownNameError, match="known: 'models:/m/1'"):
            here.adopt(made.version, wrong)
    with pytest.raises(UnknownNameError, match="none is known yet"):
        here.adopt(made.version, "models:/nobody/1")


# --- the outside -----------------------------------------------------------------------------------------------------


def test_nobody_listens(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    here = MlflowRegistry(f"http://ann:secret@127.0.0.1:{port}", None, models=tmp_path, code_root=tmp_path)
    began = time.monotonic()
    with pytest.raises(StoreError, match="can't be reached or refused") as caught:
        here.champion("m")
    assert time.monotonic() - began < 10
    assert "secret" not in str(caught.value)


def test_a_server_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)  # it takes connections and never answers
        here = MlflowRegistry(f"http://127.0.0.1:{silent.getsockname()[1]}", None, models=tmp_path, code_root=tmp_path)
        began = time.monotonic()
        with pytest.raises(StoreError, match="can't be reached"):
            here.set_champion("m", 1)
        assert time.monotonic() - began < 15


def test_a_damaged_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database, whatever its name says")
    here = MlflowRegistry(uri(tmp_path), None, models=tmp_path, code_root=tmp_path)
    with pytest.raises(StoreError, match="not a database"):
        here.champion("m")


def test_a_visit_leaves_nothing_behind(here: MlflowRegistry, tmp_path: Path) -> None:
    def globals_() -> tuple[Any, ...]:
        settings = {k: v for k, v in os.environ.items() if k.startswith("MLFLOW")}
        levels = [logging.getLogger(n).level for n in ("mlflow", "alembic", "sqlalchemy")]
        return settings, levels, list(warnings.filters), mlflow.get_tracking_uri(), mlflow.active_run()

    here.champion("m")  # MLflow sets itself up at the first use
    before = globals_()
    assert "MLFLOW_HTTP_REQUEST_TIMEOUT" not in before[0]
    with visit(uri(tmp_path)):
        assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    made = a_draft(LogisticRegression())
    here.log(made.version, made.model, X.head(2), {})
    assert globals_() == before


def test_a_run_is_named_by_origin_and_time(here: MlflowRegistry, tmp_path: Path) -> None:
    made = a_draft(LogisticRegression(), origin="retrain")
    version = here.log(made.version, made.model, X.head(2), {})
    with visit(uri(tmp_path)) as client:
        assert client.get_run(version.run_id).info.run_name == f"retrain {AT:%Y-%m-%d %H:%M}"


def test_processes_that_open_a_store_take_turns(here: MlflowRegistry, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as other:
        with locked(tmp_path / "mlflow.db.lock"):  # somebody is making the tables
            waiting = other.submit(here.champion, "m")
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.3)
        assert waiting.result(timeout=30) is None


def test_modules_outside_the_project_stay_references(tmp_path: Path) -> None:
    import cloudpickle

    from afterfit.adapters.model_code import own_code_by_value, requirements

    with own_code_by_value(tmp_path):
        assert cloudpickle.list_registry_pickle_by_value() == set()
    with own_code_by_value(Path(__file__).parent):
        assert cloudpickle.list_registry_pickle_by_value() >= {__name__}
    assert cloudpickle.list_registry_pickle_by_value() == set()
    assert requirements(LogisticRegression()) == requirements(SimpleNamespace())
