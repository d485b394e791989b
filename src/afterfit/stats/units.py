"""Known conversions of units, and how far apart two numeric profiles lie before and after one of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from afterfit.stats.profile import Numeric

Floats = NDArray[np.float64]
FEW = 5  # values below which a stretch of time has no median worth the name
SHARES = np.array([0.1, 0.25, 0.5, 0.75, 0.9])


@dataclass(frozen=True, slots=True)
class Conversion:
    """`name` is what may have happened to the feed; value * scale + shift undoes it."""

    name: str
    scale: float
    shift: float = 0.0

    @property
    def log_factor(self) -> float:
        """|ln| of the factor of a conversion without shift; infinite for one with."""
        return float("inf") if self.shift else abs(float(np.log(self.scale)))


def _both(one: str, other: str, factor: float) -> tuple[Conversion, Conversion]:
    """A feed that went from `one` to `other` multiplied by `factor`."""
    return Conversion(f"{one}→{other}", 1.0 / factor), Conversion(f"{other}→{one}", factor)


CONVERSIONS: tuple[Conversion, ...] = (
    Conversion("°F→°C", 1.8, 32.0),
    Conversion("°C→°F", 1 / 1.8, -32.0 / 1.8),
    Conversion("°C→K", 1.0, -273.15),
    Conversion("K→°C", 1.0, 273.15),
    *(Conversion(f"×{10**k:,}", 10.0**-k) for k in (1, 2, 3, 6)),
    *(Conversion(f"÷{10**k:,}", 10.0**k) for k in (1, 2, 3, 6)),
    *_both("inch", "cm", 2.54),
    *_both("mile", "km", 1.609344),
    *_both("lb", "kg", 0.45359237),
    *_both("ft", "m", 0.3048),
    *_both("m/s", "km/h", 3.6),
    *_both("mph", "m/s", 0.44704),
    *_both("inHg", "hPa", 33.8639),
    *_both("s", "min", 1 / 60),
)


def gap(window: Numeric, baseline: Numeric) -> float:
    """Mean distance of five quantiles in units of the baseline's spread; NaN when the baseline has none.

    >>> gap(Numeric.of([1.0, 2.0, 3.0]), Numeric.of([1.0, 2.0, 3.0]))
    0.0
    """
    return _apart(window.quantiles(SHARES), baseline.quantiles(SHARES))


def _apart(found: Floats, wanted: Floats) -> float:
    width = float(wanted[3] - wanted[1])
    return float(np.abs(found - wanted).mean() / width) if width > 0 else float("nan")


def log_ratio(window: Numeric, baseline: Numeric) -> float:
    """|ln| of the ratio of the medians; 99 when one of them is not positive."""
    was, now = baseline.quantiles([0.5])[0], window.quantiles([0.5])[0]
    return abs(float(np.log(now / was))) if was > 0 and now > 0 else 99.0


def log_width(window: Numeric, baseline: Numeric) -> float:
    """ln of the ratio of the spreads; 0 when one of them has none.

    >>> log_width(Numeric.of([1.0, 2.0, 3.0]), Numeric.of([1.0, 2.0, 3.0]))
    0.0
    """
    return _log_width(window.quantiles(SHARES), baseline.quantiles(SHARES))


def _log_width(found: Floats, wanted: Floats) -> float:
    now, was = found[3] - found[1], wanted[3] - wanted[1]
    return float(np.log(now / was)) if now > 0 and was > 0 else 0.0


def spread(baseline: Numeric) -> float:
    """Distance between the quartiles."""
    low, high = baseline.quantiles([0.25, 0.75])
    return float(high - low)


def largest_step(values: Floats, times: Floats, part: float) -> tuple[float, float]:
    """Medians of two neighbouring stretches of `part` seconds between which the column moved most; NaN without any.

    A feed changes its unit from one moment to the next, which the world hardly ever does by as much.

    >>> largest_step(np.array([70.0] * 9 + [21.0] * 9), np.arange(18.0), 9.0)
    (70.0, 21.0)
    """
    known = np.isfinite(values)
    x, place = values[known], np.floor(times[known] / part)
    order = np.lexsort((x, place))
    starts = np.flatnonzero(np.diff(place[order], prepend=np.nan) != 0)
    sizes = np.diff(starts, append=len(x))
    starts, sizes = starts[sizes >= FEW], sizes[sizes >= FEW]
    ordered = x[order]
    medians = (ordered[starts + (sizes - 1) // 2] + ordered[starts + sizes // 2]) / 2.0
    if len(medians) < 2:
        return float("nan"), float("nan")
    at = int(np.abs(np.diff(medians)).argmax())
    return float(medians[at]), float(medians[at + 1])


def undo(before: float, after: float, natural: float, noise: float) -> tuple[Conversion, float] | None:
    """The conversion that explains a step from `before` to `after`, and what it leaves unexplained (same unit)."""
    tried = [(c, abs(after * c.scale + c.shift - before)) for c in CONVERSIONS if c.log_factor > natural]
    least = min((left for _, left in tried), default=float("nan"))
    return next(((c, left) for c, left in tried if left <= least + noise), None)


def best(
    window: Numeric,
    baseline: Numeric,
    natural: float,
    noise: float,
    widths: tuple[float, float] = (-np.inf, np.inf),
) -> tuple[Conversion, float] | None:
    """The conversion that brings the window near the baseline, and the distance that is left.

    A factor that the column goes through by itself says nothing: only factors with |ln| above `natural` are tried. A
    conversion that would leave the window narrower or wider than `widths` (see `log_width`) does not fit.
    Among those that fit equally well up to `noise`, the first of the list, which is the likeliest, is taken.
    """
    narrow, wide = widths
    wanted, now = baseline.quantiles(SHARES), window.quantiles(SHARES)
    converted = [(c, now * c.scale + c.shift) for c in CONVERSIONS if c.log_factor > natural]
    tried = [(c, _apart(found, wanted)) for c, found in converted if narrow <= _log_width(found, wanted) <= wide]
    least = min((left for _, left in tried), default=float("nan"))
    return next(((c, left) for c, left in tried if left <= least + noise), None)
