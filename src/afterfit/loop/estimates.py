"""Performance before outcomes are known, window by window, and whether it was right once they were."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from afterfit.home import Home
from afterfit.loop.answers import answers, features_of, labelled_rows
from afterfit.loop.windows import LOOKED_AT, of_version
from afterfit.ports import Monitor
from afterfit.records import ModelVersion, Window
from afterfit.stats.audit import Audit, audit
from afterfit.stats.expected import Binary
from afterfit.stats.expected_loss import LossModel
from afterfit.stats.expected_multiclass import Multiclass

if TYPE_CHECKING:
    import pyarrow as pa

LEARN_DAYS = (
    5.0  # and rows, of a champion's mature windows, from which an estimator is learned; then whenever they doubled
)
LEARN_ROWS = 500
DAY = 86400.0

Estimator = Binary | Multiclass | LossModel


class Estimates:
    """One estimator a champion, learned from its mature windows and again when they doubled; blind to concept drift."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._learned: dict[str, tuple[int, float, Estimator | None]] = {}  # of which version, from how many days

    def of_window(self, champion: ModelVersion, rows: pa.Table, now: datetime) -> dict[str, float]:
        """`estimated_loss`, `estimated_low` and `estimated_high` of the champion's answers in a closed window: log loss, or
        absolute error; nothing while the estimator has nothing to learn from, or the loss is undefined."""
        estimator, mine = self._estimator(champion, now), of_version(rows, champion)
        if estimator is None or not mine.num_rows:
            return {}
        prediction, scores = answers(mine, champion)
        if isinstance(estimator, LossModel):
            found = estimator.estimate(prediction, features_of(mine, champion)).metrics["mae"]
        elif isinstance(estimator, Binary):
            found = estimator.estimate(scores[:, 1], _bits(prediction, champion)).metrics["log_loss"]
        else:
            found = estimator.estimate(scores, prediction).metrics["log_loss"]
        if found.value is None or found.low is None or found.high is None:
            return {}
        numbers = {"loss": found.value, "low": found.low, "high": found.high}
        return {"version": float(champion.version), **{f"estimated_{k}": float(v) for k, v in numbers.items()}}

    def _estimator(self, champion: ModelVersion, now: datetime) -> Estimator | None:
        version, days, estimator = self._learned.get(champion.model, (0, 0.0, None))
        if version != champion.version:
            days, estimator = 0.0, None
        window, known = _mature(self._home.store, champion)
        if window is None or known < max(LEARN_DAYS, 2.0 * days):
            return estimator
        estimator = self._learn(champion, window, now)
        self._learned[champion.model] = champion.version, known, estimator
        return estimator

    def _learn(self, champion: ModelVersion, window: Window, now: datetime) -> Estimator | None:
        table = self._home.lake.labelled(
            champion.model, window, features=champion.features, as_of=now, known=True, most=LOOKED_AT
        )
        outcome, mine = labelled_rows(of_version(table, champion))
        prediction, scores = answers(mine, champion)
        try:
            if champion.classes is None:
                return LossModel.fit(prediction, outcome.astype(float), features_of(mine, champion))
            if len(champion.classes) == 2:
                return Binary.fit(scores[:, 1], _bits(prediction, champion), _bits(outcome, champion))
            return Multiclass.fit(champion.classes, scores, prediction, outcome)
        except ValueError:  # one class only, or no usable answers: this champion is not estimated
            return None


def audit_of(store: Monitor, champion: ModelVersion) -> Audit:
    """The champion's estimates beside what was realised in the same windows."""
    pairs = [
        numbers
        for _, _, numbers in store.windows(champion.model, "performance")
        if numbers.get("version") == champion.version and {"estimated_loss", "own_loss"} <= numbers.keys()
    ]
    estimate, low, high, realised = (
        [numbers[column] for numbers in pairs]
        for column in ("estimated_loss", "estimated_low", "estimated_high", "own_loss")
    )
    return audit(estimate, low, high, realised)


def harm(champion: ModelVersion, numbers: dict[str, float], store: Monitor, tolerance: float) -> str:
    """How much worse than on the hold-out a window is estimated to be, in words; empty if it is not, or the estimator was
    downgraded: what was wrong before is no evidence."""
    held_out = champion.metrics.get("mae" if champion.classes is None else "log_loss")
    if held_out is None or numbers.get("estimated_low", 0.0) <= held_out * (1.0 + tolerance):
        return ""
    if audit_of(store, champion).downgraded:
        return ""
    return (
        f"estimated loss {numbers['estimated_loss']:.4f} ({numbers['estimated_low']:.4f} to "
        f"{numbers['estimated_high']:.4f}), hold-out {held_out:.4f}"
    )


def _mature(store: Monitor, champion: ModelVersion) -> tuple[Window | None, float]:
    """(the stretch of the champion's mature windows, their days), or (None, 0) while they have too few rows."""
    seen = [
        (window, numbers["own_n"])
        for window, _, numbers in store.windows(champion.model, "performance")
        if numbers.get("version") == champion.version and numbers.get("own_n")
    ]
    if sum(rows for _, rows in seen) < LEARN_ROWS:
        return None, 0.0
    days = sum((window.end - window.start).total_seconds() for window, _ in seen) / DAY
    return Window(seen[0][0].start, seen[-1][0].end), days


def _bits(labels: Any, champion: ModelVersion) -> Any:
    """1 where the second class stands, else 0."""
    return (labels == (champion.classes or ())[1]).astype(float)
