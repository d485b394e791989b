"""What a rollout has shown so far, reduced to the numbers that the judge bets on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from afterfit.records import ModelVersion, Status
from afterfit.stats.losses import bounded_loss

if TYPE_CHECKING:
    import pyarrow as pa

Floats = NDArray[np.float64]
_DAY = 86_400_000_000  # microseconds
_BAD = (Status.ERROR.value, Status.TIMEOUT.value)


@dataclass(frozen=True)
class Evidence:
    """Losses are paired: row i of both arrays is the same request, in the order in which outcomes became known."""

    candidate_loss: Floats  # bounded losses in [0, 1], shape (n_pairs,)
    champion_loss: Floats
    day: NDArray[np.int64]  # day of event time of each pair: losses within a day rise and fall together
    candidate_asked: int = 0  # requests put to the candidate, served or as shadow
    champion_asked: int = 0
    candidate_bad: int = 0  # errors, timeouts and fallbacks
    champion_bad: int = 0
    stage_pairs: int = 0  # pairs of the present stage
    stage_requests: int = 0  # requests of the present stage that were the candidate's to serve
    candidate_keys: int = 0  # distinct keys assigned in the present stage
    champion_keys: int = 0

    @classmethod
    def of(cls, pairs: pa.Table, *, champion: ModelVersion, candidate: ModelVersion, stage_from: datetime) -> Self:
        """From the rows of `Lake.pairs` of one rollout."""
        import pyarrow as pa
        import pyarrow.compute as pc

        rows = _columns(pairs)
        mine, theirs = candidate.version, champion.version
        in_stage = pc.greater_equal(pairs["time"], pa.scalar(stage_from, pairs["time"].type)).to_numpy()
        served_mine = (rows["served_version"] == mine) | (rows["failed_version"] == mine)
        asked_shadow = np.isin(rows["shadow_version"], [mine, theirs]) & (rows["shadow_status"] != Status.DROPPED.value)
        shadow_mine = asked_shadow & (rows["shadow_version"] == mine)
        shadow_theirs = asked_shadow & (rows["shadow_version"] == theirs)
        shadow_bad = np.isin(rows["shadow_status"], _BAD)
        candidate_loss, champion_loss, day, paired = _losses(pairs, rows, champion, candidate)
        keys, arm = rows["key"][in_stage], served_mine[in_stage]
        return cls(
            candidate_loss=candidate_loss,
            champion_loss=champion_loss,
            day=day,
            candidate_asked=int(served_mine.sum() + shadow_mine.sum()),
            champion_asked=int((~served_mine).sum() + shadow_theirs.sum()),
            candidate_bad=int((rows["failed_version"] == mine).sum() + (shadow_mine & shadow_bad).sum()),
            champion_bad=int((rows["failed_version"] == theirs).sum() + (shadow_theirs & shadow_bad).sum()),
            stage_pairs=int((paired & in_stage).sum()),
            stage_requests=int((served_mine & in_stage).sum()),
            candidate_keys=len(set(keys[arm].tolist())),
            champion_keys=len(set(keys[~arm].tolist())),
        )


def _columns(pairs: pa.Table) -> dict[str, Any]:
    names = ("served_version", "failed_version", "shadow_version")
    found: dict[str, Any] = {n: np.array([v or 0 for v in pairs[n].to_pylist()], dtype=np.int64) for n in names}
    for name in ("key", "shadow_status"):
        found[name] = np.array(pairs[name].to_pylist(), dtype=object)
    return found


def _losses(
    pairs: pa.Table, rows: dict[str, Any], champion: ModelVersion, candidate: ModelVersion
) -> tuple[Floats, Floats, NDArray[np.int64], NDArray[np.bool_]]:
    """Losses of rows that both versions scored and whose outcome is known, ordered by when it became known."""
    versions = {champion.version, candidate.version}
    both = np.array(
        [{s, t} == versions for s, t in zip(rows["served_version"], rows["shadow_version"], strict=True)], dtype=bool
    )
    known = pairs["outcome"].is_valid().to_numpy(zero_copy_only=False) if pairs.num_rows else np.zeros(0, dtype=bool)
    fine = rows["shadow_status"] == Status.OK.value
    paired = both & known & fine
    at = np.flatnonzero(paired)
    at = at[np.argsort(np.array(pairs["known_time"].cast("int64").to_pylist(), dtype=object)[at], kind="stable")]
    table = pairs.take(at)
    outcome = [msgspec.json.decode(v) for v in table["outcome"].to_pylist()]
    served = _loss(outcome, table["prediction"].to_pylist(), table["scores"].to_pylist(), champion)
    shadow = _loss(outcome, table["shadow_prediction"].to_pylist(), table["shadow_scores"].to_pylist(), champion)
    by_candidate = rows["served_version"][at] == candidate.version
    day = np.array(table["time"].cast("int64").to_pylist(), dtype=np.int64) // _DAY
    return np.where(by_candidate, served, shadow), np.where(by_candidate, shadow, served), day, paired


def _loss(outcome: list[Any], prediction: list[str], scores: list[Any], version: ModelVersion) -> Floats:
    answers = [msgspec.json.decode(v) if v is not None else None for v in prediction]
    if version.classes is None:
        return bounded_loss(version.task, outcome, answers, None, None, version.loss_scale)
    width = len(version.classes)
    if all(s is None for s in scores):
        return bounded_loss(version.task, outcome, answers, None, version.classes)
    table = np.array([s if s is not None and len(s) == width else [np.nan] * width for s in scores], dtype=float)
    return bounded_loss(version.task, outcome, answers, table.reshape(len(scores), width), version.classes)
