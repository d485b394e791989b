"""Do scores mean what they meant? Judged on matured outcomes day by day, since the rows of one day share its luck.

A day gives four numbers: by how much outcomes lie above the scores (level), whether they do so more for high scores (slope),
what a challenger that learned from earlier days would gain (relation), and the correlation of scores with outcomes (sign).
Each is compared with the champion's own earlier days; a model that was always off by as much has not changed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import log
from typing import Any

import numpy as np

from afterfit.monitoring.drift import PREDICTION
from afterfit.records import Finding, Severity
from afterfit.stats import e_detector
from afterfit.stats.binning import Floats
from afterfit.stats.concept import Concept
from afterfit.stats.recursive import FEWEST, residual
from afterfit.stats.relation import Relation, flip

DAY = 86400.0
ROWS = 100  # labelled rows that are judged together; a day with fewer waits for the next one
RAREST = 0.01  # what one day may say at most: no single day is an alarm
MEMORY = 3.0  # days after which a label counts half to the challenger
SETTLE = 6  # days until a challenger has learned enough to be compared with itself
SIGN = 0.2  # part of the false alarms that the correlation may cause; the rest is for the detector of the other three
SAID = {
    "relation": "a model that learned from the last days beats the champion: the relation of features and outcome changed",
    "level": "outcomes lie {way} than the scores say",
    "slope": "the scores claim {way} than they did",
}
WAYS = {"level": ("higher", "lower"), "slope": ("less", "more"), "relation": ("", "")}


@dataclass(frozen=True, slots=True)
class Rows:
    """Mature rows of one champion in time order; what is scored, and what came true."""

    score: Floats  # in [0, 1], shape (n,): of the second class, or of the class that was predicted; or a value
    outcome: Floats  # 1 where that class came true, else 0; or the value that came true
    times: Floats  # epoch seconds
    features: Floats  # numbers, shape (n, d)

    def of(self, chosen: Any) -> Rows:
        """Some of the rows."""
        return Rows(self.score[chosen], self.outcome[chosen], self.times[chosen], self.features[chosen])

    def __add__(self, other: Rows) -> Rows:
        return Rows(
            np.concatenate([self.score, other.score]),
            np.concatenate([self.outcome, other.outcome]),
            np.concatenate([self.times, other.times]),
            np.concatenate([self.features, other.features]),
        )


@dataclass
class Meaning:
    """What one champion's scores meant so far. `scale` is the error of a regression that counts 1; None: probabilities."""

    scale: float | None = None
    history: dict[str, list[float]] = field(default_factory=dict)
    relation: Relation = field(default_factory=Relation)  # of all days but the newest
    newest: Relation = field(default_factory=Relation)
    days: int = 0
    rows: int = 0
    _challenger: Concept | None = None
    _waiting: Rows | None = None
    _wealth: dict[str, Floats] = field(default_factory=dict)

    def add(self, rows: Rows, until: float) -> None:
        """Take in further rows, all of them older than `until` (epoch seconds); days that are over are judged."""
        together = rows if self._waiting is None else self._waiting + rows
        day = np.floor(together.times / DAY)
        start = 0
        for end in [*(np.flatnonzero(np.diff(day)) + 1), len(day)]:
            over = end < len(day) or (end > start and (day[-1] + 1.0) * DAY <= until)
            if over and end - start >= ROWS:
                self._judge(together.of(slice(start, end)))
                start = end
        self._waiting = together.of(slice(start, None))

    @property
    def log_e(self) -> float:
        """Log of the detector after the newest day: how much the bets placed since each day are worth together."""
        if not self._wealth:
            return -np.inf
        every = np.concatenate(list(self._wealth.values()))
        return float(np.logaddexp.reduce(every) - log(len(every)))

    def findings(self, rate: float) -> list[Finding]:
        """One finding a check: `concept`, `calibration` and `sign`; empty while there are too few days.

        Args:
            rate: false alarms a day that are allowed. The detector's first one comes after 1 / rate days or more on
                average, for days that are alike but for their luck.
        """
        if self.days <= FEWEST:
            return []
        limit = log(1.0 / (rate * (1.0 - SIGN)))
        best = max(self._wealth, key=lambda name: float(np.logaddexp.reduce(self._wealth[name])))
        checks = {"calibration": "slope" if best == "slope" else "level", "concept": "relation"}
        found = [
            self._finding(check, name, self.log_e >= limit and name == best, limit)
            for check, name in checks.items()
            if name in self._wealth
        ]
        return [*found, self._sign(rate * SIGN)]

    def _judge(self, rows: Rows) -> None:
        score, outcome = rows.score, rows.outcome
        if self.scale is None:
            miss, odds = outcome - score, np.clip(np.log((score + 0.02) / (1.02 - score)), -4.0, 4.0)
        else:
            miss, odds = np.clip((outcome - score) / self.scale, -1.0, 1.0), np.clip(score / self.scale, -1e6, 1e6)
        self.relation, self.newest = self.relation + self.newest, Relation.of(score, outcome)
        fisher = float(np.arctanh(np.clip(self.newest.correlation, -0.999999, 0.999999)))
        numbers = {"level": float(miss.mean()), "slope": float((miss * (odds - odds.mean())).mean()), "sign": fisher}
        if self.scale is None and (gain := self._gain(rows)) is not None:
            numbers["relation"] = gain
        for name, number in numbers.items():
            self.history.setdefault(name, []).append(number)
        for name in ("level", "slope", "relation"):
            self._bet(name)
        self.days, self.rows = self.days + 1, self.rows + len(score)

    def _gain(self, rows: Rows) -> float | None:
        challenger = self._challenger
        if challenger is None:
            challenger = Concept.untaught(rows.features, half_life=max(MEMORY * len(rows.score), 250.0))
        gain = challenger.gain(rows.features, rows.score, rows.outcome) if self.days >= SETTLE else None
        self._challenger = challenger.taught(rows.features, rows.score, rows.outcome)
        return gain

    def _bet(self, name: str) -> None:
        """Let those who bet on a change since each earlier day play the newest one."""
        if len(self.history.get(name, ())) <= FEWEST:
            return
        found = residual(self.history[name])
        bets = e_detector.of_p_values([found.up if name == "relation" else found.both], RAREST)
        self._wealth[name] = e_detector.run(bets, self._wealth.get(name))[1]

    def _finding(self, check: str, name: str, drifted: bool, limit: float) -> Finding:
        numbers = self.history[name]
        found = residual(numbers)
        now, before = float(np.mean(numbers[-3:])), float(np.mean(numbers[:-3]))
        said = SAID[name].format(way=WAYS[name][now < before])
        what = f"{name} {now:+.4f} in the last 3 days, {before:+.4f} in the {len(numbers) - 3} before"
        return Finding(
            column="outcome" if check == "concept" else PREDICTION,
            check=check,
            method="e-detector on recursive residuals of days",
            statistic=self.log_e,
            distance=min(1.0, abs(now - before)),
            p_value=found.up if name == "relation" else found.both,
            threshold=limit,
            drifted=drifted,
            severity=Severity.WARNING if drifted else Severity.INFO,
            message=f"{said}: {what}" if drifted else what,
            n_reference=self.relation.n,
            n_window=self.newest.n,
        )

    def _sign(self, alpha: float) -> Finding:
        before, now = self.relation, self.newest
        found = residual(self.history["sign"])
        p = max(flip(before, now), found.down if before.correlation > 0.0 else found.up)
        said = f"correlation of answers and outcomes {before.correlation:+.2f} in {before.n:,} rows → {now.correlation:+.2f}"
        drifted = p < alpha
        return Finding(
            column=PREDICTION,
            check="sign",
            method="Fisher's z, of rows and of days",
            statistic=abs(found.size),
            distance=abs(now.correlation - before.correlation) / 2.0,
            p_value=p,
            threshold=alpha,
            drifted=drifted,
            severity=Severity.WARNING if drifted else Severity.INFO,
            message=f"the answers' correlation with the outcome flipped its sign: {said}" if drifted else said,
            n_reference=before.n,
            n_window=now.n,
        )
