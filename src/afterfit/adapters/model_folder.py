"""A version's folder: its record, the hash over its model, and the model itself as something that scores rows."""

from __future__ import annotations

import hashlib
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cloudpickle
import msgspec
import numpy as np
import pandas as pd
import yaml

from afterfit.adapters.environments import misfit
from afterfit.adapters.lane import NUMPY, Matrix, read_lane
from afterfit.adapters.record_json import from_json
from afterfit.errors import StoreError, WorkerError
from afterfit.records import Feature, ModelVersion, Value

Answer = tuple[list[Value], list[list[float]] | None]
GOLDEN_TOLERANCE = 1e-6  # largest difference of a score on a golden row; the same library on the same machine gives 0

# Classifiers whose own predict() is the argmax of their predict_proba(), so that asking once is enough. Others (a tuned
# threshold, SVC, hard voting) may say something else.
_ARGMAX = frozenset(
    (
        "HistGradientBoostingClassifier",
        "GradientBoostingClassifier",
        "RandomForestClassifier",
        "ExtraTreesClassifier",
        "DecisionTreeClassifier",
        "DummyClassifier",
        "LogisticRegression",
        "LogisticRegressionCV",
        "MLPClassifier",
        "GaussianNB",
        "CalibratedClassifierCV",
        "LinearDiscriminantAnalysis",
        "BaggingClassifier",
        "VotingClassifier",
        "LGBMClassifier",
        "XGBClassifier",
        "XGBRFClassifier",
    )
)
_KNOWN_TO = ("sklearn.", "lightgbm.sklearn", "xgboost.sklearn")


def folder_sha256(folder: Path) -> str:
    """Hash over names and contents of all files below `folder`, in sorted order.

    Raises:
        StoreError: there is no such folder.
    """
    if not folder.is_dir():
        raise StoreError(f"{folder} is missing: the version's files were moved or deleted; restore the folder")
    digest = hashlib.sha256()
    for path in sorted((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.relative_to(folder).as_posix()):
        content = path.read_bytes()
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + len(content).to_bytes(8, "big"))
        digest.update(content)
    return digest.hexdigest()


def read_version(folder: Path | str) -> ModelVersion:
    """The record in `version.json`. Its folder is this one, also where the files were copied or a home was moved."""
    path = Path(folder) / "version.json"
    try:
        return replace(from_json(path.read_bytes(), ModelVersion), folder=str(folder))
    except OSError as error:
        raise StoreError(f"{path} can't be read: {error}") from error


def read_importance(folder: Path | str) -> dict[str, float]:
    """Rise of the loss by shuffled feature, measured at registration; empty where it was not, or by an older release.

    Raises:
        StoreError: the file is there and can't be read.
    """
    path = Path(folder) / "importance.json"
    if not path.exists():
        return {}
    try:
        return {str(k): float(v) for k, v in msgspec.json.decode(path.read_bytes())["rise"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise StoreError(f"{path} can't be read: {error}; restore it, or register the version again") from error


class ChangedError(WorkerError):
    """The files of a version are not the ones that were registered."""


def check_hash(folder: Path | str, wanted: str) -> Path:
    """The version's `model/` folder, once its files are known to be those that were registered.

    Raises:
        ChangedError: they are not, or are gone.
    """
    path = Path(folder) / "model"
    try:
        found = folder_sha256(path)
    except StoreError as error:
        raise ChangedError(str(error)) from error
    if found != wanted:
        raise ChangedError(
            f"{path} is not what was registered: sha256 {found[:12]}…, wanted {wanted[:12]}…; "
            "restore the folder or register the version again"
        )
    return path


def load_model(version: ModelVersion, sha256: str | None = None) -> Any:
    """The model as it was registered; its files are hashed first, so nothing unknown is unpickled.

    Args:
        version: whose folder it is.
        sha256: the hash that the routes ask for; None: the one in the version's record.

    Raises:
        WorkerError: the files are not the ones that were registered, or can't be loaded.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    sys.dont_write_bytecode = True  # a model may bring code; a __pycache__ beside it would change the hash
    path = check_hash(version.folder, sha256 or version.model_sha256)
    foreign = misfit(path)
    if foreign:
        raise WorkerError(f"version {version.version} can't be loaded here: {foreign}")
    try:
        return _unpack(path, yaml.safe_load((path / "MLmodel").read_text(encoding="utf-8"))["flavors"])
    except Exception as error:  # loading runs the user's code, which may raise anything
        raise WorkerError(f"version {version.version} can't be loaded: {type(error).__name__}: {error}") from error


def _unpack(path: Path, flavors: Mapping[str, Any]) -> Any:
    """The model behind an MLmodel file. Importing MLflow takes 1.5 s, so the plainest kind is read without it."""
    sklearn = flavors.get("sklearn")
    if sklearn is None:
        import mlflow.pyfunc

        return mlflow.pyfunc.load_model(str(path))
    if sklearn.get("serialization_format") == "cloudpickle" and not sklearn.get("code"):
        return cloudpickle.loads((path / sklearn["pickled_model"]).read_bytes())
    import mlflow.sklearn

    return mlflow.sklearn.load_model(str(path))


class Scorer:
    """A loaded version that answers rows: labels (or values) and, for a classifier, probabilities."""

    def __init__(self, version: ModelVersion, model: Any = None, *, sha256: str | None = None) -> None:
        self.version = version
        self.model = load_model(version, sha256) if model is None else model
        self._matrix = _matrix(version) if model is None else None
        self._by_argmax = predicts_by_argmax(self.model)

    def rows(self, columns: Mapping[str, Sequence[Value]]) -> pd.DataFrame | np.ndarray:
        """Columns by name as what the version's lane wants: a bare array where the trial showed that it does, or a frame.

        Raises:
            WorkerError: a feature is not among the columns.
        """
        if self._matrix is None:
            return self.frame(columns)
        try:
            return self._matrix.of(columns)
        except KeyError as error:
            raise WorkerError(
                f"version {self.version.version} wants a feature that the request lacks: {error}"
            ) from error

    def frame(self, columns: Mapping[str, Sequence[Value]]) -> pd.DataFrame:
        """Columns by name as a frame with the features, in the order and with the dtypes, that the model was fitted on.

        Raises:
            WorkerError: a feature is not among the columns.
        """
        missing = [f.name for f in self.version.features if f.name not in columns]
        if missing:
            raise WorkerError(f"version {self.version.version} wants features that the request lacks: {missing}")
        return pd.DataFrame({f.name: series(f, columns[f.name]) for f in self.version.features})

    def answer(self, rows: pd.DataFrame | np.ndarray) -> tuple[list[Value], list[list[float]] | None]:
        """(predictions, scores) of each row; scores are None for a model without probabilities.

        Raises:
            WorkerError: the model raised, or answered something of the wrong shape or not finite.
        """
        data: Any = rows
        if isinstance(rows, pd.DataFrame) and self.version.tags.get("input") == "array":
            data = rows.to_numpy()
        classes = self.version.classes
        try:
            if classes is not None and hasattr(self.model, "predict_proba"):
                scores = np.asarray(self.model.predict_proba(data), dtype=float)
                _check(scores, (len(rows), len(classes)))
                if self._by_argmax:
                    return [classes[i] for i in scores.argmax(axis=1).tolist()], scores.tolist()
                return self._labels(np.asarray(self.model.predict(data)), classes, len(rows)), scores.tolist()
            answer = np.asarray(self.model.predict(data))
        except WorkerError:
            raise
        except Exception as error:  # a model may raise anything; the caller gets the champion's answer
            raise WorkerError(f"version {self.version.version} raised {type(error).__name__}: {error}") from error
        if classes is not None:
            return self._labels(answer, classes, len(rows)), None
        answer = np.asarray(_flat(answer), dtype=float)
        _check(answer, (len(rows),))
        return answer.tolist(), None

    @staticmethod
    def _labels(answer: np.ndarray, classes: Sequence[Value], n: int) -> list[Value]:
        flat = _flat(answer)
        if flat.shape != (n,):
            raise WorkerError(f"returned shape {answer.shape}, wanted {(n,)}")
        labels: list[Value] = flat.tolist()
        strange = set(labels) - set(classes)
        if strange:
            raise WorkerError(
                f"returned {sorted(strange, key=str)[:3]}, wanted one of the classes {list(classes)[:10]}"
            )
        return labels

    def probe(self) -> None:
        """Score the golden rows that were kept at registration; they must come out as they did then.

        Raises:
            WorkerError: they do not.
        """
        probe(self.version, lambda columns: self.answer(self.rows(columns)))


def probe(version: ModelVersion, ask: Callable[[dict[str, list[Value]]], Answer]) -> None:
    """Ask for the golden rows that were kept at registration; they must come out as they did then.

    Raises:
        WorkerError: they do not.
    """
    path = Path(version.folder) / "golden.json"
    if not path.exists():
        return
    golden = msgspec.json.decode(path.read_bytes())
    predictions, scores = ask(_columns(golden["rows"], version))
    _compare("predicted", predictions, golden["predictions"])
    if scores is not None and golden["scores"] is not None:
        _compare("scored", scores, golden["scores"])


def _compare(what: str, found: Sequence[Any], wanted: Sequence[Any]) -> None:
    for i, (answer, kept) in enumerate(zip(found, wanted, strict=True)):
        if not _same(answer, kept):
            raise WorkerError(f"probe failed: golden row {i} {what} {answer}, was registered as {kept}")


def _matrix(version: ModelVersion) -> Matrix | None:
    """How rows become a bare array, where the version's lane is one."""
    lane = read_lane(version.folder)
    if lane.lane != NUMPY:
        return None
    warnings.filterwarnings("ignore", "X does not have valid feature names")  # the columns are in the order of training
    return Matrix(lane.columns)


def _columns(rows: Sequence[Mapping[str, Value]], version: ModelVersion) -> dict[str, list[Value]]:
    return {f.name: [row[f.name] for row in rows] for f in version.features}


def series(feature: Feature, values: Sequence[Value]) -> pd.Series:
    """One column with the dtype of training. A category that was not seen then is a null to the model."""
    if feature.categories is None:
        return pd.Series(values, dtype=feature.dtype)
    codes: dict[Value, int] = {category: code for code, category in enumerate(feature.categories)}
    found = [codes.get(value, -1) for value in values]
    return pd.Series(pd.Categorical.from_codes(found, categories=pd.Index(feature.categories)))


def predicts_by_argmax(model: Any) -> bool:
    """Whether the labels follow from the scores; true only for estimators that are known to do so."""
    if type(model).__name__ == "Pipeline" and type(model).__module__ == "sklearn.pipeline":
        return predicts_by_argmax(model.steps[-1][1])
    if type(model).__module__ == "sklearn.model_selection._search" and hasattr(model, "best_estimator_"):
        return predicts_by_argmax(model.best_estimator_)
    if type(model).__module__ == "sklearn.ensemble._stacking":
        return predicts_by_argmax(model.final_estimator_)
    if getattr(model, "voting", "soft") != "soft":
        return False
    if callable(getattr(model, "objective", None)):  # of boosting, by the user: then the scores are no probabilities
        return False
    if getattr(model, "strategy", None) in ("stratified", "uniform"):  # of DummyClassifier: labels by chance
        return False
    return type(model).__module__.startswith(_KNOWN_TO) and type(model).__name__ in _ARGMAX


def _flat(answer: np.ndarray) -> np.ndarray:
    return answer.reshape(-1) if answer.ndim == 2 and answer.shape[1] == 1 else answer


def _check(values: np.ndarray, shape: tuple[int, ...]) -> None:
    if values.shape != shape:
        raise WorkerError(f"returned shape {values.shape}, wanted {shape}")
    if not np.isfinite(values).all():
        raise WorkerError("returned NaN or infinity")


def _same(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(_same, found, wanted))
    if isinstance(wanted, float):
        return abs(float(found) - wanted) <= GOLDEN_TOLERANCE * max(1.0, abs(wanted))
    return bool(found == wanted)
