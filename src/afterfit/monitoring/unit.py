"""Did a column change its unit? A jump that no healthy block made, and that one known conversion undoes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from afterfit.monitoring.look import Look, Result
from afterfit.monitoring.reference import step_size
from afterfit.records import Severity
from afterfit.stats import ks, null_tail, units
from afterfit.stats.profile import Column, Numeric

SURELY = 1.5  # a conversion's factor must exceed the largest natural one by this much (in logarithms)
UNMOVED = 0.05  # chance for independent rows above which a column did not move, so nothing is to be undone
FITS = 1.0  # a converted window fits when it lies no further away than this share of the reference's own blocks do
FIT_BY_CHANCE = 0.1  # upper bound of the share of natural jumps that some conversion happens to undo


def unit(look: Look, name: str, before: Column, now: Column) -> Result:
    """A jump that no healthy block made and that one known conversion undoes: of the whole window against the last
    healthy ones, or from one stretch of the window to the next. Two looks, so each gets half of the chance."""
    baseline = look.trailing(name) or before
    if not isinstance(baseline, Numeric) or not isinstance(now, Numeric):
        raise TypeError("only numbers have a unit")
    natural = SURELY * max(look.blocks(name, "ratio"), default=0.0)
    looks = [r for r in (_whole(look, name, baseline, now, natural), _step(look, name, baseline, natural)) if r]
    if not looks:
        return Result("quantile gap", 0.0, 0.0, 1.0, Severity.INFO, f"{name}: no sign of a changed unit")
    found = min(looks, key=lambda r: r.p_value)
    return replace(found, p_value=min(1.0, 2.0 * found.p_value))


def _whole(look: Look, name: str, baseline: Numeric, now: Numeric, natural: float) -> Result | None:
    jump, blocks = units.gap(now, baseline), look.blocks(name, "unit")
    if not now.values or np.isnan(jump):
        return None
    rows = ks.p_value(ks.distance(baseline, now), baseline.values, now.values)
    if rows > UNMOVED:
        return None
    usual, noise = _usual(blocks) if len(blocks) >= null_tail.FEWEST else _by_chance(now, baseline)
    found = units.best(now, baseline, natural, noise, _widths(look.blocks(name, "width")))
    if found is None or found[1] > min(usual, jump / 3.0):
        return None
    conversion, left = found
    p = max(rows, null_tail.p_value(jump, blocks) * FIT_BY_CHANCE)
    was, is_now = baseline.quantiles([0.5])[0], now.quantiles([0.5])[0]
    return _unit_result(name, conversion, jump, jump - left, p, f"median {was:.4g} → {is_now:.4g}")


def _step(look: Look, name: str, baseline: Numeric, natural: float) -> Result | None:
    blocks = look.blocks(name, "step")
    if look.times is None or len(blocks) < null_tail.FEWEST:
        return None
    step, was, is_now = step_size(look.columns[name], look.times, baseline, look.reference.block)
    if step == 0.0 or baseline.low <= is_now <= baseline.high:  # a value that healthy days have too is no new unit
        return None
    usual, noise = _usual(blocks)
    width = units.spread(baseline)
    found = units.undo(was, is_now, natural, noise * width)
    if found is None or found[1] / width > min(usual, step / 3.0):
        return None
    p = min(1.0, look.chances * null_tail.p_value(step, blocks)) * FIT_BY_CHANCE
    said = f"from {was:.4g} to {is_now:.4g} within one step of time"
    return _unit_result(name, found[0], step, step - found[1] / width, p, said)


def _unit_result(name: str, c: units.Conversion, size: float, gain: float, p: float, said: str) -> Result:
    message = f"{name}: looks like a unit change {c.name} ({said}; converted back it fits)"
    return Result(f"gap before and after {c.name}, block null", size, gain, p, Severity.CRITICAL, message)


def _widths(blocks: tuple[float, ...]) -> tuple[float, float]:
    """The narrowest and the widest that a converted window may be beside its baseline: twice what healthy blocks are."""
    if len(blocks) < null_tail.FEWEST:
        return -np.inf, np.inf
    return min(blocks) - np.log(2.0), max(blocks) + np.log(2.0)


def _usual(blocks: tuple[float, ...]) -> tuple[float, float]:
    """How far apart healthy blocks lie: nine in ten of them, and half of them."""
    return float(np.quantile(blocks, FITS)), float(np.quantile(blocks, 0.5))


def _by_chance(now: Numeric, baseline: Numeric) -> tuple[float, float]:
    """The same for independent rows: quantiles lie about 1.3 / sqrt(n) spreads from the truth, three times that is far."""
    error = 1.3 * float(np.sqrt(1.0 / now.values + 1.0 / baseline.values))
    return min(0.2, 3.0 * error), min(0.1, error)
