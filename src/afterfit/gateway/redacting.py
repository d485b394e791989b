"""Which features of a model's rows this gateway keeps out of its log: those of every version that is routed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from afterfit.adapters.model_folder import read_version
from afterfit.adapters.redaction import DROP, Redaction, redaction_of
from afterfit.errors import StoreError
from afterfit.gateway.fleet import Lane
from afterfit.records import Feature


class Redactions:
    """Looked up for every row, worked out once for each lane; a model that left the routes keeps its last one."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._known: dict[str, tuple[Lane, Redaction | None]] = {}
        self.lanes: Mapping[str, Lane] = {}

    def of(self, model: str) -> Redaction | None:
        """What becomes of the features of this model's rows.

        Raises:
            StoreError: the salt of the hashes can't be read; then nothing is logged.
        """
        lane, known = self.lanes.get(model), self._known.get(model)
        if lane is None or (known is not None and known[0] is lane):
            return None if known is None else known[1]
        found = redaction_of(_features(lane), self._home)
        self._known[model] = (lane, found)
        return found


def _features(lane: Lane) -> list[Feature]:
    """The features of all routed versions; where two differ, the stricter one."""
    features = list(lane.version.features)
    for target in lane.routes.targets:
        try:
            features += read_version(target.folder).features
        except StoreError:
            continue  # its worker says what is wrong; it gets no rows
    return sorted(features, key=lambda f: (f.redact == DROP, bool(f.redact)))
