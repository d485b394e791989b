"""Takes a draft to the registry, the store and the ledger, in that order, so that what is listed is always whole."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from afterfit.ports import Ledger, Registry, Versions
from afterfit.records import ModelVersion
from afterfit.tracking.draft import Draft

EXAMPLE_ROWS = 5

Log = Callable[[Mapping[str, Path]], ModelVersion]  # puts the files into the registry


def register(
    made: Draft,
    reference: Mapping[str, Any],
    *,
    registry: Registry,
    versions: Versions,
    ledger: Ledger,
    actor: str,
    card: str | None = None,
) -> ModelVersion:
    """Log the model with its reference profile and golden rows, and put it under care.

    Args:
        made: what :func:`afterfit.tracking.draft.draft` returned.
        reference: the profile of the training data that windows are compared with, JSON-able.
        registry: where runs, artifacts and version numbers live.
        versions: what Afterfit knows.
        ledger: gets a fact `registered`.
        actor: who did it, `controller` or `person:<login>`.
        card: model card, Markdown.

    Raises:
        StoreError: the registry or the store refused; no version is listed then.
    """

    def log(files: Mapping[str, Path]) -> ModelVersion:
        shown = made.X if made.example is None else made.example
        return registry.log(made.version, made.model, shown.head(EXAMPLE_ROWS), files)

    return settle(made, reference, log, versions=versions, ledger=ledger, actor=actor, card=card)


def settle(
    made: Draft,
    reference: Mapping[str, Any],
    log: Log,
    *,
    versions: Versions,
    ledger: Ledger,
    actor: str,
    card: str | None = None,
) -> ModelVersion:
    """Write the files beside the model, let `log` put them into the registry, and list the version."""
    with tempfile.TemporaryDirectory(prefix="afterfit-") as folder:
        contents = {"reference.json": reference, "golden.json": made.golden, "importance.json": made.importance}
        contents["prior.json"] = made.prior
        files = {name: Path(folder) / name for name in contents}
        for name, content in contents.items():
            files[name].write_bytes(msgspec.json.encode(content))
        for name, data in made.beside.items():
            files[name] = Path(folder) / Path(name).name
            files[name].write_bytes(data)
        if card is not None:
            files["card.md"] = Path(folder) / "card.md"
            files["card.md"].write_text(card, encoding="utf-8")
        version = log(files)
    versions.add_version(version)
    ledger.append(
        at=version.created_at,
        model=version.model,
        kind="fact",
        name="registered",
        actor=actor,
        data=_essentials(version),
        id=f"registered:{version.model}:{version.version}",
    )
    return version


def _essentials(version: ModelVersion) -> dict[str, Any]:
    """What the ledger remembers of a version even if everything else is lost."""
    return {
        "version": version.version,
        "origin": version.origin,
        "uri": version.uri,
        "model_sha256": version.model_sha256,
        "data_sha256": version.data_sha256,
        "rows": version.n_rows,
        "data_from": version.data_from and version.data_from.isoformat(),
        "data_to": version.data_to and version.data_to.isoformat(),
        "params": dict(version.params),
        "metrics": dict(version.metrics),
        "lane": version.tags.get("lane"),
        "lane_why": version.tags.get("lane_why"),
    }
