"""The rollout's judge: evidence in, verdict and at most one event out. Pure, and valid however often it is asked."""

from __future__ import annotations

from math import exp, inf, log
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln

from afterfit.config import RolloutConfig
from afterfit.lifecycle import Happening, Phase, State
from afterfit.records import Outlook, Verdict
from afterfit.rollout.evidence import Evidence
from afterfit.stats import bad_events, betting

RATIO_ALPHA = 0.001  # level of the sample-ratio test; a mismatch makes the evidence invalid
MOST_LOST = 0.01  # of the answered rows; what could not be logged is not missing at random
GROSS = 5.0  # times the margin: harm of this size is not explained by a bad day and is judged row by row
LEAST_GROSS = 0.05  # whatever the margin: on real flights good candidates have days that are 0.03 worse
_RATIO_STRENGTH = 100.0

Floats = NDArray[np.float64]
Judged = tuple[Verdict, Happening | None, dict[str, Any]]


def judge(state: State, evidence: Evidence, config: RolloutConfig, *, stage_age: float) -> Judged:
    """The verdict on a candidate in SHADOW, CANARY or PROVISIONAL, and the event that follows from it, if any.

    Harm is tested at alpha/2 on bad events (:mod:`afterfit.stats.bad_events`) and at alpha/2 on paired losses. The
    latter in two ways, at alpha/4 each, since the rows of one day are alike and a good candidate has bad days: gross
    harm (five margins, at least 0.05) row by row, which finds a broken release within hours; harm beyond the margin on
    the means of whole days, clipped at gross harm. A pass is the rejection, at alpha, of "the candidate is worse by
    the margin or more" on paired rows (:mod:`afterfit.stats.betting`). All are e-processes, so a look costs nothing.

    Args:
        state: phase, stage, approval.
        evidence: of this rollout so far.
        config: margin, alpha, shares, and how much evidence a stage must bring of its own.
        stage_age: seconds since the present stage began.

    Returns:
        (verdict, event or None, the event's data).
    """
    numbers = _numbers(state, evidence, config)
    said = _said(evidence, numbers)
    harm = _harm(evidence, config, numbers)
    if harm:
        return Verdict(Outlook.HARM, (harm, said), numbers), Happening.HARMED, {}
    if evidence.lost > MOST_LOST * (evidence.rows + evidence.lost):
        return _late(Verdict(Outlook.INVALID, (_incomplete(evidence), said), numbers), config, stage_age)
    if numbers["ratio_log_e"] >= log(1.0 / RATIO_ALPHA):
        verdict = Verdict(Outlook.INVALID, (_mismatch(state, evidence), said), numbers)
        return _late(verdict, config, stage_age)
    missing = _missing(state, evidence, config)
    if missing or numbers["pass_log_e"] < log(1.0 / config.alpha):
        outlook = Outlook.NO_DATA if evidence.stage_pairs == 0 else Outlook.UNDECIDED
        reasons = tuple(filter(None, (said, missing, _forecast(evidence, config, numbers))))
        return _late(Verdict(outlook, reasons, numbers), config, stage_age)
    happening, data = _next(state, config)
    if happening is Happening.LAST_STEP_PASSED and config.approval and not state.approved:
        return Verdict(Outlook.PASS, (said, "waiting for a person: `afterfit approve`"), numbers), None, {}
    return Verdict(Outlook.PASS, (said,), numbers), happening, data


def _numbers(state: State, evidence: Evidence, config: RolloutConfig) -> dict[str, float]:
    excess = evidence.candidate_loss - evidence.champion_loss  # in [-1, 1]
    n = len(excess)
    asked = evidence.candidate_asked + evidence.champion_asked
    share = evidence.candidate_asked / asked if asked else 0.0
    return {
        "pairs": float(n),
        "candidate_loss": float(evidence.candidate_loss.mean()) if n else 0.0,
        "champion_loss": float(evidence.champion_loss.mean()) if n else 0.0,
        "pass_log_e": _worse(excess, config.margin, "less", 1.0)[-1] if n else 0.0,
        "gross_log_e": max(_worse(excess, _gross(config), "greater", 1.0), default=0.0),
        "days_log_e": max(_worse(_whole_days(evidence), config.margin, "greater", _gross(config)), default=0.0),
        "bad_log_e": bad_events.log_e(evidence.candidate_bad, evidence.champion_bad, share) if 0 < share < 1 else 0.0,
        "ratio_log_e": _ratio(evidence, state.weight) if state.weight > 0 else 0.0,
    }


def _worse(excess: Floats, margin: float, side: str, reach: float) -> list[float]:
    """Running log E about "the mean excess loss is at most (greater) or at least (less) the margin".

    Observations are clipped to [-reach, reach] and mapped to [0, 1], where 1/2 is no difference.
    """
    scaled = (1.0 + np.clip(excess / reach, -1.0, 1.0)) / 2.0
    return betting.log_e(scaled, 0.5 + margin / reach / 2.0, side).tolist() if len(excess) else []


def _whole_days(evidence: Evidence) -> Floats:
    """Mean excess loss of each day but the newest, which is still filling."""
    if not len(evidence.day):
        return np.empty(0)
    days, place = np.unique(evidence.day, return_inverse=True)
    excess = evidence.candidate_loss - evidence.champion_loss
    return np.asarray(np.bincount(place, weights=excess) / np.bincount(place))[: len(days) - 1]


def _gross(config: RolloutConfig) -> float:
    return min(0.5, max(LEAST_GROSS, GROSS * config.margin))


def _harm(evidence: Evidence, config: RolloutConfig, numbers: dict[str, float]) -> str:
    limit, half = log(2.0 / config.alpha), log(4.0 / config.alpha)
    if numbers["bad_log_e"] >= limit:
        return (
            f"the candidate failed on {evidence.candidate_bad} of {evidence.candidate_asked:,} requests, the champion "
            f"on {evidence.champion_bad} of {evidence.champion_asked:,} "
            f"(e-value {_e(numbers['bad_log_e'])} ≥ {exp(limit):.0f})"
        )
    if numbers["gross_log_e"] >= half:
        return (
            f"the candidate's answers are far worse, by more than {_gross(config):g} "
            f"(e-value {_e(numbers['gross_log_e'])} ≥ {exp(half):.0f})"
        )
    if numbers["days_log_e"] >= half:
        return (
            f"the candidate's answers are worse by more than the margin {config.margin:g}, day after day "
            f"(e-value {_e(numbers['days_log_e'])} ≥ {exp(half):.0f})"
        )
    return ""


def _missing(state: State, evidence: Evidence, config: RolloutConfig) -> str:
    """What this stage must still bring of its own before it may pass."""
    if evidence.stage_pairs < config.min_pairs:
        return f"this stage has {evidence.stage_pairs} of {config.min_pairs} paired rows with outcome"
    if state.phase is not Phase.SHADOW and evidence.stage_requests < config.min_requests:
        return f"this stage has {evidence.stage_requests} of {config.min_requests} requests to the candidate"
    return ""


def _next(state: State, config: RolloutConfig) -> tuple[Happening, dict[str, Any]]:
    if state.phase is Phase.PROVISIONAL:
        return Happening.CONFIRMED, {}
    higher = [weight for weight in config.canary if weight > state.weight]  # a fast track may have begun anywhere
    if higher:
        happening = Happening.SHADOW_PASSED if state.phase is Phase.SHADOW else Happening.STEP_PASSED
        return happening, {"weight": higher[0]}
    return Happening.LAST_STEP_PASSED, {"weight": 1.0 - config.holdback}


def _late(verdict: Verdict, config: RolloutConfig, stage_age: float) -> Judged:
    """Nothing happens without a verdict, until the deadline; then what the configuration says: never a pass."""
    if stage_age < config.deadline:
        return verdict, None, {}
    happening = Happening.HARMED if config.on_no_data == "rollback" else Happening.HELD
    what = "dropped" if happening is Happening.HARMED else "held"
    late = f"no verdict within {config.deadline / 86400:.3g} days: {what}"
    return Verdict(verdict.outlook, (late, *verdict.reasons), verdict.numbers), happening, {}


def _ratio(evidence: Evidence, share: float) -> float:
    """Two-sided beta-binomial log e-value that keys were not assigned with probability `share`."""
    a, b = _RATIO_STRENGTH * share, _RATIO_STRENGTH * (1.0 - share)
    n1, n0 = evidence.candidate_keys, evidence.champion_keys
    return float(betaln(a + n1, b + n0) - betaln(a, b) - n1 * np.log(share) - n0 * np.log1p(-share))


def _incomplete(evidence: Evidence) -> str:
    return (
        f"the evidence is invalid: {evidence.lost:,} of {evidence.rows + evidence.lost:,} answered rows could not be logged; "
        "look for a full or slow disk in the gateway's log"
    )


def _mismatch(state: State, evidence: Evidence) -> str:
    total = evidence.candidate_keys + evidence.champion_keys
    return (
        f"the evidence is invalid: {evidence.candidate_keys} of {total} keys went to the candidate, "
        f"{state.weight:.1%} should have; look for lost log rows or a client that chooses versions"
    )


def _said(evidence: Evidence, numbers: dict[str, float]) -> str:
    if not len(evidence.candidate_loss):
        return "no row scored by both versions has an outcome yet"
    return (
        f"candidate's loss {numbers['candidate_loss']:.4f} against {numbers['champion_loss']:.4f} on "
        f"{len(evidence.candidate_loss):,} paired rows (e-value of not worse {_e(numbers['pass_log_e'])})"
    )


def _forecast(evidence: Evidence, config: RolloutConfig, numbers: dict[str, float]) -> str:
    """How many more pairs a pass takes if they are like those seen."""
    n = len(evidence.candidate_loss)
    if n == 0 or numbers["pass_log_e"] >= log(1.0 / config.alpha):
        return ""
    scaled = (1.0 + evidence.candidate_loss - evidence.champion_loss) / 2.0
    total = betting.needed(scaled, 0.5 + config.margin / 2.0, "less", config.alpha)
    if total is None:
        return "at the present difference no number of pairs makes it pass"
    return f"a pass takes about {max(total - n, 1):,} more pairs like these"


def _e(log_e: float) -> str:
    if log_e == -inf:
        return "0"
    return f"{exp(log_e):.3g}" if log_e < 14 else "over a million"
