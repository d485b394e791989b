"""Are there more nulls than usual? In this window, or over the last ones."""

from __future__ import annotations

import numpy as np
from scipy.stats import binom, hypergeom

from afterfit.monitoring.drift import history, lookbacks
from afterfit.monitoring.look import Look, Result
from afterfit.records import Severity
from afterfit.stats import null_tail
from afterfit.stats.binning import Floats
from afterfit.stats.levels import Levels, Stretch, together
from afterfit.stats.profile import Column

MANY_NULLS = 0.05
NULL_ANGLE = 0.25  # variance of one row's null on the angle scale


def nulls(look: Look, name: str, before: Column, now: Column) -> Result:
    """More nulls than usual, in this window or over the last ones."""
    rate, usual = now.nulls / now.n, before.nulls / max(before.n, 1)
    if before.n and not before.values:
        p = float(hypergeom.sf(now.n - now.nulls - 1, before.n + now.n, now.n - now.nulls, now.n))
        message = f"{name}: {1 - rate:.1%} of the rows have a value; in the reference none had"
        return Result("Fisher's exact test", 1.0 - rate, 1.0 - rate, p, Severity.WARNING, message)
    angles = np.asarray(look.blocks(name, "nulls"))
    levels = Levels.of(angles - np.arcsin(np.sqrt(usual)), look.grid)
    seen = history(look, name, before, now)
    found = []
    for windows in lookbacks(look, len(seen)):
        nulls = sum(c.nulls for c, _ in seen[-windows:])
        stretch = together([s for _, s in seen[-windows:]])
        found.append((_more_nulls(nulls, stretch, before, angles if windows == 1 else angles[:0], levels), windows))
    p, windows = min(found)
    over = f" ({windows} windows together)" if windows > 1 else ""
    severity = Severity.CRITICAL if rate - usual > MANY_NULLS else Severity.WARNING
    message = f"{name}: {rate:.1%} of the values are null, {usual:.1%} in the reference{over}"
    return Result("Fisher's exact test, block null", rate, rate - usual, min(1.0, p * len(found)), severity, message)


def _more_nulls(nulls: int, stretch: Stretch, before: Column, angles: Floats, levels: Levels) -> float:
    """The larger of the chances for rows (Fisher's exact test: the reference's rate is not known exactly either), for rows
    drawn from one of the reference's blocks, and for blocks, on the angle scale, on which rates vary alike whatever their
    size."""
    n, usual = stretch.rows, before.nulls / max(before.n, 1)
    p = float(hypergeom.sf(nulls - 1, before.n + n, before.nulls + nulls, n))
    if nulls <= usual * n:
        return max(p, 0.5)
    drawn = float(binom.sf(nulls - 1, n, np.sin(angles) ** 2).mean()) if angles.size else 0.0
    more = float(np.arcsin(np.sqrt(nulls / n)) - np.arcsin(np.sqrt(usual)))
    more = max(0.0, more - max(0.0, levels.expected(stretch)))
    block = levels.p_value(more, stretch, NULL_ANGLE)
    if angles.size:  # one bad day among many quiet ones must not hide a day that is far worse
        block = min(block, null_tail.p_value(more, levels.left))
    return max(p, drawn, block)
