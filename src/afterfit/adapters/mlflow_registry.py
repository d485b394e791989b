"""The port `Registry` on MLflow: runs, parameters, metrics, artifacts, version numbers and the alias `champion`.

Each version is also copied to `<models>/<name>/<version>/`, which is all that serving ever reads. MLflow is imported at
the first use.
"""

from __future__ import annotations

import os
import pickle
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from afterfit.adapters.atomic_file import cannot_write
from afterfit.adapters.mlflow_session import visit
from afterfit.adapters.model_code import own_code_by_value, requirements
from afterfit.adapters.record_json import to_json
from afterfit.errors import InputError, StoreError, UnknownNameError
from afterfit.records import Feature, ModelVersion

ALIAS = "champion"
_BATCH = 100  # parameters in one request, MLflow's own limit
_LONGEST = 6000  # characters of a parameter or tag
_MISSING = "RESOURCE_DOES_NOT_EXIST"


@dataclass(frozen=True, slots=True)
class Fetched:
    """A version brought here from MLflow."""

    folder: Path  # its files
    model: Any
    flavor: str  # sklearn | pyfunc
    columns: tuple[str, ...] | None  # names of the inputs, from MLflow's signature
    params: Mapping[str, Any]  # of the run that made it
    metrics: Mapping[str, float]


class MlflowRegistry:
    """Implements the port `Registry`.

    Args:
        tracking_uri: where runs and versions live, `sqlite:///path`, `http://host:5000` or anything MLflow takes.
        artifacts: folder of the artifacts; None: the store decides (a server does).
        models: folder of the local copies.
        code_root: modules below it are pickled with the model, since they can't be imported elsewhere.

    What is supported: a fitted scikit-learn estimator or pipeline, and any object that quacks like one (`predict`; for
    classification `predict_proba` and `classes_` too). It is pickled by cloudpickle and logged with MLflow's sklearn
    flavor, so `mlflow.sklearn.load_model` and `mlflow.pyfunc.load_model` both read it. A version that exists already
    (:meth:`adopt`) may have any flavor.
    """

    def __init__(self, tracking_uri: str, artifacts: Path | None, *, models: Path, code_root: Path) -> None:
        self._uri = tracking_uri
        self._artifacts = artifacts
        self._models = models
        self._code_root = code_root

    # --- port -----------------------------------------------------------------------------------------------------

    def log(self, draft: ModelVersion, model: Any, example: Any, files: Mapping[str, Path]) -> ModelVersion:
        """Log everything about a new version and register it.

        Raises:
            InputError: the model can't be pickled.
            StoreError: MLflow can't be reached, or the local folder can't be written. No version folder is left.
        """
        with visit(self._uri) as client, tempfile.TemporaryDirectory(prefix="afterfit-model-") as folder:
            saved = Path(folder) / "model"
            self._save(model, saved, draft, example)
            return self._publish(client, draft, saved, files)

    def adopt(
        self,
        draft: ModelVersion,
        uri: str,
        *,
        files: Mapping[str, Path] | None = None,
        fetched: Fetched | None = None,
        tracking_uri: str | None = None,
    ) -> ModelVersion:
        """Take over a version that MLflow has already.

        One that lives in our own registry under the model's name keeps its number and nothing is written to MLflow. One
        from another server or of another name is copied into our registry as a new version, with its origin as tags.

        Args:
            draft: what is known about it.
            uri: `models:/name/3` or `models:/name@alias`.
            files: what to keep beside the model.
            fetched: what :meth:`fetch` returned; None: it is fetched now.
            tracking_uri: the MLflow it lives in; None: ours.

        Raises:
            InputError: not such a URI.
            UnknownNameError: no such version.
            StoreError: MLflow can't be reached.
        """
        source = tracking_uri or self._uri
        name, number, run_id = self._find(uri, source)
        with tempfile.TemporaryDirectory(prefix="afterfit-adopt-") as folder:
            if fetched is None:
                fetched = self.fetch(f"models:/{name}/{number}", Path(folder) / "model", tracking_uri)
            saved = fetched.folder
            if source == self._uri and name == draft.model:
                here = replace(draft, version=number, uri=f"models:/{name}/{number}", run_id=run_id)
                return self._place(here, saved, files or {})
            origin = {"adopted_from": f"models:/{name}/{number}", "adopted_from_store": source}
            with visit(self._uri) as client:
                return self._publish(client, replace(draft, tags={**draft.tags, **origin}), saved, files or {})

    def champion(self, model: str) -> int | None:
        """The version the alias points to; None when there is no alias or no such model."""
        with visit(self._uri) as client:
            found = _or_none(lambda: client.get_registered_model(model))
            alias = None if found is None else found.aliases.get(ALIAS)
            return None if alias is None else int(alias)

    def set_champion(self, model: str, version: int) -> None:
        """Set the alias and read it back.

        Raises:
            StoreError: it can't be reached, has no such version, or answers another version than was set.
        """
        with visit(self._uri) as client:
            client.set_registered_model_alias(model, ALIAS, str(version))
        found = self.champion(model)
        if found != version:
            raise StoreError(
                f"the alias {ALIAS!r} of {model} was set to version {version}, but reads as {found}: somebody else moves "
                "it too. The ledger is the truth; find out who writes this alias"
            )

    # --- beyond the port ------------------------------------------------------------------------------------------

    def fetch(self, uri: str, folder: Path, tracking_uri: str | None = None) -> Fetched:
        """Download the model of a registered version to `folder` and load it.

        Raises:
            InputError, UnknownNameError, StoreError: as :meth:`adopt`.
        """
        source = tracking_uri or self._uri
        name, number, run_id = self._find(uri, source)
        with visit(source) as client:
            from mlflow.artifacts import download_artifacts

            location = client.get_model_version_download_uri(name, str(number))
            if match := re.fullmatch(r"models:/(m-[0-9a-f]+)", location):
                location = client.get_logged_model(match[1]).artifact_location
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="afterfit-fetch-", dir=folder.parent) as aside:
                found = Path(download_artifacts(artifact_uri=location, dst_path=aside, tracking_uri=source))
                if not (found / "MLmodel").is_file():
                    raise StoreError(f"{uri} holds no MLmodel file, so it is no MLflow model; log it again")
                shutil.copytree(found, folder, ignore=shutil.ignore_patterns("registered_model_meta"))
            run = None if run_id is None else _or_none(lambda: client.get_run(run_id))
            return Fetched(
                folder,
                *_load(folder),
                params=dict(run.data.params) if run is not None else {},
                metrics=dict(run.data.metrics) if run is not None else {},
            )

    # --- how ------------------------------------------------------------------------------------------------------

    def _find(self, uri: str, source: str) -> tuple[str, int, str | None]:
        """(name, version, run) of a model URI."""
        match = re.fullmatch(r"models:/([^/@]+)(?:/(\d+)|@([^/@]+))", uri)
        if match is None:
            raise InputError(
                f"model URI {uri!r}: wanted models:/NAME/VERSION or models:/NAME@ALIAS, such as models:/churn/3. A run's "
                "artifact must be registered first (mlflow.register_model)"
            )
        name, number, alias = match[1], match[2], match[3]
        with visit(source) as client:
            if alias is not None:
                registered = _or_none(lambda: client.get_registered_model(name))
                number = registered.aliases.get(alias) if registered is not None else None
            found = None if number is None else _or_none(lambda: client.get_model_version(name, number))
            if found is None:
                known = [f"models:/{v.name}/{v.version}" for v in client.search_model_versions(f"name='{name}'")]
                raise UnknownNameError("model URI", uri, known)
            return name, int(found.version), found.run_id or None

    def _save(self, model: Any, path: Path, draft: ModelVersion, example: Any) -> None:
        import mlflow.sklearn

        try:
            with own_code_by_value(self._code_root):
                mlflow.sklearn.save_model(
                    model,
                    str(path),
                    serialization_format="cloudpickle",
                    pip_requirements=requirements(model),
                    signature=_signature(draft, model, example),
                    input_example=example,
                )
        except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(
                f"the model ({type(model).__name__}) can't be pickled: {error}. Keep open files, connections, locks and "
                "generators out of it; create them when they are needed"
            ) from error

    def _publish(self, client: Any, draft: ModelVersion, saved: Path, files: Mapping[str, Path]) -> ModelVersion:
        """A run with everything, a registered version of it, and the local copy."""
        with self._run(client, draft) as run_id:
            _describe(client, run_id, draft)
            client.log_artifacts(run_id, str(saved), "model")
            for name, path in files.items():
                client.log_artifact(run_id, str(path), "model" if name.startswith("model/") else None)
            _ensure_registered(client, draft.model)
            found = client.create_model_version(
                draft.model, source=f"runs:/{run_id}/model", run_id=run_id, tags=_texts(draft.tags)
            )
            number = int(found.version)
            version = self._place(
                replace(draft, version=number, uri=f"models:/{draft.model}/{number}", run_id=run_id), saved, files
            )
            client.log_artifact(run_id, str(Path(version.folder) / "version.json"))
        return version

    @contextmanager
    def _run(self, client: Any, draft: ModelVersion) -> Iterator[str]:
        """A run that ends as FINISHED, or as FAILED when something is raised."""
        experiment = self._experiment(client, f"afterfit/{draft.model}")
        run_id = client.create_run(experiment, run_name=f"{draft.origin} {draft.created_at:%Y-%m-%d %H:%M}").info.run_id
        status = "FAILED"
        try:
            yield run_id
            status = "FINISHED"
        finally:
            client.set_terminated(run_id, status)

    def _experiment(self, client: Any, name: str) -> str:
        found = client.get_experiment_by_name(name)
        if found is None:
            location = None if self._artifacts is None else (self._artifacts / name.rpartition("/")[2]).as_uri()
            made = _unless_there(lambda: client.create_experiment(name, artifact_location=location))
            found = client.get_experiment_by_name(name) if made is None else client.get_experiment(made)
        if found.lifecycle_stage != "active":
            raise StoreError(
                f"the experiment {name!r} was deleted in MLflow, so nothing can be logged to it; bring it back: "
                f"mlflow experiments restore --experiment-id {found.experiment_id}"
            )
        return str(found.experiment_id)

    def _place(self, version: ModelVersion, saved: Path, files: Mapping[str, Path]) -> ModelVersion:
        """Copy the model beside what else is kept; the folder appears whole or not at all."""
        from afterfit.adapters.model_folder import folder_sha256

        final = self._models / version.model / str(version.version)
        if final.exists():
            raise StoreError(
                f"{final} is there already: this version was adopted before, or another MLflow counted versions before "
                "this one. Move that folder away if nothing uses it, or use another `home`"
            )
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=f".{version.version}-", dir=final.parent) as aside:
                whole = Path(aside) / "version"
                shutil.copytree(saved, whole / "model")
                for name, path in files.items():
                    shutil.copyfile(path, whole / name)
                placed = replace(version, folder=str(final), model_sha256=folder_sha256(whole / "model"))
                (whole / "version.json").write_text(to_json(placed), encoding="utf-8")
                _flush(whole)
                os.rename(whole, final)
        except OSError as error:
            raise cannot_write(final, error) from error
        return placed


def _load(folder: Path) -> tuple[Any, str, tuple[str, ...] | None]:
    """(model, flavor, names of its columns in the signature)."""
    from mlflow.models import Model

    from afterfit.adapters.environments import LIBRARY, misfit

    foreign = misfit(folder)
    if foreign:
        wanted = f"Adopt it from an environment with that {LIBRARY}, which is then used to serve it"
        raise StoreError(f"the model can't be loaded here: {foreign.partition('. ')[0]}. {wanted}")
    kept = Model.load(str(folder))
    inputs = None if kept.signature is None else kept.signature.inputs
    names = tuple(inputs.input_names()) if inputs is not None and inputs.has_input_names() else None
    try:
        if "sklearn" in kept.flavors:
            import mlflow.sklearn

            return mlflow.sklearn.load_model(str(folder)), "sklearn", names
        import mlflow.pyfunc

        return mlflow.pyfunc.load_model(str(folder)), "pyfunc", names
    except Exception as error:  # loading runs the code of whoever logged it, which may raise anything
        raise StoreError(
            f"the model can't be loaded here: {type(error).__name__}: {error}. It asks for: "
            + ", ".join((folder / "requirements.txt").read_text().split())
        ) from error


def _describe(client: Any, run_id: str, draft: ModelVersion) -> None:
    """Parameters, metrics and tags of a run."""
    from mlflow.entities import Metric, Param, RunTag

    at = int(draft.created_at.timestamp() * 1000)
    params = [Param(_key(k), str(v)[:_LONGEST]) for k, v in draft.params.items()]
    metrics = [Metric(_key(k), float(v), at, 0) for k, v in draft.metrics.items()]
    data = {"task": draft.task.value, "origin": draft.origin, "data_sha256": draft.data_sha256, "rows": draft.n_rows}
    moments = {"data_from": draft.data_from, "data_to": draft.data_to}
    own = {f"afterfit.{k}": str(v) for k, v in (data | moments).items() if v is not None}
    tags = [RunTag(k, v) for k, v in (_texts(draft.tags) | own).items()]
    for start in range(0, len(params), _BATCH):
        client.log_batch(run_id, params=params[start : start + _BATCH])
    client.log_batch(run_id, metrics=metrics, tags=tags)


def _signature(draft: ModelVersion, model: Any, example: Any) -> Any:
    """Input columns as Afterfit checks them; MLflow would infer nulls from the few rows of the example."""
    import numpy as np
    from mlflow.models import ModelSignature, infer_signature
    from mlflow.types import ColSpec, Schema

    data = example.to_numpy() if draft.tags.get("input") == "array" else example
    outputs = infer_signature(model_output=np.asarray(model.predict(data))).outputs
    inputs = Schema([ColSpec(_mlflow_type(f), f.name, required=not f.nullable) for f in draft.features])
    return ModelSignature(inputs=inputs, outputs=outputs)


def _mlflow_type(feature: Feature) -> str:
    small = feature.dtype.lower().endswith(("8", "16", "32"))
    return {
        "number": "float" if small else "double",
        "integer": "integer" if small and not feature.dtype.lower().startswith("uint32") else "long",
        "boolean": "boolean",
        "text": "string",
    }[feature.kind]


def _ensure_registered(client: Any, name: str) -> None:
    if _or_none(lambda: client.get_registered_model(name)) is None:
        _unless_there(lambda: client.create_registered_model(name))


def _or_none(call: Any) -> Any:
    """The answer, or None when MLflow says there is no such thing."""
    return _unless(_MISSING, call)


def _unless_there(call: Any) -> Any:
    """The answer, or None when another process made the same thing a moment before."""
    return _unless("RESOURCE_ALREADY_EXISTS", call)


def _unless(code: str, call: Any) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        return call()
    except MlflowException as error:
        if error.error_code != code:
            raise
        return None


def _key(name: str) -> str:
    """MLflow allows letters, digits and `_-. :/` in the names of parameters and metrics."""
    return re.sub(r"[^\w\-. :/]", "_", name)


def _texts(tags: Mapping[str, str]) -> dict[str, str]:
    return {k: v[:_LONGEST] for k, v in tags.items()}


def _flush(folder: Path) -> None:
    """Bring every file of a new folder to the disk before it gets its name."""
    for path in (p for p in folder.rglob("*") if p.is_file()):
        with path.open("rb") as file:
            os.fsync(file.fileno())
