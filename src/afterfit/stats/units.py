"""Known conversions of units, and how far apart two numeric profiles lie before and after one of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from afterfit.stats.profile import Numeric

Floats = NDArray[np.float64]
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


def gap(window: Numeric, baseline: Numeric, conversion: Conversion | None = None) -> float:
    """Mean distance of five quantiles in units of the baseline's spread; NaN when the baseline has none.

    >>> gap(Numeric.of([1.0, 2.0, 3.0]), Numeric.of([1.0, 2.0, 3.0]))
    0.0
    """
    wanted, found = baseline.quantiles(SHARES), window.quantiles(SHARES)
    if conversion is not None:
        found = found * conversion.scale + conversion.shift
    spread = float(wanted[3] - wanted[1])
    return float(np.abs(found - wanted).mean() / spread) if spread > 0 else float("nan")


def log_ratio(window: Numeric, baseline: Numeric) -> float:
    """|ln| of the ratio of the medians; 99 when one of them is not positive."""
    was, now = baseline.quantiles([0.5])[0], window.quantiles([0.5])[0]
    return abs(float(np.log(now / was))) if was > 0 and now > 0 else 99.0


def best(window: Numeric, baseline: Numeric, natural: float, noise: float) -> tuple[Conversion, float] | None:
    """The conversion that brings the window near the baseline, and the distance that is left.

    A factor that the column goes through by itself says nothing: only factors with |ln| above `natural` are tried.
    Among those that fit equally well up to `noise`, the first of the list, which is the likeliest, is taken.
    """
    tried = [(c, gap(window, baseline, c)) for c in CONVERSIONS if c.log_factor > natural]
    least = min((left for _, left in tried), default=float("nan"))
    return next(((c, left) for c, left in tried if left <= least + noise), None)
