"""The gate before any traffic: the candidate against the champion, paired on rows that neither was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, isfinite

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from scipy.stats import t as student

from afterfit.config import RolloutConfig
from afterfit.records import Outlook, Verdict

Floats = NDArray[np.float64]
BLOCK = 86400.0  # seconds; losses within a day rise and fall together
FEW_BLOCKS = 5  # below this the day-to-day spread can't be estimated, and rows are taken as independent


def gate(candidate: Floats, champion: Floats, times: Floats, config: RolloutConfig) -> Verdict:
    """Non-inferiority of the candidate: pass when the upper bound of its mean excess loss is below the margin.

    Args:
        candidate, champion: bounded losses in [0, 1] of the same rows, shape (n,).
        times: event times in epoch seconds, shape (n,); days are the blocks of the interval.
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
    mean, half = float(difference.mean()), _half_width(difference, times, config.alpha)
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
        f"difference {mean:+.4f} (interval {mean - half:+.4f} to {mean + half:+.4f}, margin {config.margin:g})"
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


def _half_width(difference: Floats, times: Floats, alpha: float) -> float:
    """Half-width of the one-sided interval of the mean, with days as blocks where there are enough of them.

    The larger of the row-wise and the block-wise width is taken: neither few blocks nor correlated rows make it narrow.
    """
    n = len(difference)
    rows: float = float(norm.ppf(1.0 - alpha)) * float(difference.std(ddof=1)) / n**0.5
    _, day = np.unique(np.floor(times / BLOCK), return_inverse=True)
    blocks = int(day.max()) + 1
    if blocks < FEW_BLOCKS:
        return rows
    sums = np.bincount(day, weights=difference - difference.mean())
    spread = float(np.sqrt((sums**2).sum() * blocks / (blocks - 1))) / n
    by_block: float = float(student.ppf(1.0 - alpha, blocks - 1)) * spread
    return max(rows, by_block)
