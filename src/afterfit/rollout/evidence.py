"""What a rollout has shown so far, reduced to the numbers that the judge bets on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from afterfit.records import ModelVersion, Traffic
from afterfit.stats.losses import bounded_loss

Floats = NDArray[np.float64]
DAY = 86400.0


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
        cls,
        pairs: pa.Table,
        traffic: Traffic,
        *,
        champion: ModelVersion,
        candidate: ModelVersion,
        stage_routes: int,
        lost: int = 0,
    ) -> Self:
        """From `Lake.pairs` and `Lake.traffic` of one rollout; `stage_routes` is the number of the routes with which the
        present stage began: rows answered under earlier routes, by a gateway that had not taken over the new ones yet,
        are not of this stage."""
        served, shadow = (pairs[name].to_numpy() for name in ("served_version", "shadow_version"))
        a, b = champion.version, candidate.version
        both = pairs.filter(pa.array(((served == a) & (shadow == b)) | ((served == b) & (shadow == a))))
        known_time = both["known_time"].cast("int64").to_numpy()
        both = both.take(pa.array(np.argsort(known_time, kind="stable")))
        return cls(
            candidate_loss=_losses(both, candidate, champion),
            champion_loss=_losses(both, champion, champion),
            day=(both["time"].cast("int64").to_numpy() / 1e6 // DAY).astype(np.int64),
            candidate_asked=traffic.asked.get(b, 0),
            champion_asked=traffic.asked.get(a, 0),
            candidate_bad=traffic.failed.get(b, 0),
            champion_bad=traffic.failed.get(a, 0),
            stage_pairs=int((both["routes"].to_numpy() >= stage_routes).sum()),
            stage_requests=traffic.requests,
            candidate_keys=traffic.keys,
            champion_keys=traffic.other_keys,
            rows=traffic.rows,
            lost=lost,
        )


def _losses(pairs: pa.Table, version: ModelVersion, champion: ModelVersion) -> Floats:
    """Of the answers of a version, on the champion's scale, so that they compare."""
    served = pc.equal(pairs["served_version"], version.version)
    prediction = pc.if_else(served, pairs["prediction"], pairs["shadow_prediction"])
    scores = pc.if_else(served, pairs["scores"], pairs["shadow_scores"])
    return bounded_loss(
        champion.task,
        decoded(pairs["outcome"]),
        decoded(prediction),
        _table(scores, version),
        version.classes,
        champion.loss_scale,
    )


def decoded(texts: pa.ChunkedArray | pa.Array) -> list[Any]:
    """JSON texts, decoded at once; None where there is none."""
    found: list[Any] = msgspec.json.decode(f"[{','.join(texts.fill_null('null').to_pylist())}]")
    return found


def matrix(scores: pa.ChunkedArray, width: int) -> Floats:
    """Scores, shape (n_rows, width); NaN where a row has none, or another number of them."""
    fits = pc.fill_null(pc.equal(pc.list_value_length(scores), width), False)
    found = np.full((len(scores), width), np.nan)
    found[fits.to_numpy()] = pc.list_flatten(scores.filter(fits)).to_numpy().reshape(-1, width)
    return found


def _table(scores: pa.ChunkedArray, version: ModelVersion) -> Floats | None:
    """None for a version that gives no scores."""
    return None if version.classes is None or scores.null_count == len(scores) else matrix(scores, len(version.classes))
