"""The evidence of a rollout counted row by row, as plainly as it can be said: what lake and `Evidence.of` must agree with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from afterfit.adapters.delta_lake import DeltaLake
from afterfit.adapters.journal_rows import OUTCOME, PREDICTION, SHADOW, pack_outcome, pack_prediction, pack_shadow
from afterfit.adapters.lake_table import LakeTable
from afterfit.records import ModelVersion, Outcome, OutcomeKind, Prediction, ShadowScore, Status
from afterfit.rollout.evidence import DAY, Evidence
from afterfit.stats.losses import bounded_loss

ROLLOUT = "r"
_FAILED = (Status.ERROR, Status.TIMEOUT)


@dataclass(frozen=True)
class Log:
    """What was written; the place of an outcome in its list is its number in the journal."""

    served: Sequence[Prediction]
    shadows: Sequence[ShadowScore] = ()
    outcomes: Sequence[Outcome] = ()

    def write(self, folder: Path) -> DeltaLake:
        """Straight into the tables of a lake, without a journal."""
        bodies = {
            PREDICTION: [pack_prediction(row) for row in self.served],
            SHADOW: [pack_shadow(row) for row in self.shadows],
            OUTCOME: [pack_outcome(row) for row in self.outcomes],
        }
        for kind, packed in bodies.items():
            if packed:
                LakeTable(folder, kind).append("j", list(enumerate(packed, start=1)))
        return DeltaLake(folder)


def from_lake(
    lake: DeltaLake, champion: ModelVersion, candidate: ModelVersion, since: int, as_of: datetime | None = None
) -> Evidence:
    """As the loop asks for it."""
    return Evidence.of(
        lake.pairs(champion.model, ROLLOUT, as_of=as_of),
        lake.traffic(champion.model, ROLLOUT, version=candidate.version, since=since, as_of=as_of),
        champion=champion,
        candidate=candidate,
        stage_routes=since,
    )


def plain_evidence(
    log: Log, champion: ModelVersion, candidate: ModelVersion, since: int, as_of: datetime | None = None
) -> Evidence:
    """The same from the rows themselves."""
    served = [s for s in log.served if s.rollout == ROLLOUT and (as_of is None or s.logged_at <= as_of)]
    rows = [(s, _shadow(s, served, log, as_of), _outcome(s, log, as_of)) for s in served]
    both = {champion.version, candidate.version}
    pairs = [
        (s, o, known)
        for s, o, known in rows
        if o and known and o.status is Status.OK and {s.version, o.version} == both
    ]
    pairs.sort(key=lambda pair: (pair[2].known_time, pair[0].time, pair[0].id))
    mine = [s for s in served if candidate.version in (s.version, s.failed_version)]
    others = [s for s in served if s not in mine]
    asked = {v.version: _attempts(rows, v.version) for v in (champion, candidate)}
    bad = {v.version: _attempts(rows, v.version, bad=True) for v in (champion, candidate)}
    return Evidence(
        candidate_loss=_losses(pairs, candidate, champion),
        champion_loss=_losses(pairs, champion, champion),
        day=np.array([s.time.timestamp() // DAY for s, _, _ in pairs], dtype=np.int64),
        candidate_asked=asked[candidate.version],
        champion_asked=asked[champion.version],
        candidate_bad=bad[candidate.version],
        champion_bad=bad[champion.version],
        stage_pairs=sum(s.routes >= since for s, _, _ in pairs),
        stage_requests=sum(s.routes >= since and s.status is not Status.SKIPPED for s in mine),
        candidate_keys=len({s.key for s in mine if s.routes >= since}),
        champion_keys=len({s.key for s in others if s.routes >= since}),
        rows=len(served),
    )


def _shadow(row: Prediction, served: Sequence[Prediction], log: Log, as_of: datetime | None) -> ShadowScore | None:
    """The newest score of another version than the one that answered, should two rows have one id, any of them."""
    answered = {s.version for s in served if s.id == row.id}
    found = [
        o
        for o in log.shadows
        if o.prediction_id == row.id and o.rollout == ROLLOUT and (as_of is None or o.logged_at <= as_of)
        if answered - {o.version}
    ]
    return max(found, key=lambda o: (o.logged_at, o.version), default=None)


def _outcome(row: Prediction, log: Log, as_of: datetime | None) -> Outcome | None:
    found = [
        (o.known_time, number, o)
        for number, o in enumerate(log.outcomes)
        if (o.prediction_id == row.id or (o.prediction_id is None and (o.key, o.time) == (row.key, row.time)))
        and (as_of is None or o.known_time <= as_of)
    ]
    newest = max(found, default=None, key=lambda each: each[:2])
    if newest is None or newest[2].kind is OutcomeKind.RETRACTION or newest[2].value is None:
        return None
    return newest[2]


def _attempts(rows: Iterable[tuple[Prediction, ShadowScore | None, Any]], version: int, *, bad: bool = False) -> int:
    """Attempts put to a version, or those that failed: distinct measured latencies, and rows without one."""
    as_asked, as_shadow = [], []
    for s, o, _ in rows:
        to_serve = s.version if s.failed_version is None else s.failed_version
        if to_serve == version and s.status is not Status.SKIPPED and (s.failed_version is not None or not bad):
            as_asked.append(s.latency_ms)
        if o and o.version == version and o.status is not Status.DROPPED and (o.status in _FAILED or not bad):
            as_shadow.append(o.latency_ms)
    return sum(
        len({latency for latency in each if latency > 0.0}) + sum(latency <= 0.0 for latency in each)
        for each in (as_asked, as_shadow)
    )


def _losses(
    pairs: Sequence[tuple[Prediction, ShadowScore, Outcome]], version: ModelVersion, champion: ModelVersion
) -> NDArray[np.float64]:
    answers = [s if s.version == version.version else o for s, o, _ in pairs]
    table = None
    outcomes: Any = [known.value for _, _, known in pairs]
    predictions: Any = [a.prediction for a in answers]
    if version.classes is not None and any(a.scores is not None for a in answers):
        width = len(version.classes)
        none = (np.nan,) * width
        table = [a.scores if a.scores is not None and len(a.scores) == width else none for a in answers]
    return bounded_loss(
        champion.task,
        outcomes,
        predictions,
        None if table is None else np.array(table, dtype=float).reshape(len(pairs), -1),
        version.classes,
        champion.loss_scale,
    )
