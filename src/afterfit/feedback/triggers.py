"""Is it time to train again? Every trigger that fires is answered, also with a reasoned no."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from afterfit.config import RetrainConfig, duration
from afterfit.records import Finding, Incident

_DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Proposal:
    """`trigger` is None when nothing fired; with a trigger and no start, `reason` says what speaks against it."""

    start: bool
    trigger: str | None
    reason: str


def retrain_reason(
    now: datetime,
    config: RetrainConfig,
    *,
    last_change: datetime,
    last_training: datetime | None,
    drift_open: Sequence[Incident],
    performance: Finding | None,
    new_mature_rows: int,
    quality_open: bool,
) -> Proposal:
    """The first trigger that fires, and whether anything speaks against it.

    Args:
        last_change: when the present champion became one.
        last_training: start of the newest training, or None.
        drift_open: open drift incidents.
        performance: the newest performance finding about the champion.
        new_mature_rows: rows with a mature outcome since the newest training.
        quality_open: whether a data-quality incident is open.
    """
    last = max(last_change, last_training) if last_training else last_change
    fired = _fired(now, config, last, drift_open, performance, new_mature_rows)
    if fired is None:
        return Proposal(False, None, "no trigger fired")
    trigger, reason = fired
    quiet = (now - last).total_seconds()
    if quality_open:
        return Proposal(False, trigger, f"{reason}; but a feed is broken, and a model must not learn from it")
    if quiet < config.cooldown:
        left = f"cooling down for {config.cooldown / _DAY:.3g} days after the last training or promotion"
        return Proposal(False, trigger, f"{reason}; but {left}")
    if new_mature_rows < config.min_rows:
        return Proposal(False, trigger, f"{reason}; but fewer than {config.min_rows} new rows have a mature outcome")
    return Proposal(True, trigger, reason)


def _fired(
    now: datetime,
    config: RetrainConfig,
    last: datetime,
    drift_open: Sequence[Incident],
    performance: Finding | None,
    new_mature_rows: int,
) -> tuple[str, str] | None:
    for trigger in config.triggers:
        kind, _, argument = trigger.partition(":")
        if kind == "performance" and performance is not None and performance.drifted:
            return kind, performance.message
        if kind == "drift" and drift_open:
            return kind, f"the world changed: {drift_open[0].title}"
        if kind == "schedule" and (now - last).total_seconds() >= duration(argument, "schedule"):
            return kind, f"{argument} since the last training or promotion"
        if kind == "volume" and new_mature_rows >= int(argument):
            return kind, f"at least {argument} new rows with a mature outcome"
    return None
