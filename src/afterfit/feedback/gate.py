"""The gate before any traffic: the candidate against the champion, paired on rows that neither was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, isfinite

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from afterfit.config import RolloutConfig
from afterfit.records import Outlook, Verdict

Floats = NDArray[np.float64]
DAY = 86400.0


def gate(candidate: Floats, champion: Floats, times: Floats, config: RolloutConfig) -> Verdict:
    """Non-inferiority of the candidate: pass when the upper bound of its mean excess loss is below the margin.

    The statement is about the hold-out's days, with its rows as the sample. Whether it carries over to other days is
    left to shadow and canary, whose tests bet on days to come; how much the days disagree is told with the reasons.

    Args:
        candidate, champion: bounded losses in [0, 1] of the same rows, shape (n,).
        times: event times in epoch seconds, shape (n,).
        config: margin, alpha and min_pairs.
    """
    n = len(candidate)
    if n < config.min_pairs:
        return Verdict(
            Outlook.NO_DATA,
            (f"only {n} rows can be scored by both versions, wanted {config.min_pairs}",),
            {"n": float(n), "needed": float(config.min_pairs)},
        )
    difference = candidate - champion
    days = _days(difference, times)
    mean, half = float(difference.mean()), _half_width(difference, config.alpha)
    numbers = {
        "n": float(n),
        "candidate_loss": float(candidate.mean()),
        "champion_loss": float(champion.mean()),
        "difference": mean,
        "lower": mean - half,
        "upper": mean + half,
        "margin": config.margin,
    }
    said = (
        f"loss {candidate.mean():.4f} against the champion's {champion.mean():.4f} on {n:,} hold-out rows, "
        f"difference {mean:+.4f} (interval {mean - half:+.4f} to {mean + half:+.4f}, margin {config.margin:g}), "
        f"better on {int((days < 0).sum())} of {len(days)} days"
    )
    if mean + half < config.margin:
        return Verdict(Outlook.PASS, (said,), numbers)
    if mean - half > config.margin:
        return Verdict(Outlook.HARM, (f"worse by more than the margin: {said}",), numbers)
    gap = config.margin - mean
    needed = ceil(n * (half / gap) ** 2) if gap > 0 else None
    advice = f"about {needed:,} rows would settle it" if needed else "more rows would not make it pass"
    return Verdict(Outlook.UNDECIDED, (f"not shown to be good enough: {said}; {advice}",), numbers)


def first_gate(metrics: Mapping[str, float], config: RolloutConfig) -> Verdict:
    """A first version has no champion to beat: its hold-out loss must be below that of a trivial predictor.

    Args:
        metrics: holdout_loss, holdout_loss_sd, holdout_n and baseline_loss of the registration.
        config: alpha.
    """
    if not metrics.get("holdout_n"):
        return Verdict(
            Outlook.NO_DATA,
            (
                "it was registered without a hold-out, so nothing is known about it; register it with "
                "holdout=(X_test, y_test), or answer for it with `afterfit promote`",
            ),
        )
    loss, baseline, n = metrics["holdout_loss"], metrics["baseline_loss"], metrics["holdout_n"]
    half = float(norm.ppf(1.0 - config.alpha)) * metrics["holdout_loss_sd"] / n**0.5
    numbers = {"loss": loss, "baseline_loss": baseline, "n": n, "gain": baseline - loss, "half_width": half}
    said = f"hold-out loss {loss:.4f} on {n:,.0f} rows against {baseline:.4f} of a trivial predictor"
    if not isfinite(loss):
        return Verdict(Outlook.HARM, (f"its hold-out loss is {loss}",), numbers)
    if baseline - loss > half:
        return Verdict(Outlook.PASS, (said,), numbers)
    if baseline - loss < -half:
        return Verdict(Outlook.HARM, (f"worse than a trivial predictor: {said}",), numbers)
    return Verdict(Outlook.UNDECIDED, (f"not shown to be better than a trivial predictor: {said}",), numbers)


def _half_width(difference: Floats, alpha: float) -> float:
    """Half-width of the one-sided interval of the mean of paired differences."""
    width: float = float(norm.ppf(1.0 - alpha)) * float(difference.std(ddof=1)) / len(difference) ** 0.5
    return width


def _days(difference: Floats, times: Floats) -> Floats:
    """Mean difference of each day."""
    _, day = np.unique(np.floor(times / DAY), return_inverse=True)
    return np.asarray(np.bincount(day, weights=difference) / np.bincount(day), dtype=float)
