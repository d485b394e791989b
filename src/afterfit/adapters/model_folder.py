"""A version's folder: its record, the hash over its model, and the model itself as something that scores rows."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import yaml

from afterfit.adapters.record_json import from_json
from afterfit.errors import StoreError, WorkerError
from afterfit.records import ModelVersion, Value

GOLDEN_TOLERANCE = 1e-6  # largest difference of a score on a golden row; the same library on the same machine gives 0


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
    """The record in `version.json`."""
    path = Path(folder) / "version.json"
    try:
        return from_json(path.read_bytes(), ModelVersion)
    except OSError as error:
        raise StoreError(f"{path} can't be read: {error}") from error


def load_model(version: ModelVersion) -> Any:
    """The model as it was registered; its files are hashed first, so nothing unknown is unpickled.

    Raises:
        WorkerError: the files are not the ones that were registered, or can't be loaded.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    path = Path(version.folder) / "model"
    found = folder_sha256(path)
    if found != version.model_sha256:
        raise WorkerError(
            f"{path} is not what was registered: sha256 {found[:12]}…, wanted {version.model_sha256[:12]}…; "
            "restore the folder or register the version again"
        )
    flavors = yaml.safe_load((path / "MLmodel").read_text(encoding="utf-8"))["flavors"]
    try:
        if "sklearn" in flavors:
            import mlflow.sklearn

            return mlflow.sklearn.load_model(str(path))
        import mlflow.pyfunc

        return mlflow.pyfunc.load_model(str(path))
    except Exception as error:  # loading runs the user's code, which may raise anything
        raise WorkerError(f"version {version.version} can't be loaded: {type(error).__name__}: {error}") from error


class Scorer:
    """A loaded version that answers rows: labels (or values) and, for a classifier, probabilities."""

    def __init__(self, version: ModelVersion, model: Any = None) -> None:
        self.version = version
        self.model = load_model(version) if model is None else model

    def frame(self, columns: Sequence[Sequence[Value]]) -> pd.DataFrame:
        """Columns in the order of the signature as a frame with the dtypes that the model was fitted on."""
        data = {}
        for feature, values in zip(self.version.features, columns, strict=True):
            if feature.categories is not None:
                known = [
                    v if v in feature.categories else None for v in values
                ]  # a new category is a null to the model
                data[feature.name] = pd.Series(pd.Categorical(known, categories=list(feature.categories)))
            else:
                data[feature.name] = pd.Series(values, dtype=feature.dtype)
        return pd.DataFrame(data)

    def answer(self, frame: pd.DataFrame) -> tuple[list[Value], list[list[float]] | None]:
        """(predictions, scores) of each row; scores are None for a model without probabilities.

        Raises:
            WorkerError: the model raised, or answered something of the wrong shape or not finite.
        """
        data: Any = frame.to_numpy() if self.version.tags.get("input") == "array" else frame
        classes = self.version.classes
        try:
            if classes is not None and hasattr(self.model, "predict_proba"):
                scores = np.asarray(self.model.predict_proba(data), dtype=float)
                _check(scores, (len(frame), len(classes)))
                labels = np.asarray(classes, dtype=object)[scores.argmax(axis=1)]
                return labels.tolist(), scores.tolist()
            answer = np.asarray(self.model.predict(data))
        except WorkerError:
            raise
        except Exception as error:  # a model may raise anything; the caller gets the champion's answer
            raise WorkerError(f"version {self.version.version} raised {type(error).__name__}: {error}") from error
        answer = answer.reshape(-1) if answer.ndim == 2 and answer.shape[1] == 1 else answer
        if classes is None:
            answer = np.asarray(answer, dtype=float)
            _check(answer, (len(frame),))
        elif answer.shape != (len(frame),):
            raise WorkerError(f"returned shape {answer.shape}, wanted {(len(frame),)}")
        return answer.tolist(), None

    def probe(self) -> None:
        """Score the golden rows that were kept at registration; they must come out as they did then.

        Raises:
            WorkerError: they do not.
        """
        path = Path(self.version.folder) / "golden.json"
        if not path.exists():
            return
        golden = msgspec.json.decode(path.read_bytes())
        columns = [[row[f.name] for row in golden["rows"]] for f in self.version.features]
        predictions, scores = self.answer(self.frame(columns))
        for i, wanted in enumerate(golden["scores"] or golden["predictions"]):
            found = scores[i] if scores is not None and golden["scores"] else predictions[i]
            if not _same(found, wanted):
                raise WorkerError(f"probe failed: golden row {i} came out as {found}, was registered as {wanted}")


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
