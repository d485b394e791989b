"""What a rollout has shown so far, reduced to the numbers that the judge bets on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from afterfit.records import ModelVersion, Status
from afterfit.stats.losses import bounded_loss

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
DAY = 86400.0
_BAD = (Status.ERROR, Status.TIMEOUT)


@dataclass(frozen=True)
class Evidence:
    """Losses are paired: row i of both arrays is the same request, in the order in which outcomes became known.

    Asked and bad count attempts: the rows of one request that one version gets are answered, or fail, together. A
    worker that dies once under a request of fifty rows is one bad event, not fifty. For the same reason a row that was
    skipped, because the version's breaker was open or its process away, is no attempt: one death may make a thousand of
    them, and the test takes each bad event as news. Whose the row was to serve stays (intention to treat), so the sample
    ratio is that of the assignment; and a skipped row is no evidence that a stage may pass on.
    """

    candidate_loss: Floats  # bounded losses in [0, 1], shape (n_pairs,)
    champion_loss: Floats
    day: NDArray[np.int64]  # day of event time of each pair: losses within a day rise and fall together
    candidate_asked: int = 0  # attempts put to the candidate, served or as shadow
    champion_asked: int = 0
    candidate_bad: int = 0  # errors, timeouts and fallbacks
    champion_bad: int = 0
    stage_pairs: int = 0  # pairs of the present stage
    stage_requests: int = 0  # rows of the present stage that were put to the candidate
    candidate_keys: int = 0  # distinct keys assigned in the present stage
    champion_keys: int = 0
    rows: int = 0  # of this rollout in the log
    lost: int = 0  # that were answered meanwhile and could not be logged

    @classmethod
    def of(
        cls, pairs: pa.Table, *, champion: ModelVersion, candidate: ModelVersion, stage_routes: int, lost: int = 0
    ) -> Self:
        """From the rows of `Lake.pairs` of one rollout; `stage_routes` is the number of the routes
        with which the present stage began: rows answered under earlier routes, by a gateway that had not taken over
        the new ones yet, are not of this stage."""
        rows = _Rows(pairs, champion.version, candidate.version)
        in_stage = rows.routes >= stage_routes
        paired = np.flatnonzero(rows.paired)
        paired = paired[np.argsort(rows.known_time[paired], kind="stable")]
        candidate_loss, champion_loss = _losses(pairs, paired, rows.from_candidate[paired], champion, candidate)
        mine, theirs = rows.attempts(candidate.version), rows.attempts(champion.version)
        return cls(
            candidate_loss=candidate_loss,
            champion_loss=champion_loss,
            day=(rows.time[paired] // DAY).astype(np.int64),
            candidate_asked=mine[0],
            champion_asked=theirs[0],
            candidate_bad=mine[1],
            champion_bad=theirs[1],
            stage_pairs=int((rows.paired & in_stage).sum()),
            stage_requests=int((rows.by_candidate & ~rows.skipped & in_stage).sum()),
            candidate_keys=_distinct(pairs["key"], rows.by_candidate & in_stage),
            champion_keys=_distinct(pairs["key"], ~rows.by_candidate & in_stage),
            rows=pairs.num_rows,
            lost=lost,
        )


class _Rows:
    """The columns of `Lake.pairs` as arrays of shape (n_rows,)."""

    def __init__(self, pairs: pa.Table, champion: int, candidate: int) -> None:
        served, failed = _ints(pairs["served_version"]), _ints(pairs["failed_version"])
        shadow, shadow_status = _ints(pairs["shadow_version"]), pairs["shadow_status"]
        self.routes = _ints(pairs["routes"])
        self.time = _ints(pairs["time"].cast("int64")) / 1e6
        self.known_time = _ints(pairs["known_time"].cast("int64"))
        self.from_candidate: Flags = served == candidate  # whose answer the caller got
        self.by_candidate: Flags = self.from_candidate | (failed == candidate)  # whose the row was to serve
        of_both = ((served == champion) & (shadow == candidate)) | ((served == candidate) & (shadow == champion))
        known = np.asarray(pairs["outcome"].is_valid().to_numpy(), dtype=bool)
        self.paired: Flags = of_both & known & _is(shadow_status, Status.OK)
        self.skipped = _is(pairs["status"], Status.SKIPPED)
        self._routed = np.where(self.skipped, 0, np.where(failed > 0, failed, served))
        self._routed_bad = failed > 0
        self._shadow = np.where(_is(shadow_status, Status.DROPPED), 0, shadow)
        self._shadow_bad = _is(shadow_status, *_BAD)
        self._served_in = _floats(pairs["latency_ms"])
        self._shadow_in = _floats(pairs["shadow_latency_ms"])

    def attempts(self, version: int) -> tuple[int, int]:
        """(how often a version was asked, how often it failed)."""
        asked = bad = 0
        for whom, failed, latency in (
            (self._routed, self._routed_bad, self._served_in),
            (self._shadow, self._shadow_bad, self._shadow_in),
        ):
            asked += _requests(latency[whom == version])
            bad += _requests(latency[(whom == version) & failed])
        return asked, bad


def _requests(latency: Floats) -> int:
    """Rows of one request carry one measured latency, to the last bit; rows without one count each."""
    measured = latency[latency > 0.0]
    return len(np.unique(measured)) + len(latency) - len(measured)


def _losses(
    pairs: pa.Table, at: NDArray[np.intp], from_candidate: Flags, champion: ModelVersion, candidate: ModelVersion
) -> tuple[Floats, Floats]:
    """(candidate's, champion's) losses of the rows `at`; both on the champion's scale, so that they compare."""
    outcome: Any = [msgspec.json.decode(v) for v in pairs["outcome"].take(at).to_pylist()]
    told = ("prediction", "shadow_prediction"), ("scores", "shadow_scores")
    served, shadow = ([pairs[names[i]].take(at).to_pylist() for names in told] for i in (0, 1))
    found = []
    for version, first in ((candidate, from_candidate), (champion, ~from_candidate)):
        prediction, scores = (
            [a if f else b for f, a, b in zip(first, served[i], shadow[i], strict=True)] for i in (0, 1)
        )
        answers: Any = [None if v is None else msgspec.json.decode(v) for v in prediction]
        found.append(
            bounded_loss(champion.task, outcome, answers, _table(scores, version), version.classes, champion.loss_scale)
        )
    return found[0], found[1]


def _table(scores: list[Any], version: ModelVersion) -> Floats | None:
    """Scores as (n_rows, n_classes), NaN where a row has none or too few; None for a version that gives no scores."""
    if version.classes is None or all(s is None for s in scores):
        return None
    width = len(version.classes)
    rows = [s if s is not None and len(s) == width else [np.nan] * width for s in scores]
    return np.array(rows, dtype=float).reshape(len(scores), width)


def _ints(column: Any) -> NDArray[np.int64]:
    return np.asarray(column.fill_null(0).to_numpy(), dtype=np.int64)


def _floats(column: Any) -> Floats:
    return np.asarray(column.fill_null(0.0).to_numpy(), dtype=float)


def _is(column: Any, *statuses: Status) -> Flags:
    """Where a column of statuses says one of these; a null says none."""
    return np.asarray(pc.is_in(column, pa.array([s.value for s in statuses])).to_numpy(), dtype=bool)


def _distinct(column: Any, where: Flags) -> int:
    return int(pc.count_distinct(column.filter(pa.array(where)), mode="all").as_py())
