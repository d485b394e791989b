"""Did a column's distribution move? In a direction that adds up over windows, or as a whole in this one."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from afterfit.monitoring.look import LOOKBACKS, Look, Result
from afterfit.monitoring.reference import directions_of, logit, moved
from afterfit.records import Severity
from afterfit.stats import chi2, ks, null_tail, psi
from afterfit.stats.binning import Floats
from afterfit.stats.levels import PART, Levels, Stretch, together
from afterfit.stats.profile import Categorical, Column, Numeric

PREDICTION = "prediction"  # the name under which a model's answers are checked
MANY_BLOCKS = 50  # blocks from which it can be seen whether they are as alike as independent rows
FAR_APART = 0.5  # distance of healthy blocks above which they are near the limit of 1
ALIKE = 2.0  # times the squared distances of independent rows; blocks further apart have levels of their own
ONE, MANY, WHOLE = 2.0, 1.0, 1.0  # parts of the chance: a direction now, the same over several windows, the distance
SEVERAL = 1.5  # blocks from which a window is more than one of them


def drift(look: Look, name: str, before: Column, now: Column) -> Result:
    """The distance of a window from the reference, and the smallest chance of what moved."""
    index = psi.psi(before, now)
    if isinstance(before, Numeric) and isinstance(now, Numeric):
        d = ks.distance(before, now)
        rows = ks.p_value(d, before.values, now.values)
        middle = [c.quantiles([0.5])[0] for c in (before, now)]
        said = f"KS distance {d:.2f}, PSI {index:.2f}, median {middle[0]:.4g} → {middle[1]:.4g}"
        method = "Kolmogorov-Smirnov, block null"
    elif isinstance(before, Categorical) and isinstance(now, Categorical):
        d, rows = chi2.total_variation(before, now), chi2.p_value(before, now)
        said = f"total variation {d:.2f}, PSI {index:.2f}{_moved(before, now)}"
        method = "chi-squared, block null"
    else:
        raise TypeError("a column and its reference are of one kind")
    whole = max(rows, _apart(d, before, now, look.blocks(name, "drift")))
    parts = [(whole, WHOLE, method, "")]
    for p, windows, direction in _directions(look, name, before, now):
        over = f"; {direction} over the last {windows} windows" if windows > 1 else f"; {direction}"
        parts.append((p, ONE if windows == 1 else MANY, f"{direction}, block null", over))
    weight = sum(w for _, w, _, _ in parts)
    p, share, method, how = min(parts, key=lambda part: part[0] / part[1])
    what = "the model's own answers" if name == PREDICTION else name
    message = f"{what}: the distribution moved, {said}{how}"
    return Result(method, d, d, min(1.0, p * weight / share), Severity.WARNING, message)


def _directions(look: Look, name: str, before: Column, now: Column) -> list[tuple[float, int, str]]:
    """(chance, windows, direction) of the direction that moved most, in this window and over the last ones."""
    if not before.values or not now.values:
        return []
    found = directions_of(before)
    names = found.names
    if not names:
        return []
    seen = [(*moved(found, c), s) for c, s in history(look, name, before, now)]
    levels = [Levels.of(look.blocks(name, direction), look.grid) for direction in names]
    results = []
    for windows in lookbacks(look, len(seen)):
        last = seen[-windows:]
        rows = sum(n for _, n, _ in last)
        if not rows:
            continue
        stretch = together([Stretch(s.places, s.blocks, n) for _, n, s in last])
        expected = np.array([one.expected(stretch) for one in levels])
        deviations = _beyond(np.asarray(sum(d * n for d, n, _ in last) / rows), expected, stretch)
        p = found.p_values(deviations, rows * before.values / (rows + before.values))
        null = [
            one.p_value(float(d), stretch, float(v))
            for one, d, v in zip(levels, deviations, found.variances, strict=True)
        ]
        worst = np.maximum(p, null) * len(names)
        at = int(worst.argmin())
        results.append((float(worst[at]), windows, _said(names[at], float(deviations[at]))))
    return results


def _beyond(deviations: Floats, expected: Floats, stretch: Stretch) -> Floats:
    """The part that healthy blocks don't explain. A window of several blocks is wider than each of them, and lies somewhere
    between what they and what the whole reference show."""
    if stretch.blocks <= SEVERAL * stretch.windows:
        return deviations - expected
    return np.asarray(deviations - np.clip(deviations, np.minimum(expected, 0.0), np.maximum(expected, 0.0)))


def history(look: Look, name: str, before: Column, now: Column) -> list[tuple[Column, Stretch]]:
    """The window, and the healthy ones before it over which evidence may add up, oldest first."""
    most = max(lookbacks(look, max(LOOKBACKS)))
    return [*look.before(name, type(before), most - 1), (now, look.now(now.n))]


def lookbacks(look: Look, windows: int) -> list[int]:
    """1, and so many windows as there are and as the reference's memory is known for."""
    blocks = look.reference.window / look.reference.block if look.reference.block else np.inf
    return [1, *(k for k in LOOKBACKS if k <= windows and k * blocks * PART <= look.grid.places.size)]


def _said(direction: str, deviation: float) -> str:
    if direction == "location":
        return "it lies higher" if deviation > 0 else "it lies lower"
    if direction == "spread":
        return "it spreads wider" if deviation > 0 else "it spreads less"
    return f"{direction!r} came {'more' if deviation > 0 else 'less'} often"


def _apart(d: float, before: Column, now: Column, blocks: tuple[float, ...]) -> float:
    """Chance of a distance in [0, 1] between a healthy block and the rest.

    Blocks that lie about as far apart as independent rows would: the test for rows, of a sample as much smaller as they
    are further apart (Rao and Scott's correction). Others: their squared distances, or, near the limit of 1, where squares
    say nothing, their logits.

    References:
        Rao, Scott (1984), On chi-squared tests for multiway contingency tables with cell proportions estimated from survey
        data.
    """
    distances = expit(np.array(blocks))
    noise = ks.NOISE if isinstance(before, Numeric) else chi2.noise(before)
    rows = max(1.0, before.values / max(distances.size, 1))  # of a block
    inflation = float(np.square(distances).mean() * rows / noise) if distances.size and noise > 0 else 0.0
    if distances.size >= MANY_BLOCKS and 0.0 < inflation <= ALIKE:
        sure = max(1.0, inflation) * (1.0 + 2.0 * float(np.sqrt(2.0 / (ks.FREEDOM * distances.size))))
        if isinstance(before, Numeric) and isinstance(now, Numeric):
            return ks.p_value(d / np.sqrt(sure), before.values, now.values)
        if isinstance(before, Categorical) and isinstance(now, Categorical):
            return chi2.p_value(before, now, inflation=sure)
    if distances.max(initial=0.0) > FAR_APART:
        return null_tail.p_value(logit(d, now.values), blocks)
    smaller = noise * max(0.0, 1.0 / max(now.values, 1) - 1.0 / rows)
    return null_tail.squared_p_value(d, distances, ks.FREEDOM, smaller)


def _moved(before: Categorical, now: Categorical) -> str:
    def change(k: str) -> float:
        return now.counts.get(k, 0) / now.values - before.counts.get(k, 0) / before.values

    if not now.values or not before.values:
        return ""
    most = max({**before.counts, **now.counts}, key=lambda k: abs(change(k)))
    return f", most for {most!r} ({change(most):+.1%})"
